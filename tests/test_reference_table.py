"""Reference files: what they may say, what identifies a label, and what is refused."""

import json
from pathlib import Path

import fake_codes
import numpy as np
import pytest
from ase.build import bulk

from sscha_mlp.calculators.kpoints import KPoints
from sscha_mlp.calculators.program import split_command
from sscha_mlp.errors import ConfigError
from sscha_mlp.reference import get_reference, label

HEAD = '<UPF version="2.0.1">\n<PP_HEADER element="Cu" pseudo_type="NC"/>\n'

ESPRESSO = """
[reference]
name = "espresso"
command = "./pw.x"
[reference.pseudopotentials]
Cu = "Cu.UPF"
[reference.parameters]
ecutwfc = 30.0
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a fake pw.x and a pseudopotential of copper."""
    fake_codes.install(tmp_path, "pw", "pw.x")
    (tmp_path / "Cu.UPF").write_text(HEAD)
    return tmp_path


def reference_of(place: Path, text: str):
    path = place / "ref.toml"
    path.write_text(text)
    return get_reference(path)


# --- what identifies a label


@pytest.mark.parametrize(
    "running",
    [
        'command = "./pw.x -nk 2"',
        'command = ["./pw.x", "-nk", "2"]',
        'command = "./pw.x"\nenvironment = { OMP_NUM_THREADS = 2 }',
        'command = "./pw.x"\nparameters.scratch = "elsewhere"',
        'command = "./pw.x"\nparameters.keep_files = true',
        'command = "./other/pw.x"',
    ],
)
def test_how_a_code_is_run_identifies_no_label(place, running):
    (place / "other").mkdir()
    fake_codes.install(place / "other", "pw", "pw.x")
    usual = reference_of(place, ESPRESSO)
    text = ESPRESSO.replace('command = "./pw.x"', running.split("\nparameters.")[0])
    if "parameters." in running:
        text += running.split("parameters.")[1]
    other = reference_of(place, text)
    assert other.identity == usual.identity
    assert other.parameters != usual.parameters


@pytest.mark.parametrize(
    "more",
    [
        "[reference.kpoints]\nspacing = 0.2",
        "[reference.kpoints]\ngrid = [2, 2, 2]",
        "[reference.kpoints]\nspacing = 0.3\nshift = [1, 1, 1]",
        "ecutrho = 300.0",
        'occupations = "smearing"',
        "conv_thr_per_atom = 1e-11",
        'system.input_dft = "pbesol"',
        "electrons.mixing_beta = 0.3",
        'version = "7.2"',
    ],
)
def test_what_decides_a_label_is_in_the_identity(place, more):
    assert reference_of(place, ESPRESSO + more).identity != reference_of(place, ESPRESSO).identity


def test_a_pseudopotential_counts_by_its_content(place):
    before = reference_of(place, ESPRESSO)
    (place / "Cu.UPF").rename(place / "renamed.UPF")
    renamed = reference_of(place, ESPRESSO.replace("Cu.UPF", "renamed.UPF"))
    assert renamed.identity == before.identity
    (place / "renamed.UPF").write_text(HEAD + "other numbers\n")
    changed = reference_of(place, ESPRESSO.replace("Cu.UPF", "renamed.UPF"))
    assert changed.identity != before.identity


def test_the_version_is_read_from_the_program(place):
    assert json.loads(reference_of(place, ESPRESSO).identity)["version"] == fake_codes.VERSION
    launched = ESPRESSO.replace('"./pw.x"', f'["/usr/bin/env", "{place}/pw.x"]')
    assert reference_of(place, launched).identity == reference_of(place, ESPRESSO).identity


# --- factories of the user


FACTORY = """
from ase.calculators.emt import EMT

def make(pseudopotentials=None, kpoints=None, command="none", environment=None):
    calculator = EMT()
    calculator.given = (pseudopotentials, kpoints, command, environment)
    return calculator
"""


def test_a_factory_gets_what_the_table_says(tmp_path):
    (tmp_path / "own_codes.py").write_text(FACTORY)
    (tmp_path / "Cu.psf").write_text("numbers")
    text = (
        '[reference]\nfactory = "own_codes:make"\ncommand = "mpirun code"\n'
        'environment = { A = "b" }\npseudopotentials = { Cu = "Cu.psf" }\n'
        "kpoints = { spacing = 0.2 }\n"
    )
    reference = reference_of(tmp_path, text)
    given = reference.make_calculator().given
    assert given == ({"Cu": "Cu.psf"}, {"spacing": 0.2}, "mpirun code", {"A": "b"})
    other = reference_of(tmp_path, text.replace("mpirun code", "srun code"))
    assert other.identity == reference.identity
    denser = reference_of(tmp_path, text.replace("0.2", "0.1"))
    assert denser.identity != reference.identity
    (tmp_path / "Cu.psf").write_text("other numbers")
    assert reference_of(tmp_path, text).identity != reference.identity
    (tmp_path / "Cu.psf").unlink()
    with pytest.raises(ConfigError, match=r"pseudopotential of Cu, .*Cu.psf, is not there"):
        reference_of(tmp_path, text)


def test_a_factory_without_such_a_parameter_says_so(tmp_path):
    (tmp_path / "own_plain.py").write_text(
        "from ase.calculators.emt import EMT\n\ndef make():\n    return EMT()\n"
    )
    text = '[reference]\nfactory = "own_plain:make"\ncommand = "code"\n'
    with pytest.raises(ConfigError, match="unexpected keyword argument 'command'"):
        reference_of(tmp_path, text)


# --- what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ecutwfc = 30.0", ""), "needs ecutwfc, the energy cutoff in Ry"),
        (("ecutwfc = 30.0", "ecutwfc = -30.0"), "ecutwfc is -30.0; it must be a positive"),
        (("ecutwfc = 30.0", "ecutwfc = 'high'"), "ecutwfc is 'high'"),
        (("ecutwfc", "ecutwf"), r"no parameter ecutwf\. Did you mean 'ecutwfc'\?"),
        (('"Cu.UPF"', '"Ag.UPF"'), "'Ag.UPF' of Cu is not in .*quantum-espresso-data"),
        (('Cu = "Cu.UPF"', 'Au = "Cu.UPF"'), "Cu.UPF is one of Cu, but .* gives it to Au"),
        (('Cu = "Cu.UPF"', 'Xy = "Cu.UPF"'), "there is no element 'Xy'"),
        (('Cu = "Cu.UPF"', "Cu = 3"), "pseudopotentials.Cu is 3; it must be a text"),
        (('"./pw.x"', '"./pw.y"'), "'./pw.y' is not found. Install Quantum ESPRESSO"),
        (('"./pw.x"', '"./pw.x; touch hacked"'), "has ';' in it, but no shell runs it"),
        (('"./pw.x"', '"./pw.x $(touch hacked)"'), r"has '\$' in it"),
        (('"./pw.x"', '"./pw.x \'open"'), "cannot be split into words"),
        (('"./pw.x"', '""'), "command is ''; it must be a text or a list of words"),
        (('"./pw.x"', "[]"), "command is .*; it must be"),
        (('"./pw.x"', '"./pw.x"\nenvironment = { A = [1] }'), "environment.A is"),
        (('"./pw.x"', '"./pw.x"\nenvironment = 3'), "reference.environment must be a table"),
        (('"./pw.x"', '"./pw.x"\ncolour = 1'), "unknown key reference.colour"),
        (('"./pw.x"', '"./pw.x"\nfactory = "lj"'), r"either name = .* or factory"),
        (("ecutwfc", "command = 'x'\necutwfc"), "command is in .* give it once"),
        (("ecutwfc", "system.ibrav = 2\necutwfc"), "system.ibrav cannot be set"),
        (("ecutwfc", "system.nonsense = 2\necutwfc"), "no such keyword in &SYSTEM"),
        (("ecutwfc", "electrons.conv_thr = 1.0\necutwfc"), "give conv_thr_per_atom"),
        (("ecutwfc", 'system.input_dft = "a\'\\n/"\necutwfc'), "a quotation mark or a line"),
        (("ecutwfc", "degauss = 0.1\necutwfc"), "degauss has no effect without"),
        (("ecutwfc", 'occupations = "full"\necutwfc'), "occupations is 'full'"),
        (("ecutwfc", "keep_files = 1\necutwfc"), "keep_files is 1"),
        (("ecutwfc", "scratch = 1\necutwfc"), "scratch is 1"),
        (("ecutwfc", "kpoints.spacing = -0.1\necutwfc"), "kpoints.spacing is -0.1"),
        (("ecutwfc", "kpoints.grid = [2, 2]\necutwfc"), "kpoints.grid is .*three positive"),
        (("ecutwfc", "kpoints.grid = [2, 0, 2]\necutwfc"), "kpoints.grid is"),
        (("ecutwfc", "kpoints.shift = [2, 0, 0]\necutwfc"), "either spacing .* or grid"),
        (("ecutwfc", "kpoints.size = [2, 0, 2]\necutwfc"), "kpoints has the unknown key size"),
        (("ecutwfc", "kpoints = 3\necutwfc"), "kpoints is 3; it must be a table"),
    ],
)
def test_a_bad_table_of_a_code_gets_a_sentence(place, change, message):
    text = ESPRESSO.replace(*change)
    assert text != ESPRESSO
    with pytest.raises(ConfigError, match=message) as caught:
        reference_of(place, text)
    assert "ref.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["espresso", "vasp"])
def test_a_code_without_a_table_asks_for_one(name):
    with pytest.raises(ConfigError, match="needs a table pseudopotentials"):
        get_reference(name)


def test_an_unreadable_file(tmp_path):
    (tmp_path / "ref.toml").write_bytes(b"\xff\xfe[reference]")
    with pytest.raises(ConfigError, match=r"ref.toml cannot be read"):
        get_reference(tmp_path / "ref.toml")
    with pytest.raises(ConfigError, match=r"cannot be read"):
        get_reference(tmp_path)


def test_a_bundled_file_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pseudo").mkdir()
    (tmp_path / "pseudo" / "Si.pz-vbc.UPF").write_text(HEAD.replace("Cu", "Si"))
    monkeypatch.setenv("ESPRESSO_PSEUDO", str(tmp_path / "pseudo"))
    fake_codes.install(tmp_path, "pw", "pw.x")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert get_reference("silicon-qe.toml").elements == ("Si",)
    (tmp_path / "silicon-qe.toml").write_text('[reference]\nname = "lj"\n')
    assert get_reference("silicon-qe.toml").name == "lj"


def test_words_that_only_a_shell_understands_stay_words(place):
    """In a list they are passed on as they are; nothing of them happens."""
    assert split_command("mpirun -np 4 'my pw.x'") == ("mpirun", "-np", "4", "my pw.x")
    words = '["./pw.x", "; touch hacked", "$(touch hacked)", "`touch hacked`"]'
    reference = reference_of(place, ESPRESSO.replace('"./pw.x"', words))
    # The fake takes its input from the second word, so it fails; the files show what it was given.
    with pytest.raises(Exception, match="files are kept"):
        label([bulk("Cu", cubic=True)], reference)
    assert not list(place.rglob("hacked"))
    assert not Path("hacked").exists()


# --- k-points


def test_the_grid_follows_the_cell():
    points = KPoints(spacing=0.35)
    cell = bulk("Si", a=5.43).cell.array
    one, two = points.size(cell), points.size(2.0 * cell)
    assert one == (6, 6, 6) and two == (3, 3, 3)
    assert points.is_gamma(8.0 * cell) and not points.is_gamma(2.0 * cell)
    assert KPoints(spacing=None, grid=(2, 1, 3)).size(cell) == (2, 1, 3)
    # Neighbouring points are never further apart than the spacing.
    for size in ((1, 1, 1), (2, 1, 3), (4, 4, 2)):
        supercell = np.diag(size) @ cell
        reciprocal = 2.0 * np.pi * np.linalg.inv(supercell).T
        distances = np.linalg.norm(reciprocal, axis=1) / points.size(supercell)
        assert distances.max() <= 0.35 + 1.0e-9


def test_the_margin_says_where_the_grid_changes():
    points = KPoints(spacing=0.35)
    cell = 2.0 * bulk("Si", a=5.43).cell.array
    shrink, grow = points.margin(cell)
    size = points.size(cell)
    assert (
        points.size((1.0 - 0.99 * shrink) * cell)
        == size
        != points.size((1.0 - 1.01 * shrink) * cell)
    )
    assert (
        points.size((1.0 + 0.99 * grow) * cell) == size != points.size((1.0 + 1.01 * grow) * cell)
    )
    assert KPoints(None, (1, 1, 1)).margin(cell) == (np.inf, np.inf)


def test_a_spacing_that_asks_for_too_many_points():
    with pytest.raises(ConfigError, match="asks for a grid of"):
        KPoints(spacing=1.0e-4).size(bulk("Si").cell.array)
