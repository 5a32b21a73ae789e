"""Settings: what is refused and how it is said, and the way through TOML."""

import tomllib
from dataclasses import replace

import pytest

from sscha_mlp.ensemble.sampling import Sampler
from sscha_mlp.errors import ConfigError, InputError, SschaMlpError
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.settings import (
    RunSettings,
    differences,
    format_toml,
    merge,
    read_toml,
)
from sscha_mlp.run_files.stage_settings import TrainingSettings
from sscha_mlp.scha.cell import CellMode


def settings(**values):
    return RunSettings.from_mapping({"temperature": 300, **values})


# --- the way through TOML ----------------------------------------------------------------------


def test_settings_survive_the_way_through_toml():
    original = settings(
        structure='a "quoted" file\\with\ttabs\r\n and Ångström.cif',
        pressure=-1.5e-7,
        supercell=[1, 2, 3],
        cell="fixed-volume",
        relaxation={"sampler": "sobol", "tolerances": {"pressure_gpa": 1e-3}},
        training={"temperature": 0},
        potential={
            "gap": {"default_sigma": [0.001, 0.1, 0.05, 0.0], "cutoff": 5.0, "name": "x"},
            "own-kind": {"flag": True},
        },
    )
    text = format_toml(original.to_mapping())
    again = RunSettings.from_mapping(tomllib.loads(text))
    assert again == original
    assert format_toml(again.to_mapping()) == text
    assert again.cell is CellMode.FIXED_VOLUME and again.relaxation.sampler is Sampler.SOBOL
    assert again.training.temperature == 0.0 and again.training_temperature == 0.0


def test_defaults_survive_too_and_none_is_left_out():
    original = settings()
    text = format_toml(original.to_mapping())
    assert "temperature = 300.0" in text
    assert "[relaxation.tolerances]" in text
    assert original.training_temperature == 300.0
    assert RunSettings.from_mapping(tomllib.loads(text)) == original


@pytest.mark.parametrize("content", ["temperature = ", "\x00", None])
def test_a_settings_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "settings.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"settings file .*settings\.toml"):
        read_toml(path)


def test_merging_puts_the_second_on_top_table_by_table():
    base = {"a": 1, "t": {"x": 1, "y": {"z": 1}}}
    assert merge(base, {"t": {"y": {"w": 2}}, "b": 3}) == {
        "a": 1,
        "b": 3,
        "t": {"x": 1, "y": {"z": 1, "w": 2}},
    }
    assert base == {"a": 1, "t": {"x": 1, "y": {"z": 1}}}


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        # unknown keys, by their dotted names, with what is known
        ({"temprature": 1}, "Unknown setting temprature; known here: temperature"),
        ({"training": {"n_strat": 1}}, r"Unknown setting training\.n_strat; known here"),
        (
            {"relaxation": {"tolerances": {"pressure": 1}}},
            r"Unknown setting relaxation\.tolerances\.pressure; known here: .*pressure_gpa",
        ),
        # wrong types
        ({"temperature": "hot"}, "temperature = 'hot' must be float"),
        ({"temperature": True}, "temperature = True must be float"),
        ({"configs": 100.5}, "configs = 100.5 must be int"),
        ({"configs": True}, "configs = True must be int"),
        ({"structure": 3}, "structure = 3 must be str"),
        ({"supercell": 2}, "supercell = 2 must be a list"),
        ({"supercell": [2, 2]}, "three positive whole numbers"),
        ({"supercell": ["a", 2, 2]}, "three positive whole numbers"),
        ({"training": 3}, "training must be a table of settings"),
        ({"gap": "strong"}, "gap must be a table of settings"),
        ({"cell": "free"}, "cell = 'free' must be one of: variable, fixed-volume, fixed"),
        ({"cell": ["fixed"]}, "cell = .* must be one of"),
        ({"start": {"relax": 1}}, r"start\.relax = 1 must be bool"),
        ({"training": {"temperature": "x"}}, r"training\.temperature = 'x' must be float"),
        # out of range
        ({"temperature": -1}, "temperature -1.0 K is not a number of at least 0"),
        ({"temperature": float("nan")}, "temperature nan K"),
        ({"pressure": float("inf")}, "pressure inf GPa"),
        ({"supercell": [0, 2, 2]}, "three positive whole numbers"),
        ({"configs": 101}, "even number"),
        ({"configs": 10}, "at least 20"),
        ({"seed": -1}, "seed = -1"),
        ({"workers": -1}, "must not be negative"),
        ({"engine": "julia"}, "Unknown engine 'julia'; known: native, python-sscha"),
        ({"dyn": "a", "structure": "b"}, "Give one of --structure"),
        ({"start": {"displacement": 0}}, r"start\.displacement = 0.0 is not a number above 0"),
        ({"start": {"fmax": float("nan")}}, r"start\.fmax = nan"),
        ({"training": {"n_start": 3}}, r"training\.n_start = 3 is less than 4"),
        ({"training": {"n_extra": -1}}, r"training\.n_extra = -1 is negative"),
        ({"training": {"explore_configs": 201}}, r"explore_configs = 201 must be even"),
        ({"training": {"explore_populations": 0}}, "explore_populations must be at least 1"),
        ({"training": {"alarm_ratio": 0}}, "alarm_ratio = 0.0 is not above 0"),
        ({"certificate": {"n_labels": 2}}, "too few; give at least 3"),
        (
            {"labels": "fixed", "certificate": {"n_labels": 7}},
            'too few for labels = "fixed"; give at least 8',
        ),
        ({"labels": "few"}, "labels = 'few' must be one of: need, fixed"),
        ({"certificate": {"max_rounds": 0}}, "max_rounds must be at least 1"),
        (
            {"certificate": {"tolerances": {"pressure_gpa": 0}}},
            "tolerance pressure_gpa = 0.0 is not above 0",
        ),
        ({"relaxation": {"max_populations": 0}}, "max_populations must be at least 1"),
        ({"relaxation": {"max_volume_change": -1}}, "max_volume_change = -1.0"),
        ({"relaxation": {"minimum_distance_ratio": 2}}, "minimum_distance_ratio = 2.0"),
        ({"relaxation": {"minimiser": {"step": 2}}}, "step = 2.0 is not above 0 and at most 1"),
    ],
)
def test_bad_settings_are_refused_with_a_sentence(values, message):
    with pytest.raises(InputError, match=message):
        settings(**values)


def test_a_temperature_is_needed():
    with pytest.raises(ConfigError, match="No temperature is given; write for example --T 300"):
        RunSettings.from_mapping({})


def test_a_budget_below_one_round_is_refused_with_what_a_round_takes():
    least = settings(labels="fixed").least_labels
    assert least == 24 + 12 + 36
    assert settings(labels="fixed", max_labels=least).max_labels == least
    with pytest.raises(
        ConfigError, match=r"71 is less than the 72 that one round takes: 24 to train"
    ):
        settings(labels="fixed", max_labels=least - 1)
    assert settings().least_labels == 8 + 0 + 4
    with pytest.raises(ConfigError, match=r"11 is less than the 12 that one round takes: 8 to"):
        settings(max_labels=11)
    small = {"training": {"n_start": 8, "n_test": 4}, "certificate": {"n_labels": 8}}
    assert settings(max_labels=20, **small).least_labels == 20


def test_whole_numbers_are_taken_for_real_ones():
    assert isinstance(settings().temperature, float)
    assert isinstance(settings(pressure=2).pressure, float)


def test_settings_of_the_relaxations():
    one = settings(configs=100, relaxation={"max_populations": 7}, cell="fixed")
    final, explore = one.relaxation_settings(), one.exploration_settings()
    assert (final.n_configs, final.max_populations, final.cell) == (100, 7, CellMode.FIXED)
    assert explore.n_configs == 100  # never more than the final relaxation
    assert explore.max_populations == TrainingSettings().explore_populations
    assert (explore.looseness, final.looseness) == (5.0, 1.0)
    assert explore.tolerances == final.tolerances


# --- resuming ----------------------------------------------------------------------------------


def test_execution_settings_may_differ_on_resume_and_nothing_else():
    old = settings().to_mapping()
    assert differences(old, settings(workers=7, label_time_limit=60).to_mapping()) == []
    changed = differences(old, settings(seed=1, training={"n_extra": 3}).to_mapping())
    assert sorted(changed) == ["seed: 0 -> 1", "training.n_extra: not set -> 3"]
    unset = differences(old, settings(training={"temperature": 100}).to_mapping())
    assert unset == ["training.temperature: not set -> 100.0"]


def test_a_run_directory_is_made_for_its_settings_and_refuses_others(run_directory):
    place = RunDirectory(run_directory)
    with pytest.raises(InputError, match=r"is not a run directory: it has no run\.toml"):
        place.settings()
    one = settings(potential={"gap": {"cutoff": 5.0}})
    place.prepare(one)
    assert place.settings() == one
    Journal(place.journal).record("start", {})
    place.prepare(replace(one, workers=2))
    with pytest.raises(ConfigError, match=r"other settings \(seed: 0 -> 3\)"):
        place.prepare(replace(one, seed=3))
    assert place.settings() == one  # what was there stays


def test_a_larger_budget_is_refused_with_the_way_to_what_is_paid_for(run_directory):
    place, one = RunDirectory(run_directory), settings(max_labels=100)
    place.prepare(one)
    Journal(place.journal).record("start", {})
    with pytest.raises(ConfigError, match=rf"100 -> 200.*--label-store {place.labels}"):
        place.prepare(replace(one, max_labels=200))
    place.result.write_text("{}")
    with pytest.raises(ConfigError, match=rf"100 -> 200.*relax --from {run_directory}"):
        place.prepare(replace(one, max_labels=200))


def test_a_journal_without_settings_is_not_taken_over(run_directory):
    run_directory.mkdir()
    Journal(run_directory / "journal.jsonl").record("start", {})
    with pytest.raises(ConfigError, match=r"journal without run\.toml"):
        RunDirectory(run_directory).prepare(settings())


def test_a_run_directory_that_is_a_file_is_refused(run_directory):
    run_directory.write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        RunDirectory(run_directory).prepare(settings())


def test_two_runs_cannot_work_in_one_directory(run_directory):
    place = RunDirectory(run_directory)
    place.prepare(settings())
    with place.locked():
        with pytest.raises(SschaMlpError, match="Another run is working in"):
            with RunDirectory(run_directory).locked():
                pass
    with place.locked():  # free again
        pass


def test_fixed_numbers_of_labels_are_spelled_out_as_earlier_versions_did():
    mapping = settings(labels="fixed").to_mapping()
    training, certificate = mapping["training"], mapping["certificate"]
    assert (training["n_start"], training["n_test"], training["n_extra"]) == (24, 12, 16)
    assert (certificate["n_labels"], certificate["max_rounds"]) == (36, 5)
    assert "n_explored" not in training
    assert settings(labels="fixed", model="gap").counts.n_explored == 48
    assert settings(labels="fixed").counts.n_explored == 24


def test_a_given_number_of_labels_is_kept_by_need():
    counts = settings(training={"n_start": 10}, certificate={"n_labels": 9}).counts
    assert (counts.n_start, counts.n_check, counts.n_reserve) == (10, 9, 9)


def test_a_run_that_an_earlier_version_began_keeps_its_numbers(tmp_path):
    """Its run.toml says nothing of need, and the same command goes on with it."""
    place = RunDirectory(tmp_path)
    place.prepare(settings(labels="fixed"))
    text = place.settings_file.read_text()
    assert 'labels = "fixed"\n' in text
    place.settings_file.write_text(text.replace('labels = "fixed"\n', ""))
    place.journal.write_text('{"key": "start"}\n')
    assert place.prepare(settings()).labels == "fixed"
    assert place.prepare(settings()).counts.n_check == 36
    assert place.settings().counts.n_start == 24
