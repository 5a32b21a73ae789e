"""The free-energy Hessian of a finished run: is its state stable at this temperature."""

import zlib
from pathlib import Path

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import signed_root
from sscha_mlp.crystal.special_points import SpecialPoints
from sscha_mlp.data.dyn_files import born_of_file, write_dyn
from sscha_mlp.data.files import write_json_atomic
from sscha_mlp.data.states import save_state
from sscha_mlp.digits import fixed, with_error
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.ensemble.nuclei import Nuclei
from sscha_mlp.properties.stability import Stability, Verdict, judge_stability
from sscha_mlp.run_files.observer import Observer
from sscha_mlp.run_files.provenance import versions
from sscha_mlp.run_files.records.hessian import (
    HessianModes,
    HessianRecord,
    SoftestMode,
    SquaredFrequencies,
)
from sscha_mlp.scha import minimiser
from sscha_mlp.scha.estimators import estimate_difference
from sscha_mlp.scha.hessian import Hessian, free_energy_hessian
from sscha_mlp.scha.relaxation import draw_samples
from sscha_mlp.studies.check_difference import check_difference
from sscha_mlp.studies.opened import OpenedRun, opened_run
from sscha_mlp.tables import ShownContent, Table, few
from sscha_mlp.validation.bounds import student_widening

_THIRD_ONLY = "the fourth order; "
_LEFT_OUT = (
    "the response of the state to the difference between reference and model, and what is of "
    "second order in it; the response of the force constants in the errors; sizes beyond this "
    "supercell"
)


class HessianResult(ShownContent):
    """The content of ``hessian.json``."""

    def table(self) -> Table:
        """Return the softest mode of each irreducible wave vector, and the verdict."""
        found = HessianRecord.of(self)
        rows = [_softest_row(one) for one in found.modes if one.moving]
        labels = found.check_labels
        columns = (
            "q",
            "SSCHA (THz²)",
            "Hessian, model (THz²)",
            f"corrected by {labels} labels" if labels else "no labels to correct it",
        )
        title = f"Free-energy Hessian at {found.temperature_K:g} K: softest modes, squared"
        return Table(title, few(rows), columns, found.statement)


def hessian_of_run(
    directory: str | Path,
    *,
    n_configs: int = 5000,
    fourth: bool = False,
    n_workers: int = 1,
    observer: Observer | None = None,
) -> HessianResult:
    """Compute the free-energy Hessian of a finished run with its model, and correct it.

    An ensemble of the model's final state is drawn and minimised once more; the Hessian is that of
    this minimum.  Labels of the last check shift it, to first order, to the reference.  Writes
    ``hessian.json``, ``states/hessian.npz`` and ``dyn/hessian_dyn*`` into the run directory: the
    matrices are those of the model.

    Parameters
    ----------
    directory
        A finished run.
    n_configs
        Configurations of the ensemble; even.
    fourth
        Whether the fourth order is included.
    n_workers
        Processes or threads of the model.
    observer
        Who watches.

    Returns
    -------
    The content of ``hessian.json``, a mapping.

    Raises
    ------
    InputError
        If this is no finished run, or its model or a state cannot be read.
    RelaxationError
        If the ensemble cannot be drawn, or the fourth order does not converge.
    """
    with opened_run(
        directory, "model for the Hessian", n_workers=n_workers, observer=observer
    ) as study:
        study.observer.stage(f"hessian: {n_configs} configurations of the final state")
        hessian = _of_model(study, n_configs, fourth=fourth)
        correction, n_labels = _correction(study, hessian)
    place, content = study.place, _content(study, hessian, correction, n_labels).to_json()
    save_state(place.state("hessian"), hessian.dynamical_matrix)
    born = born_of_file(place.dyn / "start_dyn1")
    write_dyn(place.dyn / "hessian_dyn", hessian.dynamical_matrix, born=born)
    write_json_atomic(place.hessian, content)
    return HessianResult(content)


def _softest_row(entry: HessianModes) -> tuple[str, ...]:
    """Wave vector and softest mode, translations left out."""
    squares, softest = entry.squared_THz2, entry.softest
    return (
        entry.shown_q,
        fixed(min(entry.sscha_THz[n] for n in entry.moving) ** 2, 2),
        fixed(squares.model[softest], 2),
        with_error(squares.corrected[softest], squares.stderr[softest]),
    )


def _of_model(study: OpenedRun, n_configs: int, *, fourth: bool) -> Hessian:
    """Draw, minimise, and take the second derivative at the minimum."""
    settings = study.settings
    samples = draw_samples(
        study.state,
        study.evaluator,
        temperature=settings.temperature,
        nuclei=settings.nuclei,
        settings=settings.relaxation_settings(),
        rng=np.random.default_rng([settings.seed, zlib.crc32(b"hessian")]),
        n_configs=n_configs,
    )
    minimum = minimiser.minimise(samples, study.group, settings.relaxation.minimiser)
    trial = minimum.estimators.trial
    return free_energy_hessian(samples, study.group, trial=trial, fourth=fourth)


def _correction(study: OpenedRun, hessian: Hessian) -> tuple[Estimate | None, int]:
    """First-order shift to the reference by the labels of the last check; None without them."""
    difference = check_difference(study)
    if difference is None:
        return None, 0
    n_labels = difference.ensemble.n_configs
    shift = hessian.shift(estimate_difference(difference, study.group))
    wider = np.asarray(student_widening(n_labels) * shift.stderr)
    return Estimate(shift.value, wider), n_labels


def _content(
    study: OpenedRun, hessian: Hessian, correction: Estimate | None, n_labels: int
) -> HessianRecord:
    """What ``hessian.json`` holds."""
    unit = units.THZ**2
    model, sampling = hessian.squares.value / unit, hessian.squares.stderr / unit
    shift = np.zeros_like(model) if correction is None else correction.value / unit
    error = np.zeros_like(model) if correction is None else correction.stderr / unit
    corrected, stderr = model + shift, np.hypot(sampling, error)
    found = judge_stability(corrected, stderr, hessian.moving)
    stars = study.group.equivalent_qpoints()
    qpoints = study.state.supercell.qpoints
    q1, q2, q3 = (float(v) for v in qpoints[stars[found.place[0]]])
    special = SpecialPoints.of(study.state.crystal)
    return HessianRecord(
        temperature_K=study.settings.temperature,
        nuclei=str(study.settings.nuclei),
        supercell=study.settings.supercell,
        n_configs=hessian.n_configs,
        effective_sample_size=hessian.effective_sample_size,
        fourth_order=hessian.fourth,
        check_labels=n_labels,
        verdict=str(found.verdict),
        statement=statement(
            found,
            study.settings.temperature,
            corrected=correction is not None,
            nuclei=study.settings.nuclei,
        ),
        softest=SoftestMode((q1, q2, q3), found.value, found.stderr, special.name((q1, q2, q3))),
        modes=tuple(
            HessianModes(
                q=qpoints[q].tolist(),
                is_translation=(~hessian.moving[q]).tolist(),
                sscha_THz=hessian.trial_frequencies_thz[q].tolist(),
                hessian_THz=signed_root(corrected[q]).tolist(),
                squared_THz2=SquaredFrequencies(
                    model=model[q].tolist(),
                    correction=shift[q].tolist(),
                    corrected=corrected[q].tolist(),
                    stderr=stderr[q].tolist(),
                ),
                name=special.name(qpoints[q]),
            )
            for q in np.unique(stars)
        ),
        seed=study.settings.seed,
        versions=versions(),
        left_out=("" if hessian.fourth else _THIRD_ONLY) + _LEFT_OUT,
    )


def statement(
    found: Stability,
    temperature: float,
    *,
    corrected: bool,
    nuclei: Nuclei = Nuclei.QUANTUM,
) -> str:
    """Say in a sentence whether the crystal is stable.

    Parameters
    ----------
    found
        Verdict on squared frequencies in THz².
    temperature
        In K.
    corrected
        Whether labels of the reference shifted them.
    nuclei
        How they move.
    """
    at = f"{temperature:g} K{nuclei.remark}"
    value = f"({found.value:.3f} ± {found.stderr:.3f} THz²)"
    whose = "" if corrected else " for the model, which no label corrects,"
    if found.verdict is Verdict.STABLE:
        return f"Stable{whose} at {at}: the softest mode is above zero {value}."
    if found.verdict is Verdict.UNSTABLE:
        return (
            f"Unstable{whose} at {at}: a mode is below zero {value}; the "
            "crystal leaves this structure."
        )
    return (
        f"Undecided{whose} at {at}: a mode is within two standard errors of zero "
        f"{value}; more configurations or more check labels are needed."
    )
