"""Names of batches of labels, which decide their random numbers, and what they are made of."""

from typing import Any, Final

_USES: Final = ("train", "test", "check")


def batch_fields(name: str) -> dict[str, Any]:
    """Return use, origin, number, look and rareness that a name of a batch stands for.

    Parameters
    ----------
    name
        For example ``train-left-2-rare`` or ``check-1-0``.
    """
    words = name.split("-")
    use = words[0] if words[0] in _USES else "other"
    rare = words[-1] == "rare"
    rest = words[1 : len(words) - rare]
    if use == "check":
        number, _, look = ("-".join(rest)).partition("-")
        return {"name": name, "use": use, "drawn": use, "number": number, "look": int(look or 0)}
    drawn, _, lesson = rest[0].partition(".") if rest else ("", "", "")
    number = rest[1] if len(rest) > 1 else lesson
    return {"name": name, "use": use, "drawn": drawn, "number": number, "rare": rare}
