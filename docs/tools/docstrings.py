"""What griffe does not read in our docstrings: what is returned is said without a type."""

import re
from textwrap import indent
from typing import Any

import griffe

_PROSE = re.compile(
    r"^(?P<head>(?:Returns|Yields)\n-+\n)(?P<text>\S.*(?:\n\S.*)*)(?=\n\n|\s*\Z)", re.MULTILINE
)


class ProseOfReturns(griffe.Extension):
    """Put the type of the signature above what a docstring says of the value."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Write the section anew: numpydoc takes its first line for the type."""
        if func.docstring is not None and func.returns is not None:
            func.docstring.value = with_type(func.docstring.value, str(func.returns))


def with_type(docstring: str, annotation: str) -> str:
    """Return a docstring whose section on the value has its type, and the prose below it."""

    def typed(found: re.Match[str]) -> str:
        return f"{found['head']}{annotation}\n{indent(found['text'], '    ')}"

    return _PROSE.sub(typed, docstring)
