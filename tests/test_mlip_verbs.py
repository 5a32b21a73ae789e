"""The verbs of MLIP, end to end on a small MTP, against what the Python functions say."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from mtp_models import GERMANIUM, SILICON, in_motep, random_mtp, rattled
from test_bad_input import sentence

import sscha_mlp as sm
from sscha_mlp.cli import run_command
from sscha_mlp.data.attached import as_atoms, attached_labels
from sscha_mlp.data.cfg import read_cfg, write_cfg
from sscha_mlp.data.extxyz import read_configurations, read_extxyz, write_extxyz
from sscha_mlp.data.formats import read_any
from sscha_mlp.data.labels import Label, LabelledConfiguration
from sscha_mlp.errors import InputError, ModelError
from sscha_mlp.potentials.active_set import ActiveSet, select_add
from sscha_mlp.potentials.mtp.almtp import (
    SelectionMode,
    active_set_block,
    exported_active_set,
    imported_active_set,
    read_almtp,
    write_almtp,
)
from sscha_mlp.potentials.mtp.engine import Engine
from sscha_mlp.potentials.mtp.files import format_mtp, read_mtp
from sscha_mlp.potentials.mtp.imported import from_file
from sscha_mlp.units import GPA
from sscha_mlp.validation.metrics import validate

SETTINGS = {"level": 8, "cutoff": 4.2}
N_TRAIN, N_NEAR, N_FAR = 12, 4, 3


def labelled(frames: list[Atoms], **options) -> list[LabelledConfiguration]:
    """Configurations with the labels of a random MTP, which the one that is fitted is not."""
    found = Engine(random_mtp(8, max_dist=4.6, seed=3, **options)).evaluate(frames)
    labels = map(Label, found.energies, found.forces, found.stresses)
    return [LabelledConfiguration(*pair) for pair in zip(frames, labels, strict=True)]


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Path:
    """A directory with a model, one that grades configurations, and what to try them on."""
    directory = tmp_path_factory.mktemp("mlip")
    train = labelled([rattled(seed=seed, size=0.06) for seed in range(N_TRAIN)])
    near = labelled([rattled(seed=50 + seed, size=0.05) for seed in range(N_NEAR)])
    far = labelled([rattled(seed=100 + seed, size=0.3) for seed in range(N_FAR)])
    for name, grade in (("model", "neighborhood"), ("whole", "configuration")):
        settings = {**SETTINGS, "grade": grade}
        sm.fit("mtp", train, directory=directory / name, settings=settings).close()
    write_extxyz(directory / "train.xyz", train)
    write_extxyz(directory / "near.xyz", near)
    write_cfg(directory / "far.cfg", far)
    write_extxyz(directory / "bare.xyz", [one.atoms for one in near])
    return directory


@pytest.fixture
def here(kit, tmp_path, monkeypatch):
    """An empty directory to work in, with the kit as ``k``."""
    monkeypatch.chdir(tmp_path)
    Path("k").symlink_to(kit)
    return tmp_path


def run(capsys, *arguments: str):
    """Run a verb with --json and return what it prints."""
    assert run_command([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# --- efs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.cfg", "out.xyz", "sub/out.extxyz"])
def test_efs_writes_what_the_model_says(name, here, capsys):
    assert run_command(["efs", "k/model", "k/near.xyz", "k/far.cfg", "--out", name]) == 0
    assert f"7 configurations computed by the MTP in k/model: {name}" in capsys.readouterr().err
    frames = [*read_any("k/near.xyz"), *read_any("k/far.cfg")]
    expected = sm.load("k/model").evaluate(frames)
    for index, atoms in enumerate(read_any(name)):
        found = attached_labels(atoms)
        assert found["energy"] == expected.energies[index]
        assert np.array_equal(found["forces"], expected.forces[index])
        assert np.allclose(found["stress"], expected.stresses[index], rtol=1e-14, atol=1e-16)
        assert atoms.info["EFS_by"] == f"mtp-{sm.load('k/model').sha256[:12]}"
        assert np.array_equal(atoms.positions, frames[index].positions)


def test_errors_are_those_of_a_validation(here, capsys):
    found = run(capsys, "efs", "k/model", "k/near.xyz")
    one = validate(sm.load("k/model"), read_extxyz("k/near.xyz"))
    assert found["n_configs"] == N_NEAR and found["out"] == []
    for name, expected in {
        "energy": one.energy.to_json(factor=1e3, unit="meV/atom"),
        "forces": one.force.to_json(factor=1e3, unit="meV/Å"),
        "stress": one.stress.to_json(factor=1.0 / GPA, unit="GPa"),
    }.items():
        errors = found["errors"][name]
        assert errors.pop("unit") == expected.pop("unit")
        assert errors == pytest.approx(expected, rel=1e-9)
    assert run_command(["efs", "k/model", "k/near.xyz"]) == 0
    table = capsys.readouterr().out
    assert all(word in table for word in ("RMSE", "Bias", "meV/atom", "meV/Å", "GPa"))


def test_labels_that_are_there_in_part_are_compared_in_part(here, capsys):
    frames = list(read_any("k/near.xyz"))
    forces = frames[0].get_forces()
    frames[0].calc = SinglePointCalculator(frames[0], forces=forces)
    frames[1].calc = None
    write_cfg("part.cfg", frames)
    errors = run(capsys, "efs", "k/model", "part.cfg")["errors"]
    assert {name: one["n_configs"] for name, one in errors.items()} == {
        "energy": N_NEAR - 2,
        "forces": N_NEAR - 1,
        "stress": N_NEAR - 2,
    }


def test_without_labels_there_are_no_errors(here, capsys):
    assert run(capsys, "efs", "k/model", "k/bare.xyz", "--out", "a.cfg")["errors"] == {}
    assert run_command(["efs", "k/model", "k/bare.xyz"]) == 2
    sentence(capsys.readouterr().err, "no labels to compare with", "--out")


def test_stale_results_of_another_code_are_replaced(here):
    (atoms,) = read_any("k/near.xyz", index="0:1")
    atoms.info["EFS_by"] = "VASP"
    atoms.set_array("site_en", np.ones(len(atoms)))
    write_cfg("old.cfg", [atoms])
    assert run_command(["efs", "k/model", "old.cfg", "--out", "new.cfg"]) == 0
    text = Path("new.cfg").read_text()
    assert "site_en" not in text and "VASP" not in text


def test_what_a_format_cannot_hold_is_named(here, capsys):
    assert run_command(["efs", "k/model", "k/bare.xyz", "--out", "POSCAR-{}"]) == 0
    assert "POSCAR-0 to POSCAR-3; left out: energy, forces, stress" in capsys.readouterr().err


# --- grade --------------------------------------------------------------------------------


def test_grades_are_those_of_the_model(here, capsys):
    found = run(capsys, "grade", "k/model", "k/near.xyz", "k/far.cfg")
    model = sm.load("k/model")
    frames = [*read_any("k/near.xyz"), *read_any("k/far.cfg")]
    expected = model.evaluate(frames, uncertainty=True).uncertainty
    grades = np.array([one["grade"] for one in found["grades"]])
    assert np.allclose(grades, expected, rtol=1e-12)
    assert (grades[N_NEAR:] > found["break"]).all() and (grades[:N_NEAR] < found["break"]).all()
    assert (found["min"], found["max"]) == (grades.min(), grades.max())
    assert found["n_above_break"] == N_FAR
    assert found["n_above_save"] == np.count_nonzero(grades > 2.0)
    assert found["grades"][N_NEAR]["file"] == "k/far.cfg" and found["grades"][N_NEAR]["index"] == 0


def test_training_data_are_inside(here, capsys):
    assert run(capsys, "grade", "k/model", "k/train.xyz")["max"] < 1.002


@pytest.mark.parametrize("name", ["out.cfg", "out.xyz"])
def test_grades_are_written_as_mlip_writes_them(name, here):
    assert run_command(["grade", "k/model", "k/far.cfg", "--out", name]) == 0
    before, after = read_cfg("k/far.cfg"), read_any(name)
    for sites, old, atoms in zip(
        sm.load("k/model").site_grades(before), before, after, strict=True
    ):
        assert np.allclose(atoms.arrays["nbh_grades"], sites, rtol=1e-14)
        assert atoms.info["MV_grade"] == pytest.approx(sites.max(), rel=1e-14)
        assert attached_labels(atoms)["energy"] == attached_labels(old)["energy"]


def test_grades_of_whole_configurations(here, capsys):
    found = run(capsys, "grade", "k/whole", "k/near.xyz", "k/far.cfg", "--out", "a.cfg")
    frames = [*read_any("k/near.xyz"), *read_any("k/far.cfg")]
    expected = sm.load("k/whole").evaluate(frames, uncertainty=True).uncertainty
    assert found["mode"] == "configuration"
    assert [one["grade"] for one in found["grades"]] == pytest.approx(expected.tolist())
    assert "nbh_grades" not in Path("a.cfg").read_text()
    assert run_command(["grade", "k/whole", "k/far.cfg"]) == 0
    assert "of configurations" in capsys.readouterr().out


def test_the_worst_come_first_and_the_screen_has_80_columns(here, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run_command(["grade", "k/model", "k/near.xyz", "k/far.cfg", "--worst", "4"]) == 0
    text = capsys.readouterr().out
    rows = re.findall(r"^ *(k/\S+, \d) +(\S+) +(\d+) +(\d+ of \d+) *$", text, re.MULTILINE)
    assert len(rows) == 4
    assert [name.startswith("k/far.cfg") for name, *_ in rows] == [True] * 3 + [False]
    assert [float(grade) for _, grade, *_ in rows] == sorted(
        (float(grade) for _, grade, *_ in rows), reverse=True
    )
    assert "Above 10, not to be used: 3" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_script_can_ask_for_a_status(here, capsys):
    assert run_command(["grade", "k/model", "k/far.cfg", "--fail-above", "10"]) == 1
    error = capsys.readouterr().err
    assert "--fail-above 10" in error and "Traceback" not in error
    assert run_command(["grade", "k/model", "k/near.xyz", "--fail-above", "10"]) == 0


# --- select-add ---------------------------------------------------------------------------


def test_far_configurations_are_chosen_first(here, capsys):
    arguments = ["select-add", "k/model", "k/train.xyz", "k/near.xyz", "k/far.cfg"]
    found = run(capsys, *arguments, "--out", "new.cfg")
    files = [one["file"] for one in found["chosen"]]
    assert files[:N_FAR] == ["k/far.cfg"] * N_FAR
    assert found["n_chosen"] == len(read_cfg("new.cfg"))
    assert found["n_candidates"] == N_NEAR + N_FAR
    model = sm.load("k/model")
    frames = [*read_any("k/near.xyz"), *read_any("k/far.cfg")]
    known, _ = model.site_descriptors(read_any("k/train.xyz"))
    rows, owners = model.site_descriptors(frames)
    expected = select_add(known, rows, owners, len(frames))
    places = [(one["file"], one["index"]) for one in found["chosen"]]
    every = [("k/near.xyz", i) for i in range(N_NEAR)] + [("k/far.cfg", i) for i in range(N_FAR)]
    assert places == [every[index] for index in expected]
    grades = model.evaluate(frames, uncertainty=True).uncertainty
    assert found["chosen"][0]["grade"] == pytest.approx(grades[expected[0]], rel=1e-6)
    for atoms, index in zip(read_cfg("new.cfg"), expected, strict=True):
        assert np.array_equal(atoms.positions, frames[index].positions)
        assert atoms.info["chosen"] is True


def test_as_many_as_asked_for(here, capsys):
    arguments = ["select-add", "k/model", "k/train.xyz", "k/near.xyz", "k/far.cfg", "--n", "2"]
    found = run(capsys, *arguments, "--out", "new.xyz")
    assert found["n_chosen"] == len(read_configurations("new.xyz")) == 2
    assert found["largest_grade_left"] > 2.0
    assert run_command([*arguments, "--out", "new.cfg"]) == 0
    captured = capsys.readouterr()
    assert "2 of 7 chosen (d-optimal), largest grade left" in captured.err
    assert "k/far.cfg, " in captured.out


@pytest.mark.parametrize("method", ["fps", "cur", "random", "variance"])
def test_other_methods(method, here, capsys):
    arguments = ["select-add", "k/model", "k/train.xyz", "k/near.xyz", "k/far.cfg"]
    arguments += ["--method", method, "--seed", "5"]
    found = run(capsys, *arguments, "--n", "3", "--out", "new.xyz")
    frames = [*read_any("k/near.xyz"), *read_any("k/far.cfg")]
    from sscha_mlp.potentials.selection import select

    expected = select(
        frames,
        3,
        method=method,
        potential=sm.load("k/model"),
        rng=np.random.default_rng(5),
        known=read_any("k/train.xyz"),
    )
    for atoms, index in zip(read_configurations("new.xyz"), expected, strict=True):
        assert np.array_equal(atoms.positions, frames[index].positions)
        assert ("chosen" in atoms.info) == (method != "random")
    assert found["method"] == method and found["seed"] == 5


def test_known_ones_and_repetitions_are_not_chosen(here, capsys):
    arguments = ["select-add", "k/model", "k/train.xyz", "k/train.xyz", "k/far.cfg", "k/far.cfg"]
    found = run(capsys, *arguments, "--out", "new.xyz")
    assert (found["n_known"], found["n_chosen"]) == (N_TRAIN + N_FAR, N_FAR)
    assert found["largest_grade_left"] is None


def test_when_nothing_is_needed_the_file_is_empty(here, capsys):
    Path("new.cfg").write_text("old")
    arguments = ["select-add", "k/model", "k/train.xyz", "k/train.xyz", "--out", "new.cfg"]
    assert run_command(arguments) == 0
    assert "0 of 12 chosen (d-optimal), 12 known already" in capsys.readouterr().err
    assert Path("new.cfg").read_bytes() == b""


def test_selection_of_whole_configurations(here, capsys):
    arguments = ["select-add", "k/whole", "k/train.xyz", "k/far.cfg", "--out", "new.xyz"]
    assert run(capsys, *arguments)["n_chosen"] == N_FAR


# --- export and bare files ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["si.mtp", "si.almtp"])
def test_an_exported_file_is_the_same_potential(name, here, capsys):
    assert run_command(["export", "k/model", name]) == 0
    said = capsys.readouterr().err
    assert "not in the file: the repulsion below" in said and f"types 0 Si: {name}" in said
    assert f"load_from={name}\n" in Path(f"{name}.lammps").read_text()
    frames = read_any("k/near.xyz")
    one, other = sm.load("k/model").evaluate(frames), from_file(name).evaluate(frames)
    assert np.allclose(one.energies, other.energies, rtol=0.0, atol=1e-12)
    assert np.allclose(one.forces, other.forces, rtol=0.0, atol=1e-12)
    assert run_command(["efs", name, "k/near.xyz", "--out", "a.xyz"]) == 0
    energies = [atoms.get_potential_energy() for atoms in read_any("a.xyz")]
    assert np.allclose(energies, one.energies, rtol=0.0, atol=1e-12)


def test_motep_agrees_with_the_exported_file(here):
    pytest.importorskip("motep")
    assert run_command(["export", "k/model", "si.mtp"]) == 0
    frames = read_any("k/near.xyz")
    expected = sm.load("k/model").evaluate(frames)
    calculator = in_motep(read_mtp("si.mtp"), "numpy")
    for index, atoms in enumerate(frames):
        copy = atoms.copy()
        copy.calc = calculator
        assert copy.get_potential_energy() == pytest.approx(expected.energies[index], abs=1e-9)
        assert np.allclose(copy.get_forces(), expected.forces[index], rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("model", ["model", "whole"])
def test_grades_survive_the_export(model, here):
    assert run_command(["export", f"k/{model}", "si.almtp"]) == 0
    frames = [*read_any("k/near.xyz"), *read_any("k/far.cfg")]
    fitted, bare = load_mtp(model), from_file("si.almtp")
    one = fitted.evaluate(frames, uncertainty=True).uncertainty
    other = bare.evaluate(frames, uncertainty=True).uncertainty
    assert np.allclose(one, other, rtol=1e-12)
    # As MLIP-3 calculates them: derivatives by all parameters times the second matrix.
    parameters, block = read_almtp("si.almtp")
    assert block.mode == fitted.settings["grade"]
    n = len(block.matrix) - parameters.moment_coeffs.size
    if model == "model":
        rows, _ = fitted.site_descriptors(frames[-1:])
    else:
        rows = fitted.descriptors(frames[-1:])
    full = np.hstack([np.ones((len(rows), n)), rows])
    grades = np.abs(full @ block.inverse_transposed.T).max(axis=1)
    assert grades.max() == pytest.approx(one[-1], rel=1e-9)


def load_mtp(name: str):
    from sscha_mlp.potentials.mtp.model import load

    return load(f"k/{name}")


def test_the_rows_of_an_exported_active_set_are_those_of_training_atoms(here):
    model = load_mtp("model")
    rows, _ = model.site_descriptors(read_any("k/train.xyz"))
    assert run_command(["export", "k/model", "si.almtp"]) == 0
    _, block = read_almtp("si.almtp")
    linear = block.matrix[-rows.shape[1] :, -rows.shape[1] :]
    for member, index in zip(linear, model.active_set.indices, strict=True):
        if index >= 0:
            assert np.allclose(member, rows[index], rtol=1e-6, atol=1e-9 * np.abs(rows).max())
    assert np.allclose(block.matrix @ block.inverse_transposed.T, np.eye(len(block.matrix)))


def test_a_bare_potential_says_how_to_get_grades(here, capsys):
    assert run_command(["export", "k/model", "si.mtp"]) == 0
    capsys.readouterr()
    assert (
        from_file("si.mtp").evaluate(read_any("k/near.xyz"), uncertainty=True).uncertainty is None
    )
    assert run_command(["grade", "si.mtp", "k/near.xyz"]) == 2
    sentence(capsys.readouterr().err, "si.mtp has no active set", "--train")
    assert run_command(["export", "si.mtp", "si.almtp"]) == 2
    sentence(capsys.readouterr().err, "si.mtp has no active set", "--train")
    assert not Path("si.almtp").exists()

    found = run(capsys, "grade", "si.mtp", "k/near.xyz", "--train", "k/train.xyz")
    expected = run(capsys, "grade", "k/model", "k/near.xyz")
    grades = [[row["grade"] for row in one["grades"]] for one in (found, expected)]
    assert grades[0] == pytest.approx(grades[1], rel=1e-6)
    assert run_command(["export", "si.mtp", "si.almtp", "--train", "k/train.xyz"]) == 0
    assert read_almtp("si.almtp")[1] is not None


def test_selection_needs_no_active_set(here, capsys):
    assert run_command(["export", "k/model", "si.mtp"]) == 0
    capsys.readouterr()
    arguments = ["k/train.xyz", "k/near.xyz", "k/far.cfg", "--out", "new.xyz"]
    one = run(capsys, "select-add", "si.mtp", *arguments)["chosen"]
    other = run(capsys, "select-add", "k/model", *arguments)["chosen"]
    assert one == other


def test_the_active_set_of_mlip_is_built_again_from_its_configurations(here, capsys):
    """MLIP-3 has rows of all parameters, and the configurations that they come from."""
    model = load_mtp("model")
    rng = np.random.default_rng(0)
    n = len(exported_active_set(model.parameters, model.active_set).matrix)
    block = active_set_block(rng.normal(size=(n, n)))
    assert imported_active_set(model.parameters, block) is None
    write_almtp("none.almtp", model.parameters, block)
    assert from_file("none.almtp").active_set is None
    write_cfg("selected.cfg", read_any("k/train.xyz"))
    text = re.sub(r" *Feature.*\n", "", Path("selected.cfg").read_text())
    write_almtp("some.almtp", model.parameters, replace(block, configurations=text))
    found = run(capsys, "grade", "some.almtp", "k/near.xyz")
    assert found["active_set_from"] == "12 configurations in the file"
    expected = model.with_active_set(read_any("k/train.xyz"))
    grades = expected.evaluate(read_any("k/near.xyz"), uncertainty=True).uncertainty
    assert [one["grade"] for one in found["grades"]] == pytest.approx(grades.tolist(), rel=1e-6)
    write_almtp("bad.almtp", model.parameters, replace(block, configurations="BEGIN_CFG\n x"))
    assert from_file("bad.almtp").active_set is None


def test_types_without_elements_are_those_of_the_model(here, capsys):
    """Germanium is type 0 of the file: the order of the model decides, or --species."""
    parameters = random_mtp(8, species=(GERMANIUM, SILICON), max_dist=4.6)
    untagged = re.sub("potential_tag = .*", "potential_tag = ", format_mtp(parameters))
    Path("tagged.mtp").write_text(format_mtp(parameters))
    Path("untagged.mtp").write_text(untagged)
    atoms = rattled(mixed=True)
    write_cfg("a.cfg", [as_atoms(atoms)], species=["Ge", "Si"])
    Path("b.cfg").write_text(re.sub(r" *Feature.*\n", "", Path("a.cfg").read_text()))
    expected = Engine(parameters).evaluate([atoms]).energies[0]
    species = ["--species", "Ge,Si"]
    for arguments in (["tagged.mtp", "b.cfg"], ["untagged.mtp", "b.cfg", *species]):
        assert run_command(["efs", *arguments, "--out", "c.cfg"]) == 0
        (found,) = read_cfg("c.cfg")
        assert found.get_potential_energy() == pytest.approx(expected, abs=1e-12)
        assert found.info["species"] == "Ge,Si"
    write_extxyz("a.xyz", [atoms])  # silicon comes first here
    assert run_command(["efs", "tagged.mtp", "a.xyz", "--out", "d.cfg"]) == 0
    assert read_cfg("d.cfg")[0].info["species"] == "Ge,Si"
    capsys.readouterr()
    assert run_command(["efs", "untagged.mtp", "a.xyz", "--out", "e.cfg"]) == 2
    sentence(capsys.readouterr().err, "does not say which elements", "--species Si,Ge")


def test_functions_refuse_what_does_not_belong_together(here):
    model = load_mtp("model")
    with pytest.raises(InputError, match="grade mode 'both' is not known"):
        model.with_active_set(read_any("k/train.xyz"), mode="both")
    with pytest.raises(InputError, match="needs training configurations"):
        model.with_active_set([])
    whole = model.with_active_set(read_any("k/train.xyz"), mode=SelectionMode.CONFIGURATION)
    assert whole.settings["grade"] == "configuration"
    with pytest.raises(ModelError, match="do not belong together"):
        exported_active_set(model.parameters, ActiveSet.of(np.eye(3)))


# --- wrong input --------------------------------------------------------------------------


@pytest.fixture
def litter(here):
    Path("prose.mtp").write_text("this is no potential\n")
    Path("cut.mtp").write_text(format_mtp(random_mtp(8))[:900])
    Path("empty.xyz").write_text("")
    Path("other").mkdir()
    gold = Atoms("Au", cell=[4, 4, 4], pbc=True)
    write_extxyz("gold.xyz", [gold])
    write_extxyz("flat.xyz", [Atoms("Si", cell=[4, 4, 0], pbc=True)])
    text = Path("k/near.xyz").read_text()
    Path("nan.xyz").write_text(re.sub(r"energy=\S+", "energy=nan", text, count=1))
    return here


EFS = ["--out", "o.xyz"]
NEW = ["--out", "o.xyz"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["efs", "missing", "k/near.xyz", *EFS], ["missing", "no finished model"]),
        (["efs", "missing.mtp", "k/near.xyz", *EFS], ["missing.mtp", "cannot be read"]),
        (["efs", "other", "k/near.xyz", *EFS], ["no finished model"]),
        (["efs", "prose.mtp", "k/near.xyz", *EFS], ["prose.mtp", "'MTP'"]),
        (["efs", "cut.mtp", "k/near.xyz", *EFS], ["cut.mtp"]),
        (["efs", "k/near.xyz", "k/near.xyz", *EFS], ["cannot be used as an MTP"]),
        (["efs", "k/model", "missing.xyz", *EFS], ["missing.xyz", "does not exist"]),
        (["efs", "k/model", "empty.xyz", *EFS], ["empty.xyz", "holds no configuration"]),
        (["efs", "k/model", "gold.xyz", *EFS], ["Au", "trained on Si"]),
        (["efs", "k/model", "flat.xyz", *EFS], ["volume"]),
        (["efs", "k/model", "nan.xyz"], ["Configuration 0 of nan.xyz", "energy"]),
        (["efs", "k/model", "k/near.xyz", "--out", "k/near.xyz"], ["would be replaced"]),
        (["efs", "k/model", "k/near.xyz", "--out", "k/near.xyz/a.xyz"], ["k/near.xyz"]),
        (["efs", "k/model", "k/far.cfg", "--out", "o.cfg", "--species", "Xx"], ["'Xx'"]),
        (["efs", "k/model", "k/near.xyz", "--out", "o.what"], ["format", "o.what"]),
        (["grade", "missing", "k/near.xyz"], ["no finished model"]),
        (["grade", "k/model", "gold.xyz"], ["Au"]),
        (["grade", "k/model", "k/near.xyz", "--save", "11"], ["--save 11", "--break 10"]),
        (["grade", "k/model", "k/near.xyz", "--save", "nan"], ["--save nan"]),
        (["grade", "k/model", "k/near.xyz", "--worst", "-1"], ["--worst -1"]),
        (["grade", "k/model", "k/near.xyz", "--train", "empty.xyz"], ["empty.xyz"]),
        (["grade", "k/model", "k/near.xyz", "--train", "gold.xyz"], ["Au"]),
        (["select-add", "k/model", "k/train.xyz", "gold.xyz", *NEW], ["Au"]),
        (["select-add", "k/model", "missing.xyz", "k/far.cfg", *NEW], ["missing.xyz"]),
        (["select-add", "k/model", "k/train.xyz", "k/far.cfg"], ["Missing option '--out'"]),
        (["select-add", "k/model", "k/train.xyz", "k/far.cfg", "--n", "0", *NEW], ["--n 0"]),
        (
            ["select-add", "k/model", "k/train.xyz", "k/far.cfg", "--method", "best", *NEW],
            ["'best'", "d-optimal"],
        ),
        (
            ["select-add", "k/model", "k/train.xyz", "k/far.cfg", "--method", "fps", *NEW],
            ["give --n"],
        ),
        (
            ["select-add", "k/model", "k/train.xyz", "k/far.cfg", "--out", "k/train.xyz"],
            ["k/train.xyz", "would be replaced"],
        ),
        (["export", "missing", "o.mtp"], ["no finished model"]),
        (["export", "k/model", "o.txt"], ["o.txt", ".almtp"]),
        (["export", "k/model", "o o.mtp"], ["LAMMPS would misread"]),
        (["export", "cut.mtp", "cut.mtp"], ["would be replaced"]),
        (["export", "k/model", "k/near.xyz/o.mtp"], ["k/near.xyz"]),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(arguments, words, litter, capsys):
    before = sorted(litter.rglob("*"))
    inputs = [path.read_bytes() for path in before if path.is_file()]
    assert run_command(arguments) == 2
    sentence(capsys.readouterr().err, *words)
    assert sorted(litter.rglob("*")) == before
    assert [path.read_bytes() for path in before if path.is_file()] == inputs


def test_what_only_an_mtp_has(here, monkeypatch, capsys):
    """Another kind of potential computes, but has no grades."""

    class Other:
        kind = "gap"
        path = Path("other")
        sha256 = "0" * 64

        def __init__(self):
            self.inner = load_mtp("model")

        def evaluate(self, configurations, *, uncertainty=False):
            return self.inner.evaluate(configurations)

        def close(self):
            self.inner.close()

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self.close()

    monkeypatch.setattr("sscha_mlp.potentials.registry.load", lambda *args, **kwargs: Other())
    assert run_command(["efs", "k/model", "k/near.xyz", "--out", "a.xyz"]) == 0
    capsys.readouterr()
    add = ["select-add", "k/model", "k/train.xyz", "k/far.cfg", "--out", "b.xyz"]
    for arguments, words in (
        (["grade", "k/model", "k/near.xyz"], "a GAP, which has no extrapolation grades"),
        (["export", "k/model", "a.mtp"], "a GAP, which no file format is known for"),
        (add, "d-optimal needs a potential with extrapolation grades, and a GAP has none"),
    ):
        assert run_command(arguments) == 2
        sentence(capsys.readouterr().err, words)
    assert run_command([*add, "--method", "fps", "--n", "1"]) == 0
    assert "1 of 3 chosen (fps): b.xyz" in capsys.readouterr().err
