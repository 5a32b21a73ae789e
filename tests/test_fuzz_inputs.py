"""Hundreds of bad inputs: each gets one sentence and an exit status, and nothing else happens."""

import ast
import pickle
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bad_inputs import CANARY, KINDS, PRECIOUS, Case, Good, make_good
from house import read_house
from watch import Hang, Seen, watched

PACKAGE = Path(__file__).resolve().parents[1] / "sscha_mlp"


@pytest.fixture(scope="module")
def good(finished_run, tmp_path_factory) -> Good:
    """Good files of every kind, not to be changed."""
    return make_good(tmp_path_factory.mktemp("good"), finished_run)


def complaints(case: Case, seen: Seen, place: Path) -> Iterator[str]:
    """Say what the answer to a bad input lacks."""
    if seen.status not in (0, 1, 2, 3):
        yield f"status {seen.status}"
    if "Traceback" in seen.error or re.search(r"error: unexpected \w+:", seen.error):
        yield "not foreseen"
    if len(seen.sentences) > 1 or len(seen.sentences) != int(must_explain(seen)):
        yield f"{len(seen.sentences)} sentences"
    outside = [path for path in seen.written if not path.is_relative_to(place)]
    if outside:
        yield f"wrote {outside[0]}"
    if any(part.startswith(("sh", "/bin/sh", "os.")) for one in seen.programs for part in one[:1]):
        yield f"started {seen.programs}"
    if seen.unpickled:
        yield f"unpickled {seen.unpickled}"
    yield from traces(place)
    if seen.status == 0:
        try:
            case.check(place)
        except Exception as err:  # noqa: BLE001 - whatever a wrong output leads to
            yield f"wrong output: {type(err).__name__}: {err}"


def traces(place: Path) -> Iterator[str]:
    """Say what was done to files that are not those of the answer."""
    if list(place.rglob(CANARY)):
        yield "a shell has run"
    precious = place / "precious"
    if precious.is_file() and precious.read_text() != PRECIOUS:
        yield "wrote through a link"


def must_explain(seen: Seen) -> bool:
    """A failure is explained on standard error, unless the answer itself tells of it."""
    told = "damaged" in seen.out or "above" in seen.error
    return seen.status in (1, 2) and not (seen.status == 1 and told)


SLOW = {"reports"}


@pytest.mark.parametrize(
    "kind", [pytest.param(one, marks=pytest.mark.slow if one in SLOW else ()) for one in KINDS]
)
def test_bad_input_gets_one_sentence(kind, good, tmp_path):
    rng = np.random.default_rng(list(KINDS).index(kind))
    found = []
    for number, case in enumerate(KINDS[kind](good, rng)):
        place = tmp_path / str(number)
        place.mkdir()
        case.prepare(place)
        try:
            seen = watched(list(case.words), place.resolve())
        except Hang as err:
            found.append(f"{number} {case.change}: {err}")
            continue
        found += [
            f"{number} {case.change}: {one} | {seen.error[-300:]}"
            for one in complaints(case, seen, place.resolve())
        ]
        shutil.rmtree(place)
    assert not found, f"{len(found)}:\n" + "\n".join(found)


def test_there_are_five_hundred_bad_inputs_without_the_slow_ones(good):
    rng = np.random.default_rng(0)
    counts = [len(list(KINDS[kind](good, rng))) for kind in KINDS if kind not in SLOW]
    assert sum(counts) >= 500


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (("status", "x"), Seen(status=5)),
        (("status", "x"), Seen(status=2)),
        (("status", "x"), Seen(status=1, error="sscha-mlp: error: unexpected KeyError: 'a'.\n")),
        (("status", "x"), Seen(status=2, error="sscha-mlp: error: a\nsscha-mlp: error: b\n")),
        (("status", "x"), Seen(status=0, written={Path("/elsewhere")})),
        (("status", "x"), Seen(status=0, programs=[("/bin/sh", "-c", "true")])),
        (("status", "x"), Seen(status=0, unpickled=["os.system"])),
    ],
)
def test_what_is_wrong_with_an_answer_is_found(words, seen, tmp_path):
    assert len(list(complaints(Case(words, ""), seen, tmp_path))) == 1


def test_writing_starting_and_unpickling_are_seen(tmp_path, monkeypatch):
    def misbehave(_: object) -> int:
        (tmp_path / "made").write_text("x")
        subprocess.run(["true"], check=True)
        pickle.loads(b"cmath\nsqrt\n.")
        return 0

    monkeypatch.setattr("watch.run_command", misbehave)
    seen = watched([], tmp_path)
    assert tmp_path / "made" in seen.written
    assert seen.programs == [("true", "true")]
    assert seen.unpickled == ["math.sqrt"]


# --- the source -------------------------------------------------------------------------------

FORBIDDEN = {
    *("os.system", "os.popen", "yaml.load", "eval", "exec", "marshal.load", "marshal.loads"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "joblib.load", "shelve.open"),
}
UNPICKLES = {"pickle.load", "pickle.loads", "pickle.Unpickler", "pandas.read_pickle"}


def dangerous_calls(tree: ast.Module, *, may_unpickle: bool) -> Iterator[str]:
    """Calls that run what a file or a user says as a program."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in {"pickle", "marshal", "shelve"}:
            yield f"line {node.lineno}: from {node.module} import"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {one.arg: ast.unparse(one.value) for one in node.keywords}
        if called in FORBIDDEN or (called in UNPICKLES and not may_unpickle):
            yield f"line {node.lineno}: {called}"
        if called in {"np.load", "numpy.load"} and keywords.get("allow_pickle") != "False":
            yield f"line {node.lineno}: {called} without allow_pickle=False"
        if keywords.get("shell", "False") != "False":
            yield f"line {node.lineno}: {called} with a shell"


def test_nothing_that_is_read_is_run():
    """Only what a process of ours sends to another one of ours is unpickled."""
    found = [
        f"{name}, {what}"
        for name, module in read_house(PACKAGE).items()
        for what in dangerous_calls(module.tree, may_unpickle=module.room == "parallel")
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "pickle.load(stream)",
        "from pickle import loads",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
        "yaml.load(text)",
        "eval(text)",
    ],
)
def test_a_dangerous_line_is_found(line):
    assert len(list(dangerous_calls(ast.parse(line), may_unpickle=False))) == 1
