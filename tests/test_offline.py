"""Labels that are computed by hand: written, brought back in any order, checked, and used."""

import json
import shutil
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from cheap import finish, relax_arguments
from offline_outputs import (
    results,
    shuffled,
    write_outcar,
    write_pw_output,
    write_vasprun,
)

from sscha_mlp.cli import run_command
from sscha_mlp.data.extxyz import read_configurations, write_extxyz
from sscha_mlp.data.formats import read_any, write_any
from sscha_mlp.data.labels import Label, LabelledConfiguration
from sscha_mlp.errors import ConfigError, InputError, WaitingForLabelsError
from sscha_mlp.reference import LabelStore, get_reference, label
from sscha_mlp.reference.consistency import check_units
from sscha_mlp.reference.importing import import_labels
from sscha_mlp.reference.offline import read_request

TEMPLATE = """&CONTROL
  calculation = 'relax', prefix = 'cu', pseudo_dir = './pseudo'
/
&SYSTEM
  ibrav = 2, celldm(1) = 6.8, nat = 1, ntyp = 2, ecutwfc = 60.0
  occupations = 'smearing', degauss = 0.02
/
&ELECTRONS
  conv_thr = 1.0d-10
/
ATOMIC_SPECIES
Cu 63.546 Cu.UPF
Au 196.97 Au.UPF
ATOMIC_POSITIONS alat
Cu 0 0 0
K_POINTS automatic
2 2 2 0 0 0
"""


def frames(n: int = 8, *, size: float = 0.06, strain: float = 0.0):
    """Copper and gold, elements mixed up in the order of the atoms."""
    crystal = bulk("Cu", cubic=True, a=3.75).repeat((2, 1, 1))
    crystal.symbols[[1, 4]] = "Au"
    rng = np.random.default_rng(5)
    made = []
    for _ in range(n):
        atoms = crystal.copy()
        atoms.set_cell(atoms.cell.array * (1.0 + strain * rng.normal()), scale_atoms=True)
        atoms.positions += rng.normal(scale=size, size=(len(atoms), 3))
        made.append(atoms)
    return made


def reference(directory: Path, kind: str):
    lines = ["[reference]", "factory = 'files'", "[reference.parameters]", f"format = '{kind}'"]
    if kind == "qe":
        (directory / "template.in").write_text(TEMPLATE)
        lines.append(f"template = '{directory / 'template.in'}'")
    path = directory / f"{kind}.toml"
    path.write_text("\n".join(lines) + "\n")
    return get_reference(path)


def ask(directory: Path, kind: str, configurations) -> Path:
    """Ask for labels; returns the directory with the inputs."""
    with LabelStore(directory / "labels.db") as store, pytest.raises(WaitingForLabelsError) as told:
        label(configurations, reference(directory, kind), store=store)
    assert told.value.n_waiting == len(configurations)
    return Path(told.value.directory)


def grouped(atoms):
    return atoms[np.argsort(atoms.numbers, kind="stable")]


def compute(directory: Path, kind: str, configurations) -> None:
    """Compute what the inputs say, as somebody would, in another order and with other names."""
    for i, one in enumerate(configurations):
        atoms = shuffled(one, i)
        place = directory / f"run-{len(configurations) - i}"
        place.mkdir()
        if kind == "qe":
            write_pw_output(place / "scf.out", atoms, results(atoms, EMT()))
        elif kind == "outcar":
            write_outcar(place / "OUTCAR", grouped(atoms), results(grouped(atoms), EMT()))
        elif kind == "vasp":
            write_vasprun(place / "vasprun.xml", grouped(atoms), results(grouped(atoms), EMT()))
        else:
            energy, forces, stress = results(atoms, EMT())
            made = LabelledConfiguration(atoms, Label(energy, forces, stress))
            write_any(place / f"out.{'xyz' if kind == 'extxyz' else 'cfg'}", [made])


def bring(directory: Path, store_path: Path, **more):
    with LabelStore(store_path) as store:
        return import_labels(directory, [read_request(directory)], store, **more)


@pytest.mark.parametrize("kind", ["qe", "vasp", "outcar", "extxyz", "cfg"])
def test_round_trip_in_each_format(kind, tmp_path):
    """The labels are those of the potential, whatever the order, origin and names of the files."""
    configurations = frames()
    input_format = "vasp" if kind == "outcar" else kind
    directory = ask(tmp_path, input_format, configurations)
    compute(directory, kind, configurations)
    report = bring(directory, tmp_path / "labels.db")
    assert (report.n_labels, report.n_waiting, report.failures) == (8, 0, ())
    assert any("energies and forces belong together" in one for one in report.units.checked)
    with LabelStore(tmp_path / "labels.db") as store:
        done = label(configurations, reference(tmp_path, input_format), store=store)
    assert (done.n_reused, done.failures) == (8, ())
    for atoms, found in zip(configurations, done.labels, strict=True):
        energy, forces, stress = results(atoms, EMT())
        # pw.x and the OUTCAR round positions, which the potential sees.
        assert found.energy == pytest.approx(energy, abs=2e-5)
        assert np.abs(found.forces - forces).max() < 2e-4
        assert np.abs(found.stress - stress).max() < 2e-6


@pytest.mark.parametrize("kind", ["qe", "vasp", "extxyz", "cfg"])
def test_inputs_hold_the_configurations(kind, tmp_path):
    configurations = frames(2)
    directory = ask(tmp_path, kind, configurations)
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["format"] == kind
    formats = {"qe": "espresso-in", "vasp": "poscar"}
    for i, one in enumerate(manifest["configurations"]):
        path = directory / one["input"]
        read = read_any(path, file_format=formats.get(kind, kind))
        atoms = read[i] if len(read) > 1 else read[0]
        wanted = grouped(configurations[i]) if kind == "vasp" else configurations[i]
        if kind == "vasp":
            atoms = grouped(atoms)
        assert atoms.get_chemical_symbols() == wanted.get_chemical_symbols()
        assert np.allclose(atoms.cell.array, wanted.cell.array, atol=1e-9)
        assert np.allclose(atoms.positions, wanted.positions, atol=1e-9)
    if kind == "qe":
        text = (directory / "000" / "pw.in").read_text()
        for words in ("tstress = .true.", "tprnfor = .true.", "calculation = 'scf'", "ibrav = 0"):
            assert words in text
        for words in ("Au.UPF", "2 2 2 0 0 0", "ecutwfc = 60.0", "ntyp = 2", "nat = 8"):
            assert words in text
        assert "celldm" not in text


def test_asking_again_writes_nothing_new(tmp_path):
    configurations = frames(4)
    first = ask(tmp_path, "extxyz", configurations)
    assert ask(tmp_path, "extxyz", configurations) == first
    compute(first, "extxyz", configurations[:1])
    assert bring(first, tmp_path / "labels.db").n_waiting == 3
    assert ask(tmp_path, "extxyz", configurations[1:]) == first
    assert [one.name for one in first.parent.iterdir()] == ["000"]


def test_scf_that_did_not_converge_is_a_failure_and_is_not_asked_for_again(tmp_path):
    configurations = frames(3)
    directory = ask(tmp_path, "qe", configurations)
    for i, one in enumerate(configurations):
        write_pw_output(directory / f"{i}.out", one, results(one, EMT()), converged=i != 1)
    report = bring(directory, tmp_path / "labels.db")
    assert report.n_labels == 2
    assert len(report.failures) == 1 and "SCF not converged" in report.failures[0]
    with LabelStore(tmp_path / "labels.db") as store:
        done = label(configurations, reference(tmp_path, "qe"), store=store)
    assert [one.index for one in done.failures] == [1]
    write_pw_output(directory / "1.out", configurations[1], results(configurations[1], EMT()))
    assert bring(directory, tmp_path / "labels.db").n_labels == 1


def test_vasp_that_did_not_converge(tmp_path):
    configurations = [grouped(one) for one in frames(2)]
    directory = ask(tmp_path, "vasp", configurations)
    for i, one in enumerate(configurations):
        (directory / f"a{i}").mkdir()
        values = results(one, EMT())
        if i == 0:
            write_outcar(directory / "a0" / "OUTCAR", one, values, converged=False)
        else:
            write_vasprun(directory / "a1" / "vasprun.xml", one, values, n_steps=60)
    report = bring(directory, tmp_path / "labels.db")
    assert len(report.failures) == 2 and report.n_labels == 0
    assert all("SCF not converged" in one for one in report.failures)


def test_a_calculation_that_has_not_ended_is_waited_for(tmp_path):
    configurations = frames(2)
    directory = ask(tmp_path, "qe", configurations)
    for i, one in enumerate(configurations):
        write_pw_output(directory / f"{i}.out", one, results(one, EMT()), done=i == 0)
    report = bring(directory, tmp_path / "labels.db")
    assert (report.n_labels, report.n_waiting) == (1, 1)
    assert any("has not ended" in one for one in report.notes)


# --- units and signs ------------------------------------------------------------------------

FORCE = units.Rydberg / units.Bohr
WRONG = {
    "energies look like Ry": (1 / units.Rydberg, 1, 1),
    "energies per atom": (1 / 8, 1, 1),
    "energies look like Hartree": (1 / units.Hartree, 1, 1),
    "wrong sign": (1, -1, 1),
    "forces look like Ry/bohr": (1, 1 / FORCE, 1),
    "Ry and Ry/bohr": (1 / units.Rydberg, 1 / FORCE, 1),
    "GPa": (1, 1, 1 / units.GPa),
    "kbar": (1, 1, 10 / units.GPa),
    "Ry/bohr³": (1, 1, units.Bohr**3 / units.Rydberg),
    "exactly zero": (1, 1, 0),
}


def labels_of(configurations, energy=1.0, force=1.0, stress=1.0):
    made = []
    for atoms in configurations:
        e, f, s = results(atoms, EMT())
        made.append(Label(e * energy, f * force, s * stress))
    return made


@pytest.mark.parametrize("words", WRONG)
def test_wrong_units_are_refused_and_named(words, tmp_path):
    configurations = frames(10)
    directory = ask(tmp_path, "extxyz", configurations)
    made = labels_of(configurations, *WRONG[words])
    pairs = [LabelledConfiguration(a, b) for a, b in zip(configurations, made, strict=True)]
    write_extxyz(directory / "out.xyz", pairs)
    with pytest.raises(InputError, match=words.replace("³", ".")):
        bring(directory, tmp_path / "labels.db")
    with LabelStore(tmp_path / "labels.db") as store:
        identity = read_request(directory).identity
        assert store.find(configurations, identity) == (None,) * 10


@pytest.mark.parametrize(
    ("words", "factor"),
    [
        ("sign is that of a pressure", -1.0),
        ("like GPa\\.", 1 / units.GPa),
        ("kbar with the sign of a pressure", -10 / units.GPa),
    ],
)
def test_the_stress_is_judged_by_the_energies_of_strained_cells(words, factor):
    configurations = frames(10, size=0.01, strain=0.02)
    with pytest.raises(InputError, match=words):
        check_units(configurations, labels_of(configurations, stress=factor))
    good = check_units(configurations, labels_of(configurations))
    assert any("stress and energies belong together" in one for one in good.checked)


def test_the_stress_is_judged_by_a_model():
    configurations = frames(10)
    expected = np.array([one.stress for one in labels_of(configurations)])
    rough = expected * np.random.default_rng(0).normal(1.0, 0.1, expected.shape)
    good = check_units(configurations, labels_of(configurations), expected_stress=rough)
    assert any("model belong together" in one for one in good.checked)
    with pytest.raises(InputError, match="sign is that of a pressure"):
        check_units(configurations, labels_of(configurations, stress=-1.0), expected_stress=rough)


def test_what_cannot_be_checked_is_said():
    one = frames(1)
    told = check_units(one, labels_of(one)).unchecked
    assert any("one label only" in text for text in told)
    assert any("sign of the stress" in text for text in told)


def test_energies_shifted_against_those_known_are_refused():
    configurations = frames(20)
    made = labels_of(configurations)
    known = list(zip(configurations[:10], made[:10], strict=True))
    new = configurations[10:]
    assert check_units(new, made[10:], known=known).checked
    shifted = [Label(one.energy + 30.0, one.forces, one.stress) for one in made[10:]]
    with pytest.raises(InputError, match="pseudopotentials"):
        check_units(new, shifted, known=known)


# --- wrong and missing files ----------------------------------------------------------------


def test_wrong_and_missing_files(tmp_path):
    configurations = frames(4)
    directory = ask(tmp_path, "extxyz", configurations)
    with pytest.raises(InputError, match="holds no output"):
        bring(directory, tmp_path / "labels.db")
    other = frames(1, size=0.2)[0]
    write_extxyz(directory / "out.xyz", [LabelledConfiguration(other, labels_of([other])[0])])
    with pytest.raises(InputError, match=r"None of the 1 outputs.*no configuration that was asked"):
        bring(directory, tmp_path / "labels.db")
    atoms = configurations[0].copy()
    energy, forces, _ = results(atoms, EMT())
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    ase.io.write(directory / "out.xyz", atoms)
    with pytest.raises(InputError, match="no stress"):
        bring(directory, tmp_path / "labels.db")
    (directory / "configurations.xyz").unlink()
    with pytest.raises(InputError, match=r"configurations\.xyz"):
        bring(directory, tmp_path / "labels.db")
    (directory / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json cannot be read"):
        bring(directory, tmp_path / "labels.db")


def test_two_outputs_of_one_configuration_must_agree(tmp_path):
    configurations = frames(2)
    directory = ask(tmp_path, "extxyz", configurations)
    first, second = labels_of(configurations[:1])[0], labels_of(configurations[:1])[0]
    for name, one in (("a.xyz", first), ("b.xyz", second)):
        write_extxyz(directory / name, [LabelledConfiguration(configurations[0], one)])
    assert bring(directory, tmp_path / "labels.db").n_labels == 1
    directory = ask(tmp_path, "extxyz", configurations[1:])
    wrong = Label(first.energy + 1.0, first.forces, first.stress)
    for name, one in (("a.xyz", first), ("b.xyz", wrong)):
        write_extxyz(directory / name, [LabelledConfiguration(configurations[1], one)])
    with pytest.raises(InputError, match="keep the right one"):
        bring(directory, tmp_path / "labels.db")


def test_references_of_files_that_cannot_be(tmp_path):
    def made(text: str):
        path = tmp_path / "reference.toml"
        path.write_text(f"[reference]\nfactory = 'files'\n[reference.parameters]\n{text}\n")
        return get_reference(path)

    with pytest.raises(ConfigError, match="has no format 'abinit'"):
        made("format = 'abinit'")
    with pytest.raises(ConfigError, match="needs template"):
        made("format = 'qe'")
    (tmp_path / "bad.in").write_text("&SYSTEM\n/\nATOMIC_SPECIES\nCu 1 Cu.UPF\n")
    with pytest.raises(ConfigError, match="no K_POINTS"):
        made(f"format = 'qe'\ntemplate = '{tmp_path / 'bad.in'}'")
    assert made("name = 'a'").identity != made("name = 'b'").identity


# --- a whole run ----------------------------------------------------------------------------


def labelled_by_hand(run: Path) -> int:
    """Compute what the newest request asks for with EMT."""
    directory = max((run / "offline").iterdir())
    configurations = read_configurations(directory / "configurations.xyz")
    made = [
        LabelledConfiguration(a, b)
        for a, b in zip(configurations, labels_of(configurations), strict=True)
    ]
    write_extxyz(directory / "out.xyz", made)
    assert run_command(["label", "import", str(directory)]) == 0
    return len(made)


def test_a_run_by_hand_ends_with_the_result_of_the_same_run(tmp_path, capsys):
    arguments = [*relax_arguments(tmp_path, "files", explore_configs=0), "--quiet"]
    config = tmp_path / "tiny.toml"
    config.write_text(config.read_text().replace("[start]", "[start]\nrelax = false"))
    asked = []
    while (status := run_command(arguments)) == 3:
        assert "waiting for" in capsys.readouterr().err
        assert len(asked) < 8
        asked.append(labelled_by_hand(tmp_path / "run"))
    assert status == 0
    assert asked[:2] == [9, 14]  # the start in one batch, then training and test together
    by_hand = json.loads((tmp_path / "run" / "result.json").read_text())
    shutil.rmtree(tmp_path / "run")
    direct = finish(tmp_path)
    for name in ("volume_A3_per_atom", "free_energy_eV_per_atom", "labels"):
        assert by_hand[name] == direct[name]
    assert by_hand["labels"]["start"] == 9
