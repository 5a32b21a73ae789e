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

from sscha_mlp.data.labels import Label, LabelledConfiguration, was_chosen
from sscha_mlp.errors import InputError

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

    The energy is the one whose derivative the forces are.  Labels of other positions are none.
    """
    results = _valid_results(atoms)
    found: dict[str, Any] = {}
    for name in ("free_energy", "energy"):
        if results.get(name) is not None:
            found.setdefault("energy", float(results[name]))
    if "forces" in results:
        found["forces"] = np.array(results["forces"], dtype=np.float64)
    if "stress" in results:
        stress = np.array(results["stress"], dtype=np.float64)
        full = stress.reshape(3, 3) if stress.size == 9 else voigt_6_to_full_3x3_stress(stress)
        found["stress"] = full
    return found


def labelled(atoms: Atoms, name: str) -> LabelledConfiguration:
    """Return atoms with attached labels as a labelled configuration; `name` is for errors.

    Raises
    ------
    InputError
        If energy, forces or stress are missing or not finite.
    """
    labels = attached_labels(atoms)
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


def _valid_results(atoms: Atoms) -> dict[str, Any]:
    results = dict(getattr(atoms.calc, "results", None) or {})
    check = getattr(atoms.calc, "check_state", None)
    if not results or (check is not None and check(atoms)):
        return {}
    return {name: one for name, one in results.items() if name in all_properties}
