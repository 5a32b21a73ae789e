"""The active set behind an MTP: the ``.almtp`` files of MLIP-3, which LAMMPS reads as well.

Such a file is a ``.mtp`` file (:mod:`sscha_mlp.potentials.mtp.files`), then the lines
``#MVS_v1.1``, ``energy_weight``, ``force_weight``, ``stress_weight``, ``site_en_weight`` and
``weight_scaling``, a ``#``, two n x n matrices of little-endian doubles by rows, ``#``, n lines
with two integers, ``#``, and configurations.  The number n counts all parameters: radial
coefficients (in the order of ``radial_coeffs``), species coefficients, moment coefficients.

The first matrix is the active set A.  Its rows are derivatives of the energy by the parameters: of
site energies where site_en_weight is 1 (neighbourhood mode), of energies of configurations divided
by N^(weight_scaling/2) where energy_weight is 1 (configuration mode).  The second matrix is the
inverse of A *transposed*; the grade of a row b is the largest magnitude in ``second @ b``.  The
integers name the configuration and the equation that a row of A comes from, -1 -1 if none does.
A row that nothing was found for is 1e-6 times a row of the identity, so that A always has an
inverse, although the parameters of an MTP are not independent.

What is verified.  The order of the two matrices, that ``A @ second.T`` is the identity (to 4e-10),
and the rows with -1 -1 were seen in a file that MLIP-3 had written; read and written again, it is
the same to the byte.  MLIP-3 loads the files written here and calculates in both modes the grades
of :meth:`ActiveSet.grade`, to 2e-12 even for 264 basis functions of which the training data span
96. Not verified: what its ``select_add`` and ``train`` make of rows that come from no
configuration, and the LAMMPS pair style ``mtp/extrapolation``, whose source reads this layout and
refuses weights other than those of the two modes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.data.files import write_atomic
from sscha_mlp.errors import ModelError
from sscha_mlp.potentials.active_set import ActiveSet
from sscha_mlp.potentials.mtp.files import (
    SELECTION_MARK,
    Species,
    format_mtp,
    problem,
    read_bytes,
    read_mtp,
)
from sscha_mlp.potentials.mtp.parameters import FloatArray, Parameters

_WEIGHTS: Final = ("energy_weight", "force_weight", "stress_weight", "site_en_weight")
_LARGEST_ERROR: Final = 1e-3
_OUT_OF_REACH: Final = 1e12
_HEADER: Final = re.compile(
    rb"#MVS_v1\.1\s+" + b"".join(rb"%s\s+(\S+)\s+" % name.encode() for name in _WEIGHTS)
    + rb"weight_scaling\s+(\d{1,3})\s*#"
)  # fmt: skip


class SelectionMode(StrEnum):
    """What a row of the active set is the derivative of."""

    NEIGHBORHOOD = "neighborhood"
    CONFIGURATION = "configuration"


_MODES: Final = {
    SelectionMode.NEIGHBORHOOD: (0.0, 0.0, 0.0, 1.0),
    SelectionMode.CONFIGURATION: (1.0, 0.0, 0.0, 0.0),
}


@dataclass(frozen=True, eq=False)
class ActiveSetBlock:
    """The active set as it stands in an ``.almtp`` file.

    Parameters
    ----------
    weights
        Of energies, forces, stresses and site energies in the selection; MLIP-3 sets the first or
        the last to 1 and the others to 0.
    weight_scaling
        Energy rows are divided by N^(weight_scaling/2) for N atoms.
    matrix
        Active set, shape (n, n): row by row derivatives by radial, species and moment
        coefficients.
    inverse_transposed
        Shape (n, n): the grade of a row b is the largest magnitude in ``inverse_transposed @ b``.
    equations
        Shape (n, 2): configuration and equation of each row, -1 where there is none.
    configurations
        The selected configurations, in MLIP's format.

    Raises
    ------
    ModelError
        If shapes do not fit together or a number is not finite.
    """

    weights: tuple[float, float, float, float]
    weight_scaling: int
    matrix: FloatArray
    inverse_transposed: FloatArray
    equations: NDArray[np.int64]
    configurations: str = ""

    def __post_init__(self) -> None:
        n = len(self.matrix)
        kinds = (
            ("matrix", np.float64, (n, n)),
            ("inverse_transposed", np.float64, (n, n)),
            ("equations", np.int64, (n, 2)),
        )
        for name, kind, shape in kinds:
            array = np.array(getattr(self, name), dtype=kind)
            if array.shape != shape or not np.isfinite(array).all():
                raise ModelError(
                    f"{name} of an active set has shape {array.shape} or is not finite; "
                    f"expected {shape}."
                )
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def mode(self) -> SelectionMode | None:
        """How the set was selected; None for mixed weights, which LAMMPS refuses."""
        return next((mode for mode, weights in _MODES.items() if weights == self.weights), None)


def active_set_block(
    matrix: FloatArray, *, mode: SelectionMode = SelectionMode.NEIGHBORHOOD
) -> ActiveSetBlock:
    """Return an active set ready for writing, with its inverse and without configurations.

    Parameters
    ----------
    matrix
        Shape (n, n): rows of derivatives by radial, species and moment coefficients.  Where there
        are fewer independent rows than parameters, fill up with rows of 1e-6 times the identity.
    mode
        Derivatives of site energies, or of energies per atom of configurations.

    Raises
    ------
    ModelError
        If the matrix is not square, not finite, or has no inverse in double precision.
    """
    rows = np.array(matrix, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[0] != rows.shape[1] or not np.isfinite(rows).all():
        raise ModelError(
            f"An active set is a square matrix of finite numbers; this one has shape {rows.shape}."
        )
    return ActiveSetBlock(
        weights=_MODES[mode],
        weight_scaling=2,
        matrix=rows,
        inverse_transposed=_inverse(rows).T,
        equations=np.full((len(rows), 2), -1),
    )


def linear_active_set_block(
    parameters: Parameters,
    matrix: FloatArray,
    *,
    mode: SelectionMode = SelectionMode.NEIGHBORHOOD,
) -> ActiveSetBlock:
    """Return an active set of the linear parameters alone, in the form that a file holds.

    The rows of the radial coefficients are 1e12 times the identity.  So the grades that MLIP-3 and
    LAMMPS calculate are those of the linear basis: the radial derivatives add less than 1e-9 for
    site energies that change by less than 1000 eV.  The rows are not those of configurations, so
    such a file must not be trained or selected with.

    Parameters
    ----------
    parameters
        The potential.
    matrix
        Shape (n, n) for n species and moment coefficients together: derivatives by them.
    mode
        Derivatives of site energies, or of energies per atom of configurations.

    Raises
    ------
    ModelError
        If the matrix has another shape, is not finite, or has no inverse.
    """
    n, n_radial = _n_parameters(parameters), parameters.radial_coeffs.size
    rows = np.array(matrix, dtype=np.float64)
    if rows.shape != (n - n_radial, n - n_radial):
        raise ModelError(
            f"The linear active set has shape {rows.shape}, but the MTP has {n - n_radial} species "
            "and moment coefficients: give a square matrix with a row and a column for each."
        )
    full = _OUT_OF_REACH * np.eye(n)
    full[n_radial:, n_radial:] = rows
    return active_set_block(full, mode=mode)


def exported_active_set(
    parameters: Parameters,
    active_set: ActiveSet,
    *,
    mode: SelectionMode = SelectionMode.NEIGHBORHOOD,
) -> ActiveSetBlock:
    """Return the active set of the basis functions in the form that a file holds.

    The rows of radial and species coefficients are 1e12 times the identity, as in
    :func:`linear_active_set_block`, so that only basis functions count.  The inverse is the very
    matrix that :meth:`ActiveSet.grade` multiplies with: MLIP-3, which multiplies with the second
    matrix of the file, has the same grades, however badly conditioned the rows in the first are.

    Parameters
    ----------
    parameters
        The potential.
    active_set
        Of its basis functions.
    mode
        Whether its rows are those of atoms, or averages over the atoms of configurations.

    Raises
    ------
    ModelError
        If the active set has another number of basis functions than the potential.
    """
    n, n_basis = _n_parameters(parameters), parameters.moment_coeffs.size
    if active_set.n_basis != n_basis:
        raise ModelError(
            f"The active set has {active_set.n_basis} basis functions and the MTP {n_basis}: they "
            "do not belong together; build it again."
        )
    matrix, inverse = _OUT_OF_REACH * np.eye(n), np.eye(n) / _OUT_OF_REACH
    linear = slice(n - n_basis, n)
    matrix[linear, linear] = np.linalg.solve(active_set.whitening.T, active_set.members.T).T
    inverse[linear, linear] = active_set.whitening @ np.linalg.inv(active_set.members)
    return ActiveSetBlock(
        weights=_MODES[mode],
        weight_scaling=2,
        matrix=matrix,
        inverse_transposed=inverse.T,
        equations=np.full((n, 2), -1),
    )


def imported_active_set(parameters: Parameters, block: ActiveSetBlock) -> ActiveSet | None:
    """Return the active set that :func:`exported_active_set` put into a file; the grades agree.

    None where derivatives by other parameters count too, as in what MLIP-3 has trained, or where
    the weights are mixed.  Which training rows the members were is not in the file: they are
    numbered.
    """
    n_basis = parameters.moment_coeffs.size
    n_others = _n_parameters(parameters) - n_basis
    others = block.inverse_transposed.copy()
    inverse = others[n_others:, n_others:].T.copy()
    others[n_others:, n_others:] = 0.0
    if block.mode is None or np.abs(others).max(initial=0.0) > 1.0 / _OUT_OF_REACH:
        return None
    return ActiveSet(inverse, np.eye(n_basis), np.arange(n_basis), n_basis)


def read_almtp(
    path: str | Path, species: Species | None = None
) -> tuple[Parameters, ActiveSetBlock | None]:
    """Read a potential and the active set behind it.

    Parameters
    ----------
    path
        The ``.almtp`` file.
    species
        Chemical symbols or atomic numbers by type, for a file that does not say them.

    Returns
    -------
    The potential, and its active set or None where the file has none.

    Raises
    ------
    ModelError
        If the file is missing, damaged, not fitted or of another kind of MTP.
    """
    path = Path(path)
    parameters = read_mtp(path, species)
    content = read_bytes(path)
    start = content.find(SELECTION_MARK)
    if start < 0:
        return parameters, None
    return parameters, _read_block(path, content[start:], _n_parameters(parameters))


def write_almtp(path: str | Path, parameters: Parameters, active_set: ActiveSetBlock) -> None:
    """Write a potential and the active set behind it, in one step.

    Parameters
    ----------
    path
        The ``.almtp`` file.
    parameters
        The potential; its numbers are exact.
    active_set
        From :func:`active_set_block`, or as read.

    Raises
    ------
    ModelError
        If the active set is for another number of parameters.
    SschaMlpError
        If the file cannot be written.
    """
    n = _n_parameters(parameters)
    if len(active_set.matrix) != n:
        raise ModelError(
            f"The active set has {len(active_set.matrix)} rows, but the MTP has {n} parameters: "
            "give a row per radial, species and moment coefficient."
        )
    header = "".join(
        f"{name} {weight:.16e}\n" for name, weight in zip(_WEIGHTS, active_set.weights, strict=True)
    )
    links = "".join(f"{one} {equation}\n" for one, equation in active_set.equations)
    parts = (
        f"{format_mtp(parameters)}#MVS_v1.1\n{header}".encode(),
        f"weight_scaling {active_set.weight_scaling}\n#".encode(),
        active_set.matrix.astype("<f8").tobytes(),
        active_set.inverse_transposed.astype("<f8").tobytes(),
        f"\n#\n{links}#\n{active_set.configurations}".encode(),
    )
    write_atomic(path, b"".join(parts))


def _n_parameters(parameters: Parameters) -> int:
    return (
        parameters.radial_coeffs.size
        + parameters.species_coeffs.size
        + parameters.moment_coeffs.size
    )


def _inverse(matrix: FloatArray) -> FloatArray:
    """Invert with rows and columns brought to one scale: 1e-6 stands next to energies in eV."""
    with np.errstate(all="ignore"):
        rows = 1.0 / np.abs(matrix).max(axis=1, initial=0.0)[:, None]
        columns = 1.0 / np.abs(rows * matrix).max(axis=0, initial=0.0)
        try:
            scaled = np.linalg.inv(rows * matrix * columns)
        except np.linalg.LinAlgError:
            scaled = np.full_like(matrix, np.nan)
        inverse: FloatArray = columns[:, None] * scaled * rows.T
        error = np.abs(matrix @ inverse - np.eye(len(matrix))).max(initial=0.0)
    if not error < _LARGEST_ERROR:
        raise ModelError(
            "The active set has no inverse: its rows depend on each other. Put rows of 1e-6 times "
            "the identity for the parameters that they do not determine."
        )
    return inverse


def _read_block(path: Path, content: bytes, n: int) -> ActiveSetBlock:
    """Read what begins with the mark of the active set."""
    header = _HEADER.match(content)
    if header is None:
        raise problem(path, "the active set behind #MVS does not begin as in version 1.1")
    size = 8 * n * n
    first = header.end()
    end = first + 2 * size
    tail = re.match(rb"\s*#\s*((?:-?\d+ -?\d+\s+){%d})#" % n, content[end:])
    if tail is None:
        raise problem(path, f"its active set is not one of {n} rows, or it is incomplete")
    matrices = [
        np.frombuffer(content, dtype="<f8", count=n * n, offset=offset).reshape(n, n)
        for offset in (first, first + size)
    ]
    try:
        energy, force, stress, site = (float(word) for word in header.groups()[:4])
        return ActiveSetBlock(
            weights=(energy, force, stress, site),
            weight_scaling=int(header.group(5)),
            matrix=matrices[0],
            inverse_transposed=matrices[1],
            equations=_pairs(tail.group(1).split()),
            configurations=content[end + tail.end() :].decode("utf-8").lstrip("\n"),
        )
    except (ValueError, OverflowError) as err:
        raise problem(path, f"its active set is damaged ({err})") from err
    except ModelError as err:
        raise problem(path, str(err).rstrip(".")) from err


def _pairs(words: Sequence[bytes]) -> NDArray[np.int64]:
    return np.array([int(word) for word in words], dtype=np.int64).reshape(-1, 2)
