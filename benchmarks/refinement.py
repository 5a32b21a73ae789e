"""Time of one step of an MTP refinement: exact derivatives beside finite differences.

    python benchmarks/refinement.py            silicon, SiGe, quartz, a perovskite of three species
    python benchmarks/refinement.py --quick    the first two

A step is the derivatives of all predictions with respect to the radial coefficients, and the rows
of the point that is tried.  "Differences" is how earlier versions did it: one evaluation of all
configurations for each coefficient.  Settings are those of a run (level 16, 10 polynomials); the
labels do not matter to the time and are zero.  Processor time of one thread, the least of two.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from sscha_mlp.data.labels import Label, LabelledConfiguration
from sscha_mlp.potentials.mtp.initial import first_parameters
from sscha_mlp.potentials.mtp.refine import free_entries, jacobian
from sscha_mlp.potentials.mtp.regression import Rows
from sscha_mlp.potentials.mtp.settings import MtpSettings

SETTINGS = MtpSettings(
    level=16, radial_weight=4, max_tensors=4, species="shared", n_polynomials=10, refine_steps=16
)
CONFIGURATIONS = 8
STEP = 1.0e-7


def crystals() -> dict[str, Atoms]:
    """Supercells by name."""
    quartz = crystal(
        ["Si", "O"],
        [(0.4697, 0.0, 0.0), (0.4133, 0.2672, 0.1188)],
        spacegroup=152,
        cellpar=[4.916, 4.916, 5.405, 90, 90, 120],
    )
    perovskite = crystal(
        ["Sr", "Ti", "O"],
        [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)],
        spacegroup=221,
        cellpar=[3.905] * 3 + [90] * 3,
    )
    return {
        "Si, 16 atoms": bulk("Si", "diamond", 5.43) * (2, 2, 2),
        "SiGe, 16 atoms": bulk("SiGe", "zincblende", 5.55) * (2, 2, 2),
        "SiO2, 72 atoms": quartz * (2, 2, 2),
        "SrTiO3, 40 atoms": perovskite * (2, 2, 2),
    }


def rows_of(atoms: Atoms) -> Rows:
    """Displaced configurations with labels of zero."""
    rng = np.random.default_rng(0)
    zero = Label(0.0, np.zeros((len(atoms), 3)), np.zeros((3, 3)))
    train = []
    for _ in range(CONFIGURATIONS):
        frame = atoms.copy()
        frame.positions += rng.normal(0.0, 0.05, frame.positions.shape)
        train.append(LabelledConfiguration(Atoms(frame), zero))
    return Rows(train, SETTINGS, np.ones(len(train)))


def by_differences(parameters, rows: Rows, places: list[int]) -> np.ndarray:
    """The derivatives to one side, as earlier versions took them."""
    prepared = rows.prepared(parameters, places)
    here = rows.predictions(parameters, places, prepared)
    columns = []
    for entry in zip(*free_entries(parameters), strict=True):
        radial = np.array(parameters.radial_coeffs)
        radial[entry] += STEP
        there = replace(parameters, radial_coeffs=radial)
        columns.append((rows.predictions(there, places, prepared) - here) / STEP)
    return np.column_stack(columns)


def seconds(function: Callable[[], object]) -> float:
    """Processor time of the faster of two calls, after one that loads the compiled loops."""
    found = []
    for _ in range(2):
        begin = time.process_time()
        function()
        found.append(time.process_time() - begin)
    return min(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    print(f"\nOne refinement step of an MTP, level 16, {CONFIGURATIONS} configurations, one thread")
    print(f"{'':<18}{'coefficients':>13}{'differences':>13}{'exact':>9}{'rows':>9}{'ratio':>8}")
    for name, atoms in list(crystals().items())[: 2 if args.quick else None]:
        rows = rows_of(atoms)
        start = first_parameters(rows.train, SETTINGS)
        rng = np.random.default_rng(1)
        parameters = replace(start, moment_coeffs=rng.normal(0, 1e-3, len(start.moment_coeffs)))
        places = list(range(CONFIGURATIONS))
        jacobian(parameters, rows, places[:1]), rows.blocks(parameters, places[:1])
        old = seconds(lambda r=rows, p=parameters, s=places: by_differences(p, r, s))
        new = seconds(lambda r=rows, p=parameters, s=places: jacobian(p, r, s))
        both = seconds(lambda r=rows, p=parameters, s=places: r.blocks(p, s))
        n_free = len(free_entries(parameters)[0])
        print(
            f"{name:<18}{n_free:>13}{old:>12.2f}s{new:>8.2f}s{both:>8.2f}s"
            f"{(old + both) / (new + both):>7.1f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()
