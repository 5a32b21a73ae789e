"""One label from one calculator: energy, forces and stress in a single call."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from sscha_mlp.data.labels import Label
from sscha_mlp.errors import ConfigError, ReferenceFailedError

PROPERTIES: Final = ["energy", "forces", "stress"]
"""What a label is made of."""


@dataclass(frozen=True)
class LabelFunction:
    """Makes the function of a worker: a configuration in, the three parts of a label out.

    Parameters
    ----------
    make_calculator
        Picklable callable that returns a new ASE calculator.
    """

    make_calculator: Callable[[], Any]

    def __call__(self) -> Callable[[Atoms], tuple[float, NDArray[Any], NDArray[Any]]]:
        """Make the calculator once, and return the function that uses it."""
        calculator = self.make_calculator()
        if not (hasattr(calculator, "get_property") or hasattr(calculator, "get_stress")):
            raise ConfigError(
                f"the factory returned {type(calculator).__name__!r}, not an ASE calculator."
            )

        def compute(atoms: Atoms) -> tuple[float, NDArray[Any], NDArray[Any]]:
            label = compute_label(atoms, calculator)
            return label.energy, label.forces, label.stress

        return compute


def compute_label(atoms: Atoms, calculator: Any) -> Label:
    """Label one configuration.

    The energy is the one of which the forces are the derivative (``free_energy`` in ASE), where
    the calculator tells it from the energy.  Constraints are ignored.

    Raises
    ------
    ReferenceFailedError
        If the calculator gives no stress, or says that it has not converged.
    InputError
        If a result is not finite or has the wrong shape.
    """
    results = _calculate(bare_copy(atoms), calculator)
    if getattr(calculator, "converged", None) is False:
        raise ReferenceFailedError("the calculator says that it has not converged")
    missing = [name for name in PROPERTIES if results.get(name) is None]
    if missing:
        raise ReferenceFailedError(f"the calculator gave no {' and no '.join(missing)}")
    energy = results.get("free_energy")
    label = Label(
        energy=results["energy"] if energy is None else energy,
        forces=results["forces"],
        stress=_full_stress(results["stress"]),
    )
    if label.forces.shape != (len(atoms), 3):
        raise ReferenceFailedError(
            f"the calculator gave forces on {len(label.forces)} atoms for {len(atoms)}"
        )
    return label


def bare_copy(atoms: Atoms) -> Atoms:
    """Return a copy without calculator, constraints and notes: small, and safe to send."""
    copy = atoms.copy()
    copy.set_constraint()
    copy.info = {}
    return copy


def _calculate(atoms: Atoms, calculator: Any) -> dict[str, Any]:
    """Run one calculation from scratch, and ask again only for what it left out."""
    if hasattr(calculator, "reset"):
        calculator.reset()  # nothing of an earlier, perhaps failed, configuration survives
    if hasattr(calculator, "calculate") and hasattr(calculator, "results"):
        try:
            calculator.calculate(atoms, PROPERTIES, all_changes)
        except PropertyNotImplementedError as err:
            raise ReferenceFailedError(f"the calculator gave no {err}".rstrip()) from err
    results = dict(getattr(calculator, "results", {}))
    for name in PROPERTIES:
        if results.get(name) is None:
            results[name] = _get_property(atoms, calculator, name)
    return results


def _get_property(atoms: Atoms, calculator: Any, name: str) -> Any:
    getter = {"energy": "get_potential_energy"}.get(name, f"get_{name}")
    try:
        if hasattr(calculator, "get_property"):
            return calculator.get_property(name, atoms)
        return getattr(calculator, getter)(atoms)
    except (PropertyNotImplementedError, NotImplementedError, AttributeError):
        return None


def _full_stress(stress: Any) -> NDArray[np.float64]:
    """Return a stress in ASE's six or in nine numbers as a symmetric tensor."""
    array = np.array(stress, dtype=np.float64)
    if array.shape == (6,):
        array = voigt_6_to_full_3x3_stress(array)
    if array.shape == (3, 3):
        array = 0.5 * (array + array.T)
    return array
