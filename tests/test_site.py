"""The site: pages that are made from the code, and what the other pages say in code."""

import re
import shutil
from typing import Any, get_type_hints

import pytest
from site_pages import (
    DOCS,
    ROOT,
    RUNS,
    commands_in_blocks,
    commands_in_text,
    complaint,
    defines,
    fenced,
    load_tool,
    named_in,
)
from typer.models import ArgumentInfo, OptionInfo

import sscha_mlp as sm
from sscha_mlp.cli.app import app

DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md")])
PAGES = load_tool("reference_pages")


def verbs() -> dict[str, Any]:
    """Each verb with the function behind it, from what was registered."""
    groups = [(app, ""), *((one.typer_instance, one) for one in app.registered_groups)]
    found = {}
    for typer, group in groups:
        prefix = "" if group == "" else f"{group.name or typer.info.name} "
        for command in typer.registered_commands:
            name = command.name or command.callback.__name__.replace("_", "-")
            found[f"{prefix}{name}"] = command.callback
    return found


def declared(function: Any) -> list[str]:
    """Options that the signature of a verb declares, and the names of its arguments."""
    names = []
    for hint in get_type_hints(function, include_extras=True).values():
        for one in getattr(hint, "__metadata__", ()):
            if isinstance(one, ArgumentInfo):
                names.append(one.metavar)
            elif isinstance(one, OptionInfo):
                names += one.param_decls
    return names


@pytest.mark.parametrize("name", sorted(PAGES.PAGES))
def test_a_page_made_from_the_code_is_up_to_date(name):
    written = (DOCS / name).read_text()
    assert written == PAGES.PAGES[name](), "run `make reference-pages`"


def test_the_types_of_the_public_names_are_up_to_date():
    assert PAGES.STUB.read_text(encoding="utf-8") == PAGES.stub(), "run `make reference-pages`"
    assert set(dir(sm)) == set(sm.__all__)


@pytest.mark.parametrize("words", ["thermal conductivity", "2D", "LO-TO", "CHGNet", "fine-tuning"])
def test_the_search_finds_what_people_look_for(words: str):
    pages = [path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")]
    assert any(words.lower() in page.lower() for page in pages)


def test_there_are_verbs_in_groups_and_outside():
    assert {"relax", "select-add", "reference check"} <= set(verbs())


@pytest.mark.parametrize(("verb", "function"), verbs().items(), ids=list(verbs()))
def test_the_command_line_page_has_each_option_of_a_verb(verb, function):
    text = (DOCS / "command-line.md").read_text()
    section = text.split(f"\n### {verb}\n")[1].split("\n## ")[0].split("\n### ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    cells = [row.replace("\\|", "!").split("|")[1] for row in rows]
    for name in declared(function):
        shown = (name or "").replace("|", "!")
        assert any(shown in re.split(r"[`, ]+", cell) or shown in cell for cell in cells), name
    texts = [row.replace("\\|", "!").split("|")[4].strip() for row in rows]
    assert all(texts), "an option without a help text"


def test_each_setting_has_a_meaning():
    empty = [f"{one.table}.{one.name}" for one in PAGES.settings() if len(one.text) < 5]
    assert empty == []


def test_the_python_page_has_each_public_name():
    text = (DOCS / "api.md").read_text()
    named = re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE)
    assert {one.rpartition(".")[2] for one in named} == set(sm.__all__) - {"__version__"}
    for name in named:
        module, _, attribute = name.rpartition(".")
        path = ROOT / f"{module.replace('.', '/')}.py"
        assert defines(path, attribute), name


def test_each_page_has_its_place_in_the_site():
    nav = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1]
    listed = re.findall(r"^ *- (?:[^#\n]*: )?([\w-]+\.md)$", nav, flags=re.MULTILINE)
    assert sorted(listed) == sorted([*(path.name for path in DOCS.glob("*.md")), "changelog.md"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_command_in_a_document_exists(document):
    text = document.read_text()
    found = {line: complaint(line) for line in commands_in_blocks(text)}
    found |= {line: complaint(line, whole=False) for line in commands_in_text(text)}
    assert {line: what for line, what in found.items() if what} == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("relax --T 2000 --seed 1", ""),
        ("select-add model train.xyz ensemble.xyz --out x.xyz   # a comment --not", ""),
        ("reference check --reference FILE", ""),
        ("hessian RUN_DIR [--configs 5000] [--fourth]", ""),
        ("relaxx --T 2000", "sscha-mlp has no verb relaxx"),
        ("reference chek", "sscha-mlp reference has no verb chek"),
        ("relax --temprature 300", "sscha-mlp relax has no option --temprature"),
        ("reference check --forth", "sscha-mlp reference check has no option --forth"),
        ("relax --supercell 2 2", "sscha-mlp relax: Option '--supercell' requires 3 arguments."),
        ("validate model", "sscha-mlp validate: Missing argument 'LABELLED.xyz...'."),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(line, found):
    assert complaint(line) == found


def test_commands_are_found_in_blocks_loops_and_text():
    block = "sscha-mlp fit a \\\n   --out b\nfor x; do sscha-mlp label c; done\n"
    text = f"```\n{block}```\nor `sscha-mlp\nefs d`"
    blocks = [" ".join(line.split()) for line in commands_in_blocks(text)]
    assert blocks == ["fit a --out b", "label c"]
    assert list(commands_in_text(text)) == ["efs d"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_in_a_document_compiles_and_uses_what_is_public(document):
    for language, code, _ in fenced(document.read_text()):
        if language == "python":
            compile(code, document.name, "exec")
            assert set(re.findall(r"\bsm\.(\w+)", code)) <= set(sm.__all__)


RUNNABLE = [path for path in DOCUMENTS if RUNS in path.read_text().splitlines()]


def test_there_are_examples_that_run():
    assert {path.name for path in RUNNABLE} >= {"ensembles.md", "own-potential.md"}


@pytest.mark.parametrize("document", RUNNABLE, ids=lambda path: path.name)
def test_examples_that_are_marked_run(document, finished_run, tmp_path, monkeypatch):
    shutil.copytree(finished_run / "states", tmp_path / "run" / "states")
    monkeypatch.chdir(tmp_path)
    place: dict[str, Any] = {}
    marked = [code for _, code, before in fenced(document.read_text()) if before == RUNS]
    for code in marked:
        exec(compile(code, document.name, "exec"), place)
    assert marked
    if "certificate" in place:  # model and reference are the same there, as the page says
        shifts = place["certificate"].shifts.values()
        assert max(abs(one.delta) for one in shifts) < 1e-6


def test_the_calculator_of_the_page_is_a_reference(tmp_path, monkeypatch):
    blocks = {
        language: code for language, code, _ in fenced((DOCS / "own-calculator.md").read_text())
    }
    (tmp_path / "calculators.py").write_text(blocks["python"])
    (tmp_path / "argon.toml").write_text(blocks["toml"])
    monkeypatch.chdir(tmp_path)
    reference = sm.get_reference("argon.toml")
    assert reference.make_calculator().parameters["sigma"] == reference.parameters["sigma"] == 3.405


def test_what_the_walk_names_is_there():
    named = named_in((DOCS / "walk.md").read_text())
    assert len(named) > 40
    missing = [
        f"{name} [{module}]"
        for name, module in named
        if not defines(ROOT / "sscha_mlp" / module, name)
    ]
    assert missing == []


def test_a_name_that_is_not_there_is_noticed():
    assert named_in("`a` and `B.c` [`x/y.py`], `d`") == [("a", "x/y.py"), ("B.c", "x/y.py")]
    assert defines(ROOT / "sscha_mlp" / "data" / "dataset.py", "Dataset.write")
    assert not defines(ROOT / "sscha_mlp" / "data" / "dataset.py", "Dataset.wrote")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_formula_becomes_mathml(document):
    pytest.importorskip("latex2mathml")
    pytest.importorskip("mkdocs")
    hooks = load_tool("site_hooks")
    text = re.sub(r"^```.*?^```|`[^`]*`", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    displayed = re.findall(r"\$\$(.*?)\$\$", text, flags=re.DOTALL)
    inline = re.findall(r"\$([^$]+)\$", re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL))
    for tex in [*displayed, *inline]:
        made = hooks.formula(tex, display=tex in displayed)
        assert made.startswith("<math") and "\\" not in made, tex
