"""The verb ``fit``: a potential from labelled configurations."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from typer import Argument, Option

from sscha_mlp.cli import options
from sscha_mlp.potentials.names import DEFAULT, built_in_kinds

if TYPE_CHECKING:
    from sscha_mlp.potentials.protocol import Potential

_SHOWN: Final = {
    "cutoff": "cutoff {} Å",
    "max_tensors": "up to {} tensors",
    "n_polynomials": "{} polynomials",
    "refine_steps": "{} steps of refinement",
    "atom_sigma": "atom_sigma {} Å",
    "zeta": "zeta {}",
    "n_sparse": "{} sparse environments",
    "pair_cutoff": "pair term to {} Å",
}
"""Settings that are shown after a fit, where a kind of potential has them and they are not 0."""


def fit(
    labelled: Annotated[
        list[Path],
        Argument(
            metavar="LABELLED.xyz...", help="Labelled extended XYZ files.", show_default=False
        ),
    ],
    out: Annotated[Path, Option("--out", help="Directory of the model; made if needed.")],
    model: Annotated[
        str | None,
        Option(
            "--model",
            metavar="KIND",
            help=f"Kind of potential: {', '.join(built_in_kinds())}, that of an installed package, "
            f"or package.module:name. \\[default: {DEFAULT}]",
        ),
    ] = None,
    like: Annotated[
        Path | None,
        Option(
            "--like",
            metavar="MODEL|RUN_DIR",
            help="Kind and hyper-parameters of this model, or of the last model of a run: those "
            "that the run chose. \\[default: those of the kind]",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        Option(
            "--config",
            metavar="FILE.toml",
            help=f"Hyper-parameters in the table of the kind, such as \\[potential.{DEFAULT}] "
            "cutoff = 4.2 (Å); on top of --like. A run.toml has only what was given to the run.",
        ),
    ] = None,
    seed: options.Seed = 0,
    workers: options.Workers = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Fit a potential to labelled configurations; a finished fit is found again.

    The model has a directory of its own, which the verb validate takes.
    """
    del debug  # read by the command line itself
    from sscha_mlp.cli.screen import make_observer, note
    from sscha_mlp.data.extxyz import read_extxyz
    from sscha_mlp.potentials.registry import fit as compute

    kind, settings = _hyper_parameters(model, like, config)
    train = [one for path in labelled for one in read_extxyz(path)]
    with make_observer(quiet=quiet) as observer:
        potential = compute(
            kind,
            train,
            directory=out,
            settings=settings,
            seed=seed,
            n_workers=options.count_workers(workers),
            progress=lambda done, total: observer.progress("fitting", done, total),
        )
    with potential:
        note(f"{kind} fitted to {len(train)} configurations, sha256 {potential.sha256[:12]}: {out}")
        note(f"hyper-parameters: {_in_words(potential)}")
    if not settings:
        note("these are the defaults; --like RUN_DIR takes what a run has chosen for its crystal")


def _hyper_parameters(
    kind: str | None, like: Path | None, config: Path | None
) -> tuple[str, dict[str, Any]]:
    """Return the kind, and the settings of an earlier model under those of a file."""
    from sscha_mlp.errors import ConfigError
    from sscha_mlp.potentials.registry import find_kind, load, place_of_kind

    if like is None:
        kind = kind or DEFAULT
        return kind, _settings(config, find_kind(kind).name)
    directory = _model_directory(like)
    with load(directory) as earlier:
        if kind is not None and find_kind(kind).name != earlier.kind:
            raise ConfigError(
                f"--like {like} is a {earlier.kind}, not a {kind}; leave out --model."
            )
        settings = {**earlier.settings, **_settings(config, earlier.kind)}
        return kind or place_of_kind(directory), settings


def _model_directory(path: Path) -> Path:
    """Return the directory of a model: the given one, or the last one of a run."""
    from sscha_mlp.errors import ModelError
    from sscha_mlp.potentials.registry import MARKER

    if (path / MARKER).is_file():
        return path
    fitted = sorted(path.glob(f"models/[0-9]*/{MARKER}"))
    if not fitted:
        raise ModelError(
            f"--like {path} has no fitted model; give the directory of a model, such as "
            "RUN_DIR/models/000, or that of a run."
        )
    return fitted[-1].parent


def _in_words(potential: "Potential") -> str:
    """What a potential is made of."""
    from sscha_mlp.potentials.record import read_record

    given = potential.settings
    parts = [text.format(given[name]) for name, text in _SHOWN.items() if given.get(name)]
    n_basis = read_record(potential.path, potential.kind).details.get("n_basis_functions")
    return ", ".join([*parts, f"{n_basis} basis functions"] if n_basis else parts)


def _settings(config: Path | None, kind: str) -> dict[str, Any]:
    """Return the table of a kind; what belongs to a run and not to a fit is passed over."""
    if config is None:
        return {}
    from dataclasses import fields

    from sscha_mlp.errors import ConfigError
    from sscha_mlp.run_files.settings import RunSettings, as_now, read_toml

    try:
        content = as_now(read_toml(config))
    except ConfigError as err:
        raise ConfigError(f"{config}: {err}") from err
    unknown = sorted(set(content) - {field.name for field in fields(RunSettings)})
    if unknown:
        raise ConfigError(
            f"{config} has the unknown setting {unknown[0]}; a fit reads [potential.{kind}]."
        )
    return dict(content.get("potential", {}).get(kind, {}))
