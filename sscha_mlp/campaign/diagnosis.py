"""Why a run does not get to its certificate: what its models' errors say, in words."""

from collections.abc import Sequence
from typing import Final

from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.records.models import FitRecord, ValidationRecord

_GROWN: Final = 3.0
_MORE_LABELS: Final = 1.5
_FLAT: Final = 0.85


def test_errors(journal: Journal) -> list[tuple[int, float]]:
    """Return labels and force error on the test set (meV/Å) of each model, in their order."""
    fits = {one.number: one.n_train for one in journal.all(FitRecord)}
    return [
        (fits[one.number], one.force_rmse_meV_per_A)
        for one in journal.all(ValidationRecord)
        if one.part == "test" and one.number in fits
    ]


def advice(errors: Sequence[tuple[int, float]]) -> str:
    """Say what the errors of the models show; empty where they fell as they should.

    Parameters
    ----------
    errors
        Labels and error on one test set of each model, in their order.
    """
    if len(errors) < 2:
        return ""
    first, last = errors[0], errors[-1]
    best = min(errors, key=lambda one: one[1])
    if last[1] > _GROWN * best[1] and last[0] > best[0]:
        return (
            f"the test error has grown from {best[1]:.0f} to {last[1]:.0f} meV/Å while labels grew "
            f"from {best[0]} to {last[0]}: the later ones are far from the crystal, which may be "
            "unstable at this temperature. Look with sscha-mlp hessian for the mode that it "
            "leaves along, and start from the structure distorted along it"
        )
    if last[0] >= _MORE_LABELS * first[0] and last[1] > _FLAT * first[1]:
        return (
            f"the test error stays at {last[1]:.0f} meV/Å (it was {first[1]:.0f}) while labels "
            f"grew from {first[0]} to {last[0]}: this potential is too small for the crystal. "
            "Take a larger one, by its settings in [potential.KIND], or --model auto"
        )
    return ""
