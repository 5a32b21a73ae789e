"""How much memory there is, and whether what is asked for fits."""

import re
from pathlib import Path
from typing import Final

from sscha_mlp.errors import InputError

_CGROUPS: Final = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def require_memory(n_bytes: float, what: str, way_out: str) -> None:
    """Refuse what needs more memory than there is, before anything is computed.

    Parameters
    ----------
    n_bytes
        What it needs, roughly.
    what
        What that is, for the message.
    way_out
        What to do instead, for the message.

    Raises
    ------
    InputError
        If there is less.
    """
    left = available()
    if left is not None and n_bytes > left:
        raise InputError(
            f"{what} need about {n_bytes / 1.0e9:.3g} GB of memory, and {left / 1.0e9:.3g} GB are "
            f"free; {way_out}."
        )


def available(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the bytes that a new process can take, or None if the system does not say.

    This is the smaller of the kernel's ``MemAvailable`` and what the control group has left.
    """
    bounds = [_mem_available(proc / "meminfo")]
    bounds += [_group_left(cgroup / limit, cgroup / usage) for limit, usage in _CGROUPS]
    known = [bound for bound in bounds if bound is not None]
    return min(known) if known else None


def _mem_available(meminfo: Path) -> float | None:
    try:
        text = meminfo.read_text(encoding="ascii")
    except OSError:
        return None
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return float(match[1]) * 1024.0 if match else None


def _group_left(limit: Path, usage: Path) -> float | None:
    """Return what a control group has left; page cache, which counts as used, can be dropped."""
    try:
        most, used = limit.read_text(encoding="ascii"), usage.read_text(encoding="ascii")
        left = float(most) - float(used)
    except (OSError, ValueError):  # no control group, or the limit "max"
        return None
    return max(0.0, left + _page_cache(limit.parent / "memory.stat"))


def _page_cache(stat: Path) -> float:
    try:
        match = re.search(r"^inactive_file (\d+)$", stat.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return 0.0
    return float(match[1]) if match else 0.0
