"""The one import of phono3py: force constants in, scattering of the modes out, and its files.

phono3py takes force constants as arrays: second order in eV/Å², third order in eV/Å³ in the compact
form, in its own order of the atoms of the supercell (:func:`phonopy_order`).  Nothing is written
to the current directory and nothing is printed.
"""

import contextlib
import importlib
import importlib.util
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray, IntArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group
from sscha_mlp.errors import InputError
from sscha_mlp.properties.phonopy_files import phonopy_order
from sscha_mlp.properties.transport import Scattering

IMAGINARY: Final = -0.01
"""THz below which a mode between the wave vectors of the supercell is imaginary, not rounding."""

_COULOMB: Final = 14.399645478
"""``e² / (4 pi eps0)``, eV Å."""

_MISSING: Final = (
    "Thermal conductivity, linewidths and spectral functions need phono3py, which is not "
    "installed; install it by: pip install 'sscha-mlp[conductivity]'"
)


def require_phono3py() -> str:
    """Return the version of phono3py, or say in a sentence that it is missing.

    Raises
    ------
    InputError
        If it is not installed.
    """
    return str(_import("phono3py").__version__)


@dataclass(frozen=True, eq=False)
class Lattice:
    """Force constants of second and third order, as transport takes them.

    Parameters
    ----------
    state
        Second order and the crystal.
    third
        Third order, shape (n_primitive, n_atoms, n_atoms, 3, 3, 3), eV/Å³, of ``supercell``.
    supercell
        That of the third order: the one of the state when left out.
    group
        Space group that both keep: the whole one of the crystal when left out.
    born
        Born charges and dielectric tensor: the force constants of the state are taken to hold the
        dipoles, as those of a supercell do.
    """

    state: DynamicalMatrix
    third: FloatArray
    supercell: Supercell | None = None
    group: SpaceGroup | None = None
    born: BornCharges | None = None

    @property
    def third_supercell(self) -> Supercell:
        """Supercell of the third order."""
        return self.state.supercell if self.supercell is None else self.supercell

    @property
    def has_all_symmetry(self) -> bool:
        """Whether the force constants have the whole space group of the primitive cell."""
        whole = find_space_group(Supercell(self.state.crystal, (1, 1, 1)))
        kept = self.group or find_space_group(self.third_supercell)
        return kept.n_operations == whole.n_operations


def scattering(
    lattice: Lattice,
    mesh: Sequence[int],
    temperatures: Sequence[float],
    *,
    isotopes: bool = False,
    direct: bool = False,
    interband: bool = False,
) -> Scattering:
    """Compute how fast the modes on a mesh scatter.

    Parameters
    ----------
    lattice
        Force constants.
    mesh
        Wave vectors along each reciprocal vector.
    temperatures
        K.
    isotopes
        Whether the natural mixture of isotopes scatters.
    direct
        Whether the linearised Boltzmann equation is solved as well; its matrix is as large as the
        square of the modes.
    interband
        Whether the transport between bands is computed, after M. Simoncelli, N. Marzari and F.
        Mauri, Nat. Phys. 15, 809 (2019).

    Raises
    ------
    InputError
        If phono3py is not installed, or a mode on the mesh is imaginary.
    """
    with _quiet():
        calculation = _prepared(lattice, mesh)
        _require_real_modes(calculation)
        kelvin = [float(one) for one in temperatures]
        kind = "SMM19" if interband else None
        calculation.run_thermal_conductivity(
            temperatures=kelvin, is_isotope=isotopes, transport_type=kind
        )
        relaxed = calculation.thermal_conductivity
        coherent = np.array(relaxed.kappa_inter[0]) if interband else None
        if interband:
            calculation.run_thermal_conductivity(temperatures=kelvin, is_isotope=isotopes)
            relaxed = calculation.thermal_conductivity
        found = _scattering(relaxed, np.array(kelvin))
        solved = None
        if direct:
            calculation.run_thermal_conductivity(
                is_LBTE=True, temperatures=kelvin, is_isotope=isotopes
            )
            solved = np.array(calculation.thermal_conductivity.kappa[0])
    return replace(found, direct=solved, interband=coherent)


def require_real_modes(lattice: Lattice, mesh: Sequence[int]) -> None:
    """Refuse a lattice with imaginary modes on a mesh, before anything is sampled.

    Parameters
    ----------
    lattice
        Force constants; the third order is not used.
    mesh
        Wave vectors along each reciprocal vector.

    Raises
    ------
    InputError
        If phono3py is not installed, or a mode is imaginary.
    """
    with _quiet():
        _require_real_modes(_prepared(lattice, mesh))


def write_phono3py(directory: Path, lattice: Lattice) -> list[Path]:
    """Write ``fc2.hdf5``, ``fc3.hdf5`` and ``phono3py.yaml``, which phono3py loads.

    Parameters
    ----------
    directory
        Where they go; it exists.
    lattice
        Force constants.

    Returns
    -------
    The files.

    Raises
    ------
    InputError
        If phono3py is not installed.
    """
    file_io = _import("phono3py.file_IO")
    second, third = _second(lattice), _third(lattice)
    paths = [directory / name for name in ("fc2.hdf5", "fc3.hdf5", "phono3py.yaml")]
    with _quiet():
        calculation = _made(lattice)
        first = np.array(calculation.phonon_primitive.p2s_map)
        file_io.write_fc2_to_hdf5(second, filename=str(paths[0]), p2s_map=first)
        first = np.array(calculation.primitive.p2s_map)
        file_io.write_fc3_to_hdf5(third, filename=str(paths[1]), p2s_map=first)
        calculation.save(str(paths[2]), settings={"force_sets": False, "displacements": False})
    return paths


def read_phono3py(second: Path, third: Path, supercell: Supercell) -> Lattice:
    """Read force constants of phono3py into our order.

    Parameters
    ----------
    second, third
        ``fc2.hdf5`` and ``fc3.hdf5``, full or compact, of a supercell whose primitive cell is its
        unit cell.
    supercell
        The supercell, the atoms of its primitive cell in the order of phono3py.

    Raises
    ------
    InputError
        If phono3py is not installed, or a file cannot be read or is of another supercell.
    """
    file_io = _import("phono3py.file_IO")
    try:
        read_second = np.array(file_io.read_fc2_from_hdf5(filename=str(second)))
        read_third = np.array(_array(file_io.read_fc3_from_hdf5(filename=str(third))))
    except (OSError, KeyError, RuntimeError, ValueError) as err:
        raise InputError(
            f"The force constants {second} and {third} cannot be read ({err}); give fc2.hdf5 and "
            "fc3.hdf5 of phono3py."
        ) from err
    order = phonopy_order(supercell)
    n, n_atoms = supercell.primitive.n_atoms, supercell.n_atoms
    for name, found, rank in (("fc2", read_second, 2), ("fc3", read_third, 3)):
        if found.shape[1:rank] != (n_atoms,) * (rank - 1) or len(found) not in (n, n_atoms):
            raise InputError(
                f"{name}.hdf5 holds an array of shape {found.shape}, which is none of {n} atoms in "
                f"a supercell of {n_atoms}; give the supercell that it was made with."
            )
    place = np.argsort(order, kind="stable")
    rows2 = read_second if len(read_second) == n else read_second[place[:n]]
    rows3 = read_third if len(read_third) == n else read_third[place[:n]]
    state = DynamicalMatrix(supercell, np.ascontiguousarray(rows2[:, place]))
    return Lattice(state, np.ascontiguousarray(rows3[:, place][:, :, place]))


def _array(found: Any) -> Any:
    """The force constants among what phono3py returns of a file."""
    return found["fc3"] if isinstance(found, dict) else found


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as err:
        if importlib.util.find_spec("phono3py") is not None:
            raise InputError(f"phono3py is installed but cannot be imported ({err}).") from err
        raise InputError(_MISSING) from err


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what phono3py prints off the screen."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _made(lattice: Lattice) -> Any:
    """A calculation with its cells, force constants and Born charges."""
    atoms = _import("phonopy.structure.atoms").PhonopyAtoms
    crystal = lattice.state.crystal
    cell = atoms(
        numbers=crystal.numbers,
        masses=crystal.masses,
        cell=crystal.cell,
        scaled_positions=crystal.scaled_positions,
    )
    made = _import("phono3py").Phono3py(
        cell,
        supercell_matrix=lattice.third_supercell.size,
        primitive_matrix="P",
        phonon_supercell_matrix=lattice.state.supercell.size,
        is_mesh_symmetry=lattice.has_all_symmetry,
        symprec=1.0e-4,
        log_level=0,
    )
    _require_our_order(made.supercell, lattice.third_supercell)
    _require_our_order(made.phonon_supercell, lattice.state.supercell)
    if lattice.born is not None:
        made.nac_params = {
            "born": np.array(lattice.born.charges),
            "dielectric": np.array(lattice.born.dielectric),
            "factor": _COULOMB,
        }
    made.fc2, made.fc3 = _second(lattice), _third(lattice)
    return made


def _prepared(lattice: Lattice, mesh: Sequence[int]) -> Any:
    made = _made(lattice)
    made.mesh_numbers = [int(n) for n in mesh]
    made.init_phph_interaction()
    return made


def _require_our_order(theirs: Any, ours: Supercell) -> None:
    """Check that atoms are where :func:`phonopy_order` says: a wrong order gives a wrong kappa."""
    positions = ours.crystal.positions[phonopy_order(ours)]
    moved = (np.array(theirs.positions) - positions) @ np.linalg.inv(ours.crystal.cell)
    if np.abs(moved - np.rint(moved)).max() > 1.0e-5:
        raise InputError(
            "This version of phono3py orders the atoms of a supercell in another way; install one "
            "that sscha-mlp[conductivity] names."
        )


def _rows(order: IntArray, n_primitive: int) -> IntArray:
    """Primitive atoms in the order in which phono3py has the rows of compact arrays."""
    return np.asarray([atom for atom in order if atom < n_primitive], dtype=np.int64)


def _second(lattice: Lattice) -> FloatArray:
    supercell = lattice.state.supercell
    order = phonopy_order(supercell)
    rows = lattice.state.force_constants[_rows(order, supercell.primitive.n_atoms)]
    return np.ascontiguousarray(rows[:, order])


def _third(lattice: Lattice) -> FloatArray:
    supercell = lattice.third_supercell
    order = phonopy_order(supercell)
    rows = lattice.third[_rows(order, supercell.primitive.n_atoms)]
    return np.ascontiguousarray(rows[:, order][:, :, order])


def _require_real_modes(calculation: Any) -> None:
    """Refuse a lattice that is unstable between the wave vectors of its supercell."""
    calculation.run_phonon_solver()
    frequencies = np.array(calculation.get_phonon_data()[0])
    lowest = float(frequencies.min())
    if lowest < IMAGINARY:
        place = int(frequencies.min(axis=1).argmin())
        grid = calculation.grid
        q = np.array(grid.addresses[place]) @ np.array(grid.QDinv).T
        where = " ".join(f"{value:.3f}" for value in q)
        raise InputError(
            f"A mode on the mesh is imaginary: {lowest:.2f} THz at q = ({where}), between the wave "
            "vectors of the supercell. Its lifetime has no meaning, and it is not left out: use "
            "force constants of a larger supercell, or give Born charges where the crystal is "
            "polar."
        )


def _scattering(relaxed: Any, temperatures: FloatArray) -> Scattering:
    """Take the arrays out of a finished calculation."""
    points = np.array(relaxed.grid_points)
    frequencies = np.array(relaxed.frequencies)
    if len(frequencies) != len(points):
        frequencies = frequencies[points]
    capacities = np.array(relaxed.mode_heat_capacities)
    products = np.array(relaxed.gv_by_gv)
    factor = float(relaxed.kappa_settings.conversion_factor)
    carried = capacities[..., None] * products[None] * (0.5 * factor)
    carried *= (frequencies >= relaxed.kappa_settings.cutoff_frequency)[None, :, :, None]
    isotopes, widths = relaxed.gamma_isotope, np.array(relaxed.gamma[0])
    n1, n2, n3 = (int(n) for n in relaxed.mesh_numbers)
    return Scattering(
        mesh=(n1, n2, n3),
        temperatures=temperatures,
        qpoints=np.array(relaxed.qpoints),
        multiplicities=np.array(relaxed.grid_weights, dtype=float),
        frequencies=frequencies,
        velocities=np.array(relaxed.group_velocities),
        carried=carried,
        widths=widths,
        isotope_widths=np.zeros(widths.shape[1:]) if isotopes is None else np.array(isotopes[0]),
    )
