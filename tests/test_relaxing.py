"""A relaxation of a run that is cut short goes on as if nothing had happened, pooled or not."""

from dataclasses import replace

import numpy as np
import pytest
from toys import fcc

from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.model_domain import Alarm
from sscha_mlp.campaign.relaxing import run_relaxation
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.potentials.protocol import Predictions
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.last_ensemble import load_samples, save_samples
from sscha_mlp.run_files.observer import LogObserver
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.scha.cell import CellMode
from sscha_mlp.scha.convergence import Tolerances
from sscha_mlp.scha.estimators import estimate
from sscha_mlp.scha.relaxation import RelaxationSettings, evaluate_ensemble
from sscha_mlp.scha.reuse import pool_samples

BONDS = fcc(b=6.0, tension=0.02)
STATE, GROUP = BONDS.harmonic()
HOT = 1200.0
SETTINGS = RelaxationSettings(
    n_configs=100,
    max_populations=4,
    cell=CellMode.FIXED,
    minimum_distance_ratio=0,
    # Never reached: the relaxation ends with its last population.
    tolerances=Tolerances(max_frequency_stderr_thz=1e-3),
)


NO_ALARM = Alarm(None, None, "none")


class Killed(BaseException):
    """The end of the process."""


class Toy:
    """The bonds as a potential that counts, and that can be killed at some configuration."""

    uncertainty = None

    def __init__(self, dies_after=None):
        self.n_evaluated = 0
        self.dies_after = dies_after

    def evaluate(self, configurations, *, uncertainty=False):
        self.n_evaluated += len(configurations)
        if self.dies_after is not None and self.n_evaluated > self.dies_after:
            raise Killed
        values = BONDS.evaluate(configurations)
        return Predictions(values.energies, values.forces, values.stresses)


class Killer(LogObserver):
    """Kills the process when a population has been recorded."""

    def __init__(self, at):
        self.at = at

    def population(self, row):
        if row.population == self.at:
            raise Killed


def relax_in(directory, *, toy=None, killed_after=None, settings=SETTINGS, alarm=NO_ALARM):
    """One sitting of a relaxation, or what a killed one leaves behind (None)."""
    place = RunDirectory(directory)
    context = Context(
        RunSettings(temperature=HOT, seed=5),
        place,
        Journal(place.journal),
        store=None,
        reference=None,
        observer=Killer(killed_after),
    )
    context.group = GROUP
    try:
        return run_relaxation(
            context,
            STATE,
            toy or Toy(),
            phase="round-1",
            settings=settings,
            alarm=alarm,
            reference_volume=STATE.crystal.volume,
        )
    except Killed:
        return None


def rows_of(directory):
    """Rows of the journal without what may differ between two runs."""
    steps = Journal(RunDirectory(directory).journal).steps("population/")
    timings = {"seconds_evaluate", "seconds_minimise"}
    return {key: {k: v for k, v in row.items() if k not in timings} for key, row in steps}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A relaxation that nobody disturbed: its directory, its end, and how much it evaluated."""
    directory = tmp_path_factory.mktemp("whole")
    toy = Toy()
    return directory, relax_in(directory, toy=toy), toy.n_evaluated


def assert_same(directory, ended, whole):
    other, expected, _ = whole
    assert rows_of(directory) == rows_of(other)
    assert ended.reason == expected.reason and ended.converged is expected.converged
    np.testing.assert_array_equal(ended.state.force_constants, expected.state.force_constants)
    np.testing.assert_array_equal(ended.state.crystal.cell, expected.state.crystal.cell)
    first, second = (
        load_samples(RunDirectory(one).samples("round-1")) for one in (directory, other)
    )
    np.testing.assert_array_equal(first.ensemble.displacements, second.ensemble.displacements)
    np.testing.assert_array_equal(first.ensemble.log_density, second.ensemble.log_density)
    np.testing.assert_array_equal(first.forces, second.forces)


def test_the_populations_here_are_pooled(whole):
    directory, ended, _ = whole
    rows = list(rows_of(directory).values())
    assert [row["population"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["ended"] and not ended.converged
    assert max(len(row["pooled"]) for row in rows[1:3]) > 1  # something to remember when killed
    for row in rows:
        parts = [rows[number - 1]["n_configs"] for number in row["pooled"]]
        assert sum(parts) == row["n_configs"] + row["n_reused"]


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_killed_between_populations_it_ends_the_same(whole, tmp_path, killed_after):
    assert relax_in(tmp_path, killed_after=killed_after) is None
    assert len(rows_of(tmp_path)) == killed_after
    assert_same(tmp_path, relax_in(tmp_path), whole)


@pytest.mark.parametrize("part", [0.45, 0.7, 0.95])
def test_killed_within_a_population_it_ends_the_same(whole, tmp_path, part):
    """While configurations are evaluated, and once more soon after it was taken up again."""
    _, _, n_evaluated = whole
    for dies_after in (int(part * n_evaluated), 20):
        assert relax_in(tmp_path, toy=Toy(dies_after=dies_after)) is None
    assert_same(tmp_path, relax_in(tmp_path), whole)


def test_after_every_population_a_new_sitting_ends_the_same(whole, tmp_path):
    for population in (1, 2, 3):
        assert relax_in(tmp_path, killed_after=population) is None
    assert_same(tmp_path, relax_in(tmp_path), whole)


def test_a_relaxation_that_has_ended_evaluates_nothing(whole):
    directory, ended, _ = whole
    toy = Toy()
    again = relax_in(directory, toy=toy)
    assert toy.n_evaluated == 0
    assert again.reason == ended.reason
    np.testing.assert_array_equal(again.state.force_constants, ended.state.force_constants)


def test_a_variable_cell_goes_on_the_same(tmp_path):
    """Nothing is used again when the cell moves; resuming knows that, too."""
    settings = replace(SETTINGS, cell=CellMode.VARIABLE, n_configs=40, max_populations=3)
    whole = (tmp_path / "whole", relax_in(tmp_path / "whole", settings=settings), 0)
    assert relax_in(tmp_path / "cut", killed_after=2, settings=settings) is None
    assert_same(tmp_path / "cut", relax_in(tmp_path / "cut", settings=settings), whole)
    assert all(row["n_reused"] == 0 for row in rows_of(tmp_path / "cut").values())


def test_pooled_samples_on_disk_give_the_same_averages(tmp_path):
    stiffer = STATE.with_force_constants(1.05 * STATE.force_constants)
    parts = [
        evaluate_ensemble(
            sample(state, temperature=HOT, n_configs=20, rng=np.random.default_rng(k)), BONDS
        )
        for k, state in enumerate((STATE, stiffer))
    ]
    samples = pool_samples(parts)
    save_samples(tmp_path / "samples.npz", samples)
    back = load_samples(tmp_path / "samples.npz")
    assert back.ensemble.is_pooled
    trial = Gaussian(stiffer, HOT)
    first, second = (estimate(one, GROUP, trial=trial) for one in (samples, back))
    np.testing.assert_array_equal(first.weights, second.weights)
    assert first.free_energy.value == second.free_energy.value
    np.testing.assert_array_equal(first.force_constant_change, second.force_constant_change)
