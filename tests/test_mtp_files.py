"""MTP files: round trips, what motep reads and writes, broken files, the active set."""

import re
import struct
from dataclasses import replace

import numpy as np
import pytest

from sscha_mlp.errors import InputError, ModelError
from sscha_mlp.potentials.mtp.almtp import (
    ActiveSetBlock,
    SelectionMode,
    active_set_block,
    linear_active_set_block,
    read_almtp,
    write_almtp,
)
from sscha_mlp.potentials.mtp.files import (
    format_mtp,
    lammps_snippet,
    read_mtp,
    read_template,
    write_mtp,
)
from sscha_mlp.potentials.mtp.parameters import Parameters
from sscha_mlp.potentials.mtp.template import Template

# Level 4: one density and its square.
SMALL = Template(
    basic=np.array([[0, 0, 0, 0]]),
    products=np.array([[0, 0, 1, 1]]),
    scalars=np.array([0, 1]),
    n_moments=2,
)
# Two radial functions; moment 6 is the square of a vector.
LARGER = Template(
    basic=np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]]),
    products=np.array([[0, 0, 1, 5], [1, 1, 1, 6], [2, 2, 1, 6], [3, 3, 1, 6]]),
    scalars=np.array([0, 4, 6, 5]),
    n_moments=7,
)


def mtp(template=LARGER, species=(14,), *, seed=0):
    """Random numbers with all digits and of all sizes."""
    rng = np.random.default_rng(seed)
    n = len(species)

    def numbers(*shape):
        return rng.normal(size=shape) * 10.0 ** rng.integers(-30, 5, shape)

    return Parameters(
        template=template,
        species=species,
        min_dist=1.7 + 0.1 * rng.random(),
        max_dist=5.0 + rng.random(),
        radial_coeffs=numbers(n, n, template.n_radial, 8),
        species_coeffs=numbers(n),
        moment_coeffs=numbers(template.n_scalars),
        scaling=rng.random(),
    )


MODELS = [mtp(SMALL), mtp(), mtp(species=(32, 14)), mtp(SMALL, species=(1, 8, 79), seed=4)]


def assert_same(one, other):
    for name in ("species", "min_dist", "max_dist", "scaling"):
        assert getattr(one, name) == getattr(other, name)
    for name in ("radial_coeffs", "species_coeffs", "moment_coeffs"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert_same_template(one.template, other.template)


def assert_same_template(one, other):
    assert one.n_moments == other.n_moments
    for name in ("basic", "products", "scalars"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def written(tmp_path, text, name="a.mtp"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# -------------------------------------------------------------------------------- the potential


@pytest.mark.parametrize("model", MODELS)
def test_what_is_written_is_read_to_the_last_digit(model, tmp_path):
    write_mtp(tmp_path / "a.mtp", model)
    assert_same(read_mtp(tmp_path / "a.mtp"), model)
    assert_same_template(read_template(tmp_path / "a.mtp"), model.template)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mtp"]


def test_order_of_the_fields_is_that_of_mlip():
    # MLIP-3, MLMTPR::Load, takes them one by one; it skips the tag, and the name is one word.
    names = re.findall(r"^\s*(\w+) =|^\s*(radial_coeffs)$", format_mtp(mtp()), re.MULTILINE)
    assert ["".join(name) for name in names] == [
        *("version", "potential_name", "scaling", "species_count", "potential_tag"),
        *("radial_basis_type", "min_dist", "max_dist", "radial_basis_size"),
        *("radial_funcs_count", "radial_coeffs", "alpha_moments_count"),
        *("alpha_index_basic_count", "alpha_index_basic", "alpha_index_times_count"),
        *("alpha_index_times", "alpha_scalar_moments", "alpha_moment_mapping"),
        *("species_coeffs", "moment_coeffs"),
    ]


def test_text_of_a_small_file():
    model = replace(mtp(SMALL, species=(32, 14)), scaling=0.25, min_dist=1.5, max_dist=5.0)
    lines = format_mtp(model).splitlines()
    assert lines[:7] == [
        "MTP",
        "version = 1.1.0",
        "potential_name = sscha-mlp",
        "scaling = 2.5000000000000000e-01",
        "species_count = 2",
        "potential_tag = species:Ge,Si",
        "radial_basis_type = RBChebyshev",
    ]
    assert [line for line in lines if "-" in line and "=" not in line and "{" not in line] == [
        *("\t\t0-0", "\t\t0-1", "\t\t1-0", "\t\t1-1")
    ]
    assert "alpha_index_times = {{0, 0, 1, 1}}" in lines
    assert "alpha_moment_mapping = {0, 1}" in lines


@pytest.mark.parametrize("model", MODELS)
def test_motep_reads_what_is_written(model, tmp_path):
    motep = pytest.importorskip("motep.io.mlip.mtp")
    write_mtp(tmp_path / "a.mtp", model)
    data = motep.read_mtp(tmp_path / "a.mtp")
    assert data.species_count == len(model.species)
    assert data.scaling == model.scaling
    assert (data.radial_basis.min, data.radial_basis.max) == (model.min_dist, model.max_dist)
    assert data.radial_basis.type == "RBChebyshev"
    for name in ("radial_coeffs", "species_coeffs", "moment_coeffs"):
        np.testing.assert_array_equal(getattr(data, name), getattr(model, name))
    np.testing.assert_array_equal(data.alpha_index_basic, model.template.basic)
    np.testing.assert_array_equal(data.alpha_index_times, model.template.products)
    np.testing.assert_array_equal(data.alpha_moment_mapping, model.template.scalars)
    assert data.alpha_moments_count == model.template.n_moments


@pytest.mark.parametrize("legacy", [True, False])
def test_what_motep_writes_is_read(legacy, tmp_path):
    motep = pytest.importorskip("motep.io.mlip.mtp")
    model = mtp(species=(32, 14))
    write_mtp(tmp_path / "a.mtp", model)
    data = motep.read_mtp(tmp_path / "a.mtp")
    motep.write_mtp(tmp_path / "b.mtp", data, legacy=legacy)
    found = read_mtp(tmp_path / "b.mtp")
    assert found.species == model.species  # motep keeps the tag
    # motep writes 16 digits, which are not always exact
    np.testing.assert_allclose(found.radial_coeffs, model.radial_coeffs, rtol=1e-15)
    np.testing.assert_allclose(found.moment_coeffs, model.moment_coeffs, rtol=1e-15)
    np.testing.assert_allclose(found.scaling, model.scaling, rtol=1e-15)
    assert_same_template(found.template, model.template)


# --------------------------------------------------------------------------------- the species


def untagged(model):
    return re.sub(r"potential_tag.*", "potential_tag = ", format_mtp(model))


@pytest.mark.parametrize("species", [["Ge", "Si"], [32, 14], ("Ge", 14), np.array([32, 14])])
def test_species_from_the_caller(species, tmp_path):
    path = written(tmp_path, untagged(mtp(species=(32, 14))))
    assert read_mtp(path, species).species == (32, 14)
    write_mtp(path, mtp(species=(32, 14)))
    assert read_mtp(path, species).species == (32, 14)


def test_species_from_nowhere(tmp_path):
    path = written(tmp_path, untagged(mtp(species=(32, 14))))
    with pytest.raises(
        ModelError, match=r"which elements its 2 types \('0, 1'\) are; pass species="
    ):
        read_mtp(path)
    with pytest.raises(ModelError, match=r"2 types, but 1 species"):
        read_mtp(path, "Si")
    with pytest.raises(ModelError, match=r"'Xy' is not an element"):
        read_mtp(path, ["Si", "Xy"])
    with pytest.raises(ModelError, match=r"'-3' is not an element"):
        read_mtp(path, ["Si", -3])


def test_species_that_contradict_the_file(tmp_path):
    path = written(tmp_path, format_mtp(mtp(species=(32, 14))))
    with pytest.raises(ModelError, match=r"it is for Ge, Si, not for Si, Ge"):
        read_mtp(path, ["Si", "Ge"])


def test_types_may_have_other_labels(tmp_path):
    text = re.sub(r"^\t\t0-0$", "\t\t14-14", untagged(mtp()), flags=re.MULTILINE)
    path = written(tmp_path, text)
    with pytest.raises(ModelError, match=r"its 1 types \('14'\)"):
        read_mtp(path)
    assert_same(read_mtp(path, ["Si"]), mtp())


# ------------------------------------------------------------------------- files of other origin


def test_both_scalings_count(tmp_path):
    text = format_mtp(mtp()).replace("\tmin_dist", "\tscaling = 0.5\n\tmin_dist")
    assert read_mtp(written(tmp_path, text)).scaling == 0.5 * mtp().scaling
    text = re.sub(r"scaling = .*\n", "", format_mtp(mtp()))
    assert read_mtp(written(tmp_path, text)).scaling == 1.0


def test_comment_on_top_and_windows_line_endings(tmp_path):
    text = "# DATE: 2025-01-16 UNITS: metal\n" + format_mtp(mtp())
    assert_same(read_mtp(written(tmp_path, text.replace("\n", "\r\n"))), mtp())


def unfitted(text):
    text = re.sub(r"^\t+(\d-\d|\{.*)\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^(species_co.*|moment_co.*)\n", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("lost", ["", "\tradial_coeffs\n", "species_count = 1\n"])
def test_template_that_is_not_fitted(lost, tmp_path):
    path = written(tmp_path, unfitted(format_mtp(mtp())).replace(lost, ""))
    assert_same_template(read_template(path), LARGER)
    with pytest.raises(ModelError, match="no coefficients: it is a template that was not fitted"):
        read_mtp(path, ["Si"])


@pytest.mark.parametrize("basis", ["RBChebyshev_repuls", "RBShapeev", ""])
def test_other_radial_bases_are_refused(basis, tmp_path):
    path = written(tmp_path, format_mtp(mtp()).replace("RBChebyshev", basis))
    with pytest.raises(ModelError, match=f"radial basis is '{basis}'; only RBChebyshev"):
        read_mtp(path)
    with pytest.raises(ModelError, match="only RBChebyshev is supported"):
        read_template(path)


def test_magnetic_mtp_is_refused(tmp_path):
    text = format_mtp(mtp()).replace("\tradial_f", "magnetic_basis_type = BChebyshev\n\tradial_f")
    with pytest.raises(ModelError, match="magnetic MTP, which is not supported"):
        read_mtp(written(tmp_path, text))


# --------------------------------------------------------------------------------- broken files


def one_sentence(err, path):
    message = str(err.value)
    assert message.count(str(path)) == 1
    assert "\n" not in message and len(message) < 400
    return message


@pytest.mark.parametrize("model", [mtp(), mtp(species=(32, 14))])
def test_file_cut_anywhere_is_refused(model, tmp_path):
    text = format_mtp(model)
    for end in range(0, len(text) - 2, 7):
        path = written(tmp_path, text[:end])
        with pytest.raises(ModelError) as err:
            read_mtp(path)
        one_sentence(err, path)


@pytest.mark.parametrize("count", re.findall(r"(\w+_(?:count|size|moments)) =", format_mtp(mtp())))
@pytest.mark.parametrize("change", ["6", "0", "-1", "999999999999999999", "1.5", "x", ""])
def test_wrong_counts_are_refused(count, change, tmp_path):
    text = re.sub(rf"{count} = .*", f"{count} = {change}", format_mtp(mtp()))
    path = written(tmp_path, text)
    with pytest.raises(ModelError) as err:
        read_mtp(path)
    one_sentence(err, path)


CHANGES = {
    r"(min_dist = ).*": (["nan", "-1.0", "9.0", "abc", ""], "from|number"),
    r"(max_dist = ).*": (["inf", "0.5", "1,2"], "from|number"),
    r"(\nscaling = ).*": (["nan", "0.0", "-1.0", "inf", "many"], "scaling"),
    r"(version = ).*": (["2.0", ""], "version"),
    r"(moment_coeffs = ).*": (["{1, 2}", "{1, nan, 2, 3}", "{1, 1e999, 2, 3}", "1"], "moment_coe"),
    r"(species_coeffs = ).*": (["{}", "{1.0.0}", "{1_0}", "{1, 2}"], "species_coeffs"),
    r"(alpha_moment_mapping = ).*": (["{0, 1, 2, 7}", "{0, 1, 2, -1}", "{0, 1, 2, 0.5}"], "mom"),
    r"(alpha_index_times = ).*": (
        ["{{0, 0, 1, 5}, {1, 1, 1, 6}}", "{" + "9, " * 16 + "}"],
        "alp|mo",
    ),
    r"(alpha_index_basic = ).*": (["{{-1, 0, 0, 0}}", "{" + "99999999999, " * 20 + "}"], "alpha"),
    r"(\t0-0\n)\t\t\t.*\n": (
        ["\t\t\t{1, 2}\n"],
        "radial coefficients of 0-0 has 2 numbers where 8",
    ),
    r"(\t\t)0-0": (["0-1"], "not all pairs of 1 types in order"),
    r"(\t\t0-0\n.*\n).*\n": ([""], "1 lines of radial coefficients where 2"),
    r"(alpha_moments_count = \d)": (["\nalpha_moments_count = 7"], "stands there twice"),
    r"(MTP\n)": (["hello\n"], "'hello' is not understood"),
    r"^(MTP)": (["x"], "first line"),
    r"(species:)Si": (["Sí"], "not a text file"),
    r"(species:S)i": (["q"], "'Sq' is not an element"),
}


@pytest.mark.parametrize(
    ("pattern", "change", "match"),
    [(key, one, match) for key, (changes, match) in CHANGES.items() for one in changes],
)
def test_wrong_values_are_refused(pattern, change, match, tmp_path):
    text, n = re.subn(pattern, lambda found: found[1] + change, format_mtp(mtp()), count=1)
    assert n == 1
    path = written(tmp_path, text)
    with pytest.raises(ModelError, match=match) as err:
        read_mtp(path)
    one_sentence(err, path)


def test_garbage_and_missing_files(tmp_path):
    rng = np.random.default_rng(1)
    for content in (b"", rng.bytes(5000), b"MTP\n" + rng.bytes(5000), b"{}\n", b"MTP\n"):
        path = written(tmp_path, content)
        for reader in (read_mtp, read_template, read_almtp):
            with pytest.raises(ModelError) as err:
                reader(path)
            one_sentence(err, path)
    for path in (tmp_path / "none.mtp", tmp_path):
        with pytest.raises(ModelError, match="cannot be read"):
            read_mtp(path)


# ------------------------------------------------------------------------------- the active set


def n_parameters(model):
    return model.radial_coeffs.size + model.species_coeffs.size + model.moment_coeffs.size


def active_set(model, *, seed=1):
    """Rows of very different sizes, and two that no configuration was found for."""
    n = n_parameters(model)
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, n)) * 10.0 ** rng.integers(-3, 4, n)
    matrix[[1, 3]] = 1e-6 * np.eye(n)[[1, 3]]
    return matrix


@pytest.mark.parametrize("mode", list(SelectionMode))
@pytest.mark.parametrize("model", MODELS)
def test_active_set_is_read_as_written(model, mode, tmp_path):
    path = tmp_path / "a.almtp"
    block = active_set_block(active_set(model), mode=mode)
    write_almtp(path, model, block)
    parameters, found = read_almtp(path)
    assert_same(parameters, model)
    assert_same(read_mtp(path), model)
    assert found.mode is mode
    assert (found.weights, found.weight_scaling, found.configurations) == (block.weights, 2, "")
    for name in ("matrix", "inverse_transposed", "equations"):
        np.testing.assert_array_equal(getattr(found, name), getattr(block, name))
    write_almtp(tmp_path / "b.almtp", parameters, found)
    assert (tmp_path / "b.almtp").read_bytes() == path.read_bytes()


def test_layout_of_the_active_set(tmp_path):
    # As MLIP-3 writes it (CfgSelection::Save, MaxVol::WriteData): matrix, inverse transposed.
    model = mtp(SMALL)
    n, matrix = n_parameters(model), active_set(model)
    write_almtp(tmp_path / "a.almtp", model, active_set_block(matrix))
    content = (tmp_path / "a.almtp").read_bytes()
    header = (
        "#MVS_v1.1\nenergy_weight 0.0000000000000000e+00\nforce_weight 0.0000000000000000e+00\n"
        "stress_weight 0.0000000000000000e+00\nsite_en_weight 1.0000000000000000e+00\n"
        "weight_scaling 2\n#"
    )
    start = (format_mtp(model) + header).encode()
    assert content.startswith(start)
    numbers = struct.unpack_from(f"<{2 * n * n}d", content, len(start))
    assert numbers[1] == matrix[0, 1]
    second = np.reshape(numbers[n * n :], (n, n))
    np.testing.assert_allclose(second @ matrix.T, np.eye(n), atol=1e-6)
    assert content[len(start) + 16 * n * n :] == b"\n#\n" + n * b"-1 -1\n" + b"#\n"


def test_configurations_of_an_active_set_stay(tmp_path):
    model = mtp(SMALL)
    equations = np.full((n_parameters(model), 2), -1)
    equations[0] = (0, 12)
    text = "BEGIN_CFG\n Size\n    1\nFeature   MV_grade\t#1\nEND_CFG\n\n"
    block = replace(active_set_block(active_set(model)), equations=equations, configurations=text)
    write_almtp(tmp_path / "a.almtp", model, block)
    found = read_almtp(tmp_path / "a.almtp")[1]
    assert found.configurations == text
    np.testing.assert_array_equal(found.equations, equations)


def test_linear_active_set_gives_the_grades_of_the_linear_basis(tmp_path):
    model = mtp(species=(32, 14))
    n, n_linear = n_parameters(model), 2 + LARGER.n_scalars
    rng = np.random.default_rng(3)
    matrix, rows = rng.normal(size=(n_linear, n_linear)), rng.normal(size=(50, n))
    write_almtp(tmp_path / "a.almtp", model, linear_active_set_block(model, matrix))
    block = read_almtp(tmp_path / "a.almtp")[1]
    found = np.abs(rows @ block.inverse_transposed.T).max(axis=1)
    expected = np.abs(rows[:, -n_linear:] @ np.linalg.inv(matrix)).max(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    with pytest.raises(ModelError, match=r"shape \(5, 5\), but the MTP has 6 species and moment"):
        linear_active_set_block(model, matrix[:5, :5])


def test_file_without_an_active_set(tmp_path):
    write_mtp(tmp_path / "a.almtp", mtp())
    parameters, block = read_almtp(tmp_path / "a.almtp")
    assert_same(parameters, mtp())
    assert block is None


def test_active_set_without_an_inverse_is_refused():
    matrix = active_set(mtp(SMALL))
    for wrong in (np.zeros_like(matrix), np.vstack([matrix[:1], matrix[:-1]])):
        with pytest.raises(ModelError, match="no inverse: its rows depend on each other"):
            active_set_block(wrong)
    for wrong in (matrix[1:], matrix[0], np.full_like(matrix, np.nan)):
        with pytest.raises(ModelError, match="square matrix of finite numbers"):
            active_set_block(wrong)


def test_active_set_of_another_potential_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"has 11 rows, but the MTP has 21 parameters"):
        write_almtp(tmp_path / "a.almtp", mtp(), active_set_block(active_set(mtp(SMALL))))
    block = active_set_block(active_set(mtp(SMALL)))
    with pytest.raises(ModelError, match=r"equations of an active set has shape \(10, 2\)"):
        replace(block, equations=block.equations[1:])
    assert not list(tmp_path.iterdir())


def test_damaged_active_sets_are_refused(tmp_path):
    model = mtp(SMALL)
    write_almtp(tmp_path / "a.almtp", model, active_set_block(active_set(model)))
    whole = (tmp_path / "a.almtp").read_bytes()
    first = whole.index(b"scaling 2\n#") + len(b"scaling 2\n#")
    size = 8 * n_parameters(model) ** 2
    wrong = {
        whole[: whole.index(b"#MVS") + 6]: "version 1.1",
        whole.replace(b"MVS_v1.1", b"MVS_v1.0"): "version 1.1",
        whole.replace(b"site_en_weight 1", b"site_en_weight x1"): "damaged",
        whole[:first]: "not one of 11 rows",
        whole[: first + size]: "not one of 11 rows",
        whole[: first + 2 * size + 20]: "not one of 11 rows",
        whole[:first] + whole[first + 8 :]: "not one of 11 rows",
        whole.replace(b"-1 -1\n#", b"#"): "not one of 11 rows",
        whole[:first] + struct.pack("<d", np.nan) + whole[first + 8 :]: "not finite",
        whole + b"\xff": "damaged",
    }
    for content, match in wrong.items():
        path = written(tmp_path, content, "b.almtp")
        assert_same(read_mtp(path), model)
        with pytest.raises(ModelError, match=match) as err:
            read_almtp(path)
        one_sentence(err, path)


def test_block_is_read_only_and_knows_mixed_weights():
    block = active_set_block(active_set(mtp(SMALL)))
    assert isinstance(block, ActiveSetBlock)
    with pytest.raises(ValueError, match="read-only"):
        block.matrix[0, 0] = 1.0
    assert replace(block, weights=(1.0, 1.0, 0.0, 0.0)).mode is None


# -------------------------------------------------------------------------------------- LAMMPS


def test_lammps_input_names_types_masses_and_file():
    text = lammps_snippet("runs/Ge-Si.mtp", mtp(species=(32, 14)))
    active = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert active == [
        *("units metal", "atom_style atomic", "newton on", "mass 1 72.63", "mass 2 28.085"),
        *("pair_style mlip load_from=runs/Ge-Si.mtp", "pair_coeff * *"),
    ]
    assert "# atom types: 1 = Ge, 2 = Si" in text
    assert f"# for distances from {mtp(species=(32, 14)).min_dist:.3f} Angstrom" in text
    assert text.isascii()
    assert "# pair_style mtp runs/Ge-Si.mtp\n# pair_coeff * *\n" in text
    assert "# pair_coeff * * runs/Ge-Si.mtp 0 1\n" in text


@pytest.mark.parametrize("name", ["a b.mtp", "a#1.mtp", "$a.mtp", "a&.mtp", "'a'.mtp"])
def test_path_that_lammps_would_misread(name):
    with pytest.raises(InputError, match="LAMMPS would misread the path"):
        lammps_snippet(name, mtp())
