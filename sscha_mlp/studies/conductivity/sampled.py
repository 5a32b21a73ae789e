"""Second and third derivatives of a run's final state, in blocks that tell their errors."""

import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.data.files import write_npz_atomic
from sscha_mlp.parallel.memory import require_memory
from sscha_mlp.scha import minimiser
from sscha_mlp.scha.estimators import Samples, estimate_difference
from sscha_mlp.scha.relaxation import draw_samples
from sscha_mlp.scha.third_order import ThirdOrder, third_order, third_order_bytes
from sscha_mlp.studies.opened import OpenedRun

_ARRAYS_OF_ENSEMBLE = 12
"""How many arrays of the size of all displacements there are at once, at most."""

_MOST_GROUPS = 8
_SMALL_THIRD, _SMALL_SECOND = 0.1, 0.02
"""Parts of the force constants that a change is scaled down to, so that it acts linearly."""


@dataclass(frozen=True, eq=False)
class SampledForceConstants:
    """Force constants of a state from an ensemble of the model.

    Parameters
    ----------
    state
        Minimum of the whole ensemble.
    halves
        Force constants (n_halves, n_primitive, n_atoms, 3, 3), eV/Å², of the minimum of balanced
        halves of the ensemble.
    third
        ``< d³V >`` there, in blocks.
    effective_sample_size
        Of the ensemble at its minimum.
    """

    state: DynamicalMatrix
    halves: FloatArray
    third: ThirdOrder
    effective_sample_size: float

    def state_of_half(self, half: int) -> DynamicalMatrix:
        """Return the state at the minimum of a half of the ensemble."""
        return self.state.with_force_constants(self.halves[half])


@dataclass(frozen=True, eq=False)
class LabelledChange:
    """What groups of check labels say that the reference adds to the force constants.

    Parameters
    ----------
    n_labels
        Labels in all.
    second
        Change of the second order for each group, (n_groups, n_primitive, n_atoms, 3, 3), eV/Å².
    third
        Of the third order, in a block for each group.
    """

    n_labels: int
    second: FloatArray
    third: ThirdOrder

    def step(self, found: SampledForceConstants) -> float:
        """Part of the changes that is small beside the force constants: at most a half."""
        third = _norm(found.third.value) / max(_norm(one) for one in self.third.blocks)
        second = _norm(found.state.force_constants) / max(_norm(one) for one in self.second)
        return float(min(0.5, _SMALL_THIRD * third, _SMALL_SECOND * second))


def required_configs(n_configs: int, n_blocks: int) -> int:
    """Return the number of configurations, raised so that all blocks hold equally many pairs."""
    step = 2 * n_blocks
    return step * -(-n_configs // step)


def sample_force_constants(
    study: OpenedRun, n_configs: int, n_blocks: int
) -> SampledForceConstants:
    """Draw an ensemble of the final state, minimise it, and average its derivatives.

    Parameters
    ----------
    study
        A finished run.
    n_configs
        Configurations, a multiple of twice the blocks.
    n_blocks
        Blocks, drawn independently of each other.

    Raises
    ------
    InputError
        If there is too little memory.
    RelaxationError
        If the ensemble cannot be drawn.
    """
    supercell = study.state.supercell
    needed = 8.0 * _ARRAYS_OF_ENSEMBLE * n_configs * 3 * supercell.n_atoms
    require_memory(
        needed + third_order_bytes(supercell, n_blocks),
        f"The third derivatives of {supercell.n_atoms} atoms from {n_configs} configurations",
        "give fewer with --configs",
    )
    settings = study.settings
    samples = draw_samples(
        study.state,
        study.evaluator,
        temperature=settings.temperature,
        nuclei=settings.nuclei,
        settings=replace(settings.relaxation_settings(), replicates=n_blocks),
        rng=np.random.default_rng([settings.seed, zlib.crc32(b"conductivity")]),
        n_configs=n_configs,
    )
    rules = settings.relaxation.minimiser
    minimum = minimiser.minimise(samples, study.group, rules)
    blocks = np.repeat(np.arange(n_blocks), n_configs // n_blocks)
    halves = [
        minimiser.minimise(samples.chosen(half[blocks]), study.group, rules)
        for half in balanced_halves(n_blocks)
    ]
    return SampledForceConstants(
        minimum.dynamical_matrix,
        np.array([one.dynamical_matrix.force_constants for one in halves]),
        third_order(minimum.estimators, n_blocks=n_blocks),
        minimum.estimators.effective_sample_size,
    )


def balanced_halves(n_blocks: int) -> NDArray[np.bool_]:
    """Return halves of the blocks, one of each pair, such that any two pairs are independent.

    The mean square of what the halves differ by from the whole is the variance of the whole (P. J.
    McCarthy, Rev. Int. Stat. Inst. 37, 239 (1969)).  Halves differ by a standard error, where
    leaving out single blocks would amplify what is rough in the scattering on a mesh.

    Parameters
    ----------
    n_blocks
        An even number.

    Returns
    -------
    Whether a block is in a half, shape (n_halves, n_blocks).
    """
    n_pairs = n_blocks // 2
    signs = linalg.hadamard(1 << n_pairs.bit_length())[:, 1 : n_pairs + 1] > 0
    return np.asarray(np.stack([signs, ~signs], axis=2).reshape(len(signs), n_blocks))


def labelled_change(study: OpenedRun, difference: Samples) -> LabelledChange:
    """Return what differences of reference and model say of the force constants, in groups.

    Parameters
    ----------
    study
        The run.
    difference
        Reference minus model on the labels of a check.
    """
    n_labels = difference.ensemble.n_configs
    n_groups = min(_MOST_GROUPS, n_labels)
    third = third_order(estimate_difference(difference, study.group), n_blocks=n_groups)
    edges = np.linspace(0, n_labels, n_groups + 1).astype(int)
    group_of = np.repeat(np.arange(n_groups), np.diff(edges))
    second = [
        estimate_difference(difference.chosen(group_of == one), study.group).force_constant_change
        for one in range(n_groups)
    ]
    return LabelledChange(n_labels, np.array(second), third)


def save_force_constants(path: Path, found: SampledForceConstants) -> None:
    """Write force constants to an ``.npz`` file, atomically."""
    write_npz_atomic(
        path,
        positions=found.state.crystal.positions,
        second=found.state.force_constants,
        halves=found.halves,
        blocks=found.third.blocks,
        shares=found.third.shares,
        effective_sample_size=np.array(found.effective_sample_size),
    )


def load_force_constants(path: Path, state: DynamicalMatrix) -> SampledForceConstants:
    """Read what :func:`save_force_constants` wrote.

    Parameters
    ----------
    path
        The file.
    state
        State of the run, for the crystal.
    """
    with np.load(path, allow_pickle=False) as stored:
        moved = state.moved(stored["positions"] - state.crystal.positions)
        return SampledForceConstants(
            moved.with_force_constants(stored["second"]),
            stored["halves"],
            ThirdOrder(state.supercell, stored["blocks"], stored["shares"]),
            float(stored["effective_sample_size"]),
        )


def _norm(values: FloatArray) -> float:
    return float(np.sqrt((values**2).sum())) or 1.0
