"""How much memory there is, and how much gap_fit says it will take."""

import re
from pathlib import Path
from typing import Final

_UNITS: Final = {"B": 1.0, "BYTES": 1.0, "KB": 1.0e3, "MB": 1.0e6, "GB": 1.0e9, "TB": 1.0e12}
_PEAK: Final = re.compile(r"^\s*PEAK\s+([0-9.]+)\s*([A-Za-z]+)\s*$")
_CGROUPS: Final = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
_RESIDENT_FACTOR: Final = 1.1
_RESIDENT_OFFSET: Final = 6.0e7


def parse_peak(line: str) -> float | None:
    """Return the bytes in gap_fit's line ``PEAK  73 MB``, or None for any other line."""
    match = _PEAK.match(line)
    if match is None or match[2].upper() not in _UNITS:
        return None
    return float(match[1]) * _UNITS[match[2].upper()]


def resident(peak: float) -> float:
    """Return the resident memory, in bytes, of a gap_fit that announces `peak`.

    Measured with quippy-ase 0.10.3 on 50 to 200 configurations of 16 atoms: 1.06 times the
    announced peak plus 20 MB; this is a little above.
    """
    return _RESIDENT_FACTOR * peak + _RESIDENT_OFFSET


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
