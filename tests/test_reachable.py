"""Configurations beyond what a crystal can reach are not learnt, and a run says why it stops."""

from dataclasses import replace

import numpy as np
import pytest
from toys import fcc

from sscha_mlp.campaign.diagnosis import advice
from sscha_mlp.campaign.reachable import (
    FACTOR,
    Reach,
    reachable_of,
    runs_off,
    within_reach,
)
from sscha_mlp.data.labels import Label, LabelledConfiguration
from sscha_mlp.ensemble.sampling import sample

BONDS = fcc()
STATE, GROUP = BONDS.harmonic()
TEMPERATURE = 300.0


def labelled(scale=1.0, n_configs=24, seed=0):
    """Labels of an ensemble whose displacements are some times those of the crystal."""
    ensemble = sample(
        STATE, temperature=TEMPERATURE, n_configs=n_configs, rng=np.random.default_rng(seed)
    )
    displacements = scale * ensemble.displacements
    ensemble = replace(ensemble, displacements=displacements)
    frames = ensemble.configurations()
    values = BONDS.evaluate(frames)
    return [
        LabelledConfiguration(frame, Label(float(energy), forces, stress), origin="test")
        for frame, energy, forces, stress in zip(
            frames, values.energies, values.forces, values.stresses, strict=True
        )
    ]


def test_the_ensemble_of_a_crystal_is_within_its_reach():
    """Harmonic bonds: the potential energy is half the energy of the modes, 3/2 kT when hot."""
    train = labelled()
    reach = Reach.of(train, STATE, TEMPERATURE)
    assert reach.rest == pytest.approx(0.0, abs=0.025)
    assert 0.03 < reach.expected < 0.08
    assert within_reach(train, reach) == train
    assert Reach.of([], STATE, TEMPERATURE) is None


def test_a_few_far_away_are_left_out_and_most_are_not():
    good, bad = labelled(), labelled(scale=12.0, n_configs=8, seed=1)
    reach = Reach.of([*good, *bad], STATE, TEMPERATURE)
    energies = np.array([one.label.energy for one in bad]) / len(bad[0].atoms)
    assert energies.min() > FACTOR * 0.08
    assert within_reach([*good, *bad], reach) == good
    # Where nearly all are far, it is not the labels that are wrong.
    many = [*good[:4], *labelled(scale=12.0, n_configs=24, seed=2)]
    assert within_reach(many, Reach(0.0, 0.04)) == many


def test_candidates_within_reach_are_those_of_low_energy():
    good, bad = labelled(n_configs=4), labelled(scale=12.0, n_configs=4, seed=1)
    frames = [one.atoms for pair in zip(good, bad, strict=True) for one in pair]
    reach = Reach.of(labelled(), STATE, TEMPERATURE)
    assert reachable_of(frames, BONDS, reach) == [0, 2, 4, 6]
    assert reachable_of(frames, BONDS, None) == list(range(8))


def test_a_structure_that_runs_off_is_told_along_which_mode():
    text = runs_off(STATE, 300.0, 3, 64)
    lowest = STATE.modes.frequencies_thz.min()
    assert f"the mode of {lowest:.2f} THz at q = (" in text
    assert "61 of 64 configurations" in text and "distorted along it" in text


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ([], ""),
        ([(24, 50.0)], ""),
        ([(24, 50.0), (48, 20.0), (72, 12.0)], ""),
        ([(24, 7.0), (48, 127.0), (60, 6236.0)], "has grown from 7 to 6236 meV/Å"),
        ([(24, 50.0), (48, 49.0), (72, 48.0)], "this potential is too small"),
        ([(24, 50.0), (30, 49.0)], ""),
    ],
)
def test_what_errors_say_of_the_potential(errors, words):
    assert words in advice(errors)
    assert bool(advice(errors)) is bool(words)
