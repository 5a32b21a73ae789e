"""The kinds of potential: how they are found, and what is done with each of them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from ase import Atoms

from sscha_mlp import potentials
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.errors import ConfigError, ModelError
from sscha_mlp.named_objects import import_object
from sscha_mlp.potentials.kind import Kind, Schedule, Uncertainty
from sscha_mlp.potentials.names import GROUP, built_in_kinds, kind_names
from sscha_mlp.potentials.protocol import Potential

MARKER: Final = "model.json"
"""File that a finished fit writes last; its entry ``kind`` says how to load the directory."""

_ATTRIBUTE: Final = "KIND"
_FOUND_AT: Final = "kind_from"
"""Entry of :data:`MARKER` of a kind that was named by its place: ``package.module:name``."""


def find_kind(spec: str) -> Kind:
    """Return the kind that a user asks for.

    Parameters
    ----------
    spec
        The name of a kind, or ``package.module`` or ``package.module:name``, where the module may
        lie in the current directory; without a name, its ``KIND`` is taken.

    Raises
    ------
    ConfigError
        If there is none, or it cannot be imported.
    """
    if spec in built_in_kinds():
        kind: object = import_module(f"{potentials.__name__}.{spec}").KIND
    elif offered := list(entry_points(group=GROUP, name=spec)):
        kind = _load_entry_point(offered)
    elif "." in spec or ":" in spec:
        place = spec if ":" in spec else f"{spec}:{_ATTRIBUTE}"
        kind = import_object(place, what="The kind of potential", places=[Path.cwd()])
    else:
        raise ConfigError(
            f"There is no potential of the kind {spec!r}; the known kinds are: "
            f"{', '.join(kind_names())}, or package.module:name."
        )
    if not isinstance(kind, Kind):
        raise ConfigError(
            f"The kind of potential {spec!r} is a {type(kind).__name__}, not a "
            "sscha_mlp.potentials.kind.Kind."
        )
    return kind


def _load_entry_point(offered: Sequence[EntryPoint]) -> object:
    """Import the kind of another package."""
    name, places = offered[0].name, sorted({one.value for one in offered})
    if len(places) > 1:
        raise ConfigError(
            f"Several packages bring a kind of potential {name!r} ({', '.join(places)}): remove "
            "one of them, or give --model package.module:name."
        )
    try:
        return offered[0].load()
    except Exception as err:
        by = offered[0].dist
        owner = f" of the package {by.name}" if by is not None else ""
        raise ConfigError(
            f"The kind of potential {name!r}{owner} cannot be imported "
            f"({type(err).__name__}: {err}); install that package again, with all it needs."
        ) from err


def installed_kinds() -> tuple[tuple[Kind, ...], dict[str, str]]:
    """Return the kinds that can be used here, and why others cannot, by name."""
    kinds, reasons = [], {}
    for name in kind_names():
        try:
            kind = find_kind(name)
            kind.require_installed()
        except ConfigError as err:
            reasons[name] = str(err)
        else:
            kinds.append(kind)
    return tuple(kinds), reasons


def fit(
    kind: str,
    train: "Sequence[LabelledConfiguration]",
    *,
    directory: Path | str,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    n_workers: int = 1,
    memory_limit: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    start: Path | None = None,
) -> "Potential":
    """Fit a potential to labelled configurations, or find the same fit finished.

    Parameters
    ----------
    kind
        As :func:`find_kind` takes it: ``"mtp"``, for example.
    train
        What to learn.
    directory
        The model's own directory; made if needed.
    settings
        Settings of the kind that differ from its defaults.
    seed
        Decides whatever is random in the fit; the same data, settings and seed give the same model,
        unless the kind says that its fits are not reproducible.
    n_workers
        Processes with which the potential evaluates.
    memory_limit
        Bytes the fit may take; by default what is available.
    progress
        Called with (per cent done, 100).
    start
        Directory of an earlier model, for kinds whose fit has a nonlinear part to begin with.

    Raises
    ------
    ConfigError
        If the kind or a setting is unknown, or what the kind needs is not installed.
    InputError
        If a label is missing or not finite, or the directory holds another model.
    FitError
        If the fit needs too much memory, fails, or did not read the data it was given.
    """
    found, directory = find_kind(kind), Path(directory).absolute()
    found.require_installed()
    with _imports_of(found):
        potential: Potential = found.fit(
            train,
            directory=directory,
            settings=settings,
            seed=seed,
            n_workers=n_workers,
            memory_limit=memory_limit,
            progress=progress,
            start=None if start is None else start.absolute(),
        )
    if kind != found.name:
        _keep_place(directory / MARKER, kind)
    return potential


def load(directory: Path | str, *, n_workers: int = 1) -> "Potential":
    """Load a finished potential of any kind, after checking its files against their hash.

    Raises
    ------
    ModelError
        If the directory holds no finished model, or a damaged one.
    ConfigError
        If its kind is unknown here, or what it needs is not installed.
    """
    kind = find_kind(place_of_kind(Path(directory)))
    kind.require_installed()
    with _imports_of(kind):
        potential: Potential = kind.load(Path(directory).absolute(), n_workers=n_workers)
    return potential


def open_file(
    path: Path | str, species: Sequence[str] | None = None, *, n_workers: int = 1
) -> "Potential":
    """Open a potential that is a single file: of the kind whose ending it has.

    A file of another ending is taken for one of the first kind that has such files.

    Parameters
    ----------
    path
        The file.
    species
        Chemical symbols by type, for a file that does not say them.
    n_workers
        Threads or processes with which the potential evaluates.

    Raises
    ------
    ModelError
        If the file cannot be used.
    """
    kinds = [kind for kind in installed_kinds()[0] if kind.open_file is not None]
    kinds.sort(key=lambda kind: Path(path).suffix not in kind.files)
    if not kinds or kinds[0].open_file is None:
        raise ModelError(f"No kind of potential that is installed reads the file {path}.")
    with _imports_of(kinds[0]):
        potential: Potential = kinds[0].open_file(Path(path), species, n_workers=n_workers)
    return potential


def file_endings() -> tuple[str, ...]:
    """Return the endings of single files that are potentials of a kind that is installed."""
    return tuple(ending for kind in installed_kinds()[0] for ending in kind.files)


def kind_of(potential: "Potential") -> Kind:
    """Return the kind of a potential.

    Raises
    ------
    ConfigError
        If it is unknown here.
    """
    here = (potential.path / MARKER).is_file()
    return find_kind(place_of_kind(potential.path) if here else potential.kind)


def schedule_of(spec: str) -> Schedule:
    """Return how a kind is trained; the defaults where the kind is open or unknown here."""
    try:
        return find_kind(spec).schedule
    except ConfigError:
        return Schedule()


def uncertainty_called(text: str) -> Uncertainty | None:
    """Return the uncertainty of this name and unit that a kind of this package states."""
    stated = [find_kind(name).uncertainty for name in built_in_kinds()]
    return next((one for one in stated if one is not None and one.text == text), None)


def presets(kind: str, atoms: "Atoms") -> dict[str, dict[str, Any]]:
    """Return the named settings that a kind of potential offers for a crystal.

    Raises
    ------
    ConfigError
        If the kind is unknown.
    """
    return {name: dict(one) for name, one in find_kind(kind).presets(atoms).items()}


@contextmanager
def _imports_of(kind: Kind) -> Iterator[None]:
    """Turn a broken installation into a sentence."""
    try:
        yield
    except ImportError as err:
        commands = " && ".join(one.command for one in kind.needs)
        way = f"install again: {commands}" if commands else "install what is missing"
        raise ConfigError(
            f"The kind of potential {kind.name!r} cannot be used, an import fails ({err}): {way}"
        ) from err


def place_of_kind(directory: Path) -> str:
    """Return what :func:`find_kind` takes for the kind that a model says it is of.

    Raises
    ------
    ModelError
        If the directory holds no finished model, or a damaged one.
    """
    marker = directory / MARKER
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
        return str(content.get(_FOUND_AT) or content["kind"])
    except FileNotFoundError as err:
        raise ModelError(
            f"{directory} holds no finished model ({MARKER} is missing): fit it first."
        ) from err
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise ModelError(
            f"{marker} is damaged or unreadable ({err!r}): remove it and fit again."
        ) from err


def _keep_place(marker: Path, place: str) -> None:
    """Say in ``model.json`` where the kind was found, for those who load the model by itself."""
    from sscha_mlp.data.files import write_json_atomic

    content = json.loads(marker.read_text(encoding="utf-8"))
    if content.get(_FOUND_AT) != place:
        write_json_atomic(marker, {**content, _FOUND_AT: place})
