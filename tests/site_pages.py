"""What the documents say in code: commands, Python, names of modules."""

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from typer import BadParameter
from typer.main import get_command

from sscha_mlp.cli.app import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
UsageError: Any = BadParameter.__base__
RUNS = "<!-- runs in tests/test_site.py -->"


def load_tool(name: str) -> ModuleType:
    """Import a script of docs/tools."""
    spec = spec_from_file_location(f"docs_tools_{name}", DOCS / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def fenced(text: str) -> Iterator[tuple[str, str, str]]:
    """Language, content and the line before each block of code."""
    pattern = r"^(?:(?P<before>[^\n`]*)\n)?```(?P<language>[^\n]*)\n(?P<code>.*?)^```"
    for found in re.finditer(pattern, text, flags=re.MULTILINE | re.DOTALL):
        yield found["language"], found["code"], found["before"] or ""


def commands_in_blocks(text: str) -> Iterator[str]:
    """Every call of sscha-mlp in the blocks of a document: what a reader copies."""
    for language, code, _ in fenced(text):
        if language in {"", "sh", "bash", "console"}:
            joined = code.replace("\\\n", " ")
            yield from re.findall(r"^ *(?:\S*bin/)?sscha-mlp +(.*)$", joined, flags=re.MULTILINE)
            yield from re.findall(r"\bdo +sscha-mlp +([^;]*);", joined)


def commands_in_text(text: str) -> Iterator[str]:
    """Every call of sscha-mlp between backquotes: often a part of one."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for found in re.findall(r"`(?:[^`\n]*\bdo )?sscha-mlp\s+([^`;]+)", prose):
        yield " ".join(found.split())


def words_of(line: str) -> list[str]:
    """Words of a command line without its comment and what follows a wide gap."""
    line = re.split(r" {4,}| #", line)[0]
    return shlex.split(line.replace("[", " ").replace("]", " "))


def complaint(line: str, *, whole: bool = True) -> str:
    """What is wrong with a call of sscha-mlp as a document shows it; empty if nothing.

    A part of a call, and a synopsis with brackets or dots, is held to its verb and options; a whole
    one is read as the program reads it.
    """
    words = words_of(line)
    command: Any = get_command(app)
    name = "sscha-mlp"
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return "" if words[0] in {"VERB", "..."} else f"{name} has no verb {words[0]}"
        name, command = f"{name} {words[0]}", command.commands[words.pop(0)]
    known = {"--help", "-h"}.union(*(one.opts for one in command.params))
    options = [word.split("=")[0] for word in words if re.match(r"--?[A-Za-z]", word)]
    strange = [option for option in options if option not in known]
    if strange:
        return f"{name} has no option {strange[0]}"
    if not whole or hasattr(command, "commands") or re.search(r"\.\.\.|\[|\$", line):
        return ""
    try:
        command.make_context(name, words)
    except UsageError as error:
        return f"{name}: {error.format_message()}"
    return ""


def named_in(text: str) -> list[tuple[str, str]]:
    """Each name that a page shows with its module: `` `name` [`room/module.py`] ``."""
    flat = " ".join(text.split())
    found = []
    for names, module in re.findall(r"((?:`[\w.]+`(?:, | and )?)+) ?\[`([\w/]+\.py)`\]", flat):
        found += [(name, module) for name in re.findall(r"`([\w.]+)`", names)]
    return found


def defines(module: Path, name: str) -> bool:
    """Whether a module has this function or class, or this method of a class."""
    body: list[Any] = ast.parse(module.read_text()).body
    for part in name.split("."):
        nodes = [one for one in body if getattr(one, "name", None) == part]
        if not nodes:
            return False
        body = nodes[0].body
    return True
