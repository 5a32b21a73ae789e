"""The check of a reference: what it finds, its estimate, and the command line."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from sscha_mlp.cli import run_command
from sscha_mlp.errors import InputError
from sscha_mlp.reference import LabelStore, Reference, get_reference
from sscha_mlp.reference.check import CheckSettings, check_reference
from sscha_mlp.units import GPA


def copper() -> Atoms:
    """A cubic cell of copper."""
    return bulk("Cu", cubic=True)


class Wrong:
    """EMT with one thing wrong."""

    def __init__(self, what: str) -> None:
        from ase.calculators.emt import EMT

        self.inner, self.what = EMT(), what
        self.rng = np.random.default_rng(1)

    def get_property(self, name: str, atoms: Atoms) -> object:
        value = self.inner.get_property(name, atoms)
        if (self.what, name) in {("stress", "stress"), ("forces", "forces")}:
            return value * 1.05
        if (self.what, name) == ("sign", "stress"):
            return -value
        if (self.what, name) == ("cutoff", "stress"):
            return value + 0.35 * GPA * np.array([1, 1, 1, 0, 0, 0])
        if (self.what, name) == ("noise", "energy"):
            return value + 0.02 * self.rng.standard_normal()
        return value

    def get_stress(self, atoms: Atoms) -> object:
        return self.get_property("stress", atoms)


def wrong(what: str = "nothing") -> Wrong:
    """Make the wrong calculator."""
    return Wrong(what)


@pytest.mark.parametrize(
    ("what", "failing"),
    [
        ("nothing", set()),
        ("forces", {"eV/Å"}),
        ("stress", {"GPa"}),
        ("sign", {"GPa"}),
        ("cutoff", {"GPa"}),
        ("noise", {"eV/Å", "GPa"}),
    ],
)
def test_the_check_finds_what_is_wrong(what, failing):
    reference = Reference.from_factory(wrong, what=what)
    crystal = copper()
    found = check_reference(
        reference, crystal, CheckSettings(displacement=0.15, seed=2), isolate=False
    )
    assert {one.unit for one in found.differences if not one.passed} == failing
    assert found.passed == (not failing)
    assert crystal == copper()


def test_the_check_is_the_same_for_the_same_seed():
    found = [
        check_reference(Reference.from_factory(wrong), copper(), isolate=False) for _ in range(2)
    ]
    assert np.array_equal(found[0].atoms.positions, found[1].atoms.positions)
    assert [one.error for one in found[0].differences] == [
        one.error for one in found[1].differences
    ]


def test_the_stresses_that_are_compared_are_those_of_the_label():
    """To first order in the step: Simpson's rule averages over it."""
    found = check_reference(
        Reference.from_factory(wrong),
        copper(),
        CheckSettings(strain=1.0e-4, step=1.0e-4),
        isolate=False,
    )
    stress = found.label.stress / GPA
    values = [one.analytic for one in found.differences[2:]]
    assert values == pytest.approx([np.trace(stress) / 3.0, stress[0, 0], stress[0, 1]], abs=1e-3)
    single = found.differences[0]
    assert abs(single.analytic) == pytest.approx(np.abs(found.label.forces).max(), abs=1e-4)


def test_the_estimate_of_a_job():
    found = check_reference(Reference.from_factory(wrong), copper(), isolate=False)
    one = found.seconds_per_label
    assert found.seconds_for(60, 2) == pytest.approx(39 * one)
    assert found.seconds_for(61, 2) == pytest.approx(40 * one)


@pytest.mark.parametrize(
    "settings",
    [{"step": 0.0}, {"step": 1.0}, {"strain": -1.0}, {"displacement": -0.1}, {"seed": -1},
     {"force_tolerance": float("nan")}],
)  # fmt: skip
def test_bad_settings_of_a_check(settings):
    with pytest.raises(InputError, match="must"):
        CheckSettings(**settings)


# --- the command line


def check(tmp_path, *arguments: str) -> int:
    """Run the command on one cell of copper."""
    write(tmp_path / "copper.cif", bulk("Cu"))
    cell = ["--structure", str(tmp_path / "copper.cif"), "--supercell", "2", "1", "1"]
    if "--store" not in arguments:
        arguments = (*arguments, "--store", str(tmp_path / "labels.db"))
    return run_command(["reference", "check", *cell, "--workers", "1", "--quiet", *arguments])


def test_the_command_prints_what_it_found(tmp_path, capsys):
    assert check(tmp_path, "--reference", "emt", "--labels", "50") == 0
    shown = capsys.readouterr().out
    for text in (
        "eV/atom",
        "GPa",
        "force, random direction",
        "stress, xy",
        "passed",
        "50 labels",
    ):
        assert text in shown


def test_labels_of_a_check_are_kept_and_found_again(tmp_path, capsys):
    """A check that was interrupted goes on; nothing is paid for twice."""
    store = tmp_path / "labels.db"
    assert check(tmp_path, "--reference", "emt", "--json", "--store", str(store)) == 0
    first = json.loads(capsys.readouterr().out)
    with LabelStore(store) as kept:
        assert len(kept.get_all(get_reference("emt").identity)) == 11
    assert check(tmp_path, "--reference", "emt", "--json", "--store", str(store)) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["differences"] == first["differences"]
    assert again["seconds_per_label"] is None and again["job"]["seconds"] is None


def test_the_cell_of_a_check_is_that_of_a_run(tmp_path, capsys):
    """A conventional cell of four atoms is one primitive cell: 2x2x2 of it are 8 atoms."""
    bulk("Cu", a=3.6, cubic=True).write(tmp_path / "cubic.vasp", format="vasp")
    arguments = ["reference", "check", "--reference", "emt", "--json"]
    arguments += ["--structure", str(tmp_path / "cubic.vasp")]
    assert run_command([*arguments, "--store", str(tmp_path / "labels.db")]) == 0
    assert json.loads(capsys.readouterr().out)["n_atoms"] == 8


def test_rounded_coordinates_are_said_before_anything_is_labelled(tmp_path, capsys):
    """As a run says it: 0.3333 leaves magnesium with half of its group."""
    crystal = bulk("Mg", "hcp", a=3.2, c=5.2)
    crystal.set_scaled_positions([[0, 0, 0], [0.3333, 0.6667, 0.5]])
    crystal.write(tmp_path / "rounded.vasp", format="vasp", direct=True)
    arguments = ["reference", "check", "--reference", "lj", "--supercell", "1", "1", "1"]
    arguments += ["--structure", str(tmp_path / "rounded.vasp")]
    run_command([*arguments, "--store", str(tmp_path / "labels.db")])
    said = " ".join(capsys.readouterr().err.split())
    assert "P6_3/mmc with 24 operations" in said and "--symmetrise 0.01" in said
    run_command([*arguments, "--store", str(tmp_path / "labels.db"), "--json"])
    assert "P6_3/mmc" in json.loads(capsys.readouterr().out)["remark"]


def test_the_command_writes_json(tmp_path, capsys):
    assert check(tmp_path, "--reference", "emt", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is True and found["n_atoms"] == 2 and found["kpoints"] is None
    assert [one["unit"] for one in found["differences"]] == ["eV/Å"] * 2 + ["GPa"] * 3
    assert found["job"]["seconds"] == pytest.approx(109 * found["seconds_per_label"])


def verdict_on(what: str, tmp_path, capsys) -> str:
    """What the command says of a calculator with something wrong, on one line."""
    (tmp_path / "wrong.toml").write_text(
        f'[reference]\nfactory = "test_reference_check:wrong"\nparameters = {{ what = "{what}" }}\n'
    )
    assert check(tmp_path, "--reference", str(tmp_path / "wrong.toml")) == 1
    return " ".join(capsys.readouterr().out.partition("FAILED: ")[2].split())


def test_a_failed_check_has_status_1_and_says_what_is_wrong(tmp_path, capsys):
    said = verdict_on("sign", tmp_path, capsys)
    assert "the stress is no derivative of the energy" in said
    assert "look at sign" in said and "cutoff" not in said
    assert "forces are no derivative" not in said


def test_a_pulay_stress_is_measured_against_the_certificate(tmp_path, capsys):
    """A shift of the diagonal alone is what a low cutoff does; its size and ways out are said."""
    said = verdict_on("cutoff", tmp_path, capsys)
    assert "off by 0.35 GPa, 3.5 times what a certificate allows" in said
    assert "raise the cutoff" in said and "--cell fixed" in said
    assert "look at sign" not in said


def test_wrong_forces_are_said_with_their_size(tmp_path, capsys):
    said = verdict_on("forces", tmp_path, capsys)
    assert "forces are no derivative of the energy: off by" in said
    assert "the stress is no derivative" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--reference", "emtt"), "Did you mean 'emt'"),
        (("--reference", "tersoff"), "has no parameters for Cu"),
        (("--reference", "emt", "--step", "0"), "The step is 0 Å; it must be from"),
        (("--reference", "emt", "--supercell", "0", "1", "1"), "not three positive whole numbers"),
        (("--reference", "emt", "--labels", "0"), "--labels must be at least 1"),
        (("--reference", "espresso"), "needs a table pseudopotentials"),
        (("--reference", "none.toml"), "There is no reference file"),
    ],
)
def test_bad_input_of_the_command_has_status_2(tmp_path, capsys, arguments, message):
    assert check(tmp_path, *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
