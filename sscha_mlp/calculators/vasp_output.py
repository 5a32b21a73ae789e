"""The output of VASP: whether it has converged, and its energy, forces and stress."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.units import GPa
from numpy.typing import NDArray

from sscha_mlp.calculators.program import read_text
from sscha_mlp.errors import ReferenceFailedError

_SAME_PLACE: Final = 1.0e-4
"""Largest distance of an atom from where it was put, in Å: vasprun.xml has eight decimals."""


def parse_run(
    directory: Path, atoms: Atoms, *, expected_version: str | None = None
) -> dict[str, Any]:
    """Return the results of one self-consistent calculation in ASE's units and signs.

    Parameters
    ----------
    directory
        Holds ``vasprun.xml`` and perhaps ``OUTCAR``.
    atoms
        What was in POSCAR, in its order; that of the results, whatever the order in the file.
    expected_version
        The version that it must be; None for any.

    Returns
    -------
    ``energy`` and ``free_energy`` (eV, both F = E − TS), ``forces`` (eV/Å, shape (n_atoms, 3)) and
    ``stress`` (eV/Å³, shape (6,)).

    Raises
    ------
    ReferenceFailedError
        If the file is not whole, belongs to other atoms or another version, or the
        self-consistency has not converged.
    """
    try:
        root = ET.parse(directory / "vasprun.xml").getroot()
    except (ET.ParseError, OSError) as err:
        raise ReferenceFailedError(f"vasprun.xml is not whole ({err}): VASP ended early") from err
    _check_version(root, expected_version)
    try:
        calculation = _one(root.findall("calculation")[-1:], "calculation")
        _check_convergence(root, calculation, read_text(directory / "OUTCAR"))
        places = _places(root, atoms)
        return _results(calculation, places)
    except (ValueError, IndexError, TypeError, AttributeError) as err:
        raise ReferenceFailedError(f"vasprun.xml cannot be understood ({err})") from err


def _results(calculation: ET.Element, places: NDArray[np.int64]) -> dict[str, Any]:
    energy = float(_text(calculation.find("energy/i[@name='e_fr_energy']"), "free energy"))
    forces = _rows(calculation.find("varray[@name='forces']"), "forces")
    stress = _rows(calculation.find("varray[@name='stress']"), "stress")
    if forces.shape != (len(places), 3) or stress.shape != (3, 3):
        raise ReferenceFailedError(f"VASP gave forces on {len(forces)} atoms for {len(places)}")
    tensor = -0.1 * GPa * 0.5 * (stress + stress.T)  # kbar, compression positive
    return {
        "energy": energy,
        "free_energy": energy,
        "forces": forces[places],
        "stress": tensor.flat[[0, 4, 8, 5, 2, 1]],
    }


def _check_version(root: ET.Element, expected: str | None) -> None:
    found = (root.findtext("generator/i[@name='version']") or "").strip()
    if expected is not None and found != expected:
        raise ReferenceFailedError(
            f"VASP is version {found or 'unknown'}, but the reference is defined with version "
            f"{expected}; set version in the reference file to the one that runs"
        )


def _check_convergence(root: ET.Element, calculation: ET.Element, outcar: str) -> None:
    """Refuse a calculation that used all its electronic steps and does not say it converged."""
    steps = len(calculation.findall("scstep"))
    limit = int(_text(root.find(".//parameters//i[@name='NELM']"), "NELM"))
    unconverged = "EDIFF was not reached" in outcar
    if unconverged or (steps >= limit and "EDIFF is reached" not in outcar):
        raise ReferenceFailedError(
            f"the self-consistency of VASP did not converge in {steps} steps; raise incar.NELM, "
            "or choose another incar.ALGO"
        )


def _places(root: ET.Element, atoms: Atoms) -> NDArray[np.int64]:
    """Return where each atom of `atoms` stands in the file, by element and position."""
    rows = root.findall("atominfo/array[@name='atoms']/set/rc")
    symbols = np.array([_text(row.find("c"), "atoms") for row in rows])
    structure = root.find("structure[@name='initialpos']")
    if structure is None:
        raise ReferenceFailedError("vasprun.xml has no structure")
    scaled = _rows(structure.find("varray[@name='positions']"), "positions")
    if sorted(symbols) != sorted(atoms.get_chemical_symbols()) or len(scaled) != len(atoms):
        raise ReferenceFailedError("vasprun.xml is of other atoms than those in POSCAR")
    difference = atoms.get_scaled_positions()[:, None, :] - scaled[None, :, :]
    difference -= np.round(difference)
    distances = np.linalg.norm(difference @ atoms.cell.array, axis=-1)
    other = np.array(atoms.get_chemical_symbols())[:, None] != symbols[None, :]
    distances[other] = np.inf
    places = np.asarray(distances.argmin(axis=1), dtype=np.int64)
    if distances.min(axis=1).max() > _SAME_PLACE or len(set(places)) < len(atoms):
        raise ReferenceFailedError("vasprun.xml has atoms in other places than POSCAR")
    return places


def _one(elements: list[ET.Element], what: str) -> ET.Element:
    if not elements:
        raise ReferenceFailedError(f"vasprun.xml has no {what}")
    return elements[0]


def _text(element: ET.Element | None, what: str) -> str:
    if element is None or element.text is None:
        raise ReferenceFailedError(f"vasprun.xml has no {what}")
    return element.text.strip()


def _rows(element: ET.Element | None, what: str) -> NDArray[np.float64]:
    if element is None:
        raise ReferenceFailedError(f"VASP gave no {what}")
    rows = [[float(x) for x in _text(v, what).split()] for v in element.findall("v")]
    return np.array(rows, dtype=np.float64)
