"""The package keeps the rules of the house, and each rule is able to fail."""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import house
import pytest

import sscha_mlp

ROOT = Path(sscha_mlp.__file__).parent

GOOD = {
    "__init__.py": '"""Facade."""\nfrom importlib import import_module\n',
    "units.py": '"""Units."""\n',
    "crystal/__init__.py": '"""Crystal."""\nfrom sscha_mlp.crystal.structure import read\n',
    "crystal/structure.py": '''
        """Structures."""
        from sscha_mlp import __version__, units

        def read(path: str, *, scale: float = 1.0) -> str:
            """Read it."""
            return path

        def _private(x):
            return x
        ''',
    "scha/python_sscha.py": '''
        """Adapter."""
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import sscha

        def minimise() -> None:
            """Minimise."""
            import cellconstructor as CC
        ''',
    "validation/certificate.py": '"""Certificate."""\nfrom ..scha import python_sscha\n',
    "potentials/toy/__init__.py": '"""Toy."""\nfrom sscha_mlp.potentials.toy import model\n',
    "potentials/toy/model.py": '"""Toy."""\n',
    "cli/relax.py": '"""Relax."""\nimport sys\nprint("done")\nsys.exit(0)\n',
}

DOC = '"""Documented."""\n'

BAD = [
    # rule, file, text, what the breach must say
    ("imports_only_from_above", "crystal/up.py", "from sscha_mlp import scha", "scha stands below"),
    ("imports_only_from_above", "crystal/up.py", "from ..cli import relax", "cli stands below"),
    ("imports_only_from_above", "crystal/up.py", "import sscha_mlp.cli.relax", "cli stands below"),
    ("imports_only_from_above", "units.py", "def f(): import sscha_mlp.crystal", "crystal stands"),
    (
        "imports_only_from_above",
        "units.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sscha_mlp import crystal",
        "crystal stands below units",
    ),
    (
        "imports_only_from_above",
        "units.py",
        "import importlib\nimportlib.import_module('sscha_mlp.crystal')",
        "crystal stands below units",
    ),
    (
        "imports_only_from_above",
        "potentials/gap/fit.py",
        "from sscha_mlp.scha.python_sscha import minimise",
        "potentials and scha stand side by side",
    ),
    ("imports_only_from_above", "attic/old.py", "", "does not list"),
    ("imports_only_from_above", "crystal/up.py", "from sscha_mlp import sample", "facade"),
    ("imports_only_from_above", "crystal/up.py", "import sscha_mlp", "facade"),
    (
        "no_import_cycles",
        "units.py",
        "from sscha_mlp.crystal import structure",
        "sscha_mlp.units",
    ),
    (
        "no_import_cycles",
        "crystal/structure.py",
        "def f():\n    from sscha_mlp.crystal import read",
        "sscha_mlp.crystal.structure",
    ),
    ("no_import_cycles", "crystal/structure.py", "from . import structure", "crystal.structure"),
    (
        "foreign_packages_stay_behind_adapters",
        "crystal/up.py",
        "def f(): import cellconstructor.Phonons",
        "only sscha_mlp.scha.python_sscha may",
    ),
    (
        "foreign_packages_stay_behind_adapters",
        "potentials/up.py",
        "def f(): from quippy.potential import Potential",
        "only sscha_mlp.quippy_adapter may",
    ),
    (
        "foreign_packages_stay_behind_adapters",
        "quippy_adapter.py",
        "try:\n    import quippy\nexcept ImportError:\n    quippy = None",
        "inside a function",
    ),
    (
        "foreign_packages_stay_behind_adapters",
        "scha/python_sscha.py",
        "class A:\n    from sscha import Ensemble",
        "inside a function",
    ),
    (
        "kinds_of_potential_are_open",
        "cli/relax.py",
        "def f(): from sscha_mlp.potentials.toy.model import Toy",
        "knows the kind sscha_mlp.potentials.toy",
    ),
    ("library_is_quiet", "units.py", "print('hello')", "calls print"),
    ("library_is_quiet", "units.py", "import sys\ndef f(): sys.exit(1)", "calls sys.exit"),
    ("library_is_quiet", "units.py", "from sys import exit", "imports sys.exit"),
    ("library_is_quiet", "units.py", "raise SystemExit(1)", "calls SystemExit"),
    ("library_is_quiet", "units.py", "try:\n    1\nexcept:\n    2", "bare except"),
    ("public_is_documented_and_annotated", "units.py", "def f() -> int: return 1", "f has no doc"),
    ("public_is_documented_and_annotated", "units.py", "class A:\n    x: int", "A has no doc"),
    (
        "public_is_documented_and_annotated",
        "units.py",
        "class A:\n    'doc'\n    def f(self, x) -> int:\n        'doc'",
        "A.f has no annotation for x",
    ),
    (
        "public_is_documented_and_annotated",
        "units.py",
        "def f(*a, y: int, **k) -> int:\n    'doc'",
        "f has no annotation for a, k",
    ),
    ("public_is_documented_and_annotated", "units.py", "def f():\n    'doc'", "return annotation"),
    ("files_tell_one_story", "units.py", "x = 1\n" * house.MAX_LINES, "lines, more than"),
]


def build(root: Path, files: dict[str, str]) -> house.House:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return house.read_house(root)


def fresh_python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def package() -> house.House:
    return house.read_house(ROOT)


@pytest.mark.parametrize("rule", house.RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule, package):
    assert rule(package) == []


@pytest.mark.parametrize("rule", house.RULES, ids=lambda rule: rule.__name__)
def test_a_good_tree_breaks_no_rule(rule, tmp_path):
    assert rule(build(tmp_path, GOOD)) == []


@pytest.mark.parametrize(("rule", "name", "text", "message"), BAD)
def test_a_rule_notices_its_breach(rule, name, text, message, tmp_path):
    breaches = getattr(house, rule)(build(tmp_path, GOOD | {name: DOC + text}))
    assert len(breaches) == 1
    assert message in breaches[0]


def test_a_missing_module_docstring_is_noticed(tmp_path):
    breaches = house.public_is_documented_and_annotated(build(tmp_path, {"units.py": "X = 1\n"}))
    assert breaches == ["sscha_mlp.units has no docstring"]


READS_BY_STRING = 112
"""How many there are now: take it down with each that goes, and never up."""


def test_reads_by_string_do_not_grow(package):
    """Records have one definition; a key that is read elsewhere is a second one."""
    found = house.reads_by_string(package)
    assert len(found) <= READS_BY_STRING, found


def test_what_a_read_by_string_is(tmp_path):
    text = "def f(x):\n x['a'] = x['b']\n return x.get('c', 1), x.get(d), x[0]\n"
    tree = build(tmp_path, GOOD | {"cli/show.py": DOC + text, "crystal/io.py": DOC + text})
    assert house.reads_by_string(tree) == ["sscha_mlp.cli.show:3", "sscha_mlp.cli.show:4"]


def test_every_rule_has_been_seen_to_fail():
    assert {rule.__name__ for rule in house.RULES} == {rule for rule, *_ in BAD}


def test_no_run_needs_the_second_engine_unless_it_asks_for_it(package):
    adapter = house.ADAPTERS["sscha"]
    users = {
        module.name
        for module in package.values()
        for item in module.imports
        if item.target.startswith(adapter) and module.name != adapter
    }
    assert users == {  # the check of --engine python-sscha, the engine itself, averages for tests
        "sscha_mlp.campaign.input_checks",
        "sscha_mlp.campaign.context",
        "sscha_mlp.scha.python_sscha_averages",
    }


def test_importing_the_package_loads_nothing_heavy():
    loaded = fresh_python("import sscha_mlp, sys; print(*sys.modules)").split()
    assert house.HEAVY.isdisjoint(loaded)


@pytest.mark.parametrize("name", sscha_mlp.__all__)
def test_a_public_name_is_there(name):
    assert getattr(sscha_mlp, name) is not None


def test_public_names_do_not_hide_rooms(package):
    assert set(sscha_mlp.__all__).isdisjoint(module.room for module in package.values())


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        sscha_mlp.nonsense  # noqa: B018 - the access is what is tested


def test_the_public_names_are_listed():
    names = json.loads(fresh_python("import sscha_mlp, json; print(json.dumps(dir(sscha_mlp)))"))
    assert set(sscha_mlp.__all__) <= set(names)
