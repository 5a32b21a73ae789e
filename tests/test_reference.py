"""References: what users may ask for, what they get, and what happens when it fails."""

import json
import pickle
import warnings
from pathlib import Path

import faulty
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import parameters as emt_parameters
from ase.calculators.tersoff import Tersoff, TersoffParameters
from ase.constraints import FixAtoms
from ase.eos import calculate_eos

from sscha_mlp.calculators.builtin import EMT_ELEMENTS
from sscha_mlp.calculators.compute import compute_label
from sscha_mlp.calculators.tersoff import CHI, ELEMENTS, tersoff_parameters
from sscha_mlp.data import configuration_key
from sscha_mlp.errors import ConfigError, InputError, ModelError, ReferenceFailedError
from sscha_mlp.quippy_adapter import quippy_potential
from sscha_mlp.reference import LabelReport, Reference, get_reference, label, reference_names


def rattled(name: str, n: int, amplitude: float = 0.1, **options) -> list[Atoms]:
    made = []
    for seed in range(n):
        atoms = bulk(name, **options)
        atoms.rattle(amplitude, seed=seed)
        made.append(atoms)
    return made


def copper(n: int, tags: dict[int, int] | None = None) -> list[Atoms]:
    configurations = rattled("Cu", n, cubic=True)
    for index, tag in (tags or {}).items():
        configurations[index].set_tags(tag)
    return configurations


FAULTY = Reference.from_factory(faulty.faulty)


# --- what users may ask for


@pytest.mark.parametrize("name", reference_names())
def test_every_name_gives_a_reference(name):
    reference = get_reference(name)
    assert reference.name == name
    assert json.loads(reference.identity)
    assert reference.description
    assert pickle.loads(pickle.dumps(reference)) == reference
    assert get_reference(reference) is reference


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tersof", r"no reference 'tersof'. Did you mean 'tersoff'\? Valid: tersoff, .*emt, lj"),
        ("vast", r"no reference 'vast'\. Did you mean 'vasp'\?.*which espresso and vasp need"),
        ("nowhere:make", "module 'nowhere' cannot be imported"),
        ("faulty:nothing", "faulty.*has no attribute 'nothing'"),
        ("faulty:not_callable", "is a float, not a function"),
        (":make", "cannot be imported"),
        ("missing.toml", "There is no reference file missing.toml"),
    ],
)
def test_unknown_references(spec, message):
    with pytest.raises(ConfigError, match=message):
        get_reference(spec)


def test_factory_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_calculators.py").write_text(
        "from ase.calculators.emt import EMT\n\ndef make(asap=False):\n"
        '    """My own."""\n    return EMT(asap_cutoff=asap)\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    reference = get_reference("my_calculators:make")
    assert reference.description == "My own."
    settings = json.loads(reference.identity)
    assert settings["factory"] == "my_calculators:make"
    assert len(settings["source_sha256"]) == 64
    report = label(copper(2), reference, n_workers=2)
    assert report.n_computed == 2

    (tmp_path / "ref.toml").write_text(
        '[reference]\nfactory = "my_calculators:make"\n[reference.parameters]\nasap = true\n'
    )
    with_parameters = get_reference("ref.toml")
    assert with_parameters.identity != reference.identity
    assert with_parameters.make_calculator().parameters["asap_cutoff"] is True
    assert get_reference(tmp_path / "ref.toml").identity == with_parameters.identity


def test_toml_with_a_built_in_name(tmp_path: Path):
    path = tmp_path / "argon.toml"
    path.write_text('[reference]\nfactory = "lj"\n[reference.parameters]\nepsilon = 0.02\n')
    assert get_reference(path).make_calculator().parameters["epsilon"] == 0.02
    assert get_reference(path).identity != get_reference("lj").identity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("factory = 'lj'", r"needs a table \[reference\]"),
        ("[reference]\nname = 3", r"needs a table \[reference\]"),
        ("[reference]\nname = 'lj'\nfactory = 'lj'", r"needs a table \[reference\]"),
        ("[reference]\nfactory = 'lj'\ncolour = 1", "unknown key reference.colour; valid are"),
        ("[reference]\nfactory = 'lj'\n[model]\nx = 1", "unknown key model"),
        ("[reference]\nfactory = 'lj'\nparameters = 1", "parameters must be a table"),
        ("[reference]\nfactory = 'lj'\nparameters.a = 1", "Valid parameters: sigma, epsilon"),
        ("[reference]\nfactory = 'lj'\nparameters.rc = 1", "ro smaller than rc"),
        ("[reference]\nfactory = 'lj'\nparameters.rc = 'x'", "The parameters .* of the reference"),
        ("[reference]\nfactory = 'emt'\nparameters.a = 1", "Valid parameters: none"),
        ("[reference]\nfactory = 'tersoff'\nparameters.elements = ['Cu']", "out of C, Si, Ge"),
        ("[reference]\nfactory = 'tersoff'\nparameters.elements = []", "give each once"),
        ("[reference]\nfactory = 'tersoff'\nparameters.elements = ['C', 'Ge']", "C and Ge"),
        ("[reference\n", "cannot be read"),
    ],
)
def test_bad_toml(tmp_path: Path, text, message):
    path = tmp_path / "ref.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        get_reference(path)


def test_identity_is_stable_and_complete():
    assert get_reference("tersoff").identity == get_reference("tersoff").identity
    one = Reference.from_factory(faulty.counting, delay=0.0)
    other = Reference.from_factory(faulty.counting, delay=0.1)
    assert one.identity != other.identity
    with pytest.raises(ConfigError, match="unexpected keyword argument 'speed'"):
        Reference.from_factory(faulty.counting, speed=1)
    with pytest.raises(ConfigError, match="cannot be written as JSON"):
        Reference.from_factory(faulty.counting, delay=object())


# --- physics


def silicon_by_hand() -> str:
    return """<Tersoff_params n_types="1" label="PRB_39">
<per_type_data type="1" atomic_num="14" A="1830.8" B="471.18" lambda="2.4799" mu="1.7322"
 beta="0.0000011" n="0.78734" c="100390" d="16.217" h="-0.59825" R="2.7" S="3.0" />
<per_pair_data type1="1" type2="1" chi="1.0" /></Tersoff_params>"""


def test_silicon_is_that_of_the_paper():
    (atoms,) = rattled("Si", 1, cubic=True)
    expected = compute_label(atoms, quippy_potential("IP Tersoff", param_str=silicon_by_hand()))
    found = compute_label(atoms, get_reference("tersoff").make_calculator())
    assert found.energy == expected.energy
    assert np.array_equal(found.forces, expected.forces)


@pytest.mark.parametrize(
    ("reference", "structure", "lattice_parameter", "energy"),
    [
        # Table II of Tersoff, PRB 39, 5566 (1989), for the elements: cohesive energies and a.
        ("tersoff", bulk("Si", "diamond", a=5.43), 5.432, -4.63),
        ("tersoff-sic", bulk("C", "diamond", a=3.57), 3.566, -7.37),
        ("tersoff-sige", bulk("Ge", "diamond", a=5.66), 5.657, -3.85),
        # The compound as in the text of the same paper: 4.32 Å.
        ("tersoff-sic", bulk("SiC", "zincblende", a=4.32), 4.321, -6.165),
    ],
)
def test_lattice_parameters_of_the_paper(reference, structure, lattice_parameter, energy):
    structure.calc = get_reference(reference).make_calculator()
    v0, e0, _ = calculate_eos(structure, npoints=7, eps=0.01).fit()
    assert (4.0 * v0) ** (1.0 / 3.0) == pytest.approx(lattice_parameter, abs=2.0e-3)
    assert e0 / 2.0 == pytest.approx(energy, abs=6.0e-3)


def ase_tersoff(first: str, second: str) -> Tersoff:
    """Tersoff in ASE's own code: the mixing rules of the paper written out for every triple."""
    table = {}
    for i in (first, second):
        for j in (first, second):
            for k in (first, second):
                a, b, c = ELEMENTS[i], ELEMENTS[j], ELEMENTS[k]
                R, S = np.sqrt(a.R * c.R), np.sqrt(a.S * c.S)
                table[i, j, k] = TersoffParameters(
                    m=3, gamma=1.0, lambda3=0.0, c=a.c, d=a.d, h=a.h, n=a.n, beta=a.beta,
                    lambda2=0.5 * (a.mu + b.mu),
                    B=np.sqrt(a.B * b.B) * CHI.get(frozenset({i, j}), 1.0),
                    R=0.5 * (R + S), D=0.5 * (S - R),
                    lambda1=0.5 * (a.lambda_ + b.lambda_), A=np.sqrt(a.A * b.A),
                )  # fmt: skip
    return Tersoff(table)


@pytest.mark.parametrize(
    ("name", "first", "second", "a"),
    [("tersoff-sic", "Si", "C", 4.32), ("tersoff-sige", "Si", "Ge", 5.54)],
)
def test_mixed_crystals_agree_with_a_second_code(name, first, second, a):
    atoms = bulk(first + second, "zincblende", a=a, cubic=True)
    atoms.rattle(0.05, seed=2)
    ours = compute_label(atoms, get_reference(name).make_calculator())
    other = compute_label(atoms, ase_tersoff(first, second))
    assert ours.energy == pytest.approx(other.energy, abs=1.0e-6)
    assert ours.forces == pytest.approx(other.forces, abs=1.0e-6)


@pytest.mark.parametrize(
    ("name", "atoms"),
    [
        ("tersoff", bulk("Si", a=5.43, cubic=True)),
        ("tersoff-sic", bulk("SiC", "zincblende", a=4.36, cubic=True)),
        ("emt", bulk("Cu", cubic=True)),
        ("lj", bulk("Ar", "fcc", a=5.3, cubic=True)),
    ],
)
def test_forces_and_stress_are_derivatives(name, atoms):
    atoms.rattle(0.05, seed=1)
    calculator = get_reference(name).make_calculator()
    at = compute_label(atoms, calculator)
    assert at.forces.sum(axis=0) == pytest.approx(0.0, abs=1.0e-8)
    step = 1.0e-4
    for atom, axis in ((0, 0), (1, 2)):
        energies = []
        for sign in (-1.0, 1.0):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(compute_label(moved, calculator).energy)
        numerical = -(energies[1] - energies[0]) / (2.0 * step)
        assert at.forces[atom, axis] == pytest.approx(numerical, abs=1.0e-5)
    for i, j in ((0, 0), (1, 2)):
        energies = []
        for sign in (-1.0, 1.0):
            strain = np.eye(3)
            strain[i, j] += 0.5 * sign * step
            strain[j, i] += 0.5 * sign * step
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(compute_label(strained, calculator).energy)
        numerical = (energies[1] - energies[0]) / (2.0 * step) / atoms.get_volume()
        assert at.stress[i, j] == pytest.approx(numerical, abs=1.0e-6)


def test_emt_elements_are_those_of_ase():
    assert set(EMT_ELEMENTS) == set(emt_parameters)


def test_parameters_only_reach_as_far_as_their_elements():
    assert 'n_types="1"' in tersoff_parameters()
    assert "3.1" not in tersoff_parameters(["Si"])
    assert tersoff_parameters(["Ge", "Si"]) == tersoff_parameters(["Si", "Ge"])


# --- quippy


def test_quippy_leaves_the_warnings_and_the_streams_alone(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
        quippy_potential("IP Tersoff", param_str=tersoff_parameters())
        assert np.array([1.0 + 1.0j]).astype(float) == [1.0]
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_quippy_computes_all_at_once():
    calculator = quippy_potential("IP Tersoff", param_str=tersoff_parameters())
    calculator.get_property("energy", bulk("Si"))
    assert {"energy", "forces", "stress"} <= calculator.results.keys()


def test_bad_quip_parameters(tmp_path: Path):
    with pytest.raises(ModelError, match="does not exist"):
        quippy_potential("IP GAP", param_filename=tmp_path / "GAP.xml")
    with pytest.raises(ModelError, match="QUIP cannot read the parameters of IP Tersoff"):
        quippy_potential("IP Tersoff", param_str="<nonsense/>")
    with pytest.raises(InputError, match="either as text or as a file"):
        quippy_potential("IP Tersoff")


# --- labelling, and what may go wrong


def assert_complete(report: LabelReport, n: int) -> None:
    assert len(report.labels) == n
    assert {f.index for f in report.failures} == {i for i, x in enumerate(report.labels) if not x}


def test_labels_are_aligned_and_inputs_unchanged():
    configurations = copper(4)
    configurations[1].set_constraint(FixAtoms([0, 1]))
    configurations[2].info["weight"] = 3
    before = [configuration_key(atoms) for atoms in configurations]
    seen = []
    report = label(
        configurations,
        get_reference("emt"),
        n_workers=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert_complete(report, 4)
    assert (report.n_computed, report.n_reused, report.failures) == (4, 0, ())
    assert seen == [(i, 4) for i in range(5)]
    assert [configuration_key(atoms) for atoms in configurations] == before
    assert len(configurations[1].constraints) == 1
    assert all(atoms.calc is None for atoms in configurations)
    serial = label(configurations, get_reference("emt"))
    for one, other, atoms in zip(report.labels, serial.labels, configurations, strict=True):
        direct = compute_label(atoms, get_reference("emt").make_calculator())
        assert one.energy == other.energy == direct.energy
        assert np.array_equal(one.forces, direct.forces)
        assert np.array_equal(one.stress, other.stress)


def test_nothing_to_label():
    assert label([], get_reference("emt")).labels == ()


def test_twins_are_computed_once():
    (atoms,) = copper(1)
    report = label([atoms, atoms.copy(), atoms], get_reference("emt"))
    assert (report.n_computed, report.n_reused) == (1, 2)
    assert len({x.energy for x in report.labels}) == 1


def test_each_failure_has_its_reason():
    tags = {1: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6}
    report = label(copper(9, tags), FAULTY, n_workers=2, time_limit=3.0)
    assert_complete(report, 9)
    reasons = {failure.index: failure.reason for failure in report.failures}
    assert reasons.keys() == tags.keys()
    assert reasons[1] == "RuntimeError: the electronic structure did not converge"
    assert reasons[3] == "exceeded the time limit of 3 s"
    assert "worker process ended with exit status 9" in reasons[4]
    assert "forces holds NaN or infinity in 1 of 12 numbers" in reasons[5]
    assert reasons[6] == "the calculator gave no stress"
    assert "energy holds NaN or infinity" in reasons[7]
    assert report.n_computed == 3


def test_a_failure_leaves_nothing_for_the_next_configuration():
    configurations = copper(2, {0: 1})
    report = label(configurations, FAULTY)
    configurations[1].set_tags(0)
    expected = compute_label(configurations[1], get_reference("emt").make_calculator())
    assert report.labels[0] is None
    assert report.labels[1].energy == expected.energy


def test_all_failed():
    with pytest.raises(ReferenceFailedError, match=r"every one of the 3 .* did not converge"):
        label(copper(3, dict.fromkeys(range(3), 1)), FAULTY)


def test_gives_up_early():
    done = []
    with pytest.raises(ReferenceFailedError, match=r"every one of the 20"):
        label(copper(50, dict.fromkeys(range(50), 1)), FAULTY, progress=lambda d, _: done.append(d))
    assert max(done) == 19


def test_not_converged_is_a_failure():
    calculator = get_reference("emt").make_calculator()
    calculator.converged = False
    with pytest.raises(ReferenceFailedError, match="has not converged"):
        compute_label(copper(1)[0], calculator)


def test_unknown_element_is_named_at_once():
    with pytest.raises(InputError, match="'tersoff' has no parameters for Cu; it knows Si"):
        label(copper(1), get_reference("tersoff"))


@pytest.mark.parametrize("factory", [faulty.broken_factory, faulty.no_calculator])
def test_factory_that_makes_no_calculator(factory):
    reference = Reference.from_factory(factory)
    for n_workers in (1, 2):
        with pytest.raises(ReferenceFailedError, match=r"cannot be set up: .*(licence|'str')"):
            label(copper(3), reference, n_workers=n_workers)


def test_check_says_whether_a_reference_works():
    assert get_reference("emt").check(bulk("Cu")).forces.shape == (1, 3)
    with pytest.raises(InputError, match="no parameters for Cu"):
        get_reference("tersoff").check(bulk("Cu"))
    bad, hanging = copper(2, {0: 5, 1: 2})
    with pytest.raises(ReferenceFailedError, match="cannot label Cu4: the calculator gave no str"):
        FAULTY.check(bad)
    with pytest.raises(ReferenceFailedError, match="exceeded the time limit"):
        FAULTY.check(hanging, time_limit=0.3)
