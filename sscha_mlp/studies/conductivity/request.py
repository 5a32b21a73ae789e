"""What is asked of a thermal conductivity, checked before anything is computed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Final

import numpy as np

from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.errors import InputError
from sscha_mlp.parallel.memory import require_memory
from sscha_mlp.tables import Shown, Table

_DEFAULT_MESH: Final = (11, 11, 11)
_FEWEST_BLOCKS: Final = 4
_COPIES: Final = 3
"""Arrays of the size of the interactions of one wave vector that are held at once."""


@dataclass(frozen=True)
class TransportRequest(Shown):
    """Which conductivity is computed, and by how many configurations.

    Parameters
    ----------
    mesh
        Wave vectors of the answer along each reciprocal vector.
    coarse_mesh
        Those of its errors; about half as many along each when left out.
    temperatures
        K, of the occupations; that of the run when left out.
    n_configs
        Configurations of the ensemble of the model.
    n_blocks
        Blocks that it is divided into, an even number.
    isotopes
        Whether the natural mixture of isotopes scatters.
    boundary
        Distance of a boundary, micrometre; None for a crystal without one.
    direct
        Whether the linearised Boltzmann equation is solved too.
    interband
        Whether transport between bands is computed too.

    Raises
    ------
    InputError
        If a number cannot be used.
    """

    mesh: tuple[int, int, int] = _DEFAULT_MESH
    coarse_mesh: tuple[int, int, int] | None = None
    temperatures: Sequence[float] = field(default_factory=tuple)
    n_configs: int = 5000
    n_blocks: int = 10
    isotopes: bool = False
    boundary: float | None = None
    direct: bool = False
    interband: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, mesh in (("mesh", self.mesh), ("coarse mesh", self.coarse)):
            if min(mesh) < 2:
                raise InputError(
                    f"The {name} {mesh} is too coarse to scatter anything; give three numbers of "
                    "at least 2, such as --mesh 11 11 11."
                )
        if any(not isfinite(one) or one <= 0 for one in self.temperatures):
            raise InputError(
                f"The temperatures {list(self.temperatures)} K are not all above zero; at 0 K "
                "nothing carries heat."
            )
        if self.boundary is not None and not (isfinite(self.boundary) and self.boundary > 0):
            raise InputError(
                f"The boundary at {self.boundary} micrometres is not at a positive distance; leave "
                "it out for a crystal without one."
            )
        if (
            self.n_blocks < _FEWEST_BLOCKS
            or self.n_blocks % 2
            or self.n_configs < 2 * self.n_blocks
        ):
            raise InputError(
                f"{self.n_configs} configurations in {self.n_blocks} blocks have no usable error; "
                f"give an even number of at least {_FEWEST_BLOCKS} blocks, with two configurations "
                "each."
            )

    def table(self) -> Table:
        """Return what is asked."""
        parts = {
            "isotopes": self.isotopes,
            "a boundary": self.boundary is not None,
            "the direct solution": self.direct,
            "transport between bands": self.interband,
        }
        rows = (
            ("mesh", " × ".join(map(str, self.mesh))),
            ("mesh of the errors", " × ".join(map(str, self.coarse))),
            (
                "temperatures (K)",
                ", ".join(f"{one:g}" for one in self.temperatures) or "of the run",
            ),
            ("configurations", f"{self.n_configs} in {self.n_blocks} blocks"),
            (
                "with",
                ", ".join(name for name, wanted in parts.items() if wanted) or "phonons alone",
            ),
        )
        return Table("Thermal conductivity", rows)

    @property
    def coarse(self) -> tuple[int, int, int]:
        """The mesh of the errors."""
        if self.coarse_mesh is not None:
            return self.coarse_mesh
        n1, n2, n3 = (max(2, (n + 1) // 2) for n in self.mesh)
        return n1, n2, n3

    def kelvin(self, own: float) -> tuple[float, ...]:
        """Return the temperatures, that of the run where none is given.

        Raises
        ------
        InputError
            If the run is at 0 K and no other temperature is given.
        """
        given = tuple(float(one) for one in self.temperatures) or (own,)
        if min(given) <= 0:
            raise InputError(
                "The run is at 0 K, where nothing carries heat; give a temperature with --T."
            )
        return given

    def require_memory(self, state: DynamicalMatrix, group: SpaceGroup) -> None:
        """Refuse a mesh that does not fit into the memory.

        Parameters
        ----------
        state
            The crystal.
        group
            Its space group.

        Raises
        ------
        InputError
            If it does not.
        """
        require_memory(
            transport_bytes(self.mesh, state.crystal.n_atoms, group.n_operations, self.direct),
            f"The mesh of {'×'.join(str(n) for n in self.mesh)} wave vectors",
            "give a coarser one with --mesh" + (", or leave out --direct" if self.direct else ""),
        )


def transport_bytes(mesh: Sequence[int], n_atoms: int, n_operations: int, direct: bool) -> float:
    """Memory of a conductivity, roughly, bytes.

    Parameters
    ----------
    mesh
        Wave vectors along each reciprocal vector.
    n_atoms
        Of the primitive cell.
    n_operations
        Of the space group.
    direct
        Whether the matrix of the linearised Boltzmann equation is held.
    """
    n_points, n_bands = float(np.prod(mesh)), 3.0 * n_atoms
    interactions = 8.0 * n_points * n_bands**3 * _COPIES  # all triplets of one wave vector
    vectors = 16.0 * n_points * n_bands**2
    irreducible = n_points / n_operations + n_points ** (2 / 3)
    matrix = 8.0 * (3 * irreducible * n_bands) ** 2 if direct else 0.0
    return interactions + vectors + 3 * matrix
