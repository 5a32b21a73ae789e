"""Nothing depends on the working directory after a call has begun, and nothing of ours changes it.

A calculator, a callback or another thread may change the working directory at any time.  Here
whoever watches does so at each of its calls.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from cheap import write_copper, write_settings
from toys import fcc

import sscha_mlp as sm
from sscha_mlp.errors import RelaxationError
from sscha_mlp.potentials import registry
from sscha_mlp.reference import LabelStore, get_reference, label
from sscha_mlp.reference.label import labelled_configurations
from sscha_mlp.run_files.settings import RunSettings, read_toml
from sscha_mlp.scha import python_sscha
from sscha_mlp.scha.estimators import Samples
from sscha_mlp.scha.minimiser import MinimiserSettings

FITS = {
    "gap": {"cutoff": 3.6, "n_sparse": 20, "l_max": 2, "n_max": 4},
    "mtp": {"cutoff": 3.6, "level": 6, "refine_steps": 0},
}


class Wanderer:
    """Changes the working directory whenever it is told something."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.n_moves = 0

    def move(self, *_: object) -> None:
        there = self.place / str(self.n_moves % 2)
        there.mkdir(parents=True, exist_ok=True)
        os.chdir(there)
        self.n_moves += 1

    stage = progress = note = population = move


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A working directory to begin in."""
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def wanderer(tmp_path) -> Wanderer:
    return Wanderer(tmp_path / "elsewhere")


def stray(wanderer: Wanderer) -> list[Path]:
    """Files that were written where the process happened to stand."""
    return [one for one in wanderer.place.rglob("*") if one.is_file()]


@pytest.fixture(scope="module")
def labelled():
    frames = [bulk("Cu", cubic=True, a=3.6) for _ in range(12)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.08, seed=seed)
    return labelled_configurations(frames, label(frames, get_reference("emt")))


@pytest.mark.parametrize("model", ["gap", "mtp"])
def test_run_in_a_relative_directory(home, wanderer, model):
    settings = read_toml(write_settings(home, model=model, explore_configs=0))
    settings |= {"structure": str(write_copper(home)), "reference": "emt"}
    result = sm.run(RunSettings.from_mapping(settings), "run", observer=wanderer)
    assert wanderer.n_moves > 20
    assert stray(wanderer) == []
    assert result["converged"]
    names = {one.name for one in (home / "run").iterdir()}
    assert {"run.toml", "journal.jsonl", "labels.db", "result.json", "dyn", "models"} <= names


def test_labels_in_a_relative_store(home, wanderer, labelled):
    frames = [one.atoms for one in labelled]
    with LabelStore("labels.db") as store:
        done = label(frames, get_reference("emt"), store=store, progress=wanderer.move)
        assert done.n_computed == len(frames)
    assert [one.name for one in home.iterdir()] == ["labels.db"]
    assert stray(wanderer) == []
    os.chdir(home)
    assert label(frames, get_reference("emt"), store=LabelStore("labels.db")).n_computed == 0


@pytest.mark.parametrize("kind", FITS)
def test_fit_and_evaluation_in_a_relative_directory(home, wanderer, labelled, kind):
    with registry.fit(
        kind, labelled, directory="model", settings=FITS[kind], progress=wanderer.move
    ) as model:
        wanderer.move()
        frames = [one.atoms for one in labelled]
        energies = model.evaluate(frames).energies
    assert (home / "model" / "model.json").is_file()
    assert stray(wanderer) == []
    os.chdir(home)
    with registry.load("model") as again:
        wanderer.move()
        np.testing.assert_array_equal(again.evaluate(frames).energies, energies)


@pytest.fixture(scope="module")
def gap(labelled, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    registry.fit("gap", labelled, directory=directory, settings=FITS["gap"]).close()
    return directory


@pytest.mark.parametrize(
    "name", ["plain", "with space", "größe", "a&b<c", "sehr-" * 45 + "/" + "lang-" * 45]
)
def test_gap_is_read_from_any_path_without_a_change_of_directory(
    gap, labelled, tmp_path, monkeypatch, name
):
    """QUIP goes to the directory of a parameter file; in one that is gone it could not go back."""
    expected = registry.load(gap).evaluate([labelled[0].atoms]).energies
    copy = tmp_path / name
    copy.mkdir(parents=True)
    for file in gap.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with registry.load(copy) as model:
        np.testing.assert_array_equal(model.evaluate([labelled[0].atoms]).energies, expected)
    assert str(Path("/proc/self/cwd").readlink()).startswith(str(gone))


def test_their_minimiser_writes_nothing_when_it_gives_up(home, monkeypatch):
    """Where each step ends with a matrix that cannot be diagonalised it saves error_dyn."""
    state, group = fcc(b=3.0).harmonic()
    rng = np.random.default_rng(0)
    ensemble = sm.sample(state, temperature=300.0, n_configs=20, rng=rng)
    forces = np.zeros_like(ensemble.displacements)
    samples = Samples(ensemble, np.zeros(20), forces, np.zeros((20, 3, 3)))

    def fail(*_: object) -> None:
        raise np.linalg.LinAlgError("no convergence")

    theirs = python_sscha.upstream().sscha.SchaMinimizer.SSCHA_Minimizer
    monkeypatch.setattr(theirs, "update", fail)
    with pytest.raises(RelaxationError, match="gave up"):
        python_sscha.minimise(samples, group, MinimiserSettings())
    assert list(home.iterdir()) == []
