"""Time that an executor and the label store add to each label: medians over repeats.

Labels configurations with a calculator that takes one millisecond, through `label` with a store on
the disk, and prints the wall time per label less the calculator's share.

    python benchmarks/executors.py --configs 200 --repeats 5 --workers 2
"""

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes

from sscha_mlp.calculators.registry import Reference
from sscha_mlp.parallel import Machines
from sscha_mlp.reference.label import label
from sscha_mlp.reference.store import LabelStore

SECONDS = 1.0e-3


class Millisecond(Calculator):
    """Zero energy, forces and stress after one millisecond."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012 -- ASE's

    def calculate(self, atoms=None, properties=None, system_changes=tuple(all_changes)):
        """Wait."""
        super().calculate(atoms, properties, list(system_changes))
        time.sleep(SECONDS)
        zero = np.zeros((len(self.atoms), 3))
        self.results = {"energy": 0.0, "forces": zero, "stress": np.zeros(6)}


def millisecond() -> Calculator:
    """Make the calculator."""
    return Millisecond()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configs", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    print(f"{'executor':<16}{'start (s)':>12}{'per label (ms)':>18}{'added (ms)':>14}")
    for spec in ("here", f"processes:{args.workers}", f"dask-local:{args.workers}"):
        n_workers = 1 if spec == "here" else args.workers
        with Machines(spec) as machines:
            start = seconds(machines, configurations(n_workers, seed=0), n_workers)
            each = [
                seconds(machines, configurations(args.configs, seed), n_workers) / args.configs
                for seed in range(1, args.repeats + 1)
            ]
        median = float(np.median(each))
        added = median - SECONDS / n_workers
        print(f"{spec:<16}{start:>12.2f}{1e3 * median:>18.2f}{1e3 * added:>14.2f}")


def configurations(n: int, seed: int) -> list[Atoms]:
    """Supercells of copper with 32 atoms."""
    frames = []
    for number in range(n):
        atoms = bulk("Cu", a=3.6, cubic=True) * (2, 2, 2)
        atoms.rattle(0.01, seed=10_000 * seed + number)
        frames.append(atoms)
    return frames


def seconds(machines: Machines, frames: list[Atoms], n_workers: int) -> float:
    """Label once into a new store; the start of the workers is not counted, unless it is new."""
    from executors import millisecond as factory  # importable by the workers

    reference = Reference.from_factory(factory)
    with TemporaryDirectory() as place, LabelStore(Path(place) / "labels.db") as store:
        began = time.perf_counter()
        first: list[float] = []

        def note(done: int, _: int) -> None:
            if done and not first:
                first.append(time.perf_counter())

        label(frames, reference, store=store, n_workers=n_workers, progress=note, machines=machines)
        ended = time.perf_counter()
    return ended - (first[0] if len(frames) > n_workers else began)


if __name__ == "__main__":
    main()
