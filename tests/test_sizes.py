"""What is too large or too small is refused before anything is computed."""

import numpy as np
import pytest
from ase.build import bulk
from cheap import relax_arguments
from test_bad_input import sentence
from toys import fcc

import sscha_mlp as sm
from sscha_mlp.cli import run_command
from sscha_mlp.cli.failures import explain
from sscha_mlp.errors import InputError
from sscha_mlp.parallel.memory import available, require_memory


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--supercell", "1", "1", "1"], ["supercell of one atom has no vibrations", "2 2 2"]),
        (
            ["--supercell", "100", "100", "100", "--configs", "4000"],
            ["1000000 atoms", "GB", "smaller --supercell"],
        ),
        (["--configs", "1000000000"], ["1000000000 configurations", "GB", "fewer --configs"]),
    ],
)
def test_a_run_that_does_not_fit_is_refused_first(options, words, tmp_path, capsys):
    arguments = [*relax_arguments(tmp_path), *options, "--quiet"]
    assert run_command(arguments) == 2
    sentence(capsys.readouterr().err, *words)
    assert not (tmp_path / "run").exists()


def test_memory_is_that_of_the_machine():
    require_memory(1.0e6, "A few numbers", "take fewer")
    left = available()
    if left is None:
        pytest.skip("this system does not say")
    with pytest.raises(InputError, match="GB are free; take fewer"):
        require_memory(2.0 * left, "Many numbers", "take fewer")


def test_an_ensemble_that_does_not_fit_is_refused():
    state, _ = fcc().harmonic()
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="draw fewer"):
        sm.sample(state, temperature=300.0, n_configs=10**11, rng=rng)
    lonely, _ = fcc((1, 1, 1)).harmonic()
    with pytest.raises(InputError, match="no vibrations"):
        sm.sample(lonely, temperature=300.0, n_configs=2, rng=rng)


def test_a_sobol_sequence_goes_on_after_its_second_block():
    """Where most of a block is unphysical a third is drawn, of a sequence that is not balanced."""
    state, _ = fcc().harmonic()
    drawn = [
        sm.sample(
            state,
            temperature=temperature,
            n_configs=16,
            rng=np.random.default_rng(1),
            sampler="sobol",
            minimum_distance_ratio=ratio,
        )
        for temperature, ratio in ((300.0, 0.0), (300.0, 0.93))
    ]
    assert drawn[1].rejected > 16
    assert drawn[1].n_configs == 16
    assert len(np.unique(drawn[1].displacements, axis=0)) == 16


def test_a_disk_that_is_full_is_named_without_the_name_of_a_file(capsys):
    """zipfile and others give none."""
    assert explain(OSError(28, "No space left on device"), debug=False, verb="relax") == 1
    sentence(capsys.readouterr().err, "No space left on device", "Free some space", "goes on")


def test_two_atoms_are_enough(tmp_path):
    atoms = bulk("Cu", a=3.6)
    atoms.write(tmp_path / "cu.vasp", format="vasp")
    arguments = ["reference", "check", "--reference", "emt", "--quiet", "--workers", "1"]
    arguments += ["--structure", str(tmp_path / "cu.vasp"), "--supercell", "2", "1", "1"]
    assert run_command([*arguments, "--store", str(tmp_path / "labels.db")]) == 0
