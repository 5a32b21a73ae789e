"""Bad inputs by the hundred: good files of every kind, and what may become of them."""

import json
import os
import re
import shutil
import sqlite3
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from offline_outputs import results
from test_offline import ask

from sscha_mlp.cli import run_command
from sscha_mlp.data.extxyz import read_extxyz, write_extxyz
from sscha_mlp.data.formats import write_any
from sscha_mlp.data.labels import Label, LabelledConfiguration, configuration_key
from sscha_mlp.potentials.registry import fit
from sscha_mlp.reference import LabelStore
from sscha_mlp.reference.inspection import records
from sscha_mlp.run_files.settings import format_toml

CANARY = "CANARY"
"""File that exists when a shell has run what was given as a value."""

VALUES = (
    *("", " ", "-1", "0", "1", "3.5", "-3.5", "nan", "inf", "-inf", "1e400", "9" * 25, "0x10"),
    *("abc", "Å", "𝟛", "..", "/", "missing/dir/file", "--", "---", "-", "a" * 300, "%s%n", "{}"),
    *("a\nb", "\x1b[31m", "[red]", "[/red]", "\udcff", "*", "~", "a@b", "folder", "prose.txt"),
    *(f"$(touch {CANARY})", f"`touch {CANARY}`", f"; touch {CANARY}", f"| touch {CANARY}"),
    *(f"&& touch {CANARY}", f"\ntouch {CANARY}\n", f"os:system('touch {CANARY}')", "1,2", "::0"),
)
"""What somebody or some script may write where a number, a name or a file belongs."""


@dataclass(frozen=True)
class Case:
    """One bad input.

    Parameters
    ----------
    words
        The command line; it runs in a directory of its own.
    change
        What is changed, in words.
    prepare
        Puts the bad file into the directory.
    check
        Called with the directory where the status is 0: is the answer right all the same?
    """

    words: tuple[str, ...]
    change: str
    prepare: Callable[[Path], object] = lambda _: None
    check: Callable[[Path], object] = lambda _: None


@dataclass(frozen=True)
class Good:
    """A directory with one good file of each kind."""

    place: Path

    def __getattr__(self, name: str) -> str:
        return str(self.place / name.replace("_", "."))


def copper_frames(n: int = 6, seed: int = 0) -> list[LabelledConfiguration]:
    """Labelled configurations of four atoms of copper, as EMT has them."""
    made = []
    for number in range(n):
        atoms = bulk("Cu", a=3.6, cubic=True)
        atoms.rattle(0.08, seed=100 * seed + number)
        made.append(LabelledConfiguration(atoms, Label(*results(atoms, EMT()))))
    return made


def make_good(place: Path, run: Path) -> Good:
    """Write the good files; `run` is the directory of a run that is finished."""
    frames = copper_frames()
    write_extxyz(place / "data.xyz", frames)
    write_any(place / "data.cfg", frames)
    crystal = bulk("Cu", a=3.6, cubic=True)
    crystal.write(place / "crystal.vasp", format="vasp")
    crystal.write(place / "crystal.cif")
    crystal.write(place / "crystal.xyz", format="extxyz")
    (place / "files.toml").write_text("[reference]\nfactory = 'files'\n")
    shutil.copytree(run, place / "run")
    shutil.copytree(run / "models" / "000", place / "gap")
    (place / "settings.toml").write_text(
        (run / "run.toml").read_text().replace("cheap:diary", "files")
    )
    settings = {"level": 4, "cutoff": 3.6}
    fit("mtp", copper_frames(20, 1), directory=place / "mtp", settings=settings).close()
    _export(place)
    asked = ask(place, "extxyz", [one.atoms for one in frames])
    asked.parent.rename(place / "offline")
    (place / "labels.db").unlink()
    shutil.copy(run / "labels.db", place / "labels.db")
    return Good(place)


def _export(place: Path) -> None:
    """Write the MTP as files, and what both models predict; numba has compiled everything then."""
    for name in ("model.mtp", "model.almtp"):
        assert run_command(["export", str(place / "mtp"), str(place / name)]) == 0
    data = str(place / "data.xyz")
    for kind in ("mtp", "gap"):
        words = ["efs", str(place / kind), data, "--workers", "1"]
        assert run_command([*words, "--out", str(place / f"{kind}.xyz")]) == 0
    words = ["grade", str(place / "model.almtp"), data, "--species", "Cu", "--workers", "1"]
    assert run_command(words) == 0


# --- what may happen to a file ----------------------------------------------------------------


def mutate_text(text: str, rng: np.random.Generator) -> tuple[str, str]:
    """Return the text with one thing wrong, and what that is."""
    lines = text.splitlines(keepends=True)
    number = int(rng.integers(len(lines)))
    kind = str(rng.choice(list(_TEXT)))
    return _TEXT[kind](lines, number, rng), f"{kind}, line {number + 1}"


def _cut(lines: list[str], number: int, rng: np.random.Generator) -> str:
    text = "".join(lines)
    return text[: int(rng.integers(len(text)))]


def _without_line(lines: list[str], number: int, rng: np.random.Generator) -> str:
    return "".join([*lines[:number], *lines[number + 1 :]])


def _line_twice(lines: list[str], number: int, rng: np.random.Generator) -> str:
    return "".join([*lines[: number + 1], *lines[number:]])


def _number_to(word: str) -> Callable[[list[str], int, np.random.Generator], str]:
    def change(lines: list[str], number: int, rng: np.random.Generator) -> str:
        for k in range(len(lines)):  # the next line with a number in it
            here = (number + k) % len(lines)
            found = list(re.finditer(r"(?<![\w.])-?\d+\.?\d*(?:[eE][-+]?\d+)?(?!\w)", lines[here]))
            if found:
                one = found[int(rng.integers(len(found)))]
                line = lines[here][: one.start()] + word + lines[here][one.end() :]
                return "".join([*lines[:here], line, *lines[here + 1 :]])
        return "".join(lines) + word

    return change


def _without_word(lines: list[str], number: int, rng: np.random.Generator) -> str:
    words = lines[number].split(" ")
    del words[int(rng.integers(len(words)))]
    return "".join([*lines[:number], " ".join(words), *lines[number + 1 :]])


def _garbled(lines: list[str], number: int, rng: np.random.Generator) -> str:
    text = list("".join(lines))
    for place in rng.integers(len(text), size=8):
        text[place] = chr(int(rng.integers(1, 0x250)))
    return "".join(text)


def _shuffled(lines: list[str], number: int, rng: np.random.Generator) -> str:
    return "".join(lines[i] for i in rng.permutation(len(lines)))


_TEXT: dict[str, Callable[[list[str], int, np.random.Generator], str]] = {
    "cut off": _cut,
    "a line is missing": _without_line,
    "a line is there twice": _line_twice,
    "a word is missing": _without_word,
    "garbled": _garbled,
    "lines in another order": _shuffled,
    "empty": lambda lines, number, rng: "",
    "a number is nan": _number_to("nan"),
    "a number is inf": _number_to("inf"),
    "a number is negative": _number_to("-7"),
    "a number is huge": _number_to("1e308"),
    "a count is huge": _number_to("987654321987"),
    "a number is zero": _number_to("0"),
    "a number is a word": _number_to("abc"),
    "a number is code": _number_to(f"__import__('os').system('touch {CANARY}')"),
}


def mutate_json(content: object, rng: np.random.Generator) -> tuple[object, str]:
    """Return JSON with one value of another kind or none, and what that is."""
    wrong = [None, True, -1, 1e308, "", "abc", [], {}, [None], {"a": 1}, float("nan"), "../../x"]
    spots = list(_spots(content, ()))
    path = spots[int(rng.integers(len(spots)))]
    copy = json.loads(json.dumps(content))
    if not path:
        return wrong[int(rng.integers(len(wrong)))], "another document"
    inside = copy
    for key in path[:-1]:
        inside = inside[key]
    name = ".".join(map(str, path))
    if rng.random() < 0.3:
        del inside[path[-1]]
        return copy, f"{name} is missing"
    value = wrong[int(rng.integers(len(wrong)))]
    inside[path[-1]] = value
    return copy, f"{name} = {value!r}"


def _spots(content: object, path: tuple) -> Iterator[tuple]:
    yield path
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _spots(value, (*path, key))
    elif isinstance(content, list) and content:
        yield from _spots(content[0], (*path, 0))


def mutate_bytes(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Return bytes cut off, overwritten or replaced, and which."""
    kind = int(rng.integers(5))
    if kind == 0:
        return content[: int(rng.integers(len(content)))], "cut off"
    if kind == 1:
        start = int(rng.integers(len(content)))
        noise = rng.bytes(min(400, len(content) - start))
        return content[:start] + noise + content[start + len(noise) :], f"noise at {start}"
    if kind == 2:
        return rng.bytes(3000), "noise"
    if kind == 3:
        return b"", "empty"
    return bytes(len(content)), "zeros"


# --- command lines ----------------------------------------------------------------------------


def command_lines(good: Good, rng: np.random.Generator) -> Iterator[Case]:
    """Each option of each verb with values that it cannot take, and words that nobody knows."""
    for words, options in _command_bases(good):
        for option in options:
            for value in rng.choice(VALUES, size=5, replace=False):
                given = (*words, option, str(value))
                yield Case(given, f"{option} {str(value)[:40]!r}", _surroundings)
        for value in rng.choice(VALUES, size=3, replace=False):
            yield Case((words[0], str(value)), "argument", _surroundings)
        yield Case((*words, "--no-such-option"), "unknown option")
        yield Case((*words, options[0]), "option without value")
    for value in VALUES:
        yield Case((value,), f"verb {value[:40]!r}", _surroundings)


def _surroundings(place: Path) -> None:
    (place / "folder").mkdir()
    (place / "prose.txt").write_text("neither numbers nor a crystal\n")


def _command_bases(good: Good) -> list[tuple[tuple[str, ...], list[str]]]:
    """A quick command line of each verb, and options to spoil it with."""
    relax = ("relax", "--T", "300", "--structure", good.crystal_vasp, "--reference", "files")
    relax += ("--config", good.settings_toml, "--run-dir", "run")
    state = str(good.place / "run" / "states" / "start.npz")
    return [
        (
            relax,
            [
                *("--T", "--pressure", "--structure", "--dyn", "--reference", "--model", "--cell"),
                *("--configs", "--max-labels", "--engine", "--symmetry", "--seed", "--workers"),
                *("--executor", "--config", "--run-dir", "--label-store", "--model-executor"),
            ],
        ),
        (
            ("ensemble", "--T", "300", "--state", state, "--n", "2"),
            ["--T", "--n", "--state", "--dyn", "--out", "--seed"],
        ),
        (
            ("label", good.data_xyz, "--reference", "files"),
            ["--reference", "--out", "--store", "--time-limit", "--workers", "--executor"],
        ),
        (("label", "import", str(good.place / "offline" / "000")), ["--store", "--run-dir"]),
        (
            ("labels", good.labels_db),
            ["--reference", "--status", "--min-energy", "--max-energy", "--since", "--until", "-n"],
        ),
        (("labels", good.labels_db, "export"), ["--out"]),
        (("fit", good.data_xyz, "--out", "model", "--model", "nothing"), ["--config", "--out"]),
        (
            ("efs", good.model_mtp, good.data_cfg, "--species", "Cu", "--workers", "1"),
            ["--out", "--species", "--executor"],
        ),
        (
            ("grade", good.model_almtp, good.data_cfg, "--species", "Cu", "--workers", "1"),
            ["--out", "--save", "--break", "--worst", "--fail-above", "--train"],
        ),
        (
            ("select-add", good.data_xyz, "--method", "fps", "--n", "2", "--out", "a.xyz"),
            ["--n", "--method", "--out", "--seed"],
        ),
        (
            ("convert", good.data_xyz, "--out", "o.cfg"),
            ["--from", "--to", "--index", "--out", "--species"],
        ),
        (("export", good.model_mtp, "o.mtp", "--species", "Cu"), ["--species", "--train"]),
        (("status", good.run), ["--json"]),
        (("report", "missing"), ["--known"]),
    ]


# --- settings ---------------------------------------------------------------------------------

WRONG_VALUES = ("''", "'abc'", "true", "[]", "[1, 2]", "{a = 1}", "nan", "-inf", "-1", "0", "1e308")
WRONG_VALUES += ("99999999999999999999", "1979-05-27", f"'$(touch {CANARY})'", "[[[]]]", "3.5")

BROKEN_TOML = {
    "empty": b"",
    "a key without value": b"temperature =\n",
    "a table that is not closed": b"[start\n",
    "the same key twice": b"temperature = 1\ntemperature = 2\n",
    "binary": bytes(range(256)),
    "Latin-1": "temperature = 300 # für".encode("latin-1"),
    "UTF-16": "temperature = 300\n".encode("utf-16"),
    "a zero byte": b"temperature = 300\x00\n",
    "nested a thousand times": b"a = " + b"[" * 1000 + b"]" * 1000,
    "nested too deep": b"a = " + b"[" * 200_000,
    "a dotted key over a value": b"temperature = 300\ntemperature.x = 1\n",
    "a table where a value was": b"start = 3\n[start]\nfmax = 1\n",
    "an unknown key": b"temprature = 300\n",
    "an unknown table": b"[strat]\nfmax = 1\n",
    "a table in a table": b"[start.start]\nfmax = 1\n",
    "an array of tables": b"[[start]]\nfmax = 1\n[[start]]\nfmax = 2\n",
}


def settings_files(good: Good, rng: np.random.Generator) -> Iterator[Case]:
    """TOML files that are broken, and settings of the wrong kind or size."""
    relax = ("relax", "--T", "300", "--structure", good.crystal_vasp, "--reference", "files")
    label = ("label", good.data_xyz, "--out", "o.xyz")
    for name, content in BROKEN_TOML.items():
        for words, option in (
            (relax, "--config"),
            (label, "--reference"),
            ((*label, "--reference", "files"), "--executor"),
            (("fit", good.data_xyz, "--model", "gap", "--out", "model"), "--config"),
        ):
            if name == "empty" and words[0] == "fit":
                continue  # no settings are good settings
            given = (*words, option, "bad.toml")
            yield Case(given, f"{option}: {name}", _write("bad.toml", content))
    table = tomllib.loads(Path(good.settings_toml).read_text())
    for key in _keys(table):
        for value in rng.choice(WRONG_VALUES, size=2, replace=False):
            text = _with_setting(table, key, str(value))
            name = f"{'.'.join(key)} = {value}"
            given = ("relax", "--config", "bad.toml", "--run-dir", "run")
            yield Case(given, name, _write("bad.toml", text.encode()))


def _keys(table: dict, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _keys(value, (*path, name))
        yield (*path, name)


def _with_setting(table: dict, key: tuple[str, ...], value: str) -> str:
    """Return settings in which one has the given TOML text as its value."""
    mark = "'a value that is put in'"
    copy = json.loads(json.dumps(table))
    inside = copy
    for name in key[:-1]:
        inside = inside[name]
    inside[key[-1]] = mark.strip("'")
    text = format_toml(copy)
    assert mark in text or mark.replace("'", '"') in text
    return text.replace(mark.replace("'", '"'), value).replace(mark, value)


def _write(name: str, content: bytes) -> Callable[[Path], object]:
    def write(place: Path) -> None:
        (place / name).write_bytes(content)

    return write


# --- structures and configurations --------------------------------------------------------------


def structures(good: Good, rng: np.random.Generator) -> Iterator[Case]:
    """Crystals that are cut off, garbled, without cell, or with atoms on top of each other."""
    relax = ("relax", "--config", good.settings_toml, "--run-dir", "run", "--structure")
    for name in ("crystal.vasp", "crystal.cif", "crystal.xyz"):
        text = (good.place / name).read_text()
        for number in range(36):
            bad, change = mutate_text(text, rng)
            write = _write(name, bad.encode())
            if number % 2:
                yield Case((*relax, name), f"{name}: {change}", write)
            else:
                words = ("convert", name, "--out", "o.xyz")
                yield Case(words, f"{name}: {change}", write, _finite_output)
    for name, text in _wrong_crystals():
        yield Case((*relax, name), f"{name} as relax reads it", _write(name, text.encode()))


def _wrong_crystals() -> Iterator[tuple[str, str]]:
    yield "slab.xyz", '1\nLattice="3 0 0 0 3 0 0 0 0" pbc="T T F"\nCu 0 0 0\n'
    yield "molecule.xyz", "2\n\nCu 0 0 0\nCu 0 0 2\n"
    yield "overlap.xyz", '2\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T T"\nCu 0 0 0\nCu 0 0 3\n'
    yield "flat.xyz", '1\nLattice="3 0 0 3 0 0 0 0 3" pbc="T T T"\nCu 0 0 0\n'
    yield "nan.xyz", '1\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T T"\nCu nan 0 0\n'
    yield "infinite.xyz", '1\nLattice="inf 0 0 0 3 0 0 0 3" pbc="T T T"\nCu 0 0 0\n'
    yield "element.xyz", '1\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T T"\nXx 0 0 0\n'
    yield "ghost.xyz", '1\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T T"\nX 0 0 0\n'
    yield "tiny.xyz", '1\nLattice="1e-9 0 0 0 1e-9 0 0 0 1e-9" pbc="T T T"\nCu 0 0 0\n'
    yield "none.xyz", '0\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T T"\n'
    yield "a@b.xyz", "nothing\n"
    yield "pickle.traj", "\x80\x04cos\nsystem\n(S'touch CANARY'\ntR."
    yield "code.py", f"import os\nos.system('touch {CANARY}')\natoms = None\n"


def _finite_output(place: Path) -> None:
    """What was written must be what the other reader of the file found, and finite."""
    frames = ase.io.read(place / "o.xyz", index=":")
    assert frames
    for atoms in frames:
        assert np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()
        assert len(atoms) > 0


def data_sets(good: Good, rng: np.random.Generator) -> Iterator[Case]:
    """Labels that are missing, not finite or not where they belong."""
    for name in ("data.xyz", "data.cfg"):
        text = (good.place / name).read_text()
        for number in range(48):
            bad, change = mutate_text(text, rng)
            write = _write(name, bad.encode())
            words = _uses(good, name)[number % 4]
            check = _as_it_was_read(name) if words[0] == "convert" else lambda _: None
            yield Case(words, f"{name}: {change}", write, check)


def _uses(good: Good, name: str) -> list[tuple[str, ...]]:
    species = ("--species", "Cu") if name.endswith("cfg") else ()
    return [
        ("convert", name, "--out", "o.xyz", *species),
        ("efs", good.model_mtp, name, "--species", "Cu", "--workers", "1"),
        ("label", name, "--reference", "files")
        if name.endswith("xyz")
        else ("grade", good.model_almtp, name, "--species", "Cu", "--workers", "1"),
        ("select-add", name, "--method", "fps", "--n", "2", "--out", "o.xyz", *species),
    ]


def _as_it_was_read(name: str) -> Callable[[Path], None]:
    """Every number of the output is one that the input has, as text."""

    def check(place: Path) -> None:
        known = np.array(sorted(_numbers((place / name).read_text())))
        for atoms in ase.io.read(place / "o.xyz", index=":"):
            for value in (*atoms.positions.ravel(), *atoms.cell.array.ravel()):
                assert np.isfinite(value)
                assert np.abs(known - value).min() < 1e-6 * max(1.0, abs(value))

    return check


def _numbers(text: str) -> list[float]:
    found = re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", text)
    return [float(one) for one in found] + [0.0]


# --- models -------------------------------------------------------------------------------------


def model_files(good: Good, rng: np.random.Generator) -> Iterator[Case]:
    """Models whose files are damaged or belong to another model."""
    for name in ("model.mtp", "model.almtp"):
        text = (good.place / name).read_text(errors="surrogateescape")
        for number in range(24):
            bad, change = mutate_text(text, rng)
            verb = ("efs", "grade")[number % 2]
            words = (verb, name, good.data_xyz, "--species", "Cu", "--workers", "1")
            write = _write(name, bad.encode(errors="surrogateescape"))
            yield Case(words, f"{verb} {name}: {change}", write)
    for kind in ("mtp", "gap"):
        directory = good.place / kind
        record = json.loads((directory / "model.json").read_text())
        words = ("efs", kind, good.data_xyz, "--workers", "1", "--out", "o.xyz")
        same = _as_predicted(good.place / f"{kind}.xyz")
        for _ in range(16):
            bad, change = mutate_json(record, rng)
            spoil = _copied(directory, "model.json", json.dumps(bad).encode())
            yield Case(words, f"{kind}/model.json: {change}", spoil, same)
        for path in sorted(directory.iterdir()):
            if path.name in ("gap_fit.log", "train.xyz"):
                continue
            for _ in range(4):
                content, change = mutate_bytes(path.read_bytes(), rng)
                spoil = _copied(directory, path.name, content)
                yield Case(words, f"{kind}/{path.name}: {change}", spoil, same)
        yield Case(words, f"{kind}: a pickle in an archive", _copied(directory, *_archive(kind)))


def _as_predicted(path: Path) -> Callable[[Path], None]:
    """The model that was taken predicts what the good one does."""

    def check(place: Path) -> None:
        assert (place / "o.xyz").read_bytes() == path.read_bytes()

    return check


def _archive(kind: str) -> tuple[str, bytes]:
    """An archive of NumPy whose array is a pickle that would start a program."""
    from io import BytesIO

    class Program:
        def __reduce__(self):
            import os

            return os.system, (f"touch {CANARY}",)

    stream = BytesIO()
    np.savez(stream, scalars=np.array([Program()], dtype=object))
    return ("active.npz" if kind == "mtp" else "model.json"), stream.getvalue()


def _copied(source: Path, name: str, content: bytes) -> Callable[[Path], object]:
    """A copy of a directory in which one file is another."""

    def copy(place: Path) -> None:
        shutil.copytree(source, place / source.name)
        target = place / source.name / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)

    return copy


# --- runs ---------------------------------------------------------------------------------------


def damaged_runs(good: Good, rng: np.random.Generator) -> Iterator[Case]:
    """Runs whose result, journal or settings are damaged, as ``status`` and ``relax`` read them."""
    shown = [("status", "run"), ("status", "run", "--json")]
    shown += [("relax", "--config", "run/run.toml", "--run-dir", "run")]
    yield from _damaged(good.place / "run", shown, 12, rng)


PRECIOUS = "three years of work\n"
"""A file outside the run directory, to which a link in it may point."""

FAULTS: dict[str, Callable[[Path], object]] = {
    "removed": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "cut in half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "of another kind": lambda file: file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
    "a directory": lambda file: (file.unlink(), file.mkdir()),
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "a link to nothing": lambda file: (file.unlink(), file.symlink_to(file.parent / "nothing")),
    "a link to itself": lambda file: (file.unlink(), file.symlink_to(file)),
    "a link to a file of ours": lambda file: (
        file.unlink(),
        file.symlink_to(file.parents[1] / "precious"),
    ),
}
"""What may become of one file of a run directory that was copied, moved or sent."""


def replaced_files(good: Good, rng: np.random.Generator) -> Iterator[Case]:
    """Runs one of whose files is something else, as verbs that read or go on meet them."""
    del rng  # there is nothing random in it
    run = good.place / "run"
    shown: tuple[tuple[str, ...], ...] = (
        ("status", "run", "--json"),
        ("relax", "--config", "run/run.toml", "--run-dir", "run", "--json"),
        ("relax", "--from", "run", "--T", "300", "--run-dir", "next", "--max-labels", "1"),
        ("labels", "run/labels.db", "counts"),
    )
    names = ("run.toml", "journal.jsonl", "result.json", "labels.db", "log.txt", ".lock")
    for name in names:
        for fault, spoil in FAULTS.items():
            for words in shown:
                reads = name == "labels.db" if words[0] == "labels" else name != "labels.db"
                anew = words[0] == "relax" and name == "result.json" and words[1] == "--config"
                if reads and not anew:  # a result that is missing would be computed
                    yield Case(
                        words,
                        f"{words[0]} {words[1]}: {name} is {fault}",
                        _replaced(run, name, spoil),
                        _precious,
                    )


def _replaced(run: Path, name: str, spoil: Callable[[Path], object]) -> Callable[[Path], object]:
    def prepare(place: Path) -> None:
        shutil.copytree(run, place / "run")
        (place / "precious").write_text(PRECIOUS)
        (place / "run" / name).touch()
        spoil(place / "run" / name)

    return prepare


def _precious(place: Path) -> None:
    assert (place / "precious").read_text() == PRECIOUS


def damaged_reports(good: Good, rng: np.random.Generator) -> Iterator[Case]:
    """The same for ``report``, which takes seconds; states and validation sets too."""
    run, words = good.place / "run", ("report", "run")
    yield from _damaged(run, [words], 2, rng)
    text = Path(good.data_xyz).read_text()
    for _ in range(6):
        bad, change = mutate_text(text, rng)
        validate = ("validate", good.mtp, "data.xyz", "--out", "page")
        yield Case(validate, f"validate: {change}", _write("data.xyz", bad.encode()))
    for name in ("states/start.npz", "validation/check-1.npz", "dataset/test.xyz"):
        path = run / name if (run / name).is_file() else min((run / name).parent.iterdir())
        for _ in range(2):
            content, change = mutate_bytes(path.read_bytes(), rng)
            spoil = _copied(run, str(path.relative_to(run)), content)
            yield Case(words, f"report {path.name}: {change}", spoil)


def _damaged(
    run: Path, shown: list[tuple[str, ...]], count: int, rng: np.random.Generator
) -> Iterator[Case]:
    """Damage of the files that a run keeps its books in, so many of each kind."""
    files = {name: (run / name).read_text() for name in ("result.json", "journal.jsonl")}
    for name, text in (*files.items(), ("run.toml", (run / "run.toml").read_text())):
        for number in range(count):
            bad, change = mutate_text(text, rng)
            words = shown[number % min(2, len(shown))]
            yield Case(words, f"{words[0]} {name}: {change}", _copied(run, name, bad.encode()))
    result = json.loads(files["result.json"])
    entries = [json.loads(one) for one in files["journal.jsonl"].splitlines()]
    for number in range(2 * count):
        words = shown[number % len(shown)]
        bad, change = mutate_json(result, rng)
        spoil = _copied(run, "result.json", json.dumps(bad).encode())
        yield Case(words, f"{words[0]} result.json: {change}", spoil)
        index = int(rng.integers(len(entries)))
        bad, change = mutate_json(entries[index], rng)
        lines = [json.dumps(one) for one in [*entries[:index], bad, *entries[index + 1 :]]]
        spoil = _copied(run, "journal.jsonl", ("\n".join(lines) + "\n").encode())
        yield Case(words, f"{words[0]} {entries[index]['step']}: {change}", spoil)


def damaged_stores(good: Good, rng: np.random.Generator) -> Iterator[Case]:
    """Label stores that are damaged, and requests for labels that are."""
    content = Path(good.labels_db).read_bytes()
    verbs = [("list",), ("counts",), ("verify",), ("show", "3"), ("export", "--out", "o.xyz")]
    for number in range(20):
        bad, change = mutate_bytes(content, rng)
        words = ("labels", "labels.db", *verbs[number % 5])
        check = _known_configurations(good) if words[2] == "export" else lambda _: None
        yield Case(words, f"{words[2]}: {change}", _write("labels.db", bad), check)
    for statement in _STATEMENTS:
        for verb in verbs:
            words = ("labels", "labels.db", *verb)
            check = _known_configurations(good) if verb[0] == "export" else lambda _: None
            spoil = _after(Path(good.labels_db), statement)
            yield Case(words, f"{verb[0]}: {statement}", spoil, check)
    asked = good.place / "offline" / "000"
    manifest = json.loads((asked / "manifest.json").read_text())
    words = ("label", "import", "000", "--store", "labels.db")
    for _ in range(16):
        bad, change = mutate_json(manifest, rng)
        yield Case(words, f"manifest: {change}", _asked(good, "manifest.json", json.dumps(bad)))
    for name in ("configurations.xyz", "out.xyz"):
        source = asked / name if (asked / name).is_file() else Path(good.data_xyz)
        for _ in range(12):
            text, change = mutate_text(source.read_text(), rng)
            yield Case(words, f"{name}: {change}", _asked(good, name, text))


def _known_configurations(good: Good) -> Callable[[Path], None]:
    """Nothing is exported that was never stored, and no label with another configuration."""

    def check(place: Path) -> None:
        known = {}
        for one in _references(good):
            known |= {key: label.energy for key, label in one.items()}
        for one in read_extxyz(place / "o.xyz"):
            assert known[configuration_key(one.atoms)] == one.label.energy

    return check


def _references(good: Good) -> Iterator[dict[str, Label]]:
    with LabelStore(good.labels_db) as store:
        for identity in {one.reference for one in records(store)}:
            yield store.get_all(identity)


_STATEMENTS = (
    "UPDATE systems SET positions = x'00'",
    "UPDATE systems SET forces = NULL WHERE id = 3",
    "UPDATE systems SET energy = 'abc'",
    "UPDATE systems SET data = 'this is no JSON'",
    "UPDATE systems SET numbers = x'ffffffffffffffff'",
    "UPDATE systems SET key_value_pairs = '{}'",
    "UPDATE systems SET natoms = -1",
    "UPDATE systems SET positions = (SELECT positions FROM systems WHERE id = 40) WHERE id = 39",
    "DELETE FROM information",
    "DROP TABLE systems",
    "DROP TABLE text_key_values",
)


def _after(source: Path, statement: str) -> Callable[[Path], object]:
    """A copy of a store on which a statement was executed."""

    def change(place: Path) -> None:
        shutil.copy(source, place / "labels.db")
        with sqlite3.connect(place / "labels.db") as connection:
            connection.execute(statement)
        connection.close()

    return change


def _asked(good: Good, name: str, text: str) -> Callable[[Path], object]:
    """A request for labels with its outputs, of which one file is another."""

    def write(place: Path) -> None:
        shutil.copytree(good.place / "offline" / "000", place / "000")
        shutil.copy(good.data_xyz, place / "000" / "out.xyz")
        (place / "000" / name).write_text(text, encoding="utf-8", errors="surrogateescape")
        shutil.copy(good.labels_db, place / "labels.db")

    return write


KINDS: dict[str, Callable[[Good, np.random.Generator], Iterator[Case]]] = {
    "command lines": command_lines,
    "settings": settings_files,
    "structures": structures,
    "data sets": data_sets,
    "models": model_files,
    "runs": damaged_runs,
    "reports": damaged_reports,
    "stores": damaged_stores,
    "files": replaced_files,
}
