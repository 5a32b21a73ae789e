"""The thermal conductivity of a finished run, with the errors of sampling and of the model."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.data.dyn_files import born_of_file
from sscha_mlp.data.files import make_directory, write_json_atomic
from sscha_mlp.digits import with_error
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.errors import InputError
from sscha_mlp.properties.born_files import fitted, read_born
from sscha_mlp.properties.phono3py_adapter import (
    Lattice,
    require_phono3py,
    require_real_modes,
    scattering,
    write_phono3py,
)
from sscha_mlp.properties.transport import NO_WIDTH, SampledScattering, Scattering, mean_shift
from sscha_mlp.run_files.finished_run import FinishedRun
from sscha_mlp.run_files.observer import Observer
from sscha_mlp.run_files.records.conductivity import COMPONENTS, ConductivityRecord
from sscha_mlp.studies.check_difference import check_difference
from sscha_mlp.studies.conductivity.answer import Found, make_record
from sscha_mlp.studies.conductivity.request import TransportRequest
from sscha_mlp.studies.conductivity.sampled import (
    LabelledChange,
    SampledForceConstants,
    labelled_change,
    load_force_constants,
    required_configs,
    sample_force_constants,
    save_force_constants,
)
from sscha_mlp.studies.conductivity.steps import Steps
from sscha_mlp.studies.opened import OpenedRun, opened_run
from sscha_mlp.tables import ShownContent, Table, few

_NO_THIRD: Final = 1.0e-9
"""eV/Å³ below which third derivatives are rounding."""

_MOST_UNSCATTERED: Final = 0.2
"""Part of the modes that may have no width; the few at long waves have none on any mesh."""

_SAME_CELL: Final = 1.0e-2
"""Relative difference of two cells up to which their force constants go together."""


class ConductivityResult(ShownContent):
    """The content of ``conductivity.json``."""

    def table(self) -> Table:
        """Return the diagonal of the tensor at each temperature, with its parts."""
        found = ConductivityRecord.of(self)
        rows = [
            (
                f"{one.temperature_K:g}",
                COMPONENTS[n],
                with_error(one.kappa[n], one.stderr[n]),
                with_error(one.sampled[n], one.sampled_stderr[n]),
                with_error(one.shift[n], one.shift_stderr[n]) if found.check_labels else "none",
            )
            for one in found.temperatures
            for n in range(3)
        ]
        columns = ("T (K)", "", "κ (W/mK)", "model", f"shift by {found.check_labels} labels")
        title = f"Lattice thermal conductivity, {'×'.join(str(n) for n in found.mesh)} mesh"
        return Table(title, few(rows), columns, f"Not in the errors: {found.left_out}.")


@dataclass
class _Clock:
    """Seconds of each part of the work."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun


@dataclass(frozen=True, eq=False)
class _Transport:
    """Everything that the scattering of one crystal is computed with."""

    request: TransportRequest
    kelvin: tuple[float, ...]
    supercell: Supercell
    group: Any
    born: BornCharges | None
    larger: DynamicalMatrix | None
    steps: Steps
    clock: _Clock

    def lattice(self, second: DynamicalMatrix, third: FloatArray) -> Lattice:
        """Force constants as phono3py takes them; the second order of a larger run where given."""
        state = second if self.larger is None else self.larger
        supercell = Supercell(state.crystal, self.supercell.size)
        return Lattice(state, third, supercell, self.group, self.born)

    def scattered(
        self, name: str, lattice: Callable[[], Lattice], mesh: Sequence[int], *, full: bool = False
    ) -> Scattering:
        """Scattering of one step, read where it was computed before."""
        request = self.request
        options = {
            "isotopes": request.isotopes,
            "direct": full and request.direct,
            "interband": full and request.interband,
        }
        key = {**options, "mesh": list(mesh), "T": self.kelvin}
        with self.clock.part("transport"):
            return self.steps.scattering(
                name, key, lambda: scattering(lattice(), mesh, self.kelvin, **options)
            )


def conductivity_of_run(
    directory: str | Path,
    request: TransportRequest | None = None,
    *,
    born: str | Path | None = None,
    second_order_from: str | Path | None = None,
    export: bool = False,
    n_workers: int = 1,
    observer: Observer | None = None,
) -> ConductivityResult:
    """Compute the lattice thermal conductivity of a finished run, with its errors.

    The force constants are those of the SSCHA: the auxiliary ones, and ``< d³V >`` of the state,
    both from an ensemble of the model that costs no label.  Labels of the last check shift the
    answer to the reference.  Writes ``conductivity.json`` and the directory ``conductivity``; a
    command that was stopped goes on from there.

    Parameters
    ----------
    directory
        A finished run.
    request
        Mesh, temperatures, configurations and what scatters; the defaults when left out.
    born
        File with Born charges; by default those of the dyn files that the run started from.
    second_order_from
        Another finished run of the same crystal, in a larger supercell, whose second order is
        taken.
    export
        Whether the force constants are written for phono3py too, to ``conductivity/phono3py``.
    n_workers
        Processes or threads of the model.
    observer
        Who watches.

    Returns
    -------
    The content of ``conductivity.json``, a mapping.

    Raises
    ------
    InputError
        If phono3py is not installed, this is no finished run, its model cannot be read, a mode is
        imaginary between the wave vectors of the supercell, or there is too little memory.
    RelaxationError
        If the ensemble cannot be drawn.
    """
    request, clock = request or TransportRequest(), _Clock()
    require_phono3py()
    with opened_run(
        directory, "model for the conductivity", n_workers=n_workers, observer=observer
    ) as study:
        kelvin = request.kelvin(study.settings.temperature)
        request.require_memory(study.state, study.group)
        larger = _larger(second_order_from, study)
        charges = _born(born, study)
        steps = Steps(study.place.conductivity, _inputs(study, request, larger, charges))
        transport = _Transport(
            request, kelvin, study.state.supercell, study.group, charges, larger, steps, clock
        )
        require_real_modes(
            transport.lattice(study.state, _no_third(study.state.supercell)), request.mesh
        )
        force_constants = _force_constants(study, request, steps, clock)
        _require_third(force_constants)
        if export:
            whole = transport.lattice(force_constants.state, force_constants.third.value)
            write_phono3py(make_directory(study.place.conductivity / "phono3py"), whole)
        found = _scattered(study, transport, force_constants)
    record = make_record(
        study, request, found, force_constants, larger=larger, seconds=clock.seconds
    )
    content = record.to_json()
    write_json_atomic(study.place.conductivity_record, content)
    return ConductivityResult(content)


def _scattered(
    study: OpenedRun, transport: _Transport, force_constants: SampledForceConstants
) -> Found:
    """The answer on the mesh; its noise and its shift on the coarse one."""
    request, watcher, third = transport.request, study.observer, force_constants.third
    whole = partial(transport.lattice, force_constants.state, third.value)
    watcher.stage("conductivity: the mesh")
    fine = transport.scattered("whole", whole, request.mesh, full=True)
    watcher.stage("conductivity: without each block, on the coarse mesh")
    coarse = transport.scattered("whole", whole, request.coarse)
    for mesh, one in ((request.mesh, fine), (request.coarse, coarse)):
        _require_scattering(mesh, one)
    state = force_constants.state
    without = _each(
        study,
        transport,
        ("blocks left out", "without", third.n_blocks),
        lambda block: transport.lattice(state, third.without(block)),
    )
    halves: list[Scattering] = []
    if transport.larger is None:
        halves = _each(
            study,
            transport,
            ("halves of the ensemble", "half", len(force_constants.halves)),
            lambda half: transport.lattice(force_constants.state_of_half(half), third.value),
        )
    sampled = SampledScattering(coarse, tuple(without), tuple(halves))
    shift, n_labels, n_groups = _shift(study, transport, force_constants)
    charged = transport.born is not None
    return Found(transport.kelvin, charged, fine, sampled, shift, n_labels, n_groups)


def _each(
    study: OpenedRun,
    transport: _Transport,
    of: tuple[str, str, int],
    lattice: Callable[[int], Lattice],
) -> list[Scattering]:
    """Scattering on the coarse mesh by each of several force constants.

    Parameters
    ----------
    of
        What is counted, the name of its steps, and how many there are.
    lattice
        Force constants of a number.
    """
    what, name, count = of
    found = []
    for number in range(count):
        study.observer.progress(what, number, count)
        step = partial(lattice, number)
        found.append(transport.scattered(f"{name}-{number}", step, transport.request.coarse))
    return found


def _require_third(found: SampledForceConstants) -> None:
    """Refuse third derivatives that the symmetry of a small supercell makes zero."""
    largest = float(np.abs(found.third.value).max())
    if largest < _NO_THIRD:
        size = "×".join(str(n) for n in found.state.supercell.size)
        raise InputError(
            f"The third derivatives vanish by symmetry in the {size} supercell: every atom is a "
            "centre of inversion, and each neighbour is its own image. Continue in a larger one "
            "with sscha-mlp supercell, such as 3 3 3."
        )


def _require_scattering(mesh: Sequence[int], found: Scattering) -> None:
    """Refuse a mesh on which hardly any pair of modes conserves energy with a third."""
    carries = found.carried[..., :3].sum(axis=-1) > 0
    unscattered = float((carries & (found.total_widths() <= NO_WIDTH)).sum() / carries.sum())
    if unscattered > _MOST_UNSCATTERED:
        raise InputError(
            f"On {'×'.join(str(n) for n in mesh)} wave vectors {100 * unscattered:.0f} % of the "
            "modes meet no others to scatter with; give a finer mesh."
        )


def _shift(
    study: OpenedRun, transport: _Transport, force_constants: SampledForceConstants
) -> tuple[Estimate | None, int, int]:
    """First-order shift to the reference by the labels of the last check; None without them."""
    difference = check_difference(study)
    if difference is None:
        return None, 0, 0
    change = labelled_change(study, difference)
    step, request = change.step(force_constants), transport.request
    study.observer.stage(f"conductivity: shift to the reference by {change.n_labels} labels")
    values: dict[int, list[FloatArray]] = {1: [], -1: []}
    for group in range(change.third.n_blocks):
        study.observer.progress("groups of labels", group, change.third.n_blocks)
        for sign in (1, -1):

            def moved(amount: float = sign * step, group: int = group) -> Lattice:
                return transport.lattice(*_moved(force_constants, change, group, amount))

            name = f"labels-{group}{'+' if sign > 0 else '-'}"
            one = transport.scattered(name, moved, request.coarse)
            values[sign].append(one.conductivity(request.boundary))
    return mean_shift(values[1], values[-1], step), change.n_labels, change.third.n_blocks


def _moved(
    found: SampledForceConstants, change: LabelledChange, group: int, amount: float
) -> tuple[DynamicalMatrix, FloatArray]:
    """Force constants moved by a part of what a group of labels says."""
    second = found.state.force_constants + amount * change.second[group]
    third = found.third.value + amount * change.third.blocks[group]
    return found.state.with_force_constants(second), third


def _force_constants(
    study: OpenedRun, request: TransportRequest, steps: Steps, clock: _Clock
) -> SampledForceConstants:
    """Those that were sampled before, or new ones."""
    path = steps.path("force-constants")
    if path.is_file():
        return load_force_constants(path, study.state)
    n_configs = required_configs(request.n_configs, request.n_blocks)
    study.observer.stage(f"conductivity: {n_configs} configurations of the final state")
    with clock.part("force constants"):
        found = sample_force_constants(study, n_configs, request.n_blocks)
    save_force_constants(path, found)
    return found


def _inputs(
    study: OpenedRun,
    request: TransportRequest,
    larger: DynamicalMatrix | None,
    born: BornCharges | None,
) -> dict[str, Any]:
    """What stored steps depend on, beside mesh, temperatures and mechanisms."""
    n_configs = required_configs(request.n_configs, request.n_blocks)
    return {
        "result": hashlib.sha256(study.place.result.read_bytes()).hexdigest(),
        "n_configs": n_configs,
        "n_blocks": request.n_blocks,
        "larger": None if larger is None else _digest(larger.force_constants),
        "born": None if born is None else _digest(np.append(born.charges, born.dielectric)),
    }


def _digest(values: FloatArray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _no_third(supercell: Supercell) -> FloatArray:
    n, n_atoms = supercell.primitive.n_atoms, supercell.n_atoms
    return np.zeros((n, n_atoms, n_atoms, 3, 3, 3))


def _born(given: str | Path | None, study: OpenedRun) -> BornCharges | None:
    """Born charges of a file, or of the dyn files that the run started from."""
    crystal = study.state.crystal
    if given is not None:
        return read_born(given, crystal)
    start = study.place.dyn / "start_dyn1"
    found = born_of_file(start)
    return None if found is None else fitted(found, crystal, str(start))


def _larger(given: str | Path | None, study: OpenedRun) -> DynamicalMatrix | None:
    """Minimum of another run of the same crystal."""
    if given is None:
        return None
    other = FinishedRun.read(given)
    state, own = other.minimum()[0], study.state.crystal
    same = len(state.crystal.numbers) == len(own.numbers) and bool(
        np.all(state.crystal.numbers == own.numbers)
    )
    if (
        not same
        or np.abs(state.crystal.cell - own.cell).max() > _SAME_CELL * np.abs(own.cell).max()
    ):
        raise InputError(
            f"The run in {other.place.shown} is not of the crystal of {study.place.shown}: its "
            "primitive cell differs by more than a hundredth, or has other atoms. Give a run of "
            "sscha-mlp supercell from this one."
        )
    if other.settings.temperature != study.settings.temperature:
        raise InputError(
            f"The run in {other.place.shown} is at {other.settings.temperature:g} K, not at "
            f"{study.settings.temperature:g} K; force constants of two temperatures do not go "
            "together."
        )
    return state
