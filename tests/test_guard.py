"""Guard rails: labels that cannot be right are caught, hot configurations are not."""

import json
import re

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from cheap import finish, relax_arguments

from sscha_mlp.calculators.compute import compute_label
from sscha_mlp.cli import run_command
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, symmetrise
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.data.extxyz import write_extxyz
from sscha_mlp.data.labels import Label, configuration_key
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.errors import ReferenceFailedError
from sscha_mlp.reference import LabelStore, Reference, get_reference, label
from sscha_mlp.reference.guard import check_batch, check_label
from sscha_mlp.reference.index import State


def harmonic(atoms, calculator) -> DynamicalMatrix:
    """Force constants of a crystal by finite displacements of all its atoms."""
    crystal = Crystal(atoms.cell.array, atoms.positions, atoms.numbers, atoms.get_masses())
    supercell = Supercell(crystal, (2, 2, 2))
    rows = np.zeros((crystal.n_atoms, supercell.n_atoms, 3, 3))
    for atom in range(crystal.n_atoms):
        for axis in range(3):
            forces = []
            for sign in (1, -1):
                frame = supercell.crystal.to_ase()
                frame.positions[atom, axis] += 0.01 * sign
                forces.append(compute_label(frame, calculator).forces)
            rows[atom, :, axis] = (forces[1] - forces[0]) / 0.02
    return DynamicalMatrix(supercell, symmetrise(find_space_group(supercell), rows))


def ensemble(name: str, atoms, temperature: float, n_configs: int):
    calculator = get_reference(name).make_calculator()
    drawn = sample(
        harmonic(atoms, calculator),
        temperature=temperature,
        n_configs=n_configs,
        rng=np.random.default_rng(0),
        antithetic=False,
    )
    frames = drawn.configurations()
    return frames, [compute_label(one, calculator) for one in frames]


@pytest.fixture(scope="module")
def hot_silicon():
    """Three hundred configurations of silicon at 2000 K with its Tersoff potential."""
    return ensemble("tersoff", bulk("Si", "diamond", a=5.432), 2000.0, 300)


@pytest.fixture(scope="module")
def copper():
    return ensemble("emt", bulk("Cu", cubic=True, a=3.6), 300.0, 24)


def test_hot_silicon_is_not_flagged(hot_silicon):
    """Neither as one batch nor in batches of any usual size."""
    frames, labels = hot_silicon
    assert [check_label(*one) for one in zip(frames, labels, strict=True)] == [""] * 300
    assert check_batch(frames, labels) == {}
    for size in (8, 12, 24, 36, 100):
        for i in range(0, 300, size):
            assert check_batch(frames[i : i + size], labels[i : i + size]) == {}


def test_the_crystal_at_rest_is_no_outlier_among_displaced_ones(copper):
    """Nothing pulls its atoms, and the median positions of a batch are not quite at rest."""
    frames, labels = copper
    rest = bulk("Cu", cubic=True, a=3.6).repeat((2, 2, 2))
    assert len(rest) == len(frames[0])
    far = rest.copy()
    far.set_cell(1.01 * far.cell.array, scale_atoms=True)
    still = [rest, far]
    known = label(still, get_reference("emt"), n_workers=1).labels
    assert check_batch([*frames[:10], *still], [*labels[:10], *known]) == {}


def test_temperatures_may_be_mixed(hot_silicon):
    """A few hot configurations among cold ones, and the other way round."""
    hot = hot_silicon
    cold = ensemble("tersoff", bulk("Si", "diamond", a=5.432), 300.0, 40)
    for n_cold, n_hot in ((40, 6), (6, 40), (20, 20)):
        frames = [*cold[0][:n_cold], *hot[0][:n_hot]]
        labels = [*cold[1][:n_cold], *hot[1][:n_hot]]
        assert check_batch(frames, labels) == {}


def changed(label: Label, *, energy=0.0, forces=None, stress=None) -> Label:
    return Label(
        label.energy + energy,
        label.forces if forces is None else forces,
        label.stress if stress is None else stress,
    )


def test_an_energy_that_jumps_by_a_constant(copper):
    frames, labels = copper
    jumped = [changed(one, energy=2.5) if i in (3, 9, 17) else one for i, one in enumerate(labels)]
    found = check_batch(frames, jumped)
    assert sorted(found) == [3, 9, 17]
    assert re.match(r"its energy is \+2\.[3-7]\d* eV from what the forces", found[3])


@pytest.mark.parametrize("change", ["order", "sign", "size"])
def test_forces_that_do_not_belong(copper, change):
    frames, labels = copper
    forces = labels[5].forces
    wrong = {"order": np.roll(forces, 7, axis=0), "sign": -forces, "size": 25.7 * forces}[change]
    found = check_batch(frames, [*labels[:5], changed(labels[5], forces=wrong), *labels[6:]])
    assert sorted(found) == [5]


def test_one_label_by_itself(copper):
    frames, labels = copper
    atoms, good = frames[0], labels[0]
    assert check_label(atoms, good) == ""
    assert "exactly zero" in check_label(atoms, changed(good, stress=np.zeros((3, 3))))
    pushed = good.forces.copy()
    pushed[0, 0] += 3.0
    assert "do not sum to zero" in check_label(atoms, changed(good, forces=pushed))
    close = atoms.copy()
    close.positions[1] = close.positions[0] + [0.0, 0.0, 0.8]
    assert "only 0.80 Å apart" in check_label(close, good)


def test_an_outlier_does_not_hide_among_few(copper):
    """Fewer than eight labels are not judged against each other, and it is said where."""
    frames, labels = copper
    jumped = [changed(labels[0], energy=50.0), *labels[1:7]]
    assert check_batch(frames[:7], jumped) == {}
    assert sorted(check_batch(frames[:9], [*jumped, *labels[7:9]])) == [0]


def test_different_crystals_are_judged_apart(copper, hot_silicon):
    frames = [*copper[0], *hot_silicon[0][:24]]
    labels = [*copper[1], *hot_silicon[1][:24]]
    labels[30] = changed(labels[30], energy=40.0)
    assert sorted(check_batch(frames, labels)) == [30]


# --- in label() -----------------------------------------------------------------------------


class Jumpy(Calculator):
    """EMT whose energy jumps, or whose stress is zero, as the tag of the first atom says."""

    implemented_properties = ["energy", "forces", "stress"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        inner = self.atoms.copy()
        inner.calc = EMT()
        tag = int(self.atoms.get_tags()[0])
        self.results = {
            "energy": inner.get_potential_energy() + 20.0 * (tag == 1),
            "forces": inner.get_forces(),
            "stress": inner.get_stress() * (tag != 2),
        }


def jumpy() -> Calculator:
    """Make it."""
    return Jumpy()


def tagged(frames, tags: dict[int, int]):
    made = []
    for i, atoms in enumerate(frames):
        one = atoms.copy()
        one.set_tags([tags.get(i, 0)] * len(one))
        made.append(one)
    return made


def test_labels_in_quarantine_are_kept_and_reported(copper, tmp_path):
    frames = tagged(copper[0], {4: 1, 7: 2})
    reference = Reference.from_factory(jumpy)
    with LabelStore(tmp_path / "labels.db") as store:
        for n_computed in (22, 0):  # the second time all is found in the store
            report = label(frames, reference, store=store)
            assert [one.index for one in report.failures] == [4, 7]
            assert all(one.reason.startswith("quarantined: ") for one in report.failures)
            assert report.labels[4] is None and report.labels[7] is None
            assert (report.n_computed, report.n_reused) == (n_computed, 22 - n_computed)
        found = store.find([frames[4], frames[7]], reference.identity)
        assert [one.state for one in found] == [State.QUARANTINED] * 2
        assert found[0].label.energy == pytest.approx(copper[1][4].energy + 20.0)
        assert store.get_failures() == ()
        assert len(store.get_all(reference.identity)) == 22
        store.release(found[1].row)
        released = label(frames[7:8], reference, store=store, guard=False)
        assert released.labels[0] is not None
        all_believed = label(frames, Reference.from_factory(jumpy, name="x"), guard=False)
        assert all_believed.failures == ()


def test_nothing_but_quarantine_ends_labelling(copper):
    frames = tagged(copper[0][:3], dict.fromkeys(range(3), 2))
    with pytest.raises(ReferenceFailedError, match="quarantined: every component of the stress"):
        label(frames, Reference.from_factory(jumpy))


def test_the_command_says_what_is_in_quarantine(copper, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_extxyz("in.xyz", tagged(copper[0], {4: 1}))
    assert run_command(["label", "in.xyz", "--reference", "test_guard:jumpy", "--quiet"]) == 0
    told = capsys.readouterr().err
    assert "configuration 4 has no label: quarantined: its energy is +20 eV" in told
    assert run_command(["labels", "labels.db", "counts", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out).values()
    assert row == {"label": 23, "failed": 0, "quarantined": 1}


class Suspicious(EMT):
    """EMT that forgets the stress of every fifth configuration of an ensemble."""

    def calculate(self, atoms=None, *args, **kwargs):
        super().calculate(atoms, *args, **kwargs)
        forces = np.linalg.norm(self.results["forces"], axis=1)
        displaced = np.count_nonzero(forces > 0.05) > 5
        if displaced and int(configuration_key(atoms)[:8], 16) % 5 == 0:
            self.results["stress"] = np.zeros(6)


def suspicious() -> EMT:
    """Make it."""
    return Suspicious()


def test_a_run_goes_on_without_what_is_in_quarantine(tmp_path, capsys):
    relax_arguments(tmp_path, "test_guard:suspicious", explore_configs=0)
    result = finish(tmp_path, "test_guard:suspicious")
    log = (tmp_path / "run" / "log.txt").read_text()
    n_told = log.count("failed: quarantined: every component of the stress")
    assert n_told > 0
    with LabelStore(tmp_path / "run" / "labels.db") as store:
        rows = store.get_all(get_reference("test_guard:suspicious").identity)
    assert result["labels"]["total"] + result["labels"]["start"] <= len(rows)
    assert all(label.stress.any() for label in rows.values())
