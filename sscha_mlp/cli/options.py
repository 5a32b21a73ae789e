"""Options that several verbs share: name, type, unit and help text, once."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from typer import Argument, Option

from sscha_mlp.errors import ConfigError
from sscha_mlp.potentials.names import DEFAULT, built_in_kinds

TEMPERATURE: Final = ("--T", "-T", "--temperature")
PRESSURE: Final = ("--pressure", "--P", "-P")
"""Names that mean the same in every verb; the first one is that of the documents."""

RUN: str = "What to run"
TUNING: str = "How it is run"
SCREEN: str = "What is shown"

Temperature = Annotated[
    float | None,
    Option(
        *TEMPERATURE,
        help="Temperature, in K; at least 0. Needed, unless --config or --from has one.",
        show_default=False,
        rich_help_panel=RUN,
    ),
]
Pressure = Annotated[
    float | None,
    Option(*PRESSURE, help="Target pressure, in GPa. \\[default: 0]", rich_help_panel=RUN),
]
Nuclei = Annotated[
    str | None,
    Option(
        "--nuclei",
        metavar="KIND",
        help="How the nuclei move: quantum, classical, or no-zero-point, which is quantum without "
        "zero-point motion. \\[default: quantum]",
        rich_help_panel=RUN,
    ),
]
Masses = Annotated[
    list[str] | None,
    Option(
        "--mass",
        metavar="SYMBOL=AMU",
        help="Mass of the atoms of an element, in amu, such as Si=28.9765; may be repeated. "
        "\\[default: that of the structure]",
        rich_help_panel=RUN,
    ),
]
Structure = Annotated[
    Path | None,
    Option(
        "--structure",
        help="Crystal structure, any file that ASE reads; its primitive cell is taken. "
        "\\[default: the bundled silicon]",
        rich_help_panel=RUN,
    ),
]
DynStart = Annotated[
    str | None,
    Option(
        "--dyn",
        metavar="PREFIX",
        help="Start from Quantum ESPRESSO dyn files PREFIX1, PREFIX2, ... in place of a structure.",
        rich_help_panel=RUN,
    ),
]
FromRun = Annotated[
    Path | None,
    Option(
        "--from",
        metavar="RUN_DIR",
        help="Start from a finished run in place of a structure: its state, model, labels and "
        "settings are taken over.",
        rich_help_panel=RUN,
    ),
]
SupercellSize = Annotated[
    tuple[int, int, int] | None,
    Option(
        "--supercell",
        metavar="N N N",
        help="Repetitions of the primitive cell along its lattice vectors; 2x2x2 is read as well. "
        "\\[default: 2 2 2]",
        rich_help_panel=RUN,
    ),
]
ReferenceName = Annotated[
    str | None,
    Option(
        "--reference",
        help="Calculator taken for the truth: tersoff, tersoff-sic, tersoff-sige, emt, lj, "
        "files (computed by hand), a factory package.module:function, or a TOML file. "
        "\\[default: tersoff]",
        rich_help_panel=RUN,
    ),
]
ModelKind = Annotated[
    str | None,
    Option(
        "--model",
        metavar="KIND",
        help=f"Kind of potential to fit: {', '.join(built_in_kinds())}, that of an installed "
        "package, package.module:name for one of your own, or auto for the best of those that are "
        f"installed, on held-out training labels. \\[default: {DEFAULT}]",
        rich_help_panel=RUN,
    ),
]
Cell = Annotated[
    str | None,
    Option(
        "--cell",
        metavar="KIND",
        help="What of the cell is free: all of it (variable), its shape (fixed-volume), or nothing "
        "(fixed). \\[default: variable]",
        rich_help_panel=RUN,
    ),
]
Configurations = Annotated[
    int | None,
    Option(
        "--configs",
        help="Configurations in each population, an even number. \\[default: 1000]",
        rich_help_panel=TUNING,
    ),
]
MaxLabels = Annotated[
    int | None,
    Option(
        "--max-labels",
        help="Budget of reference labels: training, test and check together. \\[default: 300]",
        rich_help_panel=TUNING,
    ),
]
Symmetrise = Annotated[
    float | None,
    Option(
        "--symmetrise",
        metavar="DISTANCE",
        help="Average the structure over the space group that it has within this distance, in Å, "
        "such as 0.01; for coordinates with few digits. \\[default: as it is]",
        rich_help_panel=TUNING,
    ),
]
Labels = Annotated[
    str | None,
    Option(
        "--labels",
        metavar="need|fixed",
        help="How many labels are taken: need, in small batches until the answer is known well "
        "enough; fixed, the numbers of earlier versions. \\[default: need]",
        rich_help_panel=TUNING,
    ),
]
Engine = Annotated[
    str | None,
    Option(
        "--engine",
        metavar="native|python-sscha",
        help="Who minimises: native or python-sscha. \\[default: native]",
        rich_help_panel=TUNING,
    ),
]
Symmetry = Annotated[
    str | None,
    Option(
        "--symmetry",
        metavar="full|none|OPERATIONS",
        help="Symmetry that is imposed: that of the structure, none, or some of its operations as "
        "'x,y,z; -x,-y,-z'. \\[default: full]",
        rich_help_panel=TUNING,
    ),
]
RunSeed = Annotated[
    int | None,
    Option(
        "--seed",
        help="Decides everything random; the same seed gives the same numbers. \\[default: 0]",
        rich_help_panel=TUNING,
    ),
]
RunWorkers = Annotated[
    int | None,
    Option(
        "--workers",
        help="Processes for labels and for the model. \\[default: all cores]",
        rich_help_panel=TUNING,
    ),
]
RunExecutor = Annotated[
    str | None,
    Option(
        "--executor",
        metavar="WHERE",
        help="Where labels are computed: processes, dask-local:2, tcp://host:port of a dask "
        "scheduler, or a TOML file (SLURM, PBS). \\[default: processes]",
        rich_help_panel=TUNING,
    ),
]
ModelExecutor = Annotated[
    str | None,
    Option(
        "--model-executor",
        metavar="WHERE",
        help="Where populations are evaluated with the model, as for --executor. "
        "\\[default: this machine, which is faster for a small model]",
        rich_help_panel=TUNING,
    ),
]
Config = Annotated[
    Path | None,
    Option(
        "--config",
        metavar="FILE.toml",
        help="Settings as TOML, under the names that run.toml has; the command line goes first.",
        rich_help_panel=TUNING,
    ),
]
RunDir = Annotated[
    Path | None,
    Option(
        "--run-dir",
        help="Directory of the run; made if needed. \\[default: sscha-run-T<temperature>]",
        rich_help_panel=TUNING,
    ),
]
SharedStore = Annotated[
    Path | None,
    Option(
        "--label-store",
        help="Label store to share with other runs. \\[default: labels.db in the run directory]",
        rich_help_panel=TUNING,
    ),
]
RunDirectoryArgument = Annotated[
    Path, Argument(metavar="RUN_DIR", help="Directory of a run.", show_default=False)
]
Seed = Annotated[int, Option("--seed", help="Decides everything random.")]
Workers = Annotated[int, Option("--workers", help="Processes; all cores when 0.")]
Executor = Annotated[
    str,
    Option(
        "--executor",
        metavar="WHERE",
        help="Where to compute: here, processes, dask-local:2, tcp://host:port of a dask "
        "scheduler, or a TOML file (SLURM, PBS).",
    ),
]
Quiet = Annotated[
    bool,
    Option("--quiet", "-q", help="No progress, only the answer.", rich_help_panel=SCREEN),
]
Trust = Annotated[
    bool,
    Option(
        "--trust",
        help="Run the code that a run directory of another user names, as its reference or "
        "potential.",
    ),
]
Json = Annotated[
    bool,
    Option(
        "--json",
        help="Print the result as JSON on standard output, and nothing else there.",
        rich_help_panel=SCREEN,
    ),
]
Debug = Annotated[
    bool,
    Option("--debug", help="Show the traceback of an error.", rich_help_panel=SCREEN),
]


def read_masses(given: Sequence[str]) -> dict[str, float]:
    """Read ``SYMBOL=AMU`` of the option ``--mass``, each symbol once.

    Raises
    ------
    ConfigError
        If one of them is not of this form, or names a symbol again.
    """
    masses: dict[str, float] = {}
    for text in given:
        symbol, _, value = text.partition("=")
        try:
            mass = float(value)
        except ValueError as err:
            raise ConfigError(
                f"--mass {text} is not SYMBOL=AMU; write for example --mass Si=28.9765."
            ) from err
        if symbol in masses:
            raise ConfigError(f"--mass gives {symbol} twice; give one mass for an element.")
        masses[symbol] = mass
    return masses


def count_workers(given: int) -> int:
    """Return the number of processes: as many as there are cores for 0."""
    return given if given > 0 else len(os.sched_getaffinity(0))
