"""Harmonic force constants by finite displacements, symmetry used."""

from sscha_mlp.calculators.registry import Reference
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.finite_displacements import FiniteDisplacements
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group
from sscha_mlp.errors import ConfigError, ReferenceFailedError
from sscha_mlp.reference.label import LabelReport, label
from sscha_mlp.reference.store import LabelStore


def harmonic(
    supercell: Supercell,
    reference: Reference,
    *,
    group: SpaceGroup | None = None,
    distance: float = 0.01,
    n_workers: int = 1,
    store: LabelStore | None = None,
) -> DynamicalMatrix:
    """Compute harmonic force constants with a reference.

    One atom of each orbit of the space group is moved along x, y and z, both ways; the others
    follow by symmetry.

    Parameters
    ----------
    supercell
        The crystal, at rest.
    reference
        What labels the displaced supercells.
    group
        Space group to impose; that of the supercell by default.
    distance
        By which an atom is moved, Å.
    n_workers
        Processes for the labels.
    store
        Where labels are found and kept.

    Returns
    -------
    Symmetric force constants that obey the acoustic sum rule; modes may be unstable.

    Raises
    ------
    ConfigError
        If the distance is not above zero.
    ReferenceFailedError
        If the reference fails on a displacement.
    """
    if not distance > 0.0:
        raise ConfigError(f"Atoms cannot be displaced by {distance} Å; give a length above 0.")
    symmetry = find_space_group(supercell) if group is None else group
    displaced = FiniteDisplacements(symmetry, distance)
    frames = displaced.configurations()
    # Labels of displacements are too small and too much alike for the checks of a batch.
    done = label(frames, reference, n_workers=n_workers, store=store, guard=False)
    return displaced.force_constants(forces_of(done))


def forces_of(report: LabelReport) -> list[FloatArray]:
    """Return the forces of all configurations of a report, (n_atoms, 3) each, eV/Å.

    Raises
    ------
    ReferenceFailedError
        If one of them has no label.
    """
    if report.failures:
        raise ReferenceFailedError(
            f"The reference failed on a finite displacement: {report.failures[0].reason}"
        )
    return [one.forces for one in report.labels if one is not None]
