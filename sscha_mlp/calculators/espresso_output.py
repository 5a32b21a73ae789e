"""The output of ``pw.x``: whether it came to a good end, and its energy, forces and stress."""

import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.errors import ReferenceFailedError
from sscha_mlp.units import BOHR, RYDBERG

_ERROR: Final = re.compile(r"%{20,}\s*\n(.*?)\n\s*%{20,}", flags=re.DOTALL)
_FORCE: Final = re.compile(r"^ +atom +\d+ +type +\d+ +force = +(\S+) +(\S+) +(\S+)", re.MULTILINE)


def parse_output(
    output: str, *, n_atoms: int, status: int = 0, version: str | None = None
) -> dict[str, Any]:
    """Return the results of one self-consistent calculation in ASE's units and signs.

    Parameters
    ----------
    output
        What ``pw.x`` wrote.
    n_atoms
        Number of atoms that it was given.
    status
        Its exit status.
    version
        The version that it must be; None for any.

    Returns
    -------
    ``energy`` and ``free_energy`` (eV, both the total energy of ``pw.x``), ``forces`` (eV/Å, shape
    (n_atoms, 3)), ``stress`` (eV/Å³, shape (6,)) and ``n_kpoints``.

    Raises
    ------
    ReferenceFailedError
        If it stopped with an error, has not converged, is not complete, or is another version.
    """
    _check_end(output, status)
    _check_version(output, version)
    energy = _find(r"^! +total energy += +(\S+) Ry", output, "energy")
    forces = _forces(output, n_atoms)
    return {
        "energy": float(energy) * RYDBERG,
        "free_energy": float(energy) * RYDBERG,
        "forces": forces,
        "stress": _stress(output),
        "n_kpoints": int(_find(r"number of k points= *(\d+)", output, "number of k-points")),
    }


def parse_version(output: str) -> str | None:
    """Return the version that an output begins with, or None."""
    found = re.search(r"Program PWSCF\s+v\.(\S+)", output)
    return found.group(1) if found else None


def _check_end(output: str, status: int) -> None:
    stopped = re.search(r"convergence NOT achieved(?: after +(\d+) iterations)?", output)
    if stopped:
        steps = f" after {stopped.group(1)} steps" if stopped.group(1) else ""
        raise ReferenceFailedError(
            f"the self-consistency of pw.x did not converge{steps}; lower electrons.mixing_beta, "
            "or raise electrons.electron_maxstep"
        )
    error = _ERROR.search(output)
    if error:
        raise ReferenceFailedError(f"pw.x stopped: {' '.join(error.group(1).split())[:250]}")
    if status != 0 or "JOB DONE." not in output:
        raise ReferenceFailedError(f"pw.x ended early, with exit status {status}")
    if "convergence has been achieved" not in output:
        raise ReferenceFailedError("pw.x does not say that its self-consistency converged")


def _check_version(output: str, version: str | None) -> None:
    found = parse_version(output)
    if version is not None and found != version:
        raise ReferenceFailedError(
            f"pw.x is version {found}, but the reference is defined with version {version}; set "
            "version in the reference file to the one that runs"
        )


def _find(pattern: str, output: str, what: str) -> str:
    found = re.findall(pattern, output, flags=re.MULTILINE)
    if not found:
        raise ReferenceFailedError(f"pw.x gave no {what}")
    return str(found[-1])


def _forces(output: str, n_atoms: int) -> NDArray[np.float64]:
    """Return the total forces, eV/Å: the first block, those that follow are its parts."""
    _, _, block = output.rpartition("Forces acting on atoms")
    rows = _FORCE.findall(block)[:n_atoms]
    if len(rows) != n_atoms:
        raise ReferenceFailedError(f"pw.x gave forces on {len(rows)} atoms for {n_atoms}")
    return np.array(rows, dtype=np.float64) * float(RYDBERG / BOHR)


def _stress(output: str) -> NDArray[np.float64]:
    """Return the stress, eV/Å³, in ASE's order; ``pw.x`` counts compression as positive."""
    number = r"(-?\d\S*)"
    row = rf" *{number} +{number} +{number} .*\n"
    found = re.findall(rf"total +stress .*\n{row}{row}{row}", output)
    if not found:
        raise ReferenceFailedError("pw.x gave no stress")
    tensor: NDArray[np.float64] = np.array(found[-1], dtype=np.float64)
    voigt: NDArray[np.float64] = -tensor[[0, 4, 8, 5, 2, 1]] * float(RYDBERG / BOHR**3)
    return voigt
