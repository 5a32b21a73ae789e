"""Parts of a thermal conductivity put together: the noise taken out, the shift added."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.ensemble.nuclei import Nuclei
from sscha_mlp.properties.phono3py_adapter import require_phono3py
from sscha_mlp.properties.transport import SampledScattering, Scattering, cumulative
from sscha_mlp.run_files.provenance import versions
from sscha_mlp.run_files.records.conductivity import (
    ConductivityAt,
    ConductivityRecord,
    ModeWidths,
)
from sscha_mlp.studies.conductivity.request import TransportRequest
from sscha_mlp.studies.conductivity.sampled import SampledForceConstants, required_configs
from sscha_mlp.studies.opened import OpenedRun
from sscha_mlp.validation.bounds import student_widening

_N_LENGTHS: Final = 60
_KM_S_PER_THZ_ANGSTROM: Final = 0.1
_LEFT_OUT: Final = (
    "the mesh, see the coarse one; the supercell; scattering by four phonons; the change of the "
    "state with temperature, where another than its own is asked for; the response of the state "
    "to the difference of reference and model, and what is of second order in it"
)
_CLASSICAL: Final = "; that the nuclei of the run are not quantum, and the occupations are"
_LARGER: Final = "; the sampling of the second order, which is of another run"
_NO_LABELS: Final = "; the difference of reference and model, which no label measures"


@dataclass(frozen=True, eq=False)
class Found:
    """What was computed.

    Parameters
    ----------
    kelvin
        Temperatures of the occupations.
    has_charges
        Whether dipoles are treated.
    fine
        Scattering by the whole ensemble on the mesh.
    sampled
        The same on the coarse mesh, and without each block.
    shift
        To the reference, on the coarse mesh, (n_temperatures, 6); None without labels.
    n_labels, n_groups
        Labels that it comes from, and groups of them.
    """

    kelvin: tuple[float, ...]
    has_charges: bool
    fine: Scattering
    sampled: SampledScattering
    shift: Estimate | None
    n_labels: int
    n_groups: int


def make_record(
    study: OpenedRun,
    request: TransportRequest,
    found: Found,
    force_constants: SampledForceConstants,
    *,
    larger: DynamicalMatrix | None,
    seconds: Mapping[str, float],
) -> ConductivityRecord:
    """Return what ``conductivity.json`` holds.

    Parameters
    ----------
    study
        The run.
    request
        What was asked.
    found
        What was computed.
    force_constants
        With which.
    larger
        State of the larger run whose second order was taken, if any.
    seconds
        Of each part of the work.
    """
    settings = study.settings
    left_out = _LEFT_OUT + ("" if settings.nuclei is Nuclei.QUANTUM else _CLASSICAL)
    left_out += ("" if larger is None else _LARGER) + ("" if found.n_labels else _NO_LABELS)
    second = force_constants.state if larger is None else larger
    return ConductivityRecord(
        state_temperature_K=settings.temperature,
        nuclei=str(settings.nuclei),
        supercell=settings.supercell,
        second_order_supercell=second.supercell.size,
        mesh=request.mesh,
        coarse_mesh=request.coarse,
        n_configs=required_configs(request.n_configs, request.n_blocks),
        n_blocks=request.n_blocks,
        effective_sample_size=force_constants.effective_sample_size,
        isotopes=request.isotopes,
        boundary_um=request.boundary,
        born_charges=found.has_charges,
        check_labels=found.n_labels,
        temperatures=tuple(_at(found, request.boundary)),
        modes=tuple(_modes(found.sampled, request.boundary)),
        seconds={name: round(value, 3) for name, value in seconds.items()},
        seed=settings.seed,
        versions={**versions(), "phono3py": require_phono3py()},
        left_out=left_out,
    )


def _at(found: Found, boundary: float | None) -> Iterator[ConductivityAt]:
    """The answer at each temperature."""
    plain, coarse = found.fine.conductivity(boundary), found.sampled.plain.conductivity(boundary)
    sampled = found.sampled.conductivity(boundary)
    widening = student_widening(len(found.sampled.without))
    shares = found.sampled.uncertain_share(boundary)
    for n, kelvin in enumerate(found.kelvin):
        # What is known on the coarse mesh is taken relative to the conductivity there.
        scale = _trace(plain[n]) / _trace(coarse[n])
        better = plain[n] * _ratio(sampled.value[n], coarse[n])
        sampling = widening * scale * sampled.stderr[n]
        shift, error = np.zeros(6), np.zeros(6)
        if found.shift is not None:
            shift = scale * found.shift.value[n]
            error = scale * found.shift.stderr[n] * student_widening(found.n_groups)
        kappa = better + shift
        lengths, sums = _cumulative(found.fine, n, boundary, _trace(kappa) / _trace(plain[n]))
        direct, interband = found.fine.direct, found.fine.interband
        yield ConductivityAt(
            temperature_K=float(kelvin),
            kappa=_numbers(kappa),
            stderr=_numbers(np.hypot(sampling, error)),
            plain=_numbers(plain[n]),
            sampled=_numbers(better),
            sampled_stderr=_numbers(sampling),
            shift=_numbers(shift),
            shift_stderr=_numbers(error),
            coarse=_numbers(coarse[n]),
            uncertain_share=float(shares[n]),
            direct=None if direct is None else _numbers(kappa * _ratio(direct[n], plain[n])),
            interband=None if interband is None else _numbers(interband[n]),
            mean_free_paths_nm=_numbers(lengths),
            cumulative=_numbers(sums),
        )


def _modes(sampled: SampledScattering, boundary: float | None) -> Iterator[ModeWidths]:
    """Widths of the modes at the first temperature."""
    best, stderr = sampled.best, sampled.width_stderr[0]
    kappa = best.mode_conductivity(boundary)[0, ..., :3].mean(axis=-1)
    speeds = np.linalg.norm(best.velocities, axis=-1) * _KM_S_PER_THZ_ANGSTROM
    for q, point in enumerate(best.qpoints):
        q1, q2, q3 = (float(value) for value in point)
        yield ModeWidths(
            q=(q1, q2, q3),
            multiplicity=round(float(best.multiplicities[q])),
            frequency_THz=_numbers(best.frequencies[q]),
            speed_km_s=_numbers(speeds[q]),
            half_width_THz=_numbers(best.widths[0, q]),
            half_width_stderr_THz=_numbers(stderr[q]),
            kappa=_numbers(kappa[q]),
        )


def _cumulative(
    scattering: Scattering, n: int, boundary: float | None, scale: float
) -> tuple[FloatArray, FloatArray]:
    """Conductivity up to some mean free paths, scaled to the answer."""
    found = cumulative(scattering, n, boundary)
    if len(found.lengths) == 0:
        return np.zeros(0), np.zeros(0)
    lengths = np.geomspace(found.lengths[0], found.lengths[-1], _N_LENGTHS)
    place = np.searchsorted(found.lengths, lengths * (1 + 1.0e-12), side="right") - 1
    return lengths, scale * found.conductivity[np.maximum(place, 0)]


def _trace(tensor: FloatArray) -> float:
    return float(tensor[:3].sum())


def _ratio(value: FloatArray, reference: FloatArray) -> FloatArray:
    """Ratio of two tensors, that of their traces where a component vanishes."""
    known = np.abs(reference) > 1.0e-3 * np.abs(reference).max()
    ratio = np.full(6, _trace(value) / _trace(reference))
    ratio[known] = value[known] / reference[known]
    return ratio


def _numbers(values: FloatArray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
