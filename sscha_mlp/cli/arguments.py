"""Words of the command line before they are parsed."""

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Final

from sscha_mlp.errors import ConfigError

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

    Raises
    ------
    ConfigError
        If ``--supercell`` has one or two numbers.
    """
    words: list[str] = []
    for argument in arguments:
        option, _, value = argument.partition("=")
        if option == _OPTION and _SIZE.fullmatch(value):
            words += [option, value]
        else:
            words.append(argument)
    _check_numbers(words)
    result: list[str] = []
    for place, word in enumerate(words):
        size = _SIZE.fullmatch(word) if _is_size(words, place) else None
        result += size.groups() if size else [word]
    return result


def _check_numbers(words: Sequence[str]) -> None:
    """Refuse ``--supercell 2``, with what was meant."""
    for place, word in enumerate(words):
        if word != _OPTION:
            continue
        given = list(takewhile(str.isdecimal, words[place + 1 : place + 4]))
        if 0 < len(given) < 3:
            full = " ".join([*given, given[-1], given[-1]][:3])
            raise ConfigError(
                f"{_OPTION} {' '.join(given)} has {len(given)} of 3 numbers; write for example "
                f"{_OPTION} {full}, the repetitions along each lattice vector. See "
                f"sscha-mlp {words[0]} --help."
            )


def _is_size(words: Sequence[str], place: int) -> bool:
    """Whether a supercell may stand at a place."""
    before = words[place - 1] if place else ""
    as_argument = place > 1 and words[0] == _VERB and not before.startswith("-")
    return before == _OPTION or as_argument
