"""The verb ``sweep``: a study over temperature and pressure."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Exit, Option

from sscha_mlp.cli import options
from sscha_mlp.cli.failures import FAILED, kept_in_log, say
from sscha_mlp.cli.running import as_settings, merged, require_trust, write_report

if TYPE_CHECKING:
    from sscha_mlp.run_files.json_fields import Value
    from sscha_mlp.studies.sweep.table import Sweep


def sweep(
    temperatures: Annotated[
        str | None,
        Option(
            *options.TEMPERATURE,
            metavar="RANGE",
            help="Temperatures in K: start:stop:step with both ends, or values such as 300,600. "
            "Needed.",
            show_default=False,
            rich_help_panel=options.RUN,
        ),
    ] = None,
    pressures: Annotated[
        str,
        Option(
            *("--P", "-P", "--pressure"),
            metavar="RANGE",
            help="Pressures in GPa, in the same way.",
            rich_help_panel=options.RUN,
        ),
    ] = "0",
    nuclei: options.Nuclei = None,
    mass: options.Masses = None,
    structure: options.Structure = None,
    dyn: options.DynStart = None,
    origin: options.FromRun = None,
    supercell: options.SupercellSize = None,
    reference: options.ReferenceName = None,
    model: options.ModelKind = None,
    configs: options.Configurations = None,
    max_labels: Annotated[
        int,
        Option(
            "--max-labels",
            help="Budget of labels for all points together. \\[default: 250, and 30 for each "
            "point after the first]",
            show_default=False,
            rich_help_panel=options.TUNING,
        ),
    ] = 0,
    check_labels: Annotated[
        int,
        Option(
            "--check-labels",
            help="Labels of the first look of each certificate after that of the first point. "
            "\\[default: 4, and 12 where the numbers of labels are fixed]",
            show_default=False,
            rich_help_panel=options.TUNING,
        ),
    ] = 0,
    response: Annotated[
        int,
        Option(
            "--response",
            help="Configurations for bulk modulus, heat capacity and expansion of the model at "
            "each point; 0 leaves them out.",
            rich_help_panel=options.TUNING,
        ),
    ] = 4000,
    hessian: Annotated[
        int,
        Option(
            "--hessian",
            help="Configurations for the free-energy Hessian of each point; 0 leaves it out.",
            rich_help_panel=options.TUNING,
        ),
    ] = 0,
    fourth: Annotated[
        bool,
        Option(
            "--fourth",
            help="Include the fourth order in the Hessian; takes several times as long.",
            rich_help_panel=options.TUNING,
        ),
    ] = False,
    symmetry: options.Symmetry = None,
    symmetrise: options.Symmetrise = None,
    engine: options.Engine = None,
    seed: options.RunSeed = None,
    workers: options.RunWorkers = None,
    executor: options.RunExecutor = None,
    model_executor: options.ModelExecutor = None,
    points: Annotated[
        str | None,
        Option(
            "--points",
            metavar="WHERE",
            help="Where independent points are computed: processes:2, "
            "dask-local:2, or as for --executor. \\[default: one after the other]",
            rich_help_panel=options.TUNING,
        ),
    ] = None,
    config: options.Config = None,
    run_dir: Annotated[
        Path,
        Option(
            "--run-dir",
            help="Directory of the sweep; made if needed.",
            rich_help_panel=options.TUNING,
        ),
    ] = Path("sscha-sweep"),
    trust: options.Trust = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Relax and certify a crystal at many temperatures and pressures.

    Each point is a run of its own that starts from its neighbour: from its state, its model and
    its labels. The model is trained again only where a certificate asks for it. The same command
    goes on after an interruption, and with more points. Writes sweep.json, sweep.csv and sweep.pdf.

    Ends with status 0 when every point is certified, 1 when not, 2 for wrong input.
    """
    from sscha_mlp.cli.screen import make_observer, quiet_logging
    from sscha_mlp.errors import ConfigError
    from sscha_mlp.parallel import read_executor
    from sscha_mlp.studies.sweep.driver import run_sweep
    from sscha_mlp.studies.sweep.plan import read_values
    from sscha_mlp.studies.sweep.settings import SweepSettings

    if temperatures is None:
        raise ConfigError(
            "No temperatures are given; write for example --T 300,600 or --T 0:2000:250."
        )
    given = {
        "nuclei": nuclei,
        "masses": options.read_masses(mass) if mass else None,
        "structure": structure,
        "dyn": dyn,
        "origin": origin,
        "supercell": supercell,
        "reference": reference,
        "model": model,
        "configs": configs,
        "symmetry": symmetry,
        "symmetrise": symmetrise,
        "engine": engine,
        "seed": seed,
        "workers": workers,
        "executor": executor,
        "model_executor": model_executor,
    }
    settings = SweepSettings(
        temperatures=read_values(temperatures, "--T"),
        pressures=read_values(pressures, "--P"),
        run=merged(as_settings(given), config),
        max_labels=max_labels,
        check_labels=check_labels,
        response_configs=response,
        hessian_configs=hessian,
        fourth=fourth,
    )
    if settings.run.get("origin"):
        require_trust(settings.run["origin"], trust=trust, quiet=quiet)
    where = None if points is None else read_executor(points)
    quiet_logging(debug=debug)
    with kept_in_log(run_dir / "log.txt"), make_observer(quiet=quiet) as observer:
        table = run_sweep(
            settings, run_dir, where=where, afterwards=write_report, observer=observer
        )
    _end(table, settings.n_points, run_dir, as_json=as_json)


def _end(table: "Sweep", n_points: int, run_dir: Path, *, as_json: bool) -> None:
    """Write figures and tables, show the answer, and end with status 1 where points are missing."""
    from sscha_mlp.report.sweep.files import write_sweep_report

    written = write_sweep_report(table, run_dir)
    if as_json:
        print(json.dumps(table.to_json(), indent=2, ensure_ascii=False))
    else:
        for line in (*_lines(table), *_thermal_lines(table)):
            print(line)
        for path in written:
            print(path)
    certified = sum(one.converged for one in table.points)
    if certified < n_points:
        say(
            f"{certified} of {n_points} points are certified; the same command goes on with those "
            f"that are missing, and {run_dir / 'log.txt'} says why.",
            kind="not converged",
        )
        raise Exit(FAILED)


def _lines(table: "Sweep") -> Iterator[str]:
    """The points, at most 80 columns wide."""
    from sscha_mlp.digits import concise

    yield (
        f"{'T (K)':>7}{'P (GPa)':>9}{'V (Å³/atom)':>16}{'G (eV/atom)':>18}{'S (k/atom)':>15}"
        f"{'labels':>8}"
    )
    for one in table.points:
        volume, energy, entropy = (
            concise(value.value, value.stderr)
            for value in (one.volume_A3_per_atom, one.gibbs_eV_per_atom, one.entropy_kB)
        )
        mark = "" if one.converged else " !"
        yield (
            f"{one.temperature_K:>7g}{one.pressure_GPa:>9g}{volume:>16}{energy:>18}{entropy:>15}"
            f"{one.labels_new:>8}{mark}"
        )
    yield f"{table.labels_in_words}. (12): standard error of the last digits."
    if not all(one.converged for one in table.points):
        yield "!: not certified."


def _thermal_lines(table: "Sweep") -> Iterator[str]:
    """Expansion, heat capacity and bulk modulus, at most 80 columns wide; none without any."""
    from sscha_mlp.digits import DASH
    from sscha_mlp.report.sweep.files import fitted_expansion, fitted_heat_capacity
    from sscha_mlp.report.sweep.fits import fit_sweep
    from sscha_mlp.studies.sweep.point import PointResponse

    rows, of_model = [], False
    for isobar in fit_sweep(table).isobars:
        for point in isobar.points:
            answer = point.response or PointResponse()
            fitted = (fitted_expansion(isobar, point), fitted_heat_capacity(isobar, point))
            model = (answer.expansion_per_K, answer.heat_capacity_p_kB)
            chosen = [
                other if one is None else one for one, other in zip(fitted, model, strict=True)
            ]
            taken = [
                "*" if one is None and other is not None else ""
                for one, other in zip(fitted, model, strict=True)
            ]
            of_model |= "*" in taken
            cells = [
                _in_short(chosen[0], 1.0e6) + taken[0],
                _in_short(chosen[1]) + taken[1],
                _in_short(answer.bulk_modulus_GPa),
            ]
            if any(cell != DASH for cell in cells):
                place = f"{point.temperature_K:>7g}{point.pressure_GPa:>9g}"
                rows.append(place + "".join(f"{cell:>18}" for cell in cells))
    if rows:
        yield ""
        heads = ("α (10⁻⁶/K)", "C_P (k/atom)", "B (GPa)")
        yield f"{'T (K)':>7}{'P (GPa)':>9}" + "".join(f"{one:>18}" for one in heads)
        yield from rows
        yield "α: of the volume. α, C_P: of the fits along each isobar; B: of the model."
    if of_model:
        yield "*: of the model's own response at this point, where no fit has a value."


def _in_short(value: "Value | None", scale: float = 1.0) -> str:
    """Return a value with the error of its last digits."""
    from sscha_mlp.digits import DASH, concise

    return DASH if value is None else concise(value.value * scale, value.stderr * scale)
