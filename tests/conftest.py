"""What every test gets: one thread per process, a seeded generator, a run directory of its own."""

import importlib.util
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy is imported: it reads them once
os.environ["MPLBACKEND"] = "Agg"

from pathlib import Path

import numpy as np
import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to pass without the second engine where everything has to be tested."""
    if os.environ.get("CI") and importlib.util.find_spec("sscha") is None:
        pytest.exit("python-sscha is not installed, and with CI set no test may be left out", 1)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20260101)


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """A run directory that does not exist yet."""
    return tmp_path / "run"


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a tiny run that the command line has brought to its end: not to be changed."""
    from cheap import DIARY, relax_arguments, sscha_mlp

    directory = tmp_path_factory.mktemp("finished")
    arguments = [*relax_arguments(directory, "cheap:diary"), "--json"]
    done = sscha_mlp(arguments, cwd=directory, **{DIARY: directory / "diary"})
    (directory / "stdout").write_text(done.stdout)
    (directory / "stderr").write_text(done.stderr)
    assert done.returncode == 0, done.stderr
    return directory / "run"
