"""The notebooks: valid, clean, on public names alone; and what the observer shows in a kernel."""

import ast
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import sscha_mlp as sm
from sscha_mlp.errors import ConfigError
from sscha_mlp.run_files.records.population import PopulationRecord

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells_of(notebook, kind):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(one["source"]) for one in cells if one["cell_type"] == kind]


def code_of(notebook):
    """All code of a notebook as one module, magics left out."""
    sources = [re.sub(r"^%.*$", "", one, flags=re.MULTILINE) for one in cells_of(notebook, "code")]
    return ast.parse("\n".join(sources))


def foreign_names(tree):
    """What a notebook uses of the package without its being public."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sscha_mlp"):
            yield ast.unparse(node)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("sscha_mlp") and alias.asname != "sm":
                    yield ast.unparse(node)
        elif (
            isinstance(node, ast.Attribute)
            and ast.unparse(node.value) == "sm"
            and not (node.attr in sm.__all__ and hasattr(sm, node.attr))
        ):
            yield f"sm.{node.attr}"


def unseeded(tree):
    """Random numbers and runs of a notebook without a seed."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called.endswith("default_rng") and not node.args:
            yield ast.unparse(node)
        text = ast.unparse(node)
        is_run = called in {"sm.RunSettings", "sm.RunSettings.from_mapping", "sm.SweepSettings"}
        if is_run and "seed" not in text:
            yield text


def test_the_notebooks_are_in_order():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02d}" for number in range(1, 9)]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_valid_and_has_no_outputs(notebook):
    nbformat = pytest.importorskip("nbformat")
    content = nbformat.read(notebook, as_version=4)
    nbformat.validate(content)
    assert content.cells[0].source.startswith(f"# {int(notebook.name[:2])}. ")
    for cell in content.cells:
        if cell.cell_type == "code":
            assert not cell.outputs, "make notebooks writes outputs: they are not kept"
            assert cell.execution_count is None


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_uses_what_is_public_and_its_seeds_are_fixed(notebook):
    tree = code_of(notebook)
    assert list(foreign_names(tree)) == []
    assert list(unseeded(tree)) == []
    assert any(isinstance(node, ast.Attribute) for node in ast.walk(tree))


def test_private_names_and_missing_seeds_would_be_found():
    wrong = "import sscha_mlp as sm\nfrom sscha_mlp.scha import cell\nsm.nothing(sm.sample)"
    assert list(foreign_names(ast.parse(wrong))) == [
        "from sscha_mlp.scha import cell",
        "sm.nothing",
    ]
    wrong = "np.random.default_rng()\nsm.RunSettings(300.0)\nsm.RunSettings(300.0, seed=1)"
    assert list(unseeded(ast.parse(wrong))) == ["np.random.default_rng()", "sm.RunSettings(300.0)"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_files_that_a_notebook_points_to_exist(notebook):
    text = "\n".join(cells_of(notebook, "markdown"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        assert target.startswith("http") or (notebook.parent / target).is_file(), target


def test_a_hundred_events_are_one_output_in_a_kernel():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    source = """
import time
import sscha_mlp as sm
watch = sm.NotebookObserver("A <title>")
bar = watch.bar("labels")
for number in range(100):
    watch.note(f"note {number}")
    bar(number + 1, 100)
    time.sleep(0.001)
watch.stage("the end")
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook, timeout=120).execute()
    (output,) = notebook.cells[0].outputs
    html = output["data"]["text/html"]
    assert "A &lt;title&gt;" in html and "the end" in html
    assert "note 99" in html and "note 42" not in html
    assert "<progress" not in html, "nothing is under way any more"
    assert len(html) < 2000


class Screen:
    """Stands for IPython's display: keeps what was drawn."""

    def __init__(self, monkeypatch):
        self.drawn = []
        monkeypatch.setattr("IPython.display.display", self.display)

    def display(self, view, *, display_id):
        assert display_id
        self.drawn.append(view)
        return self

    def update(self, view):
        self.drawn.append(view)


def test_progress_is_drawn_at_most_a_few_times_a_second(monkeypatch):
    pytest.importorskip("IPython")
    screen = Screen(monkeypatch)
    watch = sm.NotebookObserver()
    clock = iter(0.01 * n for n in range(100_000))
    monkeypatch.setattr("sscha_mlp.report.notebook.time.monotonic", lambda: next(clock))
    for number in range(1, 1001):
        watch.progress("work", number, 1000)
    assert 2 <= len(screen.drawn) < 200
    assert repr(screen.drawn[-1]).startswith("work: 1000 of 1000")
    assert "<progress" in screen.drawn[0]._repr_html_()


def test_populations_are_a_table_of_the_last_ones(monkeypatch):
    pytest.importorskip("IPython")
    screen = Screen(monkeypatch)
    watch = sm.NotebookObserver("run")
    row = PopulationRecord(
        population=1,
        n_drawn=1000,
        effective_sample_size=990.0,
        frequencies_THz=np.array([3.0, 15.0]),
        free_energy=-5.3,
        free_energy_stderr=1e-4,
        pressure_GPa=0.25,
        pressure_stderr_GPa=0.01,
        volume=20.0,
        gradient_THz=0.1,
        gradient_stderr_THz=0.02,
        converged=False,
    )
    for _ in range(30):
        watch.population(row)
    html = screen.drawn[-1]._repr_html_()
    assert html.count("+0.250 ± 0.010") == 12
    assert ">30<" in html and ">18<" not in html


def test_without_ipython_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(ConfigError, match=r"IPython.*pip install 'sscha-mlp\[notebooks\]'"):
        sm.NotebookObserver()
