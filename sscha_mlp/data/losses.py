"""What configurations lost on their way through a file."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp.data.attached import attached_labels

_POSITION_ERROR: Final = 1.0e-9
_NOT_TOLD: Final = frozenset(
    {"species", "comment", "id", "type", "numbers", "positions", "mmcharges"}
)
"""What readers add, and what is compared apart or belongs to the format."""


def left_out(before: Sequence[Atoms], after: Sequence[Atoms]) -> Iterator[str]:
    """Yield in words what is in the configurations before and not in those after, once each.

    Labels and Features have their names; numbers count as kept if they agree to six digits, and
    positions if they agree to 1e-9 Å.
    """
    if len(before) != len(after):
        yield f"{len(before) - len(after)} of {len(before)} configurations"
        return
    lost: dict[str, None] = {}
    for one, other in zip(before, after, strict=True):
        kept = _known(other)
        for name, value in _known(one).items():
            if name not in kept or not _same(value, kept[name]):
                lost[name] = None
        lost |= dict.fromkeys(_geometry(one, other))
    yield from lost


def _known(atoms: Atoms) -> dict[str, Any]:
    """Return by name what is known of a configuration beside its geometry."""
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    known = attached_labels(atoms)
    if "energy" in results and results["energy"] != known.get("energy"):
        known["the energy without smearing"] = results["energy"]
    for name, value in results.items():
        if name not in known and name != "free_energy":
            known[name] = value
    for place in (atoms.info, atoms.arrays):
        known |= {str(key): value for key, value in place.items() if key not in _NOT_TOLD}
    if atoms.constraints:
        known["constraints"] = len(atoms.constraints)
    return known


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(np.allclose(np.ravel(one), np.ravel(other), rtol=1.0e-6, atol=1.0e-6))
    except (TypeError, ValueError):
        return str(one) == str(other)


def _geometry(before: Atoms, after: Atoms) -> Iterator[str]:
    if len(before) != len(after):
        yield f"{abs(len(before) - len(after))} of {len(before)} atoms"
        return
    if not np.array_equal(before.pbc, after.pbc):
        yield "periodic directions"
    if not np.array_equal(before.numbers, after.numbers):
        yield "the order of the atoms"
    elif before.cell.rank == 0 or np.allclose(before.cell.array, after.cell.array, atol=1.0e-6):
        yield from _rounding(before, after.positions - before.positions)
    elif np.allclose(before.cell.cellpar(), after.cell.cellpar(), atol=1.0e-5):
        yield "the orientation of the cell (it is rotated)"
    else:
        yield "the cell"


def _rounding(atoms: Atoms, shift: NDArray[np.float64]) -> Iterator[str]:
    if atoms.cell.volume > 0.0:
        images = np.rint(atoms.cell.scaled_positions(shift))
        if images.any():
            yield "which periodic image an atom is in"
        shift = shift - images @ atoms.cell.array
    error = float(np.abs(shift).max())
    if error > _POSITION_ERROR:
        yield f"digits of the positions (up to {error:.0e} Å)"
