"""The end of a run: the correction by the certificate, the last cell step, and why it ended."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from sscha_mlp import units
from sscha_mlp.campaign.certification import Checked
from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.diagnosis import advice, test_errors
from sscha_mlp.campaign.relaxing import Relaxed
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.data.dyn_files import born_of_file, write_dyn
from sscha_mlp.data.states import save_state
from sscha_mlp.errors import RelaxationError
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.run_files.last_ensemble import load_samples
from sscha_mlp.run_files.records.population import PopulationRecord
from sscha_mlp.scha.cell import CellMode, free_strains
from sscha_mlp.scha.cell_response import cell_response
from sscha_mlp.scha.cell_step import CellPoint, cell_strain, strained_state
from sscha_mlp.scha.convergence import unwanted_stress
from sscha_mlp.scha.estimators import estimate
from sscha_mlp.scha.relaxation import RelaxationSettings
from sscha_mlp.validation.cell_errors import FinalErrors, final_errors
from sscha_mlp.validation.certificate import Certificate, Verdict
from sscha_mlp.validation.correction import Corrected, add_difference, correct

_MAX_STEPS: Final = 4
"""Steps of the cell after the check."""

REPLICATES: Final = 10
"""Parts of the last population that are drawn independently of each other."""

_PART_OF_ERROR: Final = 0.1
"""The corrected stress is on target when it is off by this part of its error."""

_ENOUGH: Final = 0.5
"""What is left at the end may be this part of the error, and adds to that of the volume."""

_COMMON: Final = 0.05
"""Part of its error by which the stress differs between populations of the same random numbers."""

_SAME_CELL: Final = 1.0e-6
"""A shorter step of the cell changes nothing that is printed."""


def corrected_minimum(
    context: Context, relaxed: Relaxed, certificate: Certificate
) -> Corrected | None:
    """Minimise the last ensemble with the certificate's differences; None if there is none."""
    if relaxed.last is None or relaxed.left_domain:
        return None
    samples = load_samples(context.directory.samples(relaxed.last.phase))
    settings = context.settings.relaxation.minimiser
    try:
        return correct(samples, certificate, context.group, settings)
    except RelaxationError as err:
        context.observer.note(f"the certificate's shifts cannot be applied: {err}")
        return None


@dataclass(frozen=True, eq=False)
class Settled:
    """The model's minimum in the cell that the certificate asks for.

    Parameters
    ----------
    relaxed
        The last relaxation, in the final cell.
    corrected
        Its minimum with the differences of the certificate; None where there is none.
    on_target
        Whether the corrected stress is on its target, to a small part of its error.
    """

    relaxed: Relaxed
    corrected: Corrected | None
    on_target: bool = True


def final_settings(context: Context, frame: DynamicalMatrix) -> RelaxationSettings:
    """Return how the model is relaxed in a cell at the end.

    Parameters
    ----------
    frame
        State whose modes the random numbers belong to, the same in every cell: the stress is then a
        smooth function of the cell.
    """
    return replace(
        context.settings.relaxation_settings(),
        cell=CellMode.FIXED,
        reuse=False,
        replicates=REPLICATES,
        frame=frame,
    )


def settle(
    context: Context,
    potential: Potential,
    relaxed: Relaxed,
    certificate: Certificate,
    relax_in_cell: Callable[[DynamicalMatrix, str, Relaxed], Relaxed],
    *,
    phase: str = "final",
) -> Settled:
    """Move the cell until the corrected stress is on target; the model is relaxed after each step.

    Every relaxation draws the same random numbers, so that the stress is a smooth function of the
    cell and few steps bring it to a small part of its error.  No step needs a label.  Where the
    ensembles differ too much for that, the cell that came closest is taken.

    Parameters
    ----------
    relaxed
        The relaxation that was checked.
    relax_in_cell
        Relaxes from a state in its cell, in a phase of the name that is given, after another one.
    phase
        Name of the first relaxation; the next ones add a number to it.
    """
    points: list[CellPoint] = []
    closest, least = Settled(relaxed, None, False), np.inf
    for number in range(1, _MAX_STEPS + 2):
        corrected = corrected_minimum(context, relaxed, certificate)
        if corrected is None:
            return Settled(relaxed, None)
        target = -context.settings.pressure * units.GPA * np.eye(3)
        missing = corrected.stress.value - target
        response = cell_response(potential, corrected.dynamical_matrix, context.group)
        points.append(_point(corrected, number))
        strain = cell_strain(
            missing,
            response,
            context.group,
            mode=context.settings.cell,
            points=points[1:],
        )
        off = unwanted_stress(missing, context.settings.cell)
        part = float(np.abs(off).max() / corrected.stress.stderr.max())
        reached = part <= _PART_OF_ERROR or bool(np.abs(strain).max() < _SAME_CELL)
        if number > 1 and (reached or part < least):
            closest, least = Settled(relaxed, corrected, reached or part <= _ENOUGH), part
        if number > _MAX_STEPS or (reached and number > 1):
            return closest
        name = phase if number == 1 else f"{phase}.{number}"
        state = strained_state(relaxed.state, strain, response)
        relaxed = relax_in_cell(state, name, relaxed)
        if not relaxed.converged:
            return Settled(relaxed, corrected_minimum(context, relaxed, certificate), False)
    raise AssertionError("the last step returns")


def _point(corrected: Corrected, number: int) -> CellPoint:
    """Return the corrected stress in a cell, as the next step learns the stiffness from it."""
    stderr = float(corrected.stress.stderr.max()) * (_COMMON if number > 1 else 1.0)
    cell = corrected.dynamical_matrix.crystal.cell
    return CellPoint(cell, corrected.stress.value / units.GPA, stderr / units.GPA)


def errors_of(
    context: Context, potential: Potential, settled: Settled, certificate: Certificate
) -> FinalErrors | None:
    """Return what model and check do not know of the final state; None where it has no ensemble."""
    corrected, last = settled.corrected, settled.relaxed.last
    if corrected is None or last is None:
        return None
    samples = add_difference(load_samples(context.directory.samples(last.phase)), certificate)
    trial = samples.ensemble.gaussian.at(corrected.dynamical_matrix)
    return final_errors(
        estimate(samples, context.group, trial=trial),
        certificate.differences,
        cell_response(potential, corrected.dynamical_matrix, context.group),
        free_strains(context.group, context.settings.cell),
        widening=certificate.bounds.widening,
        replicates=REPLICATES if last.phase.startswith("final") else 0,
    )


def last_row(context: Context, final: Relaxed, relaxed: Relaxed) -> PopulationRecord:
    """Return the last population that there is.

    Raises
    ------
    RelaxationError
        If there is none.
    """
    for one in (final, relaxed):
        if one.last is not None:
            return one.last
    rows = context.journal.all(PopulationRecord)
    if not rows:
        raise RelaxationError(
            f"No population could be finished: {relaxed.reason.rstrip('.')}. Start again in "
            "another --run-dir with a larger --max-labels: the model has to learn more first."
        )
    return rows[-1]


def stop_reason(
    context: Context,
    relaxed: Relaxed,
    final: Relaxed,
    checked: Checked,
    *,
    on_target: bool,
    spent: int,
    checks: int,
) -> str:
    """Say in words why the run ended.

    Parameters
    ----------
    relaxed, final
        The relaxation that was checked, and the one after the last cell step.
    checked
        The last certificate.
    on_target
        Whether the last cell steps brought the corrected stress on target.
    spent, checks
        Labels and checks so far.
    """
    certificate = checked.certificate
    if relaxed.left_domain:
        return f"not converged: {relaxed.reason}; the budget allows no further training"
    if not relaxed.converged:
        return f"not converged: {relaxed.reason}"
    if certificate.verdict is not Verdict.PASSED:
        return (
            f"relaxed with the model, but not certified: {certificate.reason}; "
            f"{spent} of {context.settings.max_labels} labels and {checks} of "
            f"{context.settings.counts.max_rounds} rounds are used"
            f"{_too_few_left(context, spent)}{_why_not(context)}"
        )
    if not final.converged:
        return f"certified, but the last cell step did not converge: {final.reason}"
    if not on_target:
        return f"certified, but {_MAX_STEPS} last cell steps did not bring the stress on target"
    return (
        "converged: gradient, stress and free energy are within tolerance, and "
        f"{certificate.reason}"
    )


def _why_not(context: Context) -> str:
    """Say what the errors of the models show, where they did not fall as they should."""
    found = advice(test_errors(context.journal))
    return f". {found[0].upper()}{found[1:]}" if found else ""


def _too_few_left(context: Context, spent: int) -> str:
    """Say what another round would take, where that is more than is left."""
    needed, left = context.settings.counts.n_check, context.settings.max_labels - spent
    if left <= 0 or left >= needed:
        return ""
    return f": another round takes {needed} labels for its check alone, more than the {left} left"


def export(context: Context, corrected: DynamicalMatrix, model: DynamicalMatrix) -> None:
    """Write the final dynamical matrices, exact and in Quantum ESPRESSO format."""
    born = born_of_file(context.directory.dyn / "start_dyn1")
    for name, state in (("final", corrected), ("model", model)):
        save_state(context.directory.state(name), state)
        write_dyn(context.directory.dyn / f"{name}_dyn", state, born=born)
