"""The rules of the house, read from the source with :mod:`ast`.

Each rule takes a :class:`House` and returns one sentence per breach, so that it can be tried on a
small fake tree as well as on the package (``test_house.py`` does both).
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = "sscha_mlp"

ORDER: tuple[tuple[str, ...], ...] = (
    ("units",),
    ("errors",),
    ("argument_types",),
    ("quantities",),
    ("digits",),
    ("tables",),
    ("resources",),
    ("text_files",),
    ("parallel",),
    ("named_objects",),
    ("quippy_adapter",),
    ("crystal",),
    ("ensemble",),
    ("data",),
    ("calculators",),
    ("reference", "potentials", "scha"),  # three wings that do not know each other
    ("validation",),
    ("testing",),
    ("properties",),
    ("run_files",),
    ("campaign",),
    ("studies",),
    ("report",),
    ("cli",),
    ("__main__",),
)
"""A module imports only from its own room and from rooms that stand above it here."""

ADAPTERS = {
    "sscha": f"{PACKAGE}.scha.python_sscha",
    "cellconstructor": f"{PACKAGE}.scha.python_sscha",
    "quippy": f"{PACKAGE}.quippy_adapter",
    "dask": f"{PACKAGE}.parallel.dask_adapter",
    "distributed": f"{PACKAGE}.parallel.dask_adapter",
    "dask_jobqueue": f"{PACKAGE}.parallel.dask_adapter",
    "phono3py": f"{PACKAGE}.properties.phono3py_adapter",
    "phonopy": f"{PACKAGE}.properties.phono3py_adapter",
    "h5py": f"{PACKAGE}.properties.phono3py_adapter",
}
"""Foreign package -> the one module that may import it, inside a function."""

MAX_LINES = 500

_RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One imported name: `target` is a module of the package, or a foreign name as written."""

    target: str
    line: int
    in_function: bool
    for_types_only: bool


@dataclass(frozen=True)
class Module:
    """A parsed module with all its imports, at any depth."""

    name: str
    tree: ast.Module
    n_lines: int
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        """The room it is in; the package's own ``__init__`` is the empty name."""
        return room_of(self.name)

    @property
    def is_cli(self) -> bool:
        return self.room in {"cli", "__main__"}


House = dict[str, Module]


def room_of(name: str) -> str:
    return name.removeprefix(PACKAGE).lstrip(".").split(".")[0]


def read_house(root: Path) -> House:
    """Parse the package whose directory is `root`."""
    paths = {_module_name(path, root): path for path in sorted(root.rglob("*.py"))}
    return {name: _read_module(name, path, set(paths)) for name, path in paths.items()}


def _module_name(path: Path, root: Path) -> str:
    parts = [PACKAGE, *path.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _read_module(name: str, path: Path, modules: set[str]) -> Module:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, filename=str(path))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imports = tuple(_imports(tree, package, modules))
    return Module(name, tree, len(text.splitlines()), imports)


def _imports(tree: ast.Module, package: str, modules: set[str]) -> Iterator[Import]:
    for node, in_function, for_types_only in _walk(tree, in_function=False, for_types_only=False):
        for target in _targets(node, package, modules):
            yield Import(target, node.lineno, in_function, for_types_only)


def _walk(
    parent: ast.AST, *, in_function: bool, for_types_only: bool
) -> Iterator[tuple[ast.stmt | ast.expr, bool, bool]]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.stmt | ast.expr):
            yield node, in_function, for_types_only
        yield from _walk(
            node,
            in_function=in_function or isinstance(node, _FunctionNode | ast.Lambda),
            for_types_only=for_types_only
            or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)),
        )


def _targets(node: ast.stmt | ast.expr, package: str, modules: set[str]) -> list[str]:
    """Return what a node imports: statements, and ``import_module("...")`` with a literal."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = _base(node, package)
        full = [f"{base}.{alias.name}" for alias in node.names]
        if base == PACKAGE:  # the facade has names of its own: keep them apart
            return full
        return [name if name in modules else base for name in full]
    if isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
        return [arg.value for arg in node.args if _is_text(arg)]
    return []


def _base(node: ast.ImportFrom, package: str) -> str:
    if node.level == 0:
        return node.module or ""
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def _inner_imports(module: Module) -> Iterator[Import]:
    for item in module.imports:
        if item.target == PACKAGE or item.target.startswith(f"{PACKAGE}."):
            yield item


def imports_only_from_above(house: House) -> list[str]:
    """No module imports from a room below its own, from a sister wing, or from the facade."""
    breaches = []
    for module in house.values():
        if module.name == PACKAGE:  # the facade may point anywhere
            continue
        if module.room not in _RANK:
            breaches.append(f"{module.name} is in a room that the order does not list")
            continue
        for item in _inner_imports(module):
            complaint = _complaint(module.room, room_of(item.target))
            if complaint:
                breaches.append(f"{module.name}:{item.line} imports {item.target}: {complaint}")
    return breaches


def _complaint(room: str, other: str) -> str:
    if other in {room, "__version__"}:
        return ""
    if other not in _RANK:
        return "that is the facade or an unknown room; import the module that defines it"
    if _RANK[other] == _RANK[room]:
        return f"{room} and {other} stand side by side"
    return "" if _RANK[other] < _RANK[room] else f"{other} stands below {room}"


def no_import_cycles(house: House) -> list[str]:
    """No module reaches itself through imports, those inside functions included."""
    graph = {
        module.name: {
            item.target
            for item in _inner_imports(module)
            if item.target in house and not item.for_types_only
        }
        for module in house.values()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return ["import cycle: " + " <- ".join(error.args[1])]
    return []


def foreign_packages_stay_behind_adapters(house: House) -> list[str]:
    """python-sscha, CellConstructor and quippy have one adapter each, which imports lazily."""
    breaches = []
    for module in house.values():
        for item in module.imports:
            foreign = item.target.split(".")[0]
            if foreign not in ADAPTERS:
                continue
            where = f"{module.name}:{item.line} imports {foreign}"
            if module.name != ADAPTERS[foreign]:
                breaches.append(f"{where}: only {ADAPTERS[foreign]} may")
            elif not (item.in_function or item.for_types_only):
                breaches.append(f"{where} when it is itself imported: do it inside a function")
    return breaches


def kinds_of_potential_are_open(house: House) -> list[str]:
    """Nothing outside the package of a kind imports from it: kinds are found by their name."""
    above = f"{PACKAGE}.potentials"
    kinds = {
        name
        for name in house
        if name.startswith(f"{above}.") and any(one.startswith(f"{name}.") for one in house)
    }
    breaches = []
    for module in house.values():
        for item in module.imports:
            known = next((k for k in kinds if f"{item.target}.".startswith(f"{k}.")), None)
            if known is not None and not f"{module.name}.".startswith(f"{known}."):
                breaches.append(f"{module.name}:{item.line} knows the kind {known}: ask its Kind")
    return breaches


def library_is_quiet(house: House) -> list[str]:
    """Outside ``cli/`` nothing prints, ends the process or swallows every exception."""
    return [
        f"{module.name}:{line} {what}"
        for module in house.values()
        if not module.is_cli
        for what, line in _loud(module.tree)
    ]


def _loud(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield "has a bare except", node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == "sys":
            if any(alias.name == "exit" for alias in node.names):
                yield "imports sys.exit", node.lineno
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"print", "sys.exit", "exit", "quit", "SystemExit"}:
                yield f"calls {called}", node.lineno


def public_is_documented_and_annotated(house: House) -> list[str]:
    """Modules and public classes, functions and methods have docstrings and full annotations."""
    breaches = []
    for module in house.values():
        if ast.get_docstring(module.tree) is None:
            breaches.append(f"{module.name} has no docstring")
        breaches += [
            f"{module.name}:{node.lineno} {name} {what}"
            for name, node in _public(module.tree.body, prefix="")
            for what in _undocumented(node)
        ]
    return breaches


def _public(
    body: list[ast.stmt], *, prefix: str
) -> Iterator[tuple[str, _FunctionNode | ast.ClassDef]]:
    for node in body:
        if not isinstance(node, _FunctionNode | ast.ClassDef) or node.name.startswith("_"):
            continue
        if any(ast.unparse(mark).endswith("overload") for mark in node.decorator_list):
            continue
        yield prefix + node.name, node
        if isinstance(node, ast.ClassDef):
            yield from _public(node.body, prefix=f"{node.name}.")


def _undocumented(node: _FunctionNode | ast.ClassDef) -> Iterator[str]:
    if ast.get_docstring(node) is None:
        yield "has no docstring"
    if isinstance(node, ast.ClassDef):
        return
    if node.returns is None:
        yield "has no return annotation"
    given = node.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    bare = [a.arg for a in arguments if a is not None and a.annotation is None]
    bare = [name for name in bare if name not in {"self", "cls"}]
    if bare:
        yield f"has no annotation for {', '.join(bare)}"


def files_tell_one_story(house: House) -> list[str]:
    """No module is longer than the budget."""
    return [
        f"{module.name} has {module.n_lines} lines, more than {MAX_LINES}: split it"
        for module in house.values()
        if module.n_lines > MAX_LINES
    ]


KEYED_ROOMS = ("run_files", "campaign", "studies", "report", "cli")
"""Rooms that read records."""


def reads_by_string(house: House) -> list[str]:
    """Return the places that read by a string: ``x["key"]`` and ``x.get("key")``.

    In the rooms that read records; the definitions in ``run_files/records/`` are left out, and so
    are tables of constants, ``QUANTITIES["volume"]``.  Arrays of an npz file are counted.
    """
    definitions = f"{PACKAGE}.run_files.records"
    return [
        f"{module.name}:{node.lineno}"
        for module in house.values()
        if module.room in KEYED_ROOMS and not f"{module.name}.".startswith(f"{definitions}.")
        for node in ast.walk(module.tree)
        if _reads_by_string(node)
    ]


def _reads_by_string(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript):
        constant = ast.unparse(node.value).isupper()
        return isinstance(node.ctx, ast.Load) and _is_text(node.slice) and not constant
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    return node.func.attr == "get" and bool(node.args) and _is_text(node.args[0])


RULES = (
    imports_only_from_above,
    no_import_cycles,
    foreign_packages_stay_behind_adapters,
    kinds_of_potential_are_open,
    library_is_quiet,
    public_is_documented_and_annotated,
    files_tell_one_story,
)

HEAVY = {"numpy", "scipy", "ase", "matplotlib", "rich", "typer", "spglib", *ADAPTERS}
"""What ``import sscha_mlp`` must not load."""
