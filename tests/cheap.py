"""Runs that take seconds: copper with a cheap reference that keeps a diary of its calls."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import SCFError
from ase.calculators.emt import EMT

from sscha_mlp.campaign.loop import run
from sscha_mlp.data.labels import configuration_key
from sscha_mlp.run_files.settings import RunSettings, read_toml

TESTS = Path(__file__).parent
DIARY = "SSCHA_MLP_TEST_DIARY"
"""Environment variable: file to which :class:`Diary` adds the key of each configuration."""

SETTINGS = """
temperature = 300.0
supercell = [2, 2, 2]
configs = 40
max_labels = 60
workers = 1
model = "{model}"
labels = "{labels}"

[start]
fmax = 0.01

[training]
n_start = 10
n_test = 4
n_explored = 6
n_extra = 4
explore_configs = {explore_configs}
explore_populations = 2
alarm_ratio = {alarm_ratio}
break_grade = {break_grade}

[certificate]
n_labels = 8
max_rounds = 2

[certificate.tolerances]
free_energy_mev = 50.0
pressure_gpa = 5.0
frequency_thz = 3.0

[relaxation]
max_populations = 3

[relaxation.tolerances]
frequency_thz = 2.0
pressure_gpa = 3.0
free_energy_mev = 20.0
max_frequency_stderr_thz = 2.0
max_pressure_stderr_gpa = 3.0
max_free_energy_stderr_mev = 20.0

[gap]
cutoff = 3.6
n_sparse = 20
l_max = 2
n_max = 4

[mtp]
cutoff = 3.6
level = 8
"""
"""Tolerances that anything meets: these runs test the machinery, not the physics.

Nor does a grade stop their models unless a test asks for it: a model of 8 atoms in a cell of 27 has
grades of some hundreds, and the rounding of one or another BLAS moved one from 713 to 1925.
"""


def write_settings(
    directory: Path,
    *,
    model: str = "gap",
    explore_configs: int = 20,
    alarm_ratio: float = 1e3,
    break_grade: float = 1e30,
    labels: str = "need",
) -> Path:
    path = directory / "tiny.toml"
    path.write_text(
        SETTINGS.format(
            model=model,
            explore_configs=explore_configs,
            alarm_ratio=alarm_ratio,
            break_grade=break_grade,
            labels=labels,
        )
    )
    return path


def write_copper(directory: Path) -> Path:
    path = directory / "copper.vasp"
    bulk("Cu", a=3.6).write(path, format="vasp")
    return path


def relax_arguments(directory: Path, reference: str = "emt", **settings) -> list[str]:
    """The command line of a tiny run in ``directory / "run"``."""
    config = write_settings(directory, **settings)
    structure = write_copper(directory)
    return [
        *("relax", "--config", str(config), "--structure", str(structure)),
        *("--reference", reference, "--run-dir", str(directory / "run")),
    ]


def finish(directory: Path, reference: str = "emt") -> dict:
    """Run what :func:`relax_arguments` asks for in this process, without a report."""
    settings = read_toml(directory / "tiny.toml")
    settings |= {"structure": str(directory / "copper.vasp"), "reference": reference}
    return run(RunSettings.from_mapping(settings), directory / "run")


def command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "sscha_mlp", *arguments]


def environment(**more: object) -> dict[str, str]:
    """What a process needs to find the package and the factories of the tests."""
    places = [str(TESTS), str(TESTS.parent)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(places),
        "COLUMNS": "160",
        **{key: str(value) for key, value in more.items()},
    }


def sscha_mlp(arguments: list[str], *, cwd: Path | None = None, **more: object):
    """Run the command line in a process of its own."""
    return subprocess.run(
        command(arguments),
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def without_timings(path: Path) -> dict:
    """A result without what may differ between two runs of the same settings."""
    result = json.loads(path.read_text())
    del result["timings_s"], result["model"]["path"]
    return result


class Diary(EMT):
    """EMT that notes each configuration it is asked for, and takes its time."""

    def calculate(self, atoms=None, *args, **kwargs):
        with Path(os.environ[DIARY]).open("a") as stream:
            stream.write(f"{configuration_key(atoms)}\n")
        super().calculate(atoms, *args, **kwargs)


def diary() -> EMT:
    """EMT with a diary."""
    return Diary()


class Moody(EMT):
    """EMT that does not converge for every fifth configuration of an ensemble."""

    def calculate(self, atoms=None, *args, **kwargs):
        super().calculate(atoms, *args, **kwargs)
        forces = np.linalg.norm(self.results["forces"], axis=1)
        displaced = np.count_nonzero(forces > 0.05) > 5
        if displaced and int(configuration_key(atoms)[:8], 16) % 5 == 0:
            raise SCFError("SCF not converged in 100 iterations")


def moody() -> EMT:
    """EMT that sometimes fails."""
    return Moody()


class Hopeless(EMT):
    """EMT that never answers with numbers."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def calculate(self, atoms: Atoms | None = None, *args, **kwargs):
        super().calculate(atoms, *args, **kwargs)
        if self.how == "raise":
            raise RuntimeError("no licence for this code")
        if self.how == "nan":
            self.results["forces"] = np.full((len(atoms), 3), np.nan)
        if self.how == "no stress":
            del self.results["stress"]

    def get_property(self, name, atoms=None, allow_calculation=True):
        if name == "stress" and self.how == "no stress":
            return None
        return super().get_property(name, atoms, allow_calculation)


def raising() -> EMT:
    """Fails always."""
    return Hopeless("raise")


def returning_nan() -> EMT:
    """Returns NaN always."""
    return Hopeless("nan")


def without_stress() -> EMT:
    """Has no stress."""
    return Hopeless("no stress")


class Narrow(EMT):
    """EMT that does not converge for copper of more than 11.9 Å³/atom."""

    def calculate(self, atoms=None, *args, **kwargs):
        super().calculate(atoms, *args, **kwargs)
        if atoms.get_volume() > 11.9 * len(atoms):
            raise SCFError("SCF not converged in 100 iterations")


def narrow() -> EMT:
    """EMT that fails on large volumes."""
    return Narrow()


class Sleeping(EMT):
    """EMT that never answers."""

    def calculate(self, atoms=None, *args, **kwargs):
        time.sleep(600.0)


def sleeping() -> EMT:
    """Hangs always."""
    return Sleeping()
