"""The documents say what the code does: settings, examples, fields and links."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import sscha_mlp as sm
from sscha_mlp.calculators.table import read_table
from sscha_mlp.potentials.names import built_in_kinds
from sscha_mlp.potentials.registry import find_kind
from sscha_mlp.resources import bundled_file
from sscha_mlp.run_files.settings import RunSettings, read_toml

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RUN_DIRECTORY = ROOT / "docs" / "run-directory.md"
SETTINGS_PAGE = ROOT / "docs" / "settings.md"
STAGES = ROOT / "docs" / "stages.md"
QUANTUM_ESPRESSO = ROOT / "docs" / "quantum-espresso.md"
CHANGELOG = ROOT / "CHANGELOG.md"
DOCUMENTS = sorted([README, *(ROOT / "docs").glob("*.md")])
REQUIRED = "required"


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", path.read_text(), flags=re.MULTILINE | re.DOTALL
    )


def headings(path: Path) -> set[str]:
    """Anchors of a document, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


def settings_of(cls: type[Any], table: str = "") -> Iterator[tuple[str, str, Any]]:
    """Table, name and default of each setting, from the dataclasses."""
    for one in fields(cls):
        made = one.default_factory() if one.default_factory is not MISSING else None
        if is_dataclass(made):
            yield from settings_of(type(made), f"{table}.{one.name}".strip("."))
        elif made is None:
            yield table, one.name, REQUIRED if one.default is MISSING else one.default
        else:
            yield table, one.name, made


def documented() -> dict[tuple[str, str], str]:
    """Default of each setting in the document, by table and name."""
    rows: dict[tuple[str, str], str] = {}
    table = ""
    for line in SETTINGS_PAGE.read_text().splitlines():
        if line.startswith("## "):
            found = re.search(r"\[(.*)\]", line)
            table = found.group(1) if found else ""
        elif found := re.match(r"\| `(\w+)` \| (.*?) \| (.*?) \| (.+?) \|$", line):
            rows[table, found.group(1)] = found.group(3)
    return rows


def value_of(cell: str) -> Any:
    if cell == REQUIRED:
        return REQUIRED
    if cell == "not set":
        return None
    return tomllib.loads(f"value = {cell.strip('`')}")["value"]


OF_POTENTIALS = {f"potential.{name}": find_kind(name).settings for name in built_in_kinds()}
SETTINGS = [
    *settings_of(RunSettings),
    *(one for table, cls in OF_POTENTIALS.items() for one in settings_of(cls, table)),
]


@pytest.mark.parametrize(
    ("table", "name", "default"), SETTINGS, ids=[f"{one[0]}.{one[1]}" for one in SETTINGS]
)
def test_a_setting_is_documented_with_its_default(table, name, default):
    cell = value_of(documented()[table, name])
    assert cell == (list(default) if isinstance(default, tuple) else default)


def test_no_setting_is_documented_that_does_not_exist():
    assert set(documented()) == {(table, name) for table, name, _ in SETTINGS}


def toml_blocks() -> list[Any]:
    """Every TOML block of the documents, with the document it stands in."""
    return [
        pytest.param(text, id=f"{document.name}-{number}")
        for document in DOCUMENTS
        for number, text in enumerate(blocks(document, "toml"))
    ]


@pytest.mark.parametrize("text", toml_blocks())
def test_a_toml_example_is_a_reference_or_settings(text, tmp_path):
    values = tomllib.loads(text)
    if isinstance(values.get("reference"), dict):
        (tmp_path / "reference.toml").write_text(text)
        assert read_table(tmp_path / "reference.toml").spec
        return
    settings = RunSettings.from_mapping({"temperature": 300.0, **values})
    for name, values in settings.potential.items():
        find_kind(name).read(values)


def test_the_study_on_the_page_is_the_one_with_which_results_were_certified():
    page, results = (
        [one for one in blocks(path, "toml") if "[certificate]" in one]
        for path in (QUANTUM_ESPRESSO, QUANTUM_ESPRESSO.with_name("results.md"))
    )
    assert len(page) == 1 and page == results


def test_the_page_on_quantum_espresso_shows_the_bundled_file():
    shown = tomllib.loads(blocks(QUANTUM_ESPRESSO, "toml")[0])
    assert shown == tomllib.loads(bundled_file("silicon-qe.toml").read_text())


def python_example() -> str:
    (example,) = [text for text in blocks(STAGES, "python") if "import sscha_mlp" in text]
    return example


def test_the_python_example_uses_what_is_public():
    used = re.findall(r"\bsm\.(\w+)", python_example())
    assert used
    assert set(used) <= set(sm.__all__)


def test_the_cheap_parts_of_the_python_example_run():
    statements = ast.parse(python_example()).body
    cheap = []
    for statement in statements:
        if "sm.run(" in ast.unparse(statement):
            break
        cheap.append(statement)
    place: dict[str, Any] = {}
    exec(compile(ast.Module(cheap, []), "stages.md", "exec"), place)
    assert place["settings"].configs == 400
    assert place["reference"].name == "tersoff"


@pytest.mark.slow
def test_the_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(python_example(), "stages.md", "exec"), {})
    assert (tmp_path / "runs" / "si-300K" / "result.json").is_file()


@pytest.mark.parametrize("document", [*DOCUMENTS, CHANGELOG], ids=lambda path: path.name)
def test_links_between_documents_resolve(document):
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), target
        assert not anchor or anchor in headings(path), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_targets_and_scripts_in_documents_exist(document):
    text = document.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, flags=re.MULTILINE)) <= targets
    for script in re.findall(r"benchmarks/\w+\.py", text):
        assert (ROOT / script).is_file(), script


def test_files_that_the_documents_name_exist():
    for document in DOCUMENTS:
        named = re.findall(r"`((?:\w+/)+\w+\.py)", document.read_text())
        for name in named:
            places = (ROOT / "sscha_mlp" / name, ROOT / name)
            assert any(place.is_file() for place in places) or re.search(r"VERB|NAME", name), name


def test_each_field_of_the_result_is_documented(finished_run):
    """The run here is tiny; every field that it has is in the document."""
    result = json.loads((finished_run / "result.json").read_text())
    text = RUN_DIRECTORY.read_text()
    names = {*result, *result["validation"][0], *result["model"], *result["labels"]}
    names |= {*result["timings_s"], *result["frequencies_THz"][0]}
    names |= {*result["free_energy_eV_per_atom"], *result["volume_A3_per_atom"]}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_run_toml_holds_the_documented_settings(finished_run):
    written = read_toml(finished_run / "run.toml")
    for (table, name), cell in documented().items():
        place: Any = written
        for part in filter(None, table.split(".")):
            place = place[part]
        assert table in OF_POTENTIALS or cell == "not set" or name in place, (table, name)
