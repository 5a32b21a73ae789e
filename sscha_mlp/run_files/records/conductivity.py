"""The content of ``conductivity.json``, typed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from sscha_mlp.run_files.records.fields import FileRecord

SCHEMA: Final = "sscha-mlp/conductivity/1"

COMPONENTS: Final = ("xx", "yy", "zz", "yz", "xz", "xy")
"""Order of the components of each tensor."""


@dataclass(frozen=True)
class ConductivityAt:
    """Lattice thermal conductivity at one temperature, W/(m K): xx, yy, zz, yz, xz, xy.

    Parameters
    ----------
    temperature_K
        The temperature of the occupations.
    kappa, stderr
        The answer: relaxation times on the mesh, without the square of the noise, shifted to the
        reference; one standard error of sampling and shift.
    plain
        Of the whole ensemble on the mesh, the square of the noise included.
    sampled, sampled_stderr
        Of the model, without it.
    shift, shift_stderr
        What the check labels add, to first order; zero without labels.
    coarse
        As ``plain``, on the coarse mesh.
    uncertain_share
        Part of the conductivity of modes whose width is nothing but noise.
    direct
        As ``kappa`` by the direct solution, its ratio to relaxation times that of the whole
        ensemble; None where it was not asked for.
    interband
        What transport between bands adds; None where it was not asked for.
    mean_free_paths_nm, cumulative
        A third of the trace of all modes up to a mean free path.
    """

    temperature_K: float
    kappa: tuple[float, ...]
    stderr: tuple[float, ...]
    plain: tuple[float, ...]
    sampled: tuple[float, ...]
    sampled_stderr: tuple[float, ...]
    shift: tuple[float, ...]
    shift_stderr: tuple[float, ...]
    coarse: tuple[float, ...]
    uncertain_share: float
    direct: tuple[float, ...] | None = None
    interband: tuple[float, ...] | None = None
    mean_free_paths_nm: tuple[float, ...] = ()
    cumulative: tuple[float, ...] = ()


@dataclass(frozen=True)
class ModeWidths:
    """Modes of one irreducible wave vector of the coarse mesh, at the first temperature.

    Parameters
    ----------
    q
        In units of the reciprocal lattice vectors.
    multiplicity
        Wave vectors that it stands for.
    frequency_THz, speed_km_s
        Of each mode.
    half_width_THz, half_width_stderr_THz
        By anharmonicity, without the square of the noise, of the model.
    kappa
        What each adds to a third of the trace, W/(m K).
    """

    q: tuple[float, float, float]
    multiplicity: int
    frequency_THz: tuple[float, ...]
    speed_km_s: tuple[float, ...]
    half_width_THz: tuple[float, ...]
    half_width_stderr_THz: tuple[float, ...]
    kappa: tuple[float, ...]


@dataclass(frozen=True)
class ConductivityRecord(FileRecord):
    """Thermal conductivity of a finished run; the fields are those of the file.

    Parameters
    ----------
    state_temperature_K, nuclei, supercell, second_order_supercell, seed
        Of the force constants.
    mesh, coarse_mesh
        Wave vectors of the answer, and of its errors.
    n_configs, n_blocks, effective_sample_size
        Of the ensemble of the model.
    isotopes, boundary_um, born_charges
        What else scatters, and whether dipoles are treated.
    check_labels
        Labels that shift it to the reference; 0 where none do.
    temperatures
        The answer at each.
    modes
        Widths of the modes.
    versions, left_out
        What it was made with, and what the errors leave out.
    """

    verb: ClassVar[str] = "conductivity"

    state_temperature_K: float
    nuclei: str
    supercell: tuple[int, int, int]
    second_order_supercell: tuple[int, int, int]
    mesh: tuple[int, int, int]
    coarse_mesh: tuple[int, int, int]
    n_configs: int
    n_blocks: int
    effective_sample_size: float
    isotopes: bool
    boundary_um: float | None
    born_charges: bool
    check_labels: int
    temperatures: tuple[ConductivityAt, ...]
    modes: tuple[ModeWidths, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    left_out: str = ""
    schema: str = SCHEMA
