"""What verbs share that run something: settings from what was given, and the way to a result."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer import Exit

from sscha_mlp.cli.failures import FAILED, kept_in_log, say

if TYPE_CHECKING:
    from sscha_mlp.run_files.records.result import Result
    from sscha_mlp.run_files.settings import RunSettings


def as_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as plain settings; what was not given is left out.

    Paths become absolute: a run can be taken up from anywhere.
    """
    readers = {
        "structure": _absolute,
        "dyn": _absolute,
        "origin": _absolute,
        "label_store": _absolute,
        "reference": _reference,
        "executor": _executor,
        "model_executor": _executor,
    }
    return {
        key: readers[key](value) if key in readers else value
        for key, value in given.items()
        if value is not None
    }


def resolve(given: Mapping[str, Any], config: Path | None) -> "RunSettings":
    """Return the settings: defaults, under the TOML file, under the command line.

    A run that starts from another one has the settings of that one as its defaults.
    """
    from sscha_mlp.run_files.settings import RunSettings

    return RunSettings.from_mapping(merged(given, config))


def merged(given: Mapping[str, Any], config: Path | None) -> dict[str, Any]:
    """Return plain settings of the TOML file with those of the command line on top."""
    from sscha_mlp.campaign.continuation import settings_from
    from sscha_mlp.run_files.settings import merge, read_toml

    base = {} if config is None else _anchored(read_toml(config), config.resolve().parent)
    asked = merge(base, given)
    if isinstance(asked.get("origin"), str) and asked["origin"]:
        asked = merge(settings_from(asked["origin"]), asked)
    return asked


def default_run_directory(settings: "RunSettings") -> str:
    """Return the name of the run directory of these settings, where none is given."""
    stem = Path(settings.structure or settings.dyn or settings.origin).stem
    parts = ["sscha-run", *([stem] if stem else []), f"T{settings.temperature:g}"]
    if settings.pressure:
        parts.append(f"P{settings.pressure:g}")
    if settings.nuclei != "quantum":
        parts.append(str(settings.nuclei))
    return "-".join(parts)


def run_to_result(
    settings: "RunSettings", directory: Path, *, quiet: bool, debug: bool, trust: bool = False
) -> "Result":
    """Return the result of a finished run, or run to it and write the report."""
    from sscha_mlp.campaign.input_checks import check_input
    from sscha_mlp.campaign.input_identity import require_same_input_of
    from sscha_mlp.cli.screen import make_observer, quiet_logging
    from sscha_mlp.run_files.directory import RunDirectory

    place = RunDirectory(directory)
    if place.result.is_file():
        settings = place.check(settings)
        place.require_own_result(settings, place.read_result())
        require_same_input_of(settings, place)
        if not place.report.is_file():
            write_report(directory)
        return place.read_result()
    if settings.origin:
        require_trust(settings.origin, trust=trust, quiet=quiet)
    reference = None if place.has_begun else check_input(settings)
    settings = place.check(settings)
    quiet_logging(debug=debug)
    with kept_in_log(place.log), make_observer(quiet=quiet) as observer:
        from sscha_mlp.campaign.loop import go_on
        from sscha_mlp.campaign.start import cell_size

        observer.begin(settings, directory, cell_size(settings, place))
        go_on(settings, directory, observer=observer, reference=reference)
        observer.stage("report")
        write_report(directory)
    return place.read_result()


def require_trust(directory: str | Path, *, trust: bool, quiet: bool) -> None:
    """Say which code of its own a run names, before it is imported: it may be somebody else's.

    Parameters
    ----------
    directory
        Of the run whose settings name the code.
    trust
        Whether code of a run directory that belongs to another user may run.
    quiet
        Whether to say nothing where it runs.

    Raises
    ------
    InputError
        If the run belongs to another user, names code, and is not trusted.
    """
    from sscha_mlp.cli.screen import note
    from sscha_mlp.errors import InputError
    from sscha_mlp.run_files.directory import RunDirectory

    place = RunDirectory(Path(directory))
    named = " and ".join(_code_of(place.settings()))
    if not named:
        return
    if place.settings_file.stat().st_uid != os.geteuid() and not trust:
        raise InputError(
            f"The run in {directory} belongs to another user, and names {named}, which would run "
            "as you. Look at that code, and give --trust to run it."
        )
    if not quiet:
        note(f"the run in {directory} names {named}, which runs now as you")


def _code_of(settings: "RunSettings") -> Iterator[str]:
    """Yield what settings name that is code: a factory of a calculator, a kind of potential."""
    from sscha_mlp.calculators.table import find_table, read_table
    from sscha_mlp.errors import InputError

    spec = settings.reference
    if spec.endswith(".toml"):
        try:
            spec = read_table(find_table(spec)).spec
        except InputError:  # said where it is read
            spec = ""
    if ":" in spec:
        yield f"the code {spec} as its reference"
    if set(".:") & set(settings.model):
        yield f"the code {settings.model} as its potential"


def write_report(directory: Path) -> None:
    """Write the report of a run."""
    from sscha_mlp.report.run.collect import write_run_report

    write_run_report(directory)


def end(directory: Path, result: "Result", *, as_json: bool) -> None:
    """Show a result, and end with status 1 where it is not certified.

    Raises
    ------
    Exit
        If the run did not converge, or its certificate did not pass.
    """
    from sscha_mlp.run_files.directory import RunDirectory

    with RunDirectory(directory).trusted():
        show(directory, result, as_json=as_json)
    if not result.converged:
        say(
            f"{result.stop_reason}. The numbers in {directory / 'result.json'} are not "
            f"certified; relax --from {directory} goes on from them, with a larger budget or more "
            "configurations, in another --run-dir.",
            kind="not certified",
        )
        raise Exit(FAILED)


def show(directory: Path, result: "Result", *, as_json: bool) -> None:
    """Print a result: the file itself, or a summary of it."""
    from sscha_mlp.cli.summary import print_summary

    if as_json:
        print((directory / "result.json").read_text(encoding="utf-8"), end="")
        return
    print_summary(directory, result)


def _absolute(path: str | Path) -> str:
    return str(Path(path).resolve())


def _executor(spec: str) -> dict[str, Any]:
    """Read where tasks run; a file is read now, so that run.toml holds what it says."""
    from sscha_mlp.parallel.settings import executor_values

    return executor_values(spec)


def _reference(spec: str) -> str:
    """Keep a name; make the path of a TOML file absolute: a run can be taken up from anywhere."""
    from sscha_mlp.calculators.table import find_table

    return _absolute(find_table(spec)) if spec.endswith(".toml") else spec


def _anchored(values: dict[str, Any], place: Path) -> dict[str, Any]:
    """Take the paths in a settings file as relative to it."""
    result = dict(values)
    for key in ("structure", "dyn", "origin", "reference", "label_store"):
        value = result.get(key)
        is_path = (
            isinstance(value, str) and value and (key != "reference" or value.endswith(".toml"))
        )
        if is_path:
            result[key] = str((place / str(value)).resolve())
    return result
