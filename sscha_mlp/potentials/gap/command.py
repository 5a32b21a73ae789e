"""The gap_fit program: where it is, what it is told, and how it is run and watched."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sscha_mlp.errors import FitError
from sscha_mlp.potentials.gap.memory import parse_peak
from sscha_mlp.potentials.gap.settings import GapSettings

TRAIN_FILE: Final = "train.xyz"
MODEL_FILE: Final = "GAP.xml"
LOG_FILE: Final = "gap_fit.log"

_N_SEEDS: Final = 2**31 - 2
_TARGET: Final = "Number of target "
_PER_CENT: Final = "Covariance matrix"

_LAUNCHER: Final = """\
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except (OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Ask the kernel to end gap_fit when its parent ends (1 is PR_SET_PDEATHSIG), then become it."""


@dataclass
class FitRecord:
    """What gap_fit said while it ran.

    Parameters
    ----------
    peak
        Announced memory, bytes; None if it was not announced.
    targets
        Number of target values found, by name as gap_fit writes it (energies, forces, virials).
    last_lines
        The end of the output, for an error message.
    """

    peak: float | None = None
    targets: dict[str, int] = field(default_factory=dict)
    last_lines: list[str] = field(default_factory=list)


def find_gap_fit() -> str:
    """Return the path of gap_fit: quippy's own program, else the one of this Python or of PATH.

    Raises
    ------
    FitError
        If there is none.
    """
    spec = importlib.util.find_spec("quippy")
    packages = list(spec.submodule_search_locations or []) if spec else []
    places = [*packages, str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    for place in places:
        found = shutil.which("gap_fit", path=place)
        if found is not None:
            return str(Path(found).absolute())
    raise FitError(
        f"gap_fit was not found in quippy, beside {sys.executable} or on PATH: "
        "install it with `pip install quippy-ase`."
    )


def gap_fit_arguments(settings: GapSettings, *, n_sparse: int, seed: int) -> list[str]:
    """Return the arguments of gap_fit, one per list entry, for files in its working directory.

    Parameters
    ----------
    settings
        Hyper-parameters.
    n_sparse
        Number of sparse points that the data allow.
    seed
        At least 0.  gap_fit takes one from 1 on (it stops at 0) and draws its own from the clock
        if it gets none, so this number plus one is what it gets.
    """
    sigma = " ".join(f"{value!r}" for value in settings.default_sigma)
    gap = (
        f"soap cutoff={settings.cutoff!r} n_sparse={n_sparse} covariance_type=dot_product "
        f"sparse_method={settings.sparse_method} delta={settings.delta!r} zeta={settings.zeta} "
        f"l_max={settings.l_max} n_max={settings.n_max} atom_sigma={settings.atom_sigma!r} "
        f"cutoff_transition_width={settings.cutoff_transition_width!r} add_species"
    )
    return [
        "energy_parameter_name=energy",
        "force_parameter_name=forces",
        "stress_parameter_name=stress",
        "virial_parameter_name=virial",
        "do_copy_at_file=F",
        "sparse_separate_file=T",
        f"gp_file={MODEL_FILE}",
        f"at_file={TRAIN_FILE}",
        f"e0_method={settings.e0_method}",
        f"default_sigma={{{sigma}}}",
        f"sparse_jitter={settings.sparse_jitter!r}",
        f"rnd_seed={1 + seed % _N_SEEDS}",
        f"gap={{{_pair_term(settings)}{gap}}}",
    ]


def _pair_term(settings: GapSettings) -> str:
    """Return the descriptor of the pair term with the colon that ends it, or nothing."""
    if settings.pair_n_sparse == 0:
        return ""
    width = min(settings.cutoff_transition_width, 0.5 * settings.pair_cutoff)
    return (
        f"distance_2b cutoff={settings.pair_cutoff!r} n_sparse={settings.pair_n_sparse} "
        f"covariance_type=ard_se sparse_method=uniform delta={settings.pair_delta!r} "
        f"theta_uniform={settings.pair_theta!r} cutoff_transition_width={width!r} add_species : "
    )


def run_gap_fit(
    arguments: list[str],
    *,
    directory: Path,
    log_file: Path,
    check_memory: Callable[[float], None],
    progress: Callable[[int, int], None] | None = None,
) -> FitRecord:
    """Run gap_fit in `directory`, reading what it says while it says it into `log_file`.

    gap_fit announces its memory before it allocates anything large; `check_memory` gets the
    announced bytes and may raise, which ends gap_fit at once.

    Raises
    ------
    FitError
        If gap_fit cannot be started, dies, or leaves no model behind: it may exit with status 0
        after a failure.
    """
    record = FitRecord()
    with log_file.open("w", encoding="utf-8") as log:
        process = _start([find_gap_fit(), *arguments], directory)
        try:
            for line in _lines(process):
                log.write(line)
                _note(record, line.strip(), check_memory, progress)
        finally:
            process.kill()
            status = process.wait()
    if status != 0 or not (directory / MODEL_FILE).is_file():
        raise FitError(
            f"gap_fit {_ending(status)}. Its last words: {' | '.join(record.last_lines)}. "
            f"The whole output is in {log_file}."
        )
    return record


def _start(command: list[str], directory: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "GFORTRAN_UNBUFFERED_PRECONNECTED": "1",  # lines arrive when they are written
    }
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as err:
        raise FitError(f"gap_fit could not be started in {directory}: {err}.") from err


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """Yield the output line by line, then wait; a carriage return ends a line as well."""
    assert process.stdout is not None
    with process.stdout:
        yield from process.stdout
    process.wait()


def _note(
    record: FitRecord,
    line: str,
    check_memory: Callable[[float], None],
    progress: Callable[[int, int], None] | None,
) -> None:
    if line:
        record.last_lines = [*record.last_lines[-4:], line]
    peak = parse_peak(line)
    if peak is not None:
        record.peak = peak
        check_memory(peak)
    elif line.startswith(_TARGET):
        name, _, count = line.removeprefix(_TARGET).rpartition(" found: ")
        record.targets[name.split(" (", maxsplit=1)[0]] = int(count)
    elif progress is not None and line.startswith(_PER_CENT):
        text = line.removeprefix(_PER_CENT).split("%", maxsplit=1)[0].strip()
        if text.isdigit():
            progress(int(text), 100)


def _ending(status: int) -> str:
    if status == 0:
        return f"ended without writing {MODEL_FILE}"
    if status > 0:
        return f"ended with exit status {status}"
    hint = " (often a sign that memory ran out)" if status == -signal.SIGKILL else ""
    return f"was killed by signal {-status}{hint}"
