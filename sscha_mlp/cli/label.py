"""The verb ``label``: energies, forces and stresses of configurations from a reference."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from sscha_mlp.cli import options

if TYPE_CHECKING:
    from sscha_mlp.reference.importing import ImportReport, StressOf
    from sscha_mlp.reference.offline import Request

_IMPORT = "import"


def label(
    what: Annotated[
        list[str],
        Argument(
            metavar="IN.xyz | import DIR",
            help="Extended XYZ (Å); or import and a directory with outputs computed by hand.",
            show_default=False,
        ),
    ],
    reference: Annotated[
        str,
        Option(
            "--reference",
            help="Calculator taken for the truth: tersoff, tersoff-sic, tersoff-sige, emt, lj, "
            "files (computed by hand), a factory package.module:function, or a TOML file.",
        ),
    ] = "tersoff",
    out: Annotated[
        Path,
        Option(
            "--out", help="Extended XYZ to write, with energy (eV), forces (eV/Å), stress (eV/Å³)."
        ),
    ] = Path("labelled.xyz"),
    store: Annotated[
        Path | None,
        Option(
            "--store",
            help="Label store: each label is safe there at once and is not computed again. "
            "\\[default: labels.db beside --out; for import the one that asked]",
        ),
    ] = None,
    run_dir: Annotated[
        Path | None,
        Option("--run-dir", help="For import: the run that the labels are for.", metavar="RUN"),
    ] = None,
    time_limit: Annotated[
        float, Option("--time-limit", help="Longest time for one label, in s; 0 for none.")
    ] = 0.0,
    workers: options.Workers = 0,
    executor: options.Executor = "processes",
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Label configurations with a reference calculator, in parallel; or import labels.

    A configuration for which the reference raises, hangs, or returns NaN or no stress is named and
    left out of --out.  Interrupted, the same command goes on with the store.  With import DIR the
    outputs in DIR are read, matched by content to what a run or this command has asked for
    (--reference files), checked and stored.
    """
    del debug  # read by the command line itself
    from sscha_mlp.errors import InputError

    if what[0] == _IMPORT and len(what) > 1:
        _import([Path(one) for one in what[1:]], store, run_dir)
        return
    if len(what) > 1:
        raise InputError(f"One file of configurations is labelled at a time, not {len(what)}.")
    if what[0] == _IMPORT and not Path(_IMPORT).is_file():
        raise InputError("Give the directory with the outputs: sscha-mlp label import DIR.")
    if time_limit < 0:
        raise InputError(f"--time-limit {time_limit:g} s is negative; give 0 for no limit.")
    settings = {
        "n_workers": options.count_workers(workers),
        "time_limit": time_limit or None,
        "quiet": quiet,
        "executor": executor,
    }
    _compute(Path(what[0]), reference, out, store or out.parent / "labels.db", settings)


def _compute(
    configurations: Path, reference: str, out: Path, kept: Path, settings: dict[str, Any]
) -> None:
    """Label a file of configurations."""
    from sscha_mlp.calculators.registry import get_reference
    from sscha_mlp.cli.failures import say
    from sscha_mlp.cli.screen import make_observer, note
    from sscha_mlp.data.extxyz import read_configurations, write_extxyz
    from sscha_mlp.errors import InputError
    from sscha_mlp.parallel import Machines
    from sscha_mlp.reference.label import label as compute
    from sscha_mlp.reference.label import labelled_configurations
    from sscha_mlp.reference.store import LabelStore

    frames = read_configurations(configurations)
    if not frames:
        raise InputError(f"{configurations} holds no configuration; nothing can be labelled.")
    calculator = get_reference(reference)
    with (
        Machines(settings["executor"]) as machines,
        LabelStore(kept) as labels,
        make_observer(quiet=settings["quiet"]) as observer,
    ):
        done = compute(
            frames,
            calculator,
            store=labels,
            n_workers=settings["n_workers"],
            time_limit=settings["time_limit"],
            isolate=True,
            progress=lambda count, total: observer.progress("labels", count, total),
            machines=machines,
        )
    write_extxyz(out, labelled_configurations(frames, done))
    for failure in done.failures:
        say(f"configuration {failure.index} has no label: {failure.reason}", kind="warning")
    note(
        f"{len(frames) - len(done.failures)} of {len(frames)} labelled ({done.n_computed} computed,"
        f" {done.n_reused} found in {kept}) in {done.seconds:.1f} s: {out}"
    )


def _import(directories: list[Path], store: Path | None, run_dir: Path | None) -> None:
    """Read labels that were computed by hand."""
    from sscha_mlp.errors import InputError
    from sscha_mlp.reference.importing import import_labels
    from sscha_mlp.reference.store import LabelStore

    if store is not None and run_dir is not None:
        raise InputError("Give either --store or --run-dir, not both.")
    for directory in directories:
        requests = _requests(directory, run_dir)
        kept = store or _store_of(run_dir) or requests[0].store
        if not kept.is_file():
            raise InputError(
                f"The label store {kept} does not exist; name the one that waits with --store, or "
                "the run with --run-dir."
            )
        run = run_dir or requests[0].directory.parent.parent
        with LabelStore(kept) as labels:
            report = import_labels(directory, requests, labels, model_stress=_model(run))
        _tell(directory, kept, report)


def _requests(directory: Path, run_dir: Path | None) -> "list[Request]":
    """Return what was asked for in this directory, or anywhere in the run."""
    from sscha_mlp.errors import InputError
    from sscha_mlp.reference.offline import MANIFEST, read_request, requests_in

    if (directory / MANIFEST).is_file():
        return [read_request(directory)]
    if not directory.is_dir():
        raise InputError(f"The directory {directory} does not exist.")
    place = directory if run_dir is None else run_dir / "offline"
    found = requests_in(place)
    if not found:
        raise InputError(
            f"{place} holds no {MANIFEST}: nothing was asked for there. Give RUN/offline/NNN, or "
            "the outputs and the run that waits: --run-dir RUN."
        )
    return found


def _store_of(run_dir: Path | None) -> Path | None:
    if run_dir is None:
        return None
    from sscha_mlp.run_files.directory import RunDirectory

    place = RunDirectory(run_dir)
    return Path(place.settings().label_store or place.labels)


def _model(run: Path) -> "StressOf | None":
    """Return the stresses of the last model of a run, to compare with."""
    fitted = sorted(path.parent for path in run.glob("models/[0-9]*/model.json"))
    if not fitted:
        return None

    def stresses(frames: Any) -> Any:
        from sscha_mlp.errors import SschaMlpError
        from sscha_mlp.potentials.registry import load

        try:
            with load(fitted[-1]) as potential:
                return potential.evaluate(frames).stresses
        except SschaMlpError:  # a model of another crystal, for example, says nothing
            return None

    return stresses


def _tell(directory: Path, kept: Path, report: "ImportReport") -> None:
    from sscha_mlp.cli.failures import say
    from sscha_mlp.cli.screen import note

    for text in report.notes:
        say(text, kind="warning")
    for text in report.failures:
        say(f"configuration {text}", kind="warning")
    for text in report.units.checked:
        note(f"checked: {text}")
    for text in report.units.unchecked:
        note(f"not checked: {text}")
    note(
        f"{directory}: {report.n_labels} labels imported into {kept}, {len(report.failures)} "
        f"failed or in quarantine, {report.n_known} known before, {report.n_waiting} missing"
    )
