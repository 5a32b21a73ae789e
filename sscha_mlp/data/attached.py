"""Labels that are attached to ASE's atoms, and labelled configurations made from them and back.

ASE attaches energy, forces and stress through a calculator that only remembers them.
``temperature`` (K), ``displacement_rms`` (Å), ``config_type`` (the origin) and ``chosen`` are in
``atoms.info``, under the names that extended XYZ has.
"""

from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from sscha_mlp.data.labels import Label, LabelledConfiguration, was_chosen
from sscha_mlp.errors import InputError
from sscha_mlp.units import GPA

FloatArray = NDArray[np.float64]

_SAME_STRESS: Final = 0.01 * GPA
"""Stresses that differ by less are the same one, printed with few digits."""

_ORIGIN: Final = "config_type"


def as_atoms(configuration: LabelledConfiguration | Atoms) -> Atoms:
    """Return a configuration as ASE's atoms, with what is known of it in calculator and ``info``.

    Results of a calculator are kept where they belong to these positions; nothing is computed.
    """
    if isinstance(configuration, Atoms):
        atoms = configuration.copy()
        results = _valid_results(configuration)
    else:
        atoms = configuration.atoms.copy()
        label = configuration.label
        voigt = full_3x3_to_voigt_6_stress(label.stress)
        results = {"energy": label.energy, "forces": label.forces, "stress": voigt}
        atoms.info[_ORIGIN] = configuration.origin
        for name in ("temperature", "displacement_rms"):
            if getattr(configuration, name) is not None:
                atoms.info[name] = float(getattr(configuration, name))
        if configuration.chosen:
            atoms.info["chosen"] = True
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def attached_labels(atoms: Atoms) -> dict[str, Any]:
    """Return what is attached of energy (eV), forces (eV/Å) and stress (3, 3) (eV/Å³).

    Every reader of labels takes them from here.  The energy is the one whose derivative the forces
    are: ``free_energy`` where it is given, as by codes with smearing, and ``energy`` otherwise.
    The stress may be given as a ``virial`` (eV), which is ``-stress * volume``.  Labels of other
    positions are none.

    Raises
    ------
    InputError
        If a value is not made of numbers, or stress and virial contradict each other.
    """
    results = _valid_results(atoms)
    found: dict[str, Any] = {}
    for name in ("free_energy", "energy"):
        if results.get(name) is not None and "energy" not in found:
            found["energy"] = float(_numbers(name, results[name], (1,))[0])
    if "forces" in results:
        found["forces"] = _numbers("forces", results["forces"], (len(atoms), 3))
    stress = _stress(atoms, results)
    return found if stress is None else {**found, "stress": stress}


def labelled(atoms: Atoms, name: str) -> LabelledConfiguration:
    """Return atoms with attached labels as a labelled configuration; `name` is for errors.

    Raises
    ------
    InputError
        If energy, forces or stress are missing, not finite, or contradict each other.
    """
    try:
        labels = attached_labels(atoms)
    except InputError as err:
        raise InputError(f"{name}: {err}") from err
    missing = [one for one in ("energy", "forces", "stress") if one not in labels]
    if missing:
        raise InputError(
            f"{name} has no {' and no '.join(missing)}; a labelled configuration needs energy, "
            "forces and stress."
        )
    info = atoms.info
    try:
        return LabelledConfiguration(
            atoms=atoms,
            label=Label(**labels),
            temperature=float(info["temperature"]) if "temperature" in info else None,
            displacement_rms=float(info["displacement_rms"])
            if "displacement_rms" in info
            else None,
            origin=str(info.get(_ORIGIN, "unknown")),
            chosen=was_chosen(atoms),
        )
    except (InputError, TypeError, ValueError) as err:
        raise InputError(f"{name}: {err}") from err


def _stress(atoms: Atoms, results: dict[str, Any]) -> FloatArray | None:
    """Return the stress (3, 3), eV/Å³, from the stress or the virial; None without both."""
    stress = virial = None
    if "stress" in results:
        voigt = np.size(results["stress"]) != 9
        stress = _numbers("stress", results["stress"], (6,) if voigt else (3, 3))
        stress = voigt_6_to_full_3x3_stress(stress) if voigt else stress
    if np.size(atoms.info.get("virial")) == 9 and atoms.cell.volume > 0.0:
        virial = -_numbers("virial", atoms.info["virial"], (3, 3)) / atoms.cell.volume
    if stress is None or virial is None:
        return virial if stress is None else stress
    allowed = _SAME_STRESS + 1.0e-3 * np.abs(stress).max()
    if not np.all(np.abs(stress - virial) <= allowed):
        raise InputError(
            f"stress and virial contradict each other: {-np.trace(stress) / 3.0 / GPA:.4g} GPa and "
            f"{-np.trace(virial) / 3.0 / GPA:.4g} GPa of pressure, where virial = -stress * volume "
            "in eV; remove the wrong one."
        )
    return stress


def _numbers(name: str, values: Any, shape: tuple[int, ...]) -> FloatArray:
    """Return values as an array of a shape; a single number may have any with one element."""
    try:
        return np.array(values, dtype=np.float64).reshape(shape)
    except (TypeError, ValueError) as err:
        raise InputError(
            f"the {name} has shape {np.shape(values)} or holds no numbers; expected {shape}."
        ) from err


def _valid_results(atoms: Atoms) -> dict[str, Any]:
    results = dict(getattr(atoms.calc, "results", None) or {})
    check = getattr(atoms.calc, "check_state", None)
    if not results or (check is not None and check(atoms)):
        return {}
    return {name: one for name, one in results.items() if name in all_properties}
