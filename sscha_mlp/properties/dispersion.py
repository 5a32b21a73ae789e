"""Frequencies along a path through the Brillouin zone."""

from dataclasses import dataclass

from sscha_mlp import units
from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.digits import fixed
from sscha_mlp.properties.interpolation import Interpolation, interpolate
from sscha_mlp.properties.paths import BandPath, standard_path
from sscha_mlp.tables import Shown, Table, few


@dataclass(frozen=True, eq=False)
class Dispersion(Shown):
    """Frequencies along a path.

    Parameters
    ----------
    path
        The path.
    frequencies
        Angular frequencies, ascending at each point, shape (n_points, 3 n_primitive),
        ``sqrt(eV/(amu Å²))``; unstable modes are negative.
    """

    path: BandPath
    frequencies: FloatArray

    @property
    def frequencies_thz(self) -> FloatArray:
        """Frequencies in THz, shape (n_points, 3 n_primitive)."""
        return self.frequencies / units.THZ

    def table(self) -> Table:
        """Return the lowest and the highest frequency of each segment."""
        found = self.frequencies_thz
        rows = [
            (" – ".join(one.labels), fixed(found[part].min(), 3), fixed(found[part].max(), 3))
            for one, part in zip(self.path.segments, self.path.parts, strict=True)
        ]
        columns = ("Segment", "lowest (THz)", "highest (THz)")
        return Table("Frequencies along a path", few(rows, 20), columns)


def dispersion(
    state: DynamicalMatrix | Interpolation,
    path: BandPath | None = None,
    *,
    born: BornCharges | None = None,
) -> Dispersion:
    """Interpolate the frequencies along a path.

    Parameters
    ----------
    state
        Force constants of a supercell, or their interpolation.
    path
        The standard path of the crystal when left out.
    born
        Born charges of a polar crystal; not with an interpolation, which has its own.

    Raises
    ------
    StructureError
        If no standard path is found.
    """
    series = state if isinstance(state, Interpolation) else interpolate(state, born=born)
    way = standard_path(series.crystal) if path is None else path
    return Dispersion(way, series.frequencies(way.qpoints, way.directions))
