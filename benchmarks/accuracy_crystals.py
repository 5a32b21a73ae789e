"""The crystals of ``make accuracy``: what is run with the defaults, and held to a direct SSCHA."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.spacegroup import crystal

TYPES: Final = "accuracy_references"


@dataclass(frozen=True)
class Case:
    """A crystal, its reference and its conditions.

    Parameters
    ----------
    title
        As the table has it.
    structure
        Makes the cell to start from.
    reference
        As ``--reference`` takes it.
    temperature
        In K.
    supercell
        Repetitions of the primitive cell.
    configs
        Configurations of each population of the direct SSCHA.
    """

    title: str
    structure: Callable[[], Atoms]
    reference: str
    temperature: float
    supercell: tuple[int, int, int]
    configs: int = 400

    def settings(self, structure: Path, seed: int) -> dict[str, Any]:
        """Return what a run with the defaults is given: the conditions, a file and a seed."""
        return {
            "temperature": self.temperature,
            "supercell": self.supercell,
            "structure": str(structure),
            "reference": self.reference,
            "seed": seed,
            "workers": 1,
        }


def own(name: str) -> str:
    """Return a calculator of these benchmarks as ``--reference`` takes it."""
    return f"{TYPES}:{name}"


def quartz() -> Atoms:
    """Return alpha-quartz, nine atoms."""
    return crystal(
        ["Si", "O"],
        [(0.4697, 0.0, 2 / 3), (0.4133, 0.2672, 0.7858)],
        spacegroup=154,
        cellpar=[4.913, 4.913, 5.405, 90, 90, 120],
    )


def rutile() -> Atoms:
    """Return rutile, six atoms."""
    sites = [(0, 0, 0), (0.305, 0.305, 0)]
    return crystal(["Ti", "O"], sites, spacegroup=136, cellpar=[4.5, 4.5, 3.01, 90, 90, 90])


def corundum() -> Atoms:
    """Return corundum, ten atoms in its rhombohedral cell."""
    sites = [(0, 0, 0.352), (0.306, 0, 0.25)]
    cell = [4.83, 4.83, 13.2, 90, 90, 120]
    return crystal(["Al", "O"], sites, spacegroup=167, cellpar=cell, primitive_cell=True)


def cristobalite() -> Atoms:
    """Return alpha-cristobalite, twelve atoms."""
    sites = [(0.3, 0.3, 0.0), (0.239, 0.104, 0.179)]
    cell = [4.97, 4.97, 6.92, 90, 90, 90]
    return crystal(["Si", "O"], sites, spacegroup=92, cellpar=cell)


def nitrogen() -> Atoms:
    """Return alpha-N2, eight atoms."""
    cell = [5.58, 5.58, 5.58, 90, 90, 90]
    return crystal(["N"], [(0.0568, 0.0568, 0.0568)], spacegroup=205, cellpar=cell)


def perovskite() -> Atoms:
    """Return a cubic perovskite, five atoms."""
    scaled = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    return Atoms("RbCaF3", scaled_positions=scaled, cell=[4.51] * 3, pbc=True)


def triclinic() -> Atoms:
    """Return seven atoms of four metals in an order of fcc sites that has no symmetry."""
    cell = [[2, -1, 0], [0, 2, -1], [1, 1, 1]]
    atoms = make_supercell(bulk("Cu", "fcc", a=3.88), cell)
    layers = np.rint(7 * atoms.get_scaled_positions()[:, 2]).astype(int) % 7
    order = ["Cu", "Ag", "Au", "Pd", "Cu", "Cu", "Pd"]
    atoms.symbols = [order[one] for one in layers]
    return atoms


CASES: Final = {
    "silicon": Case("Si, Tersoff", lambda: bulk("Si", a=5.43), "tersoff", 600.0, (2, 2, 2)),
    "carbide": Case(
        "SiC, Tersoff", lambda: bulk("SiC", "zincblende", a=4.32), "tersoff-sic", 600.0, (2, 2, 2)
    ),
    "copper": Case("Cu, EMT", lambda: bulk("Cu", a=3.6), "emt", 300.0, (2, 2, 2), 400),
    "aluminium": Case("Al, EMT", lambda: bulk("Al", a=4.0), "emt", 300.0, (2, 2, 2), 400),
    "hcp-copper": Case(
        "hcp Cu, EMT", lambda: bulk("Cu", "hcp", a=2.55, c=4.17), "emt", 300.0, (2, 2, 1), 400
    ),
    "salt": Case(
        "NaCl, ions", lambda: bulk("NaCl", "rocksalt", a=5.64), own("salt"), 300.0, (2, 2, 2)
    ),
    "magnesia": Case(
        "MgO, ions", lambda: bulk("MgO", "rocksalt", a=4.21), own("magnesia"), 600.0, (2, 2, 2)
    ),
    "hydride": Case(
        "LiH, ions, 0 K", lambda: bulk("LiH", "rocksalt", a=4.3), own("hydride"), 0.0, (2, 2, 2)
    ),
    "argon": Case(
        "Ar, Lennard-Jones", lambda: bulk("Ar", a=5.26), own("argon"), 40.0, (2, 2, 2), 400
    ),
    "quartz": Case("α-quartz, BKS", quartz, own("silica"), 300.0, (1, 1, 1)),
    "cristobalite": Case("α-cristobalite, BKS", cristobalite, own("silica"), 300.0, (1, 1, 1)),
    "rutile": Case("rutile, ions", rutile, own("rutile"), 300.0, (1, 1, 2)),
    "wurtzite": Case(
        "ZnO, wurtzite, ions",
        lambda: bulk("ZnO", "wurtzite", a=3.27, c=5.14, u=0.39),
        own("zincite"),
        300.0,
        (2, 2, 1),
    ),
    "corundum": Case("α-Al2O3, rhombohedral, ions", corundum, own("corundum"), 300.0, (1, 1, 1)),
    "perovskite": Case(
        "RbCaF3, soft mode, ions", perovskite, own("fluoroperovskite"), 300.0, (2, 2, 2)
    ),
    "triclinic": Case("Cu3AgAuPd2, triclinic, EMT", triclinic, "emt", 300.0, (2, 1, 1), 200),
    "nitrogen": Case("α-N2, molecules", nitrogen, own("nitrogen"), 20.0, (1, 1, 1), 600),
}
