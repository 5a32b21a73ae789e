"""Python values of a wrong type: one sentence, as an error of the package, for every name."""

import contextlib
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

import sscha_mlp as sm
from sscha_mlp.argument_types import fits
from sscha_mlp.calculators.table import read_table
from sscha_mlp.errors import ConfigError, InputError
from sscha_mlp.parallel.settings import executor_values
from sscha_mlp.properties.born_files import read_born
from sscha_mlp.run_files.settings import read_toml

CRYSTAL = sm.Crystal.from_ase(bulk("Cu"))
WRONG = (
    *(None, 3, -1.5, True, float("nan"), "abc", "", b"x", "."),
    *([], {}, (1, 2), [{}], [None], {"a": 1}, object(), EMT(), EMT, bulk("Cu"), CRYSTAL),
    *(np.zeros(3), np.array([]), np.array("abc"), lambda: 0, inspect, Path("/dev/null")),
)
PUBLIC = sorted(name for name in sm.__all__ if not name.startswith("__"))


def calls(name: str) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Arguments for a public name: all required ones the same wrong value, or only the first."""
    parameters = inspect.signature(getattr(sm, name)).parameters.values()
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (2, 4)]
    for value in WRONG:
        yield (
            tuple(value for p in needed if p.kind != p.KEYWORD_ONLY),
            {p.name: value for p in needed if p.kind == p.KEYWORD_ONLY},
        )


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_answers_wrong_values_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.chdir(tmp_path)
    public = getattr(sm, name)
    if inspect.isclass(public) and issubclass(public, BaseException):
        return
    for args, kwargs in calls(name):
        with contextlib.suppress(sm.SschaMlpError):
            public(*args, **kwargs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sm.get_reference(EMT()), r"calculator object \(EMT\).*sm\.get_reference\(EMT\)"),
        (
            lambda: sm.get_reference(lambda: None),
            r"top of a module, or its name 'module:function'",
        ),
        (lambda: sm.get_reference(3), r"spec must be .*, not the int 3"),
        (
            lambda: sm.label([bulk("Cu")], EMT()),
            r"must be a Reference, .*sm\.get_reference\('emt'\)",
        ),
        (lambda: sm.RunSettings(300.0, reference=EMT()), "must be text, not EMT"),
        (lambda: sm.RunSettings("300"), "temperature must be a number, not the str '300'"),
        (lambda: sm.Supercell("Si", (2, 2, 2)), "must be a Crystal, not str"),
        (lambda: sm.harmonic(CRYSTAL, "emt"), r"must be a Supercell.*sm\.Supercell\(crystal"),
        (lambda: sm.result_table({"labels": 1}), "labels cannot be read"),
        (lambda: sm.validation_figure(()), "sets is empty"),
        (lambda: sm.load_state("run"), r"run is a directory.*run/states/final\.npz"),
        (lambda: sm.load_state("nothing"), "no state nothing"),
        (lambda: sm.load_state("text"), "text cannot be read"),
        (lambda: sm.read_extxyz("run"), "run is a directory"),
        (lambda: sm.read_any("run"), "run is a directory"),
        (lambda: sm.read_structure("run"), "run is a directory"),
        (lambda: sm.read_structure("pipe"), "pipe is no ordinary file"),
        (lambda: sm.read_extxyz("pipe"), "pipe is no ordinary file"),
        (lambda: read_toml("pipe"), "no ordinary file"),
        (lambda: read_toml("large.toml"), r"it has 50 MB, .* less than 1 MB"),
        (lambda: read_table(Path("large.toml")), r"it has 50 MB"),
        (lambda: read_table(Path("pipe")), "no ordinary file"),
        (lambda: executor_values("large.toml"), r"it has 50 MB"),
        (lambda: read_born(Path("pipe"), CRYSTAL), "no ordinary file"),
        (lambda: read_toml("run"), "directory"),
    ],
)
def test_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call, message: str):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "run" / "states").mkdir(parents=True)
    (tmp_path / "run" / "states" / "final.npz").touch()
    (tmp_path / "text").write_text("text\n")
    with (tmp_path / "large.toml").open("wb") as stream:
        stream.truncate(50_000_000)
    with pytest.raises(InputError, match=message):
        call()


def test_a_class_that_makes_calculators_is_a_reference():
    reference = sm.get_reference(EMT)
    assert reference.name == "ase.calculators.emt:EMT"
    report = sm.label([bulk("Cu")], reference)
    assert report.labels[0].energy == bulk_energy()
    with pytest.raises(ConfigError, match="A calculator object"):
        sm.get_reference(reference.make_calculator())


def bulk_energy() -> float:
    atoms = bulk("Cu")
    atoms.calc = EMT()
    return float(atoms.get_potential_energy())


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (3, float),
        (np.float32(3), float),
        (np.int64(3), int),
        (np.array(3.0), float),
        ("quantum", str | None),
        ([1, 2], tuple[int, ...]),
        (np.arange(3), tuple[float, ...]),
        ([[1.0, 2.0]], np.ndarray),
        (None, float | None),
        ([1], object),
    ],
)
def test_values_that_fit(value, hint):
    assert fits(value, hint)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (True, float),
        ("3", float),
        (3.0, int),
        (None, str),
        ("abc", tuple[float, ...]),
        (["a"], tuple[float, ...]),
        ("abc", np.ndarray),
        ([[1, 2], [3]], np.ndarray),
        (EMT, EMT),
        ({}, list[int]),
    ],
)
def test_values_that_do_not(value, hint):
    assert not fits(value, hint)


def test_wrapped_functions_keep_name_help_and_signature():
    from sscha_mlp.properties.dispersion import dispersion

    assert sm.dispersion.__doc__ == dispersion.__doc__
    assert inspect.signature(sm.dispersion) == inspect.signature(dispersion)
