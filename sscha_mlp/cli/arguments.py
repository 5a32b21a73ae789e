"""Words of the command line before they are parsed."""

import re
from collections.abc import Sequence
from typing import Final

_SIZE: Final = re.compile(r"(\d+)[x×,](\d+)[x×,](\d+)")
_OPTION: Final = "--supercell"
_VERB: Final = "supercell"


def split_sizes(arguments: Sequence[str]) -> list[str]:
    """Return a command line in which each supercell has three words.

    Parameters
    ----------
    arguments
        Where a supercell is one word, ``3x3x3`` or ``3,3,3``, it becomes ``3 3 3``: the value of
        ``--supercell``, and the size that the verb ``supercell`` takes.
    """
    words: list[str] = []
    for argument in arguments:
        option, _, value = argument.partition("=")
        if option == _OPTION and _SIZE.fullmatch(value):
            words += [option, value]
        else:
            words.append(argument)
    result: list[str] = []
    for place, word in enumerate(words):
        size = _SIZE.fullmatch(word) if _is_size(words, place) else None
        result += size.groups() if size else [word]
    return result


def _is_size(words: Sequence[str], place: int) -> bool:
    """Whether a supercell may stand at a place."""
    before = words[place - 1] if place else ""
    as_argument = place > 1 and words[0] == _VERB and not before.startswith("-")
    return before == _OPTION or as_argument
