"""The verb ``fit``: a potential from labelled configurations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from sscha_mlp.cli import options


def fit(
    labelled: Annotated[
        list[Path],
        Argument(
            metavar="LABELLED.xyz...", help="Labelled extended XYZ files.", show_default=False
        ),
    ],
    out: Annotated[Path, Option("--out", help="Directory of the model; made if needed.")],
    model: Annotated[
        str, Option("--model", metavar="mtp|gap", help="Kind of potential: mtp or gap.")
    ] = "mtp",
    config: Annotated[
        Path | None,
        Option(
            "--config",
            metavar="FILE.toml",
            help="Hyper-parameters in a table with the name of the kind, such as \\[mtp] "
            "cutoff = 4.2 (Å); the run.toml of a run serves too.",
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

    train = [one for path in labelled for one in read_extxyz(path)]
    with make_observer(quiet=quiet) as observer:
        potential = compute(
            model,
            train,
            directory=out,
            settings=_settings(config, model),
            seed=seed,
            n_workers=options.count_workers(workers),
            progress=lambda done, total: observer.progress("fitting", done, total),
        )
    with potential:
        note(
            f"{model} fitted to {len(train)} configurations, sha256 {potential.sha256[:12]}: {out}"
        )


def _settings(config: Path | None, kind: str) -> Mapping[str, Any]:
    """Return the table of a kind; what belongs to a run and not to a fit is passed over."""
    if config is None:
        return {}
    from dataclasses import fields

    from sscha_mlp.campaign.settings import RunSettings, read_toml
    from sscha_mlp.errors import ConfigError

    content = read_toml(config)
    known = {field.name for field in fields(RunSettings)} | {kind}
    unknown = sorted(set(content) - known)
    if unknown:
        raise ConfigError(f"{config} has the unknown setting {unknown[0]}; a fit reads [{kind}].")
    table = content.get(kind, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{config}: {kind} must be a table of settings, not {table!r}.")
    return table
