"""The verb ``conductivity``: how a run's crystal conducts heat, with errors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from typer import Option

from sscha_mlp.cli import options

if TYPE_CHECKING:
    from sscha_mlp.run_files.records.conductivity import ConductivityAt, ConductivityRecord

_UNCERTAIN: Final = 0.05
"""Part of the conductivity of modes with unknown widths above which a line says so."""


def conductivity(
    run_directory: options.RunDirectoryArgument,
    mesh: Annotated[
        tuple[int, int, int],
        Option("--mesh", metavar="N N N", help="Wave vectors of the answer."),
    ] = (11, 11, 11),
    coarse_mesh: Annotated[
        tuple[int, int, int] | None,
        Option(
            "--coarse-mesh",
            metavar="N N N",
            help="Wave vectors of its errors. \\[default: half as many along each axis]",
        ),
    ] = None,
    temperature: Annotated[
        list[float] | None,
        Option(
            *options.TEMPERATURE,
            help="Temperature of the occupations, in K; may be repeated. The force constants are "
            "those of the run. \\[default: that of the run]",
        ),
    ] = None,
    n_configs: Annotated[
        int, Option("--configs", help="Configurations of the ensemble of the model.")
    ] = 5000,
    isotopes: Annotated[
        bool, Option("--isotopes", help="The natural mixture of isotopes scatters as well.")
    ] = False,
    boundary: Annotated[
        float | None,
        Option("--boundary", help="Distance of a boundary that scatters as well, in micrometres."),
    ] = None,
    direct: Annotated[
        bool,
        Option("--direct", help="Solve the linearised Boltzmann equation as well."),
    ] = False,
    interband: Annotated[
        bool, Option("--interband", help="Add the transport between bands (Wigner).")
    ] = False,
    born: Annotated[
        Path | None,
        Option(
            "--born",
            help="Born charges (e) and dielectric tensor of a polar crystal: phonopy's BORN, a "
            ".toml file, or the dyn file of q = 0. \\[default: of the dyn files that the run "
            "started from]",
        ),
    ] = None,
    second_order_from: Annotated[
        Path | None,
        Option(
            "--fc2-from",
            metavar="RUN_DIR",
            help="Finished run in a larger supercell, whose second order is taken.",
        ),
    ] = None,
    export: Annotated[
        bool,
        Option(
            "--export",
            help="Also write the force constants for phono3py: conductivity/phono3py/fc2.hdf5, "
            "fc3.hdf5 and phono3py.yaml.",
        ),
    ] = False,
    workers: options.Workers = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Compute the lattice thermal conductivity of a finished run, with its errors.

    Samples the third derivatives of the final state with the run's model, computes the lifetimes
    by phono3py, and shifts the answer to the reference by the labels of the last check. Writes
    conductivity.json, conductivity.pdf and the directory conductivity.
    """
    del debug  # read by the command line itself
    from sscha_mlp.cli.screen import make_observer
    from sscha_mlp.report.conductivity.files import write_conductivity
    from sscha_mlp.run_files.records.conductivity import ConductivityRecord
    from sscha_mlp.studies.conductivity.driver import conductivity_of_run
    from sscha_mlp.studies.conductivity.request import TransportRequest

    request = TransportRequest(
        mesh=mesh,
        coarse_mesh=coarse_mesh,
        temperatures=tuple(temperature or ()),
        n_configs=n_configs,
        isotopes=isotopes,
        boundary=boundary,
        direct=direct,
        interband=interband,
    )
    with make_observer(quiet=quiet) as observer:
        content = conductivity_of_run(
            run_directory,
            request,
            born=born,
            second_order_from=second_order_from,
            export=export,
            n_workers=options.count_workers(workers),
            observer=observer,
        )
    found = ConductivityRecord.of(content)
    written = write_conductivity(found, run_directory)
    if as_json:
        print(json.dumps(content, indent=2, ensure_ascii=False))
        return
    for line in _lines(found):
        print(line)
    for path in (run_directory / "conductivity.json", *written):
        print(path)


def _lines(found: "ConductivityRecord") -> Iterator[str]:
    import textwrap

    size = "×".join(str(n) for n in found.mesh)
    yield f"Lattice thermal conductivity, {size} wave vectors, relaxation times, W/(m K)"
    yield f"{'T (K)':>7} {'':<3}{'κ':>16}{'model':>16}{'noise²':>9}{'shift':>16}{'coarse':>9}"
    for one in found.temperatures:
        yield from _rows(one, found.check_labels)
        if one.uncertain_share > _UNCERTAIN:
            yield from textwrap.wrap(
                f"{100 * one.uncertain_share:.0f} % of it is carried by modes whose width is "
                "nothing but noise: take more configurations, --configs.",
                width=80,
            )
    size = "×".join(str(n) for n in found.coarse_mesh)
    labels = f"shift: to the reference, by {found.check_labels} labels of the check"
    text = (
        f"noise²: what the square of the noise of {found.n_configs} configurations took away, and "
        f"what is put back; {labels if found.check_labels else 'shift: no labels'}; coarse: "
        f"κ on {size} wave vectors before both."
    )
    yield from textwrap.wrap(text, width=80)
    yield from textwrap.wrap(f"Not in the errors: {found.left_out}.", width=80)


def _rows(one: "ConductivityAt", n_labels: int) -> Iterator[str]:
    """The components of a temperature that are not zero."""
    from sscha_mlp.digits import fixed, with_error
    from sscha_mlp.run_files.records.conductivity import COMPONENTS

    largest = max(abs(value) for value in one.kappa)
    for n, name in enumerate(COMPONENTS):
        if abs(one.kappa[n]) < 1.0e-6 * largest:
            continue
        shift = with_error(one.shift[n], one.shift_stderr[n], sign=True) if n_labels else "none"
        yield (
            f"{one.temperature_K:>7g} {name:<3}{with_error(one.kappa[n], one.stderr[n]):>16}"
            f"{with_error(one.sampled[n], one.sampled_stderr[n]):>16}"
            f"{fixed(one.sampled[n] - one.plain[n], 2, sign=True):>9}{shift:>16}"
            f"{fixed(one.coarse[n], 2):>9}"
        )
    for name, values in (("direct", one.direct), ("between bands", one.interband)):
        if values is not None:
            text = ", ".join(fixed(value, 2) for value in values[:3])
            yield f"{'':>7} {name}: {text} (xx, yy, zz)"
