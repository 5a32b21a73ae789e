"""pw.x and VASP as references: with programs that read and write their files, and real output."""

from pathlib import Path

import ase.io
import fake_codes
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import create_units

from sscha_mlp.calculators.espresso_output import parse_output
from sscha_mlp.errors import ConfigError, InputError, ReferenceFailedError
from sscha_mlp.reference import Reference, get_reference, label
from sscha_mlp.reference.check import CheckSettings, check_reference

CODES = ("espresso", "vasp")
PROGRAMS = {"espresso": "pw", "vasp": "vasp"}
CUTOFFS = {"espresso": "ecutwfc = 30.0", "vasp": "encut = 400.0"}
HEADERS = {
    "espresso": '<PP_HEADER element="{}" pseudo_type="NC"/>\n',
    "vasp": "  PAW_PBE {0}\n   VRHFIN ={0}: d10\n End of Dataset\n",
}


def make_reference(place: Path, code: str, mode: str = "", more: str = "") -> Reference:
    """A reference whose program is a fake, in a directory that holds all that it needs."""
    fake_codes.install(place, PROGRAMS[code], f"{code}.x")
    table = ""
    for element in ("Cu", "Au", "Al"):
        (place / f"{element}.pot").write_text(HEADERS[code].format(element))
        table += f'{element} = "{element}.pot"\n'
    (place / f"{code}.toml").write_text(
        f'[reference]\nname = "{code}"\ncommand = "./{code}.x"\n'
        f'environment = {{ {fake_codes.MODE} = "{mode}" }}\n'
        f"[reference.pseudopotentials]\n{table}[reference.parameters]\n{CUTOFFS[code]}\n"
        f'scratch = "scratch"\n{more}\n'
    )
    return get_reference(place / f"{code}.toml")


def alloy() -> Atoms:
    """Copper, gold and aluminium, elements mixed and far from alphabetical, and displaced."""
    atoms = bulk("Cu", a=3.9, cubic=True).repeat((2, 1, 1))
    atoms.symbols = ["Cu", "Au", "Al", "Cu", "Au", "Cu", "Al", "Au"]
    atoms.rattle(0.08, seed=3)
    atoms.set_cell(atoms.cell.array @ [[1.0, 0.02, 0.0], [0.0, 1.01, 0.0], [0.01, 0.0, 0.98]], True)
    return atoms


@pytest.mark.parametrize(
    ("code", "mode"),
    [("espresso", ""), ("vasp", ""), ("vasp", "other order"), ("vasp", "at the limit")],
)
def test_a_code_gives_the_label_of_its_potential(tmp_path, code, mode):
    """Units, sign of the stress, and which force belongs to which atom."""
    atoms = alloy()
    before = atoms.copy()
    report = label([atoms], make_reference(tmp_path, code, mode))
    energy, forces, stress = fake_codes.emt(atoms)
    assert report.labels[0].energy == pytest.approx(energy, abs=1.0e-6)
    assert report.labels[0].forces == pytest.approx(forces, abs=1.0e-6)
    assert report.labels[0].stress == pytest.approx(stress, abs=1.0e-8)
    assert np.abs(forces).max() > 0.1 and np.abs(stress).max() > 1.0e-3
    assert atoms == before
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("code", "mode", "reason"),
    [
        ("espresso", "unconverged", "self-consistency of pw.x did not converge after 100 steps"),
        ("espresso", "crash", "pw.x ended early, with exit status 139"),
        ("espresso", "silent", "pw.x ended early"),
        ("espresso", "error", "pw.x stopped: Error in routine readpp .1.: it is not there"),
        ("espresso", "cut", "pw.x ended early"),
        ("espresso", "no stress", "pw.x gave no stress"),
        ("vasp", "unconverged", "self-consistency of VASP did not converge in 100 steps"),
        ("vasp", "crash", "VASP ended with exit status 139: .*SIGSEGV"),
        ("vasp", "silent", "VASP ended with exit status 0"),
        ("vasp", "cut", "vasprun.xml is not whole"),
        ("vasp", "no stress", "VASP gave no stress"),
        ("vasp", "other atoms", "atoms in other places than POSCAR"),
    ],
)
def test_a_failure_is_a_reason_and_no_label(tmp_path, code, mode, reason):
    reference = make_reference(tmp_path, code, mode)
    with pytest.raises(ReferenceFailedError, match=reason) as caught:
        label([alloy()], reference)
    (kept,) = (tmp_path / "scratch").iterdir()
    assert f"its files are kept in {kept}" in str(caught.value)
    assert any(kept.iterdir())


@pytest.mark.parametrize("code", CODES)
def test_another_version_than_the_stated_one_is_refused(tmp_path, code):
    reference = make_reference(tmp_path, code, more='version = "1.0"')
    with pytest.raises(ReferenceFailedError, match=r"is version 9.9fake, but .* version 1.0"):
        label([alloy()], reference)
    stated = make_reference(tmp_path, code, more=f'version = "{fake_codes.VERSION}"')
    assert label([alloy()], stated).n_computed == 1


@pytest.mark.parametrize("code", CODES)
def test_an_element_without_pseudopotential_is_refused(tmp_path, code):
    """The sentence names the table and the file in which it belongs."""
    place = rf"Add Ni to \[reference.pseudopotentials\] of {tmp_path / code}.toml"
    with pytest.raises(InputError, match=f"no parameters for Ni; it knows Al, Au, Cu. {place}"):
        label([bulk("Ni")], make_reference(tmp_path, code))


def test_workers_do_not_share_a_directory(tmp_path):
    frames = [alloy() for _ in range(4)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=seed)
    report = label(frames, make_reference(tmp_path, "vasp"), n_workers=2)
    for atoms, one in zip(frames, report.labels, strict=True):
        assert one.forces == pytest.approx(fake_codes.emt(atoms)[1], abs=1.0e-6)


# --- input files


def kept(place: Path, code: str, more: str = "") -> Path:
    """Label one configuration and return the directory with its files."""
    label([alloy()], make_reference(place, code, more=f"keep_files = true\n{more}"))
    (directory,) = (place / "scratch").iterdir()
    return directory


def test_the_input_of_pw_is_that_of_a_displaced_supercell(tmp_path):
    more = (
        'occupations = "smearing"\nsystem.input_dft = "pbesol"\n[reference.kpoints]\nspacing = 9.0'
    )
    directory = kept(tmp_path, "espresso", more)
    text = (directory / "espresso.pwi").read_text()
    values = dict(line.replace(" ", "").split("=") for line in text.splitlines() if "=" in line)
    expected = {
        "tprnfor": ".true.", "tstress": ".true.", "nosym": ".true.", "disk_io": "'none'",
        "occupations": "'smearing'", "smearing": "'cold'", "input_dft": "'pbesol'",
        "ecutwfc": "30.0", "ecutrho": "120.0", "nat": "8", "ntyp": "3",
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected
    assert float(values["conv_thr"]) == pytest.approx(8.0e-9)
    assert "K_POINTS gamma" in text
    written = ase.io.read(directory / "espresso.pwi", format="espresso-in")
    assert written.positions == pytest.approx(alloy().positions, abs=1.0e-8)
    assert (directory / "Au-Au.pot").read_text() == HEADERS["espresso"].format("Au")


def test_ultrasoft_pseudopotentials_get_a_larger_cutoff_of_the_density(tmp_path):
    reference = make_reference(tmp_path, "espresso")
    (tmp_path / "Cu.pot").write_text('<PP_HEADER element="Cu" pseudo_type="USPP"/>\n')
    other = get_reference(tmp_path / "espresso.toml")
    assert dict(reference.parameters["settings"].system)["ecutrho"] == 120.0
    assert dict(other.parameters["settings"].system)["ecutrho"] == 240.0


def test_the_input_of_vasp_is_that_of_a_displaced_supercell(tmp_path):
    directory = kept(
        tmp_path, "vasp", 'incar = { algo = "All", LREAL = "Auto" }\nkpoints = { grid = [2, 1, 3] }'
    )
    tags = dict(line.split(" = ", 1) for line in (directory / "INCAR").read_text().splitlines())
    expected = {
        "IBRION": "-1", "NSW": "0", "ISIF": "2", "ISYM": "0", "ALGO": "All", "LREAL": "Auto",
        "PREC": "Accurate", "ENCUT": "400", "LWAVE": ".FALSE.", "EDIFF": "8e-08",
    }  # fmt: skip
    assert {name: tags[name] for name in expected} == expected
    assert (directory / "KPOINTS").read_text().splitlines()[2:] == ["Gamma", "2 1 3", "0 0 0"]
    potcar = (directory / "POTCAR").read_text()
    assert [line[-7:-5] for line in potcar.splitlines() if "VRHFIN" in line] == ["Al", "Au", "Cu"]
    poscar = (directory / "POSCAR").read_text().splitlines()
    assert poscar[5:7] == ["Al Au Cu", "2 3 3"]


def test_potcar_files_are_found_as_ase_has_them(tmp_path, monkeypatch):
    make_reference(tmp_path, "vasp")
    folder = tmp_path / "pp" / "potpaw_PBE" / "Cu_pv"
    folder.mkdir(parents=True)
    (folder / "POTCAR").write_text(HEADERS["vasp"].format("Cu"))
    text = '[reference]\nname = "vasp"\ncommand = "./vasp.x"\npseudopotentials = { Cu = "Cu_pv" }\n'
    (tmp_path / "pv.toml").write_text(text + "parameters = { encut = 400 }\n")
    monkeypatch.delenv("VASP_PP_PATH", raising=False)
    with pytest.raises(ConfigError, match=r"'Cu_pv' of Cu is not .* VASP_PP_PATH"):
        get_reference(tmp_path / "pv.toml")
    monkeypatch.setenv("VASP_PP_PATH", str(tmp_path / "pp"))
    assert get_reference(tmp_path / "pv.toml").elements == ("Cu",)
    (folder / "POTCAR").write_text(HEADERS["vasp"].format("Au"))
    with pytest.raises(ConfigError, match=r"is one of Au, but .* gives it to Cu"):
        get_reference(tmp_path / "pv.toml")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("incar = { ISIF = 3 }", "incar.ISIF cannot be set"),
        ("incar = { kspacing = 0.2 }", "incar.kspacing cannot be set: give kpoints"),
        ("incar = { PSTRESS = 100 }", "the target pressure is --pressure"),
        ("incar = { GGA = 'PS ; NSW = 5' }", "cannot be written into INCAR"),
        ("incar = { 'GGA = PS' = 1 }", "cannot be written into INCAR"),
        ("incar = 3", "incar is 3; it must be a table"),
        ("encutt = 3", "no parameter encutt. Did you mean 'encut'"),
        ("kpoints = { spacing = -1 }", "kpoints.spacing is -1"),
        ("ediff_per_atom = 0", "ediff_per_atom is 0; it must be a positive number"),
    ],
)
def test_a_bad_table_of_vasp_gets_a_sentence(tmp_path, more, message):
    with pytest.raises(ConfigError, match=message):
        make_reference(tmp_path, "vasp", more=more)


# --- what pw.x really writes

REAL = Path(__file__).with_name("silicon.pwo")
"""Output of pw.x 6.7 for two displaced atoms of silicon in a strained cell, 2×2×2 k-points."""


def test_real_output_is_read_as_ase_reads_it():
    found = parse_output(REAL.read_text(), n_atoms=2, version="6.7MaX")
    expected = ase.io.read(REAL, format="espresso-out").calc.results
    old, new = create_units("2006"), create_units("2018")
    assert found["n_kpoints"] == 8  # Γ-centred 2×2×2 without symmetry: time reversal finds none
    assert found["energy"] / new["Ry"] == pytest.approx(expected["energy"] / old["Ry"])
    assert found["free_energy"] == found["energy"]
    for name in ("forces", "stress"):
        assert found[name] == pytest.approx(expected[name], rel=1.0e-6)


def test_a_real_label_with_another_number_of_atoms_is_refused():
    with pytest.raises(ReferenceFailedError, match="forces on 2 atoms for 3"):
        parse_output(REAL.read_text(), n_atoms=3)


@pytest.mark.slow
def test_a_consistent_code_passes_the_check(tmp_path):
    found = check_reference(make_reference(tmp_path, "espresso"), alloy())
    assert found.passed
    assert found.n_labels == 11 and len(found.differences) == 5
    assert max(abs(one.error) for one in found.differences) < 2.0e-3


# --- the real program


@pytest.mark.qe
def test_a_real_label_of_pw_is_consistent(tmp_path):
    """Forces and stress of two silicon atoms against differences of the energy of pw.x."""
    bundled = Path(__file__).parents[1] / "data" / "silicon-qe.toml"
    text = bundled.read_text().replace("ecutwfc = 24.0", "ecutwfc = 40.0")
    (tmp_path / "silicon.toml").write_text(text.replace("spacing = 0.55", "spacing = 0.7"))
    reference = get_reference(tmp_path / "silicon.toml")
    found = check_reference(reference, bulk("Si", a=5.40), CheckSettings(displacement=0.08))
    assert [one.name for one in found.differences if not one.passed] == []
    assert max(one.noise for one in found.differences if one.unit == "eV/Å") < 1.0e-3
    # The sign of the stress: a compressed crystal pushes outwards.
    squeezed = label([bulk("Si", a=5.0)], reference).labels[0]
    assert np.trace(squeezed.stress) < -0.1
