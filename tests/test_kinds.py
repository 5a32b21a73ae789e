"""Kinds of potential: how they are found, and one from outside in the whole loop."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from cheap import environment, relax_arguments, sscha_mlp
from toy_kind import KIND, ToySettings

from sscha_mlp.campaign.input_checks import check_model
from sscha_mlp.errors import ConfigError, InputError
from sscha_mlp.potentials import registry
from sscha_mlp.potentials.kind import Device, Kind, Need, Schedule, Statistic, Uncertainty
from sscha_mlp.potentials.names import DEFAULT, built_in_kinds, kind_names
from sscha_mlp.potentials.registry import find_kind, installed_kinds
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.settings import AUTO, RunSettings, differences

ROOT = Path(__file__).parents[1]


@pytest.fixture
def plugged(tmp_path, monkeypatch):
    """Return a function that installs a package whose entry points are kinds."""

    def install(**kinds):
        place = tmp_path / "plugged"
        name = f"others{len(list(place.glob('*')))}"
        info = place / f"{name}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        lines = [f"{name} = {where}" for name, where in kinds.items()]
        (info / "entry_points.txt").write_text("\n".join(["[sscha_mlp.potentials]", *lines, ""]))
        monkeypatch.syspath_prepend(str(place))
        return place

    return install


# --- how they are found -------------------------------------------------------------------------


def test_the_kinds_of_the_package_are_its_folders():
    assert built_in_kinds()[0] == DEFAULT
    folders = {one.parent.name for one in ROOT.glob("sscha_mlp/potentials/*/__init__.py")}
    assert set(built_in_kinds()) == folders
    for name in built_in_kinds():
        assert find_kind(name).name == name


def test_a_kind_is_found_by_its_place():
    assert find_kind("toy_kind:KIND") is KIND
    assert find_kind("toy_kind:KIND").title == "TOY"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("toy", r"no potential of the kind 'toy'; the known kinds are: mtp, gap"),
        ("toy_kind:NOTHING", "has no attribute 'NOTHING'"),
        ("no.such.module", "cannot be imported"),
        ("toy_kind:NOT_A_KIND", "is a type, not a sscha_mlp.potentials.kind.Kind"),
    ],
)
def test_what_is_no_kind_is_a_sentence(spec, words):
    with pytest.raises(ConfigError, match=words):
        find_kind(spec)


def test_a_package_brings_kinds_by_entry_points(plugged):
    plugged(toy="toy_kind:KIND", broken="toy_kind_that_is_not_there:KIND")
    assert kind_names() == (*built_in_kinds(), "broken", "toy")
    assert find_kind("toy") is KIND
    with pytest.raises(ConfigError, match="'broken' of the package others0 cannot be imported"):
        find_kind("broken")
    kinds, reasons = installed_kinds()
    assert KIND in kinds and set(reasons) == {"broken"}


def test_two_packages_with_one_name_are_told_apart(plugged):
    plugged(toy="toy_kind:KIND")
    plugged(toy="toy_kind:BARE")
    with pytest.raises(ConfigError, match=r"Several packages bring .*'toy'.*package.module:name"):
        find_kind("toy")


def test_a_missing_package_is_a_sentence_with_its_install_line(tmp_path):
    with pytest.raises(ConfigError, match=r"no-such-torch, .*: pip install no-such-torch==2.13$"):
        registry.fit("toy_kind:NEEDY", [], directory=tmp_path)
    with pytest.raises(ConfigError, match=r"pip install no-such-torch==2.13$"):
        check_model(RunSettings(300.0, model="toy_kind:NEEDY"))


def test_auto_passes_over_what_is_not_installed(plugged):
    plugged(toy="toy_kind:KIND", needy="toy_kind:NEEDY")
    kinds, reasons = installed_kinds()
    assert {one.name for one in kinds} == {*built_in_kinds(), "toy"}
    assert "pip install no-such-torch" in reasons["needy"]
    check_model(RunSettings(300.0, model=AUTO))


def test_a_broken_package_is_a_sentence(tmp_path, monkeypatch):
    def fit(*args, **kwargs):
        raise ImportError("libtorch.so: cannot open shared object file")

    broken = replace(KIND, fit=fit, needs=(Need("numpy", install="pip install numpy==2"),))
    monkeypatch.setattr("toy_kind.KIND", broken)
    with pytest.raises(ConfigError, match=r"libtorch.so.*install again: pip install numpy==2$"):
        registry.fit("toy_kind:KIND", [], directory=tmp_path)


# --- what a kind says ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    cutoff: float = 5.0


def make(**changes):
    none = dict.fromkeys(("fit", "load"), len)
    return Kind(**{"name": "own", "settings": Given, **none, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Own"}, "must be in small letters"),
        ({"name": "a.b"}, "must be in small letters"),
        ({"start": "file"}, "has no setting 'file'"),
        ({"device": Device("where", list)}, "has no setting 'where'"),
    ],
)
def test_a_kind_that_cannot_be_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        make(**changes)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"statistic": Statistic.QUANTILE}, "a quantile needs a limit"),
        ({"limit": 1.0, "worth_a_label": 2.0}, "not above the second"),
        ({"limit": 0.0}, "above 0"),
        ({"limit": np.inf}, "above 0"),
    ],
)
def test_an_uncertainty_whose_numbers_do_not_belong_together_is_refused(limits, words):
    with pytest.raises(ConfigError, match=words):
        Uncertainty("spread", **limits)


def test_an_uncertainty_is_called_with_its_unit():
    assert Uncertainty("spread", "eV/Å").text == "spread (eV/Å)"
    assert Uncertainty("grade").text == "grade"


def test_when_a_fit_begins_warm():
    cold, warm = Schedule(), Schedule(warm_from=60, warm_part=0.5)
    assert not cold.begins_warm(1000, 1000)
    assert [warm.begins_warm(*one) for one in ((59, 60), (60, 120), (60, 121))] == [0, 1, 0]


def test_few_labels_may_have_more_folds():
    folds = Schedule(n_folds=2, n_folds_few=4, few=48)
    assert [folds.folds(n) for n in (10, 48, 49)] == [4, 4, 2]


def test_a_starting_file_counts_by_its_content_and_a_device_not_at_all(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)

    def identity(name, device="cpu"):
        return KIND.identity({"start": str(tmp_path / name), "device": device, "cutoff": 4.0})

    assert identity("a") == identity("b") == identity("a", "pretended-gpu") != identity("c")
    assert KIND.identity({"cutoff": 4.0}) == {"cutoff": 4.0}
    with pytest.raises(InputError, match="cannot be read"):
        KIND.identity({"start": str(tmp_path / "none")})


def test_a_device_that_is_not_there_is_a_sentence():
    assert KIND.device_of({}) == "cpu" and KIND.device_of({"device": "tpu"}) == "tpu"
    settings = RunSettings(
        300.0, model="toy_kind:KIND", potential={"toy": {"device": "pretended-gpu"}}
    )
    with pytest.raises(ConfigError, match=r"device = 'pretended-gpu' is not .*it has: cpu"):
        check_model(settings)


@pytest.mark.parametrize(
    ("model", "potential", "words"),
    [
        ("mtp", {"mtp": {"cut": 4.0}}, "Unknown MTP setting cut"),
        ("gap", {"gap": {"cutoff": -1.0}}, "cutoff = -1.0 must be positive"),
        ("toy_kind:KIND", {"toy": {"cutoff": -1.0}}, "cutoff = -1.0 must be above 0"),
        ("toy_kind:KIND", {"toy": {"start": "none.npy"}}, r"none.npy .* cannot be read"),
        ("mtp", {"mpt": {}}, r"Unknown setting potential\.mpt; the known .*: gap, mtp"),
        ("auto", {"gap": {"cutoff": -1.0}}, "cutoff = -1.0 must be positive"),
        ("mace", {}, "no potential of the kind 'mace'"),
    ],
)
def test_wrong_settings_of_a_kind_are_found_before_anything_is_computed(model, potential, words):
    with pytest.raises(InputError, match=words):
        check_model(RunSettings(300.0, model=model, potential=potential))


# --- settings of a run --------------------------------------------------------------------------


def test_tables_of_earlier_versions_are_read():
    former = {
        "temperature": 300.0,
        "training": {"break_grade": 10.0, "save_grade": 2.0, "n_extra": 3},
        "gap": {},
        "mtp": {"cutoff": 3.6},
    }
    found = RunSettings.from_mapping(former)
    assert found.potential == {"gap": {}, "mtp": {"cutoff": 3.6}}
    assert found.hyper_parameters("mtp") == {"cutoff": 3.6}
    assert (found.training.break_grade, found.training.save_grade) == (None, None)
    now = RunSettings(300.0, potential={"mtp": {"cutoff": 3.6}})
    assert differences(found.to_mapping(), replace(now, training=found.training).to_mapping()) == []


def test_a_limit_that_was_given_stays():
    given = {"temperature": 300.0, "training": {"break_grade": 20.0}, "mtp": {}}
    assert RunSettings.from_mapping(given).training.break_grade == 20.0
    given = {"temperature": 300.0, "training": {"break_grade": 10.0}}
    assert RunSettings.from_mapping(given).training.break_grade == 10.0


def test_a_device_may_differ_on_resume():
    def settings(**values):
        return RunSettings(300.0, model="toy_kind:KIND", potential={"toy": values}).to_mapping()

    assert differences(settings(device="cpu"), settings(device="pretended-gpu")) == []
    assert differences(settings(), settings(cutoff=3.0)) == ["potential.toy.cutoff: not set -> 3.0"]


# --- nothing else knows a kind by its name --------------------------------------------------------


def test_no_name_of_a_kind_stands_outside_its_package():
    """As a word in quotes; endings of files (``.mtp``) and modules to import are others."""
    found = []
    for path in sorted((ROOT / "sscha_mlp").rglob("*.py")):
        inside = path.relative_to(ROOT / "sscha_mlp").parts
        if inside[0] == "potentials":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            names = [f"{quote}{name}{quote}" for name in built_in_kinds() for quote in "\"'"]
            if any(name in line for name in names) and inside != ("__init__.py",):
                found.append(f"{path.name}:{number}: {line.strip()}")
    assert found == []


# --- one from outside, in the whole loop ----------------------------------------------------------


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory):
    """A run with the kind of the tests, by the command line, and what it said."""
    directory = tmp_path_factory.mktemp("toy")
    done = sscha_mlp([*relax_arguments(directory, model="toy_kind:KIND"), "--json"], cwd=directory)
    assert done.returncode == 0, done.stderr
    return directory, done


def test_a_kind_from_outside_goes_through_the_loop(toy_run):
    directory, done = toy_run
    result = json.loads(done.stdout)
    assert result["converged"] and result["model"]["kind"] == "toy"
    assert "fit 0: toy_kind:KIND on 10 labels" in done.stderr
    journal = [json.loads(one) for one in (directory / "run/journal.jsonl").open()]
    text = json.dumps(journal)
    assert "typical on held-out forces" in done.stderr, "its presets were compared"
    assert '"short"' in text or '"long"' in text
    assert (directory / "run/report.pdf").stat().st_size > 10_000


def test_the_result_says_what_its_fit_began_with(toy_run):
    """By content; and that the same fit may give other files."""
    directory, _ = toy_run
    model = json.loads((directory / "run/result.json").read_text())["model"]
    assert model["reproducible"] is False
    assert model.get("start_sha256") is None, "it began with no file"
    weights = directory / "weights"
    weights.write_bytes(b"foundation")
    found = KIND.start_hash({"start": str(weights)})
    assert found == hashlib.sha256(b"foundation").hexdigest()
    weights.unlink()
    assert KIND.start_hash({"start": str(weights)}) is None, "the run does not end without a result"


def test_its_models_are_loaded_by_themselves(toy_run):
    directory, _ = toy_run
    with registry.load(directory / "run/models/000") as potential:
        assert registry.kind_of(potential) is KIND
    done = sscha_mlp(
        ["validate", "run/models/000", "run/dataset/test.xyz", "--out", "page"], cwd=directory
    )
    assert done.returncode == 0, done.stderr


def test_its_run_goes_on_where_it_ended(toy_run, tmp_path):
    directory, _ = toy_run
    shutil.copytree(directory / "run", tmp_path / "run")
    (tmp_path / "run/result.json").unlink()
    journal = tmp_path / "run/journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    keys = [json.loads(one)["step"] for one in lines]
    journal.write_text("".join(lines[: keys.index("fit/0") + 1]))
    arguments = relax_arguments(directory, model="toy_kind:KIND")
    done = sscha_mlp([*arguments, "--run-dir", str(tmp_path / "run"), "--json"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["converged"]


def test_a_run_says_at_once_that_a_package_is_missing(tmp_path):
    done = sscha_mlp(relax_arguments(tmp_path, model="toy_kind:NEEDY"), cwd=tmp_path)
    assert done.returncode == 2 and not (tmp_path / "run").exists()
    assert "pip install no-such-torch==2.13" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_the_settings_of_a_toy_are_its_own():
    assert KIND.read({"cutoff": 3.0}) == ToySettings(cutoff=3.0)
    with pytest.raises(ConfigError, match=r"Unknown TOY setting cut; .*cutoff, n_functions"):
        KIND.read({"cut": 3.0})


def test_naming_kinds_loads_nothing_heavy():
    code = (
        "import sys; from sscha_mlp.potentials.names import kind_names; kind_names();"
        "assert not {'numpy', 'ase', 'numba', 'quippy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), timeout=60)


def test_a_run_directory_of_a_kind_is_read_where_the_kind_is_not(toy_run, monkeypatch):
    directory, _ = toy_run
    monkeypatch.setitem(sys.modules, "toy_kind", None)
    with pytest.raises(ConfigError, match="cannot be imported"):
        find_kind("toy_kind:KIND")
    assert RunDirectory(directory / "run").settings().model == "toy_kind:KIND"
