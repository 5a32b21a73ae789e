"""The kinds of potential, by name.  Each is imported when it is first asked for."""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ase import Atoms

from sscha_mlp.errors import ConfigError, ModelError
from sscha_mlp.potentials.protocol import Potential

if TYPE_CHECKING:
    from sscha_mlp.data.labels import LabelledConfiguration

KINDS: Final[Mapping[str, str]] = {
    "gap": "sscha_mlp.potentials.gap",
    "mtp": "sscha_mlp.potentials.mtp",
}
"""Kind -> package with the functions ``fit``, ``load``, ``presets`` and
``trial_settings``."""

MARKER: Final = "model.json"
"""File that a finished fit writes last; its entry ``kind`` says how to load the directory."""


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
) -> Potential:
    """Fit a potential to labelled configurations, or find the same fit finished.

    Parameters
    ----------
    kind
        One of :data:`KINDS`.
    train
        What to learn.
    directory
        The model's own directory; made if needed.
    settings
        Settings of the kind that differ from its defaults.
    seed
        Decides whatever is random in the fit; the same data, settings and seed give the same model.
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
        If the kind or a setting is unknown.
    InputError
        If a label is missing or not finite, or the directory holds another model.
    FitError
        If the fit needs too much memory, fails, or did not read the data it was given.
    """
    return _module(kind).fit(  # type: ignore[no-any-return]
        train,
        directory=Path(directory).absolute(),
        settings=settings,
        seed=seed,
        n_workers=n_workers,
        memory_limit=memory_limit,
        progress=progress,
        start=None if start is None else start.absolute(),
    )


def load(directory: Path | str, *, n_workers: int = 1) -> Potential:
    """Load a finished potential of any kind, after checking its files against their hash.

    Raises
    ------
    ModelError
        If the directory holds no finished model, or a damaged one.
    """
    marker = Path(directory) / MARKER
    try:
        kind = json.loads(marker.read_text(encoding="utf-8"))["kind"]
    except FileNotFoundError as err:
        raise ModelError(
            f"{directory} holds no finished model ({MARKER} is missing): fit it first."
        ) from err
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as err:
        raise ModelError(
            f"{marker} is damaged or unreadable ({err!r}): remove it and fit again."
        ) from err
    return _module(str(kind)).load(Path(directory).absolute(), n_workers=n_workers)  # type: ignore[no-any-return]


def presets(kind: str, atoms: Atoms) -> dict[str, dict[str, Any]]:
    """Return the named settings that a kind of potential offers for a crystal.

    Raises
    ------
    ConfigError
        If the kind is unknown.
    """
    return _module(kind).presets(atoms)  # type: ignore[no-any-return]


def trial_settings(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that stand for given ones in a comparison, and are quicker to fit.

    Raises
    ------
    ConfigError
        If the kind is unknown.
    """
    return _module(kind).trial_settings(settings)  # type: ignore[no-any-return]


def _module(kind: str) -> Any:
    if kind not in KINDS:
        raise ConfigError(
            f"There is no potential of the kind {kind!r}; the known kinds are: {', '.join(KINDS)}."
        )
    return import_module(KINDS[kind])
