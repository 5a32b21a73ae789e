"""Is a reference fit to be a reference: forces and stress against differences of its energy.

Along a path of configurations the energy changes by the integral of the forces, or of the stress.
Both sides come from three labels, at −h, 0 and h; Simpson's rule leaves an error of order h⁵.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp.calculators.registry import Reference
from sscha_mlp.data.labels import Label
from sscha_mlp.errors import InputError, ReferenceFailedError
from sscha_mlp.reference.label import LabelReport, Progress, label
from sscha_mlp.reference.store import LabelStore
from sscha_mlp.units import GPA

START_LABELS: Final = 9
"""Labels that the start of a run takes for silicon: relaxing the structure, displacements."""

SHEAR: Final = "stress, xy"
"""Name of the difference of the shear stress, which plane waves that are too few leave alone."""

_N_DIRECTIONS: Final = 2
_STRAINS: Final = {
    "stress, average of xx, yy, zz": np.eye(3),
    "stress, xx": np.diag([1.0, 0.0, 0.0]),
    SHEAR: np.array([[0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]),
}


@dataclass(frozen=True)
class CheckSettings:
    """How a reference is checked.

    Parameters
    ----------
    displacement
        Standard deviation of each coordinate from the given structure, Å.
    step
        Largest movement of an atom in a difference, Å.
    strain
        Largest strain in a difference.
    force_tolerance
        Allowed error of a force along a direction, eV/Å.
    stress_tolerance
        Allowed error of a stress, GPa.
    seed
        Decides displacements and the random direction.

    Raises
    ------
    InputError
        If a number is out of range.
    """

    displacement: float = 0.1
    step: float = 0.01
    strain: float = 0.005
    force_tolerance: float = 0.005
    stress_tolerance: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        limits = {
            "displacement": (0.0, 1.0, "Å"),
            "step": (1.0e-5, 0.1, "Å"),
            "strain": (1.0e-5, 0.05, "of the cell"),
            "force_tolerance": (1.0e-9, 10.0, "eV/Å"),
            "stress_tolerance": (1.0e-9, 1000.0, "GPa"),
        }
        for name, (lowest, highest, unit) in limits.items():
            value = getattr(self, name)
            if not lowest <= value <= highest:
                raise InputError(
                    f"The {name.replace('_', ' ')} is {value:g} {unit}; it must be from "
                    f"{lowest:g} to {highest:g}."
                )
        if self.seed < 0:
            raise InputError(f"The seed is {self.seed}; it must not be negative.")


@dataclass(frozen=True)
class Difference:
    """A derivative of the energy, once from the labels and once from energy differences.

    Parameters
    ----------
    name
        What is differentiated.
    unit
        Unit of the numbers: eV/Å, or GPa with ASE's sign.
    analytic
        Average of the force or stress over the step, weighted as in Simpson's rule.
    numerical
        Central difference of the energy.
    noise
        Standard error of `numerical` from the noise of the energies, as the second difference of
        the energy shows it.
    tolerance
        Error that is allowed without noise.
    """

    name: str
    unit: str
    analytic: float
    numerical: float
    noise: float
    tolerance: float

    @property
    def error(self) -> float:
        """The label's value minus the one from energies."""
        return self.analytic - self.numerical

    @property
    def allowed(self) -> float:
        """Largest error that passes: noise may widen the tolerance at most twofold."""
        return self.tolerance + min(3.0 * self.noise, self.tolerance)

    @property
    def passed(self) -> bool:
        """Whether the two agree."""
        return bool(abs(self.error) <= self.allowed)


@dataclass(frozen=True, eq=False)
class ReferenceCheck:
    """What a check of a reference found.

    Parameters
    ----------
    atoms
        The displaced supercell.
    label
        Its energy, forces and stress.
    differences
        The comparisons with differences of the energy.
    n_labels
        Labels that it took, those found in a store included.
    seconds_per_label
        Average time of one that was computed now, s; None where all were in the store.
    """

    atoms: Atoms
    label: Label
    differences: tuple[Difference, ...]
    n_labels: int
    seconds_per_label: float | None

    @property
    def passed(self) -> bool:
        """Whether every comparison passed."""
        return all(one.passed for one in self.differences)

    def seconds_for(self, n_labels: int, n_workers: int) -> float | None:
        """Return the estimated time of a job, s; the labels of the start come one by one.

        None where the time of a label is not known.

        Parameters
        ----------
        n_labels
            Labels after the start.
        n_workers
            Processes that label side by side.
        """
        if self.seconds_per_label is None:
            return None
        rounds = START_LABELS + -(-n_labels // n_workers)
        return rounds * self.seconds_per_label


def check_reference(
    reference: Reference,
    supercell: Atoms,
    settings: CheckSettings | None = None,
    *,
    store: LabelStore | None = None,
    n_workers: int = 1,
    time_limit: float | None = None,
    isolate: bool | None = True,
    progress: Progress | None = None,
) -> ReferenceCheck:
    """Compare forces and stress of a displaced supercell with differences of its energy.

    Two directions of forces (the largest component; a random direction of all atoms) and three
    strains, each with two labels, and the label in the middle.

    Parameters
    ----------
    reference
        Who labels.
    supercell
        The supercell without displacements; not changed.
    settings
        Step lengths and tolerances.
    store
        Where labels are found and kept; without it nothing is kept.
    n_workers
        Number of processes.
    time_limit
        Longest time for one label, s.
    isolate
        Whether to compute in other processes, see :func:`sscha_mlp.reference.label.label`.
    progress
        Called with the number of labels finished, and their total.

    Raises
    ------
    InputError
        If an element is unknown to the reference.
    ReferenceFailedError
        If a label fails.
    """
    settings = settings or CheckSettings()
    rng = np.random.default_rng(settings.seed)
    atoms = supercell.copy()
    atoms.positions += settings.displacement * rng.standard_normal(atoms.positions.shape)
    total = 1 + 2 * (_N_DIRECTIONS + len(_STRAINS))

    def compute(frames: Sequence[Atoms], before: int) -> tuple[list[Label], LabelReport]:
        report = label(
            frames,
            reference,
            store=store,
            n_workers=n_workers,
            time_limit=time_limit,
            isolate=isolate,
            guard=False,
            progress=lambda done, _: progress(before + done, total) if progress else None,
        )
        if report.failures:
            reason = report.failures[0].reason
            raise ReferenceFailedError(f"The reference {reference.name!r} failed: {reason}")
        return [one for one in report.labels if one is not None], report

    (middle,), first = compute([atoms], 0)
    directions = _directions(middle, rng)
    ends, rest = compute(_ends(atoms, directions, settings), 1)
    differences = _differences(atoms, middle, directions, ends, settings)
    computed = first.n_computed + rest.n_computed
    seconds = first.seconds_computing + rest.seconds_computing
    return ReferenceCheck(
        atoms, middle, differences, total, seconds / computed if computed else None
    )


def _ends(
    atoms: Atoms, directions: Mapping[str, NDArray[np.float64]], settings: CheckSettings
) -> list[Atoms]:
    """Return the two ends of each step: first the moves, then the strains."""
    moved = [
        _moved(atoms, sign * settings.step * one) for one in directions.values() for sign in (-1, 1)
    ]
    strained = [
        _strained(atoms, sign * settings.strain * one)
        for one in _STRAINS.values()
        for sign in (-1, 1)
    ]
    return [*moved, *strained]


def _differences(
    atoms: Atoms,
    middle: Label,
    directions: Mapping[str, NDArray[np.float64]],
    ends: Sequence[Label],
    settings: CheckSettings,
) -> tuple[Difference, ...]:
    """Compare each step; the ends are those of :func:`_ends`."""
    triples = [(low, middle, high) for low, high in zip(ends[::2], ends[1::2], strict=True)]
    forces = [
        _force_difference(name, one, triple, settings)
        for (name, one), triple in zip(directions.items(), triples, strict=False)
    ]
    stresses = [
        _stress_difference(name, one, triple, atoms.get_volume(), settings)
        for (name, one), triple in zip(_STRAINS.items(), triples[len(directions) :], strict=True)
    ]
    return (*forces, *stresses)


def _directions(middle: Label, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Return movements of all atoms, shape (n_atoms, 3), whose longest one has length 1."""
    atom, axis = np.unravel_index(np.abs(middle.forces).argmax(), middle.forces.shape)
    single = np.zeros_like(middle.forces)
    single[atom, axis] = 1.0
    every = rng.standard_normal(middle.forces.shape)
    every /= np.linalg.norm(every, axis=1).max()
    return {f"force on atom {atom} along {'xyz'[axis]}": single, "force, random direction": every}


def _moved(atoms: Atoms, displacements: NDArray[np.float64]) -> Atoms:
    copy = atoms.copy()
    copy.positions += displacements
    return copy


def _strained(atoms: Atoms, strain: NDArray[np.float64]) -> Atoms:
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return copy


def _force_difference(
    name: str,
    direction: NDArray[np.float64],
    labels: tuple[Label, Label, Label],
    settings: CheckSettings,
) -> Difference:
    slopes = [-float(np.sum(one.forces * direction)) for one in labels]
    return _difference(
        name,
        "eV/Å",
        slopes,
        labels,
        step=settings.step,
        scale=-float(np.linalg.norm(direction)),
        tolerance=settings.force_tolerance,
    )


def _stress_difference(
    name: str,
    strain: NDArray[np.float64],
    labels: tuple[Label, Label, Label],
    volume: float,
    settings: CheckSettings,
) -> Difference:
    """Compare the stress: along the cell 1 + x e the energy has the slope V σ : e (1 + x e)⁻¹."""
    slopes = []
    for x, one in zip((-settings.strain, 0.0, settings.strain), labels, strict=True):
        deformation = np.eye(3) + x * strain
        rate = strain @ np.linalg.inv(deformation)
        slopes.append(volume * float(np.linalg.det(deformation) * np.sum(one.stress * rate)))
    return _difference(
        name,
        "GPa",
        slopes,
        labels,
        step=settings.strain,
        scale=volume * GPA * float(np.abs(strain).sum()),
        tolerance=settings.stress_tolerance,
    )


def _difference(
    name: str,
    unit: str,
    slopes: Sequence[float],
    labels: tuple[Label, Label, Label],
    *,
    step: float,
    scale: float,
    tolerance: float,
) -> Difference:
    """Compare the slopes of the energy at −step, 0 and step with the energies there."""
    low, middle, high = (one.energy for one in labels)
    simpson = (slopes[0] + 4.0 * slopes[1] + slopes[2]) / 6.0
    central = (high - low) / (2.0 * step)
    # The even part of the energy: what is left over is the noise of low − 2 middle + high.
    residual = low - 2.0 * middle + high - 0.5 * step * (slopes[2] - slopes[0])
    noise = abs(residual) / np.sqrt(6.0) / (np.sqrt(2.0) * step)
    return Difference(
        name, unit, simpson / scale, central / scale, float(noise / abs(scale)), tolerance
    )
