"""Numbers as a person reads them: as many digits as their error allows."""

import math
import re
from typing import Any, Final

DASH: Final = "—"
"""Stands where there is no number."""

_MINUS: Final = "\N{MINUS SIGN}"
_MOST_DECIMALS: Final = 6
_HYPHEN: Final = re.compile(r"(?<![\w.)-])-(?=\d)")


def is_number(value: Any) -> bool:
    """Return whether ``value`` is a finite real number."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    ) or (hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0 and math.isfinite(value))


def fixed(value: Any, decimals: int, *, sign: bool = False) -> str:
    """Return ``value`` with that many decimals and a true minus sign.

    Parameters
    ----------
    value
        A number; anything else becomes a dash.
    decimals
        Digits after the point.
    sign
        Whether positive numbers carry a plus sign.
    """
    if not is_number(value):
        return DASH
    text = f"{float(value):+.{decimals}f}" if sign else f"{float(value):.{decimals}f}"
    if float(text) == 0.0:
        text = text.lstrip("+-")
    return text.replace("-", _MINUS)


def with_minus(sentence: str) -> str:
    """Return a sentence of the journal with true minus signs before its numbers."""
    return _HYPHEN.sub(_MINUS, sentence)


def significant(value: Any, digits: int = 3) -> str:
    """Return ``value`` with that many significant digits, without an exponent where possible."""
    if not is_number(value):
        return DASH
    number = float(value)
    if number == 0.0:
        return "0"
    exponent = math.floor(math.log10(abs(number)))
    if not -4 <= exponent <= 6:
        return f"{number:.{digits - 1}e}".replace("e-0", "e-").replace("-", _MINUS)
    return fixed(number, max(0, digits - 1 - exponent))


def error_decimals(stderr: Any, *, fallback: int = 3) -> int:
    """Return how many decimals show two significant digits of a standard error."""
    if not is_number(stderr) or float(stderr) <= 0.0:
        return fallback
    exponent = math.floor(math.log10(float(stderr)))
    return min(_MOST_DECIMALS, max(0, 1 - exponent))


def with_error(value: Any, stderr: Any, *, sign: bool = False, fallback: int = 3) -> str:
    """Return ``value ± stderr``, both with the decimals of two digits of the error.

    Parameters
    ----------
    value, stderr
        A number and its standard error in the same unit.
    sign
        Whether a positive value carries a plus sign.
    fallback
        Decimals of the value where there is no error.
    """
    decimals = error_decimals(stderr, fallback=fallback)
    text = fixed(value, decimals, sign=sign)
    if text == DASH or not is_number(stderr):
        return text
    return f"{text} ± {fixed(stderr, decimals)}"


def concise(value: Any, stderr: Any, *, fallback: int = 3) -> str:
    """Return ``value(error)``, the error in units of the last two digits, as in 20.1573(13)."""
    decimals = error_decimals(stderr, fallback=fallback)
    text = fixed(value, decimals)
    if text == DASH or not is_number(stderr) or float(stderr) <= 0.0:
        return text
    digits = round(float(stderr) * 10**decimals)
    return f"{text}({digits})"


def p_value(value: Any) -> str:
    """Return a p-value, with a bound where it is too small to matter."""
    if not is_number(value):
        return DASH
    return "< 0.001" if float(value) < 1.0e-3 else fixed(value, 3)


def configurations(number: int) -> str:
    """Return how many configurations there are, in words."""
    return f"{number} configuration" + ("" if number == 1 else "s")


def duration(seconds: Any) -> str:
    """Return a time as seconds, minutes or hours."""
    if not is_number(seconds):
        return DASH
    whole = float(seconds)
    if whole < 99.5:
        return f"{significant(whole, 2 if whole >= 1.0 else 1)} s"
    if whole < 3600.0:
        minutes, rest = divmod(round(whole), 60)
        return f"{minutes} min {rest:02d} s"
    hours, rest = divmod(round(whole / 60.0), 60)
    return f"{hours} h {rest:02d} min"
