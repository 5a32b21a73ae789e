"""From what a user writes to a reference: a name, ``package.module:factory``, or a TOML file."""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator

from sscha_mlp.calculators.builtin import BUILT_IN, PROGRAMS
from sscha_mlp.calculators.compute import LabelFunction, bare_copy
from sscha_mlp.calculators.prepared import suggestion
from sscha_mlp.calculators.table import (
    ReferenceTable,
    find_table,
    pseudopotential_hashes,
    read_table,
)
from sscha_mlp.data.labels import Label
from sscha_mlp.errors import ConfigError, InputError, ReferenceFailedError
from sscha_mlp.named_objects import import_object
from sscha_mlp.parallel import Failed, Machines, WorkerStartError
from sscha_mlp.tables import Shown, Table


@dataclass(frozen=True)
class Reference(Shown):
    """A calculator that is taken for the truth.

    Parameters
    ----------
    name
        What the user called it.
    identity
        All that decides a label, as JSON with sorted keys.  Labels are found again by this text,
        so it leaves out what does not change them: for a built-in potential its parameters count,
        not the versions of QUIP or ASE that evaluate it; for a command-line code its input, the
        content of its pseudopotentials and its version; for a user's factory its name, its
        parameters and a hash of its source text.  What the factory calls is not looked into.
    factory
        Makes the calculator from ``parameters``; picklable if it is to be used in workers.
    parameters
        Keyword arguments of the factory.
    description
        One line for a report.
    elements
        Chemical symbols that it has parameters for; None if it does not say.
    file
        The TOML file that it was read from; empty without one.
    """

    name: str
    identity: str
    factory: Callable[..., Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    elements: tuple[str, ...] | None = None
    file: str = ""

    @classmethod
    def from_factory(
        cls, factory: Callable[..., Any], *, name: str | None = None, **parameters: Any
    ) -> Self:
        """Return the reference of a function that makes a calculator.

        Raises
        ------
        ConfigError
            If the function does not take these parameters.
        """
        if not hasattr(factory, "__qualname__"):
            raise ConfigError(f"The factory {factory!r} must be a function or a class.")
        where = f"{factory.__module__}:{factory.__qualname__}"
        _check_parameters(where, factory, parameters)
        settings = {
            "factory": where,
            "parameters": parameters,
            "source_sha256": _source_hash(factory),
        }
        description = (inspect.getdoc(factory) or where).splitlines()[0]
        return cls(name or where, _to_json(where, settings), factory, parameters, description)

    def make_calculator(self) -> Calculator:
        """Make a new calculator."""
        return self.factory(**self.parameters)

    def check_elements(self, atoms: Atoms) -> None:
        """Refuse a structure with an element that the reference does not know.

        Raises
        ------
        InputError
            If there is such an element.
        """
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(self.elements or ()))
        if self.elements is not None and unknown:
            raise InputError(
                f"The reference {self.name!r} has no parameters for {', '.join(unknown)}; "
                f"it knows {', '.join(self.elements)}. {self._way_to(unknown)}"
            )

    def _way_to(self, elements: Sequence[str]) -> str:
        """Say how a structure with more elements can be labelled."""
        if self.file and self.name in PROGRAMS:
            return (
                f"Add {' and '.join(elements)} to [reference.pseudopotentials] of {self.file}, or "
                "of a copy of it."
            )
        return "Choose another reference."

    def check(
        self,
        atoms: Atoms,
        *,
        time_limit: float | None = None,
        machines: Machines | None = None,
    ) -> Label:
        """Label one structure in a process of its own, to see whether the reference works.

        Parameters
        ----------
        time_limit
            Longest time for the calculation, in s.
        machines
            Where to compute; a process on this machine by default.

        Raises
        ------
        InputError
            If the structure has an element that the reference does not know.
        ReferenceFailedError
            If the calculator cannot be made, or cannot label the structure.
        """
        self.check_elements(atoms)
        isolate = self.factory.__module__ != "__main__" or time_limit is not None
        function = LabelFunction(self.make_calculator)
        try:
            with (machines or Machines()).executor(
                function, time_limit=time_limit, isolate=isolate
            ) as executor:
                ((_, outcome),) = executor.run([bare_copy(atoms)])
        except WorkerStartError as err:
            raise ReferenceFailedError(
                f"The reference {self.name!r} cannot be set up: {err}"
            ) from err
        if isinstance(outcome, Failed):
            raise ReferenceFailedError(
                f"The reference {self.name!r} cannot label {atoms.get_chemical_formula()}: "
                f"{outcome.reason}"
            )
        return Label(*outcome.value)

    def table(self) -> Table:
        """Return what it is and which elements it knows."""
        rows = {"name": self.name, "description": self.description}
        if self.elements is not None:
            rows["elements"] = ", ".join(self.elements)
        for name, value in self.parameters.items():
            rows.setdefault(name, str(value))
        return Table("Reference", tuple(rows.items()))


def reference_names() -> tuple[str, ...]:
    """Return the names of the built-in references that need no file."""
    return tuple(BUILT_IN)


def get_reference(
    spec: "str | Path | Reference | Calculator | Callable[..., Any]",
) -> Reference:
    """Return the reference that a user asks for.

    Parameters
    ----------
    spec
        A function or class that makes an ASE calculator; a built-in name (see
        :func:`reference_names`); ``package.module:factory``, where the module
        may lie in the current directory and the factory returns an ASE calculator; or a TOML file,
        one of the bundled ones if there is none of that name::

            [reference]
            name = "espresso"        # a built-in name, or factory = "calculators:my_own"
            command = "mpirun -np 4 pw.x"

            [reference.pseudopotentials]
            Si = "Si.pz-vbc.UPF"

            [reference.parameters]
            ecutwfc = 20.0

    Raises
    ------
    ConfigError
        If the name, the factory, the file or a parameter is unknown.
    """
    if isinstance(spec, Reference):
        return spec
    if not isinstance(spec, str | Path):
        return _of_object(spec)
    if isinstance(spec, Path) or spec.endswith(".toml"):
        path = find_table(spec)
        try:
            return replace(_from_table(read_table(path)), file=str(path))
        except ConfigError as err:
            named = str(path) in str(err)
            raise err if named else ConfigError(f"{path}: {err}") from err
    return _from_table(ReferenceTable(spec, place=Path.cwd()))


def _of_object(spec: Any) -> Reference:
    """Return the reference of a factory; a calculator itself cannot go to other processes."""
    kind = type(spec).__name__
    is_calculator = isinstance(spec, BaseCalculator) or hasattr(spec, "get_potential_energy")
    if is_calculator and not isinstance(spec, type):
        raise ConfigError(
            f"A calculator object ({kind}) was given as the reference. Labels are computed in "
            "several processes, and each makes a calculator of its own: give what makes it, "
            f"sm.get_reference({kind}), sm.Reference.from_factory({kind}, parameter=value), or "
            "the name 'module:function' of a function in a file."
        )
    name = getattr(spec, "__qualname__", "")
    if not callable(spec) or "<" in name or not name:
        raise ConfigError(
            f"{spec!r} cannot be imported by other processes; give a function or class that is "
            "defined at the top of a module, or its name 'module:function'."
        )
    return Reference.from_factory(spec)


def _from_table(table: ReferenceTable) -> Reference:
    spec = table.spec
    if ":" in spec:
        return _user_factory(table)
    if spec in PROGRAMS:
        return _program(table)
    if spec in BUILT_IN:
        return _built_in(spec, table.all_parameters())
    file = find_table(f"{spec}.toml")
    if file.is_file():
        raise ConfigError(
            f"There is no reference {spec!r}, but a reference file of that name, {file}; write "
            f"{spec}.toml."
        )
    raise ConfigError(
        f"There is no reference {spec!r}.{suggestion(spec, (*BUILT_IN, *PROGRAMS))} "
        f"Valid: {', '.join(BUILT_IN)}, "
        f"'package.module:factory', or a TOML file, which {' and '.join(PROGRAMS)} need."
    )


def _user_factory(table: ReferenceTable) -> Reference:
    """Return the reference of a factory; how it is run is passed to it, but is not its identity."""
    factory = _import_factory(table.spec, [table.place, Path.cwd()])
    given = table.all_parameters()
    _check_parameters(table.spec, factory, given)
    reference = Reference.from_factory(factory, name=table.spec, **table.parameters)
    if given == table.parameters:
        return reference
    settings = json.loads(reference.identity)
    if table.kpoints is not None:
        settings["kpoints"] = table.kpoints
    if table.pseudopotentials is not None:
        settings["pseudopotentials_sha256"] = pseudopotential_hashes(table)
    return replace(reference, parameters=given, identity=_to_json(table.spec, settings))


def _program(table: ReferenceTable) -> Reference:
    program = PROGRAMS[table.spec]
    prepared = program.prepare(table.all_parameters(), table.place)
    return Reference(
        table.spec,
        _to_json(table.spec, dict(prepared.settings)),
        prepared.factory,
        prepared.parameters,
        program.description,
        prepared.elements,
    )


def _built_in(name: str, parameters: dict[str, Any]) -> Reference:
    built_in = BUILT_IN[name]
    _check_parameters(name, built_in.factory, parameters)
    merged = {**built_in.parameters, **parameters}
    try:
        settings = built_in.settings(**merged)
        elements = built_in.elements(**merged)
    except (TypeError, ValueError) as err:
        raise ConfigError(f"The parameters {merged} of the reference {name!r}: {err}.") from err
    return Reference(
        name, _to_json(name, settings), built_in.factory, merged, built_in.description, elements
    )


def _import_factory(spec: str, places: list[Path]) -> Callable[..., Any]:
    """Import ``module:function``, which may lie in one of the places."""
    value: Any = import_object(spec, what="The reference", places=places)
    if not callable(value):
        raise ConfigError(f"The reference {spec!r} is a {type(value).__name__}, not a function.")
    factory: Callable[..., Any] = value
    return factory


def _check_parameters(name: str, factory: Callable[..., Any], parameters: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some classes written in C have none
        return
    try:
        signature.bind(**parameters)
    except TypeError as err:
        valid = ", ".join(signature.parameters) or "none"
        raise ConfigError(
            f"The parameters of the reference {name!r}: {err}. Valid parameters: {valid}."
        ) from err


def _source_hash(factory: Callable[..., Any]) -> str | None:
    try:
        return hashlib.sha256(inspect.getsource(factory).encode()).hexdigest()
    except (OSError, TypeError):
        return None


def _to_json(name: str, settings: dict[str, Any]) -> str:
    try:
        return json.dumps(settings, sort_keys=True, default=_plain, allow_nan=False)
    except (TypeError, ValueError) as err:
        raise ConfigError(f"The parameters of the reference {name!r}: {err}.") from err


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} cannot be written as JSON")
