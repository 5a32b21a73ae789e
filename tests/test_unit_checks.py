"""Units of labels are judged right in anharmonic crystals as well as in harmonic ones."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from cheap import relax_arguments
from test_bad_input import sentence
from test_offline import ask, bring, labels_of
from toys import fcc

import sscha_mlp as sm
from sscha_mlp import units
from sscha_mlp.cli import run_command
from sscha_mlp.crystal.finite_displacements import FiniteDisplacements
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.data.extxyz import write_extxyz
from sscha_mlp.data.labels import Label, LabelledConfiguration
from sscha_mlp.errors import InputError, ReferenceFailedError, WaitingForLabelsError
from sscha_mlp.reference import LabelStore, get_reference, label
from sscha_mlp.reference.bond_expansion import explain
from sscha_mlp.reference.consistency import check_units
from sscha_mlp.reference.derivatives import second_differences
from sscha_mlp.reference.importing import import_labels
from sscha_mlp.run_files.settings import RunSettings

RYDBERG, BOHR = units.RYDBERG, units.BOHR
HARTREE = 2 * RYDBERG
FORCE = RYDBERG / BOHR

WRONG = {
    "Hartree and the forces like Ry/bohr": (1 / HARTREE, 1 / FORCE),
    "Ry and the forces like Hartree/bohr": (1 / RYDBERG, 0.5 / FORCE),
    "Ry and Ry/bohr": (1 / RYDBERG, 1 / FORCE),
    "energies look like Hartree": (1 / HARTREE, 1),
    "forces look like Ry/bohr": (1, 1 / FORCE),
    "kJ/mol": (96.485, 1),
    "wrong sign": (1, -1),
}
"""Factors of energies and forces, by what is said of them."""


def labels_with(bonds):
    """Return the function that labels with a toy, in some units."""

    def labels(frames, energy=1.0, force=1.0, stress=1.0):
        found = bonds.evaluate(frames)
        every = zip(found.energies, found.forces, found.stresses, strict=True)
        return [Label(energy * e, force * f, stress * s) for e, f, s in every]

    return labels


BONDS = fcc(k=0.2, b=10.0)
"""Far from harmonic at 0.15 Å: the quartic part has most of the energy."""


def anharmonic(n: int = 12, size: float = 0.15):
    rng = np.random.default_rng(0)
    frames = [BONDS.supercell.crystal.to_ase() for _ in range(n)]
    for frame in frames:
        frame.positions += rng.normal(0.0, size, frame.positions.shape)
    return frames


bonds_labels = labels_with(BONDS)


def hot(n: int, size: float):
    """Copper and gold, so hot that the trapezoidal rule is off by a third."""
    crystal = bulk("Cu", cubic=True, a=3.75).repeat((2, 1, 1))
    crystal.symbols[[1, 4]] = "Au"
    rng = np.random.default_rng(5)
    frames = [crystal.copy() for _ in range(n)]
    for frame in frames:
        frame.positions += rng.normal(0.0, size, frame.positions.shape)
    return frames


SILICON = bulk("Si", cubic=True, a=5.432).repeat((2, 1, 1))


def ratio_of(found, words):
    """Return the ratio that a sentence of the check ends with."""
    (sentence_,) = [one for one in found.checked if words in one]
    return float(sentence_.split()[-1].rstrip(")"))


def test_polynomial_bonds_are_explained_exactly():
    frames, crystal = anharmonic(), BONDS.supercell.crystal
    values = BONDS.evaluate(frames)
    moved = np.array([frame.positions for frame in frames]) - crystal.positions
    found = explain(crystal.to_ase(), moved, np.array(values.forces))
    assert found.missed < 1e-12
    np.testing.assert_allclose(np.ptp(found.energies - values.energies), 0.0, atol=1e-8)


def test_correct_labels_of_an_anharmonic_crystal_are_imported(tmp_path):
    """The trapezoidal rule alone gives 0.5 where it should give 1."""
    frames = anharmonic()
    directory = ask(tmp_path, "extxyz", frames)
    pairs = [LabelledConfiguration(*one) for one in zip(frames, bonds_labels(frames), strict=True)]
    write_extxyz(directory / "out.xyz", pairs)
    report = bring(directory, tmp_path / "labels.db")
    assert (report.n_labels, report.failures) == (len(frames), ())
    assert any("energies and forces belong together" in one for one in report.units.checked)


def test_labels_near_rest_make_the_check_exact():
    """The start of a run has them: the mean of a few hot configurations is no place of rest."""
    frames = anharmonic()
    still = anharmonic(20, 0.003)
    known = list(zip(still, bonds_labels(still), strict=True))
    found = check_units(frames, bonds_labels(frames), known=known)
    assert ratio_of(found, "energies and forces") == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("words", WRONG)
def test_wrong_units_never_pass_in_silence_in_an_anharmonic_crystal(words):
    never_in_silence(words, anharmonic(), bonds_labels)


def never_in_silence(words, frames, labels):
    """Check that wrong units of energies and forces are refused, or said not to be checked."""
    try:
        found = check_units(frames, labels(frames, *WRONG[words]))
    except InputError as err:
        assert "inconsistent" in str(err)  # noqa: PT017 -- one of two right ends
    else:
        assert any(words in one for one in found.unchecked), found


@pytest.mark.parametrize(("n", "size"), [(6, 0.03), (6, 0.1), (6, 0.2), (12, 0.1), (24, 0.2)])
def test_labels_of_hot_metals_are_accepted_and_wrong_units_never_pass_in_silence(n, size):
    frames = hot(n, size)
    good = check_units(frames, labels_of(frames))
    assert any("energies and forces belong together" in one for one in good.checked)
    for words in WRONG:
        never_in_silence(words, frames, labels_of)


def tersoff_labels(frames):
    return list(label(frames, get_reference("tersoff"), n_workers=1).labels)


def test_displacements_of_one_size_do_not_share_the_force_among_the_orders():
    """Finite differences: l² and l⁴ give the same forces there, and half the energy."""
    crystal = SILICON.copy()
    frames = [crystal]
    for way in np.eye(3):
        for sign in (0.01, -0.01):
            frames.append(crystal.copy())
            frames[-1].positions[0] += sign * way
    found = check_units(frames, tersoff_labels(frames))
    assert ratio_of(found, "energies and forces") == pytest.approx(1.0, abs=0.005)


@pytest.fixture(scope="module")
def warm_silicon():
    """Eight configurations at 300 K, and their labels."""
    crystal = sm.read_structure(sm.bundled_file("silicon.cif"))
    state = sm.harmonic(sm.Supercell(crystal, (2, 2, 2)), get_reference("tersoff"), n_workers=1)
    drawn = sm.sample(state, temperature=300.0, n_configs=8, rng=np.random.default_rng(3))
    frames = drawn.configurations()
    return frames, tersoff_labels(frames)


@pytest.mark.parametrize("factor", [1.2, 0.85])
def test_a_ratio_that_no_unit_explains_is_refused(warm_silicon, factor):
    """Another cutoff for forces than for energies, or a mistake of one's own."""
    frames, labels = warm_silicon
    with pytest.raises(InputError, match="Energies and forces are inconsistent"):
        check_units(frames, [replace(one, energy=factor * one.energy) for one in labels])


@pytest.mark.parametrize("decimals", [1, 2, 10])
def test_energies_with_few_digits_are_doubted_by_that(warm_silicon, decimals):
    """Two decimals of differences of 0.2 eV cannot refuse right labels."""
    frames, labels = warm_silicon
    found = check_units(
        frames, [replace(one, energy=round(one.energy, decimals)) for one in labels]
    )
    assert any("energies and forces belong together" in one for one in found.checked)


@pytest.mark.slow
def test_a_run_by_hand_with_labels_by_need_accepts_right_labels(tmp_path):
    """Those of a check share what third order leaves of one strained cell of the start."""
    table = tmp_path / "by-hand.toml"
    table.write_text(
        "[reference]\nfactory = 'files'\n[reference.parameters]\nformat = 'extxyz'\nname = 'x'\n"
    )
    settings = RunSettings.from_mapping(
        {
            "temperature": 300.0,
            "reference": str(table),
            "configs": 200,
            "seed": 6,
            "workers": 1,
            "potential": {"mtp": sm.presets("mtp", SILICON)["first-shell"]},
            "start": {"relax": False},
        }
    )
    place = tmp_path / "run"
    for _ in range(8):
        try:
            assert sm.run(settings, place)["converged"]
            return
        except WaitingForLabelsError:
            request = sm.requests_in(place / "offline")[-1]
            frames = sm.read_any(request.directory / "inputs.xyz")
            pairs = zip(frames, tersoff_labels(frames), strict=True)
            write_extxyz(request.directory / "out.xyz", [LabelledConfiguration(*p) for p in pairs])
            with LabelStore(place / "labels.db") as store:
                import_labels(request.directory, [request], store)
    raise AssertionError("asked for labels again and again")


# --- the start of a run -----------------------------------------------------------------------


STIFF = fcc(b=3.0)


stiff_labels = labels_with(STIFF)


def displaced(energy=1.0, force=1.0, stress=1.0):
    """Second differences at the start of a run on a toy, its labels in some units."""
    supercell = STIFF.supercell
    moved = FiniteDisplacements(find_space_group(supercell), 0.01).configurations()
    rest = supercell.crystal
    lengths = np.cbrt([1.015, 0.985])
    strained = [rest.strained((one - 1.0) * np.eye(3)).to_ase() for one in lengths]
    (at_rest,) = stiff_labels([rest.to_ase()], energy)
    return second_differences(
        at_rest.energy,
        stiff_labels(moved, energy, force, stress),
        [one.positions - rest.positions for one in moved[::2]],
        stiff_labels(strained, energy, force, stress),
        0.015 * rest.volume,
    )


def test_second_differences_of_a_right_reference_are_one():
    found = displaced()
    assert found.forces == pytest.approx(1.0, abs=1e-3)
    assert found.stress == pytest.approx(1.0, abs=2e-2)
    assert not found.doubtful
    found.require("toy", 8)


@pytest.mark.parametrize("words", WRONG)
def test_the_start_names_wrong_units_of_energies_and_forces(words):
    with pytest.raises(ReferenceFailedError, match=words):
        displaced(*WRONG[words]).require("toy", 8)


@pytest.mark.parametrize(
    ("words", "factor"),
    [
        ("sign is that of a pressure", -1.0),
        ("like GPa\\.", 1 / units.GPA),
        ("kbar with the sign of a pressure", -10 / units.GPA),
        ("Hartree/bohr³", BOHR**3 / HARTREE),
    ],
)
def test_the_start_names_wrong_units_of_the_stress(words, factor):
    with pytest.raises(ReferenceFailedError, match=words):
        displaced(stress=factor).require("toy", 8)


def test_what_is_not_known_is_not_judged():
    nothing = second_differences(float("nan"), [], [], [], 1.0)
    assert (nothing.forces, nothing.stress, nothing.doubtful) == (None, None, False)
    nothing.require("toy", 8)
    assert replace(nothing, forces=1.2).doubtful


@pytest.mark.parametrize("factory", ["hartree_and_rydberg", "stress_in_gpa"])
def test_a_run_ends_at_its_start_where_units_are_wrong(factory, tmp_path, capsys):
    """Energies in Hartree and forces in Ry/bohr: at rest both vanish, and seem to agree."""
    arguments = [*relax_arguments(tmp_path, f"faulty:{factory}"), "--quiet"]
    assert run_command(arguments) == 1
    words = {"hartree_and_rydberg": "Hartree", "stress_in_gpa": "GPa"}[factory]
    sentence(capsys.readouterr().err, "second differences of its energy", words, "eV/Å")
    assert not (tmp_path / "run" / "result.json").exists()
    with LabelStore(tmp_path / "run" / "labels.db") as store:
        assert store.get_failures() == ()
