"""The verb ``relax``: the whole loop, from a structure to a certified result."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer import Exit

from sscha_mlp.cli import options
from sscha_mlp.cli.failures import FAILED, kept_in_log, say

if TYPE_CHECKING:
    from sscha_mlp.campaign.settings import RunSettings


def relax(
    temperature: options.Temperature = None,
    pressure: options.Pressure = None,
    nuclei: options.Nuclei = None,
    mass: options.Masses = None,
    structure: options.Structure = None,
    dyn: options.DynStart = None,
    supercell: options.SupercellSize = None,
    reference: options.ReferenceName = None,
    model: options.ModelKind = None,
    cell: options.Cell = None,
    configs: options.Configurations = None,
    max_labels: options.MaxLabels = None,
    symmetry: options.Symmetry = None,
    engine: options.Engine = None,
    seed: options.RunSeed = None,
    workers: options.RunWorkers = None,
    executor: options.RunExecutor = None,
    model_executor: options.ModelExecutor = None,
    config: options.Config = None,
    label_store: options.SharedStore = None,
    run_dir: options.RunDir = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Relax a crystal at a temperature and pressure, and certify the result.

    Labels configurations with the reference, fits a potential, relaxes cell and force constants
    by the SSCHA, and checks the answer on fresh labels of the reference.  The same command in the
    same directory goes on where it stopped; a finished run shows its result.

    Ends with status 0 when converged and certified, 1 when not, 2 for wrong input, 3 when
    labels are to be computed by hand (--reference files).
    """
    from sscha_mlp.campaign.directory import RunDirectory

    given = {
        "temperature": temperature,
        "pressure": pressure,
        "nuclei": nuclei,
        "masses": options.read_masses(mass) if mass else None,
        "structure": _absolute(structure),
        "dyn": _absolute(dyn),
        "supercell": supercell,
        "reference": _reference(reference),
        "model": model,
        "cell": cell,
        "configs": configs,
        "max_labels": max_labels,
        "symmetry": symmetry,
        "engine": engine,
        "seed": seed,
        "workers": workers,
        "executor": _executor(executor),
        "model_executor": _executor(model_executor),
        "label_store": _absolute(label_store),
    }
    settings = resolve({key: value for key, value in given.items() if value is not None}, config)
    directory = run_dir or Path(default_run_directory(settings))
    result = _result(settings, directory, quiet=quiet, debug=debug)
    with RunDirectory(directory).trusted():
        show(directory, result, as_json=as_json)
    if not result["converged"]:
        say(
            f"{result['stop_reason']}. The numbers in {directory / 'result.json'} are not "
            "certified; a run with another seed, more configurations or a larger budget needs "
            "another --run-dir.",
            kind="not converged",
        )
        raise Exit(FAILED)


def resolve(given: dict[str, Any], config: Path | None) -> "RunSettings":
    """Return the settings: defaults, under the TOML file, under the command line."""
    from sscha_mlp.campaign.settings import RunSettings, merge, read_toml

    base = {} if config is None else _anchored(read_toml(config), config.resolve().parent)
    return RunSettings.from_mapping(merge(base, given))


def default_run_directory(settings: "RunSettings") -> str:
    """Return the name of the run directory of these settings, where none is given."""
    stem = Path(settings.structure or settings.dyn).stem
    parts = ["sscha-run", *([stem] if stem else []), f"T{settings.temperature:g}"]
    if settings.pressure:
        parts.append(f"P{settings.pressure:g}")
    if settings.nuclei != "quantum":
        parts.append(str(settings.nuclei))
    return "-".join(parts)


def _result(
    settings: "RunSettings", directory: Path, *, quiet: bool, debug: bool
) -> dict[str, Any]:
    """Return the result of a finished run, or run to it and write the report."""
    from sscha_mlp.campaign.directory import RunDirectory
    from sscha_mlp.campaign.preflight import check_input
    from sscha_mlp.cli.screen import make_observer, quiet_logging

    place = RunDirectory(directory)
    if place.result.is_file():
        place.prepare(settings)
        if not place.report.is_file():
            _write_report(directory)
        return place.read_result()
    if not place.has_begun:
        check_input(settings)
    place.prepare(settings)
    quiet_logging(debug=debug)
    with kept_in_log(place.log), make_observer(quiet=quiet) as observer:
        from sscha_mlp.campaign.loop import run

        observer.begin(settings, directory)
        result = run(settings, directory, observer=observer)
        observer.stage("report")
        _write_report(directory)
    return result


def _write_report(directory: Path) -> None:
    from sscha_mlp.report.from_run import write_run_report

    write_run_report(directory)


def show(directory: Path, result: dict[str, Any], *, as_json: bool) -> None:
    """Print a result: the file itself, or a summary of it."""
    from sscha_mlp.cli.summary import print_summary

    if as_json:
        print((directory / "result.json").read_text(encoding="utf-8"), end="")
        return
    print_summary(directory, result)


def _absolute(path: str | Path | None) -> str | None:
    return None if path is None else str(Path(path).resolve())


def _executor(spec: str | None) -> dict[str, Any] | None:
    """Read where tasks run; a file is read now, so that run.toml holds what it says."""
    from sscha_mlp.parallel.settings import executor_values

    return None if spec is None else executor_values(spec)


def _reference(spec: str | None) -> str | None:
    """Keep a name; make the path of a TOML file absolute: a run can be taken up from anywhere."""
    from sscha_mlp.reference.table import find_table

    return _absolute(find_table(spec)) if spec is not None and spec.endswith(".toml") else spec


def _anchored(values: dict[str, Any], place: Path) -> dict[str, Any]:
    """Take the paths in a settings file as relative to it."""
    result = dict(values)
    for key in ("structure", "dyn", "reference", "label_store"):
        value = result.get(key)
        is_path = (
            isinstance(value, str) and value and (key != "reference" or value.endswith(".toml"))
        )
        if is_path:
            result[key] = str((place / str(value)).resolve())
    return result
