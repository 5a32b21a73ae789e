"""Write the reference pages from the code: command line, settings, public names.

``make reference-pages`` runs it; ``tests/test_site.py`` fails when a page is not what it writes.

    python docs/tools/reference_pages.py
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from typer.main import get_command

import sscha_mlp
from sscha_mlp.cli.app import app
from sscha_mlp.potentials.names import built_in_kinds
from sscha_mlp.potentials.registry import find_kind
from sscha_mlp.run_files.settings import EXECUTION, RunSettings

DOCS = Path(__file__).parents[1]
STUB = DOCS.parent / "sscha_mlp" / "__init__.pyi"
"""Types of the public names."""
OF_POTENTIALS = {f"potential.{name}": find_kind(name).settings for name in built_in_kinds()}
"""Settings whose dataclass a run looks up by the kind of potential."""

_CHOICE = (
    "Any entry turns the choice of hyper-parameters off",
    "([training.md](training.md#hyper-parameters)); what is left out has the default below.",
)
_EXECUTORS = (
    "`[executor]` is for labels, `[model_executor]` for the model on whole populations; see",
    "[clusters.md](clusters.md#choosing-an-executor). None of this decides the result, and all",
    "may differ on resume.",
)

NOT_SET = "not set"
REQUIRED = "required"
_TYPES = {float: "number", int: "integer", str: "text", bool: "`true` or `false`"}
_METAVARS = {float: "NUMBER", int: "INTEGER", str: "TEXT", Path: "PATH"}
_DEFAULT_IN_HELP = re.compile(r" *\\?\[default: (.*)\]$")
_NOTE = "<!-- Made from the code by `make reference-pages`: change the code, not this page. -->"


# The command line


@dataclass(frozen=True)
class Option:
    """One row of the table of a verb."""

    name: str
    value: str
    default: str
    text: str


def commands(group: Any = None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each verb with its full name, those inside groups too."""
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def options(command: Any) -> list[Option]:
    """Return arguments and options of a verb, in their order."""
    return [_option(parameter) for parameter in command.params if not parameter.hidden]


def _option(parameter: Any) -> Option:
    annotation = parameter.type_descriptor.annotation
    is_flag = getattr(parameter, "is_flag", False) and not parameter.secondary_opts
    is_argument = not parameter.opts[0].startswith("-")
    value = parameter.metavar or _METAVARS.get(annotation, "TEXT")
    name = value if is_argument else ", ".join([*parameter.opts, *parameter.secondary_opts])
    text = parameter.help or ""
    said = _DEFAULT_IN_HELP.search(text)
    return Option(
        name=name,
        value="" if is_argument or getattr(parameter, "is_flag", False) else value,
        default=_in_words(said.group(1)) if said else _shown_default(parameter, is_flag=is_flag),
        text=_DEFAULT_IN_HELP.sub("", text).replace("\\[", "["),
    )


def _in_words(default: str) -> str:
    """Return a default from a help text: a value as code, words as words."""
    is_value = " " not in default or default.replace(" ", "").isdigit()
    return _code(default) if is_value else default


def _shown_default(parameter: Any, *, is_flag: bool) -> str:
    if parameter.required:
        return REQUIRED
    empty = parameter.default in (None, "", []) or is_flag
    if empty or not parameter.show_default:
        return ""
    default = parameter.default
    if parameter.secondary_opts:  # one of two names
        return _code((parameter.opts if default else parameter.secondary_opts)[0])
    plain = default.value if isinstance(default, Enum) else default
    words = plain if isinstance(plain, list | tuple) else [plain]
    return _code(" ".join(str(one) for one in words))


def command_line_page() -> str:
    """Return the page of all verbs and options."""
    lines = [
        "# The command line",
        "",
        _NOTE,
        "",
        "`sscha-mlp VERB --help` shows the same in the terminal. Results go to standard output,",
        "all else to standard error; the exit statuses are in",
        "[run-directory.md](run-directory.md#exit-statuses). Where no default is shown, the option",
        "is off, or its text says what stands for it.",
    ]
    panel = ""
    for name, command in commands():
        title = command.rich_help_panel or panel
        if title and title != panel:
            panel = title
            lines += ["", f"## {panel}"]
        lines += ["", f"### {name}", "", *_usage(name, command), "", _prose(command.help or "")]
        lines += ["", "| Option | Value | Default | Meaning |", "|---|---|---|---|"]
        lines += [_row(_code(o.name), _code(o.value), o.default, o.text) for o in options(command)]
    return "\n".join(lines) + "\n"


def _usage(name: str, command: Any) -> list[str]:
    arguments = [one.name for one in options(command) if not one.name.startswith("-")]
    return ["```text", " ".join(["sscha-mlp", name, *arguments, "[OPTIONS]"]), "```"]


def _prose(text: str) -> str:
    """Return help text as Markdown: no rich markup, paragraphs kept."""
    return _plain_markup(text.replace("\\[", "["))


# The settings


@dataclass(frozen=True)
class Setting:
    """One row of a table of settings."""

    table: str
    name: str
    kind: str
    default: str
    text: str


def settings() -> list[Setting]:
    """Return all settings of a run, those of nested tables and of potentials included."""
    found = list(_settings_of(RunSettings, ""))
    for kind, cls in OF_POTENTIALS.items():
        found += _settings_of(cls, kind)
    return found


def _settings_of(cls: type[Any], table: str) -> Iterator[Setting]:
    texts, hints = parameters_of(cls), get_type_hints(cls)
    nested = []
    for one in fields(cls):
        hint = hints[one.name]
        if is_dataclass(hint):
            nested.append((hint, f"{table}.{one.name}".lstrip(".")))
            continue
        text = texts.get(one.name, "")
        if one.name in EXECUTION and not table:
            text += " May differ on resume."
        yield Setting(table, one.name, _kind(hint), _default(one), text)
    for hint, name in nested:
        yield from _settings_of(hint, name)


def parameters_of(cls: type[Any]) -> dict[str, str]:
    """Return what the numpydoc section "Parameters" of a class says of each of them."""
    text = inspect.getdoc(cls) or ""
    section = re.search(
        r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", text, re.MULTILINE | re.DOTALL
    )
    found: dict[str, str] = {}
    if section is None:
        return found
    names: list[str] = []
    for line in section.group(1).splitlines():
        if line and not line.startswith(" "):
            names = [name.strip() for name in line.split(",")]
        else:
            for name in names:
                found[name] = " ".join([*found.get(name, "").split(), *line.split()])
    return {name: _plain_markup(one) for name, one in found.items()}


def _kind(hint: Any) -> str:
    if get_origin(hint) is UnionType:
        given = [one for one in get_args(hint) if one is not type(None)]
        return " or ".join(_kind(one) for one in given)
    if get_origin(hint) is tuple:
        inner = [one for one in get_args(hint) if one is not Ellipsis]
        return f"list of {len(inner)} × {_kind(inner[0])}"
    if get_origin(hint) is Mapping or hint is dict:
        return "table"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(f"`{json.dumps(one.value)}`" for one in hint)
    return _TYPES.get(hint, str(hint))


def _default(one: Any) -> str:
    if one.default is MISSING and one.default_factory is MISSING:
        return REQUIRED
    value = one.default if one.default_factory is MISSING else one.default_factory()
    if value is None:
        return NOT_SET
    plain = value.value if isinstance(value, Enum) else value
    return f"`{json.dumps(plain, ensure_ascii=False)}`"


def settings_page() -> str:
    """Return the page of all settings."""
    lines = [
        "# Settings",
        "",
        _NOTE,
        "",
        "`--config FILE.toml` takes these names; `run.toml` in a run directory has them all, so",
        "that it can be the start of another study. The command line overrides the file. Unknown",
        "names, wrong types and values out of range are refused. Paths in the file are relative",
        "to it.",
    ]
    introductions = {table: _introduction(cls) for table, cls in _tables(RunSettings)}
    introductions |= {kind: _introduction(cls) for kind, cls in OF_POTENTIALS.items()}
    table = None
    for one in settings():
        if one.table != table:
            table = one.table
            lines += ["", f"## {f'`[{table}]`' if table else 'The run'}", "", introductions[table]]
            if table in OF_POTENTIALS:
                lines += ["", *_CHOICE]
            if table in EXECUTION:
                lines += ["", *_EXECUTORS]
            lines += ["", "| Setting | Type | Default | Meaning |", "|---|---|---|---|"]
        lines.append(_row(f"`{one.name}`", one.kind, one.default, one.text))
    return "\n".join(lines) + "\n"


def _tables(cls: type[Any], table: str = "") -> Iterator[tuple[str, type[Any]]]:
    yield table, cls
    for name, hint in get_type_hints(cls).items():
        if is_dataclass(hint):
            yield from _tables(hint, f"{table}.{name}".lstrip("."))  # type: ignore[arg-type]


def _introduction(cls: type[Any]) -> str:
    return _plain_markup((inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " "))


# The public names


def public_names() -> dict[str, list[tuple[str, str]]]:
    """Return group -> name and module, with the comments in ``sscha_mlp/__init__.py`` as groups."""
    source = Path(sscha_mlp.__file__).read_text(encoding="utf-8")
    body = source.split("_PUBLIC: Final[dict[str, str]] = {")[1].split("\n}")[0]
    groups: dict[str, list[tuple[str, str]]] = {}
    group = ""
    for line in body.splitlines():
        if found := re.match(r" *# (.*)$", line):
            group = found.group(1)
            groups[group] = []
        elif found := re.match(r' *"(\w+)": "([\w.]+)",$', line):
            groups[group].append((found.group(1), found.group(2)))
    return groups


def api_page() -> str:
    """Return the page that names everything public; the site fills it from the docstrings."""
    lines = [
        "# Python",
        "",
        _NOTE,
        "",
        "Everything public is an attribute of the package: `import sscha_mlp as sm`, then",
        "`sm.fit`, `sm.relax`. It is imported when it is first used. Units are eV, Å, eV/Å³ with",
        "ASE's sign of the stress, and K; GPa and THz where a name says so. The site (`make docs`)",
        "shows signatures and docstrings below each name; [stages.md](stages.md#from-python) has",
        "an example.",
    ]
    for group, names in public_names().items():
        lines += ["", f"## {group[0].upper()}{group[1:]}"]
        for name, module in names:
            lines += ["", f"### {name}", "", f"::: {module}.{name}"]
    return "\n".join(lines) + "\n"


def stub() -> str:
    """Return the types of the package for type checkers, which do not follow lazy imports."""
    lines = [
        "# Made from the code by `make reference-pages`: change __init__.py, not this file.",
        "from typing import Final",
        "",
    ]
    pairs = sorted((module, name) for group in public_names().values() for name, module in group)
    lines += [f"from {module} import {name} as {name}" for module, name in pairs]
    return "\n".join([*lines, "", "__version__: Final[str]", ""])


# Markdown


def _plain_markup(text: str) -> str:
    """Turn the roles and literals of reStructuredText into Markdown."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text)
    return text.replace("``", "`")


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


PAGES = {
    "command-line.md": command_line_page,
    "settings.md": settings_page,
    "api.md": api_page,
}
"""File in docs/ -> what writes it."""


def main() -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(DOCS / name)
    STUB.write_text(stub(), encoding="utf-8")
    print(STUB)


if __name__ == "__main__":
    main()
