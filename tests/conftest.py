"""What every test gets: one thread per process, a seeded generator, a run directory of its own."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy is imported: it reads them once
os.environ["MPLBACKEND"] = "Agg"

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20260101)


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """A run directory that does not exist yet."""
    return tmp_path / "run"
