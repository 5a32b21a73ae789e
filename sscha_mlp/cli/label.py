"""The verb ``label``: energies, forces and stresses of configurations from a reference."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from sscha_mlp.cli import options


def label(
    configurations: Annotated[
        Path, Argument(metavar="IN.xyz", help="Extended XYZ (Å).", show_default=False)
    ],
    reference: Annotated[
        str,
        Option(
            "--reference",
            help="Calculator taken for the truth: tersoff, tersoff-sic, tersoff-sige, emt, lj, a "
            "factory package.module:function, or a TOML file.",
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
            "\\[default: labels.db beside --out]",
        ),
    ] = None,
    time_limit: Annotated[
        float, Option("--time-limit", help="Longest time for one label, in s; 0 for none.")
    ] = 0.0,
    workers: options.Workers = 0,
    executor: options.Executor = "processes",
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Label configurations with a reference calculator, in parallel.

    A configuration for which the reference raises, hangs, or returns NaN or no stress is named and
    left out of --out.  Interrupted, the same command goes on with the store.
    """
    del debug  # read by the command line itself
    from sscha_mlp.cli.failures import say
    from sscha_mlp.cli.screen import make_observer, note
    from sscha_mlp.data.extxyz import read_configurations, write_extxyz
    from sscha_mlp.errors import InputError
    from sscha_mlp.parallel import Machines
    from sscha_mlp.reference.label import label as compute
    from sscha_mlp.reference.label import labelled_configurations
    from sscha_mlp.reference.registry import get_reference
    from sscha_mlp.reference.store import LabelStore

    frames = read_configurations(configurations)
    if not frames:
        raise InputError(f"{configurations} holds no configuration; nothing can be labelled.")
    if time_limit < 0:
        raise InputError(f"--time-limit {time_limit:g} s is negative; give 0 for no limit.")
    calculator = get_reference(reference)
    kept = store or out.parent / "labels.db"
    with (
        Machines(executor) as machines,
        LabelStore(kept) as labels,
        make_observer(quiet=quiet) as observer,
    ):
        done = compute(
            frames,
            calculator,
            store=labels,
            n_workers=options.count_workers(workers),
            time_limit=time_limit or None,
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
