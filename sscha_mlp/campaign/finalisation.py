"""The end of a run: the correction by the certificate, the last cell step, and why it ended."""

import numpy as np

from sscha_mlp import units
from sscha_mlp.campaign.certification import Checked
from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.relaxing import Relaxed
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.data.dyn_files import born_of_file, write_dyn
from sscha_mlp.data.states import save_state
from sscha_mlp.errors import RelaxationError
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.run_files.last_ensemble import load_samples
from sscha_mlp.run_files.records.population import PopulationRecord
from sscha_mlp.scha.cell_response import cell_response
from sscha_mlp.scha.cell_step import cell_strain
from sscha_mlp.validation.certificate import Certificate, Verdict
from sscha_mlp.validation.correction import Corrected, correct


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


def missing_strain(
    context: Context, potential: Potential, corrected: Corrected | None
) -> FloatArray:
    """Strain that brings the corrected stress on target, shape (3, 3)."""
    if corrected is None:
        return np.zeros((3, 3))
    target = -context.settings.pressure * units.GPA * np.eye(3)
    response = cell_response(potential, corrected.dynamical_matrix, context.group)
    return cell_strain(
        corrected.stress.value - target, response, context.group, mode=context.settings.cell
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
    context: Context, relaxed: Relaxed, final: Relaxed, checked: Checked, *, spent: int, checks: int
) -> str:
    """Say in words why the run ended.

    Parameters
    ----------
    relaxed, final
        The relaxation that was checked, and the one after the last cell step.
    checked
        The last certificate.
    spent, checks
        Labels and checks so far.
    """
    certificate = checked.certificate
    if relaxed.left_domain or final.left_domain:
        which = final if final.left_domain else relaxed
        return f"not converged: {which.reason}; the budget allows no further training"
    if not relaxed.converged:
        return f"not converged: {relaxed.reason}"
    if certificate.verdict is not Verdict.PASSED:
        return (
            f"relaxed with the model, but not certified: {certificate.reason}; "
            f"{spent} of {context.settings.max_labels} labels and {checks} of "
            f"{context.settings.counts.max_rounds} rounds are used"
            f"{_too_few_left(context, spent)}"
        )
    if not final.converged:
        return f"certified, but the last cell step did not converge: {final.reason}"
    return (
        "converged: gradient, stress and free energy are within tolerance, and "
        f"{certificate.reason}"
    )


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
