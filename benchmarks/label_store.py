"""Label store: how long an insert and a lookup take when there are many labels already.

    python benchmarks/label_store.py [--labels 100000] [--atoms 64]

The labels are written in bulk.  An insert is one durable transaction; lookups are by exact
content, by content in another order and place, and of what is not there.  Then several processes
insert at once, each as fast as it can: the time of an insert is that of all before it in the queue,
and most of it is the disk's, which is asked once for each label.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from sscha_mlp.data.labels import Label
from sscha_mlp.reference.store import LabelStore

IDENTITY = "benchmark"
CHUNK = 2000


def configurations(n_atoms: int, numbers: range) -> Iterator[Atoms]:
    """Displaced silicon, each number its own configuration."""
    size = max(1, round((n_atoms / 8) ** (1 / 3)))
    crystal = bulk("Si", cubic=True, a=5.43).repeat((size, size, size))
    for number in numbers:
        atoms = crystal.copy()
        rng = np.random.default_rng(number)
        atoms.positions += rng.normal(scale=0.1, size=(len(atoms), 3))
        yield atoms


def some_label(n_atoms: int) -> Label:
    """Return a label: its numbers do not matter."""
    return Label(-1.0, np.ones((n_atoms, 3)), np.eye(3))


def elsewhere(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Return the same configuration in another order and place."""
    other = atoms[rng.permutation(len(atoms))]
    other.positions += rng.uniform(-5.0, 5.0, 3)
    other.wrap()
    return other


def median_ms(times: list[float]) -> float:
    """Return the median, in ms."""
    return 1000.0 * float(np.median(times))


def timed(action, arguments) -> list[float]:
    """Return how long an action takes on each argument, in s."""
    times = []
    for argument in arguments:
        start = time.perf_counter()
        action(argument)
        times.append(time.perf_counter() - start)
    return times


def measure(n_labels: int, n_atoms: int, directory: Path) -> dict[str, float]:
    """Fill a store and measure it; times in ms, sizes in MB."""
    path = directory / "labels.db"
    result: dict[str, float] = {}
    with LabelStore(path) as store:
        start = time.perf_counter()
        for first in range(0, n_labels, CHUNK):
            frames = configurations(n_atoms, range(first, min(first + CHUNK, n_labels)))
            store.put_many(((one, some_label(len(one))) for one in frames), IDENTITY)
        result["bulk insert, each"] = 1000.0 * (time.perf_counter() - start) / max(n_labels, 1)
        rng = np.random.default_rng(0)
        stored = list(configurations(n_atoms, range(0, n_labels, max(1, n_labels // 50))))
        new = list(configurations(n_atoms, range(n_labels, n_labels + 50)))
        moved = [elsewhere(one, rng) for one in stored]

        def find(atoms: Atoms) -> None:
            store.find([atoms], IDENTITY)

        result["lookup, exact"] = median_ms(timed(find, stored))
        result["lookup, other order and place"] = median_ms(timed(find, moved))
        result["lookup, not there"] = median_ms(timed(find, new))
        start = time.perf_counter()
        store.find([*stored, *new], IDENTITY)
        count = len(stored) + len(new)
        result["lookup, each of 100 at once"] = 1000.0 * (time.perf_counter() - start) / count
        label = some_label(len(stored[0]))
        result["durable insert"] = median_ms(
            timed(lambda atoms: store.put(atoms, IDENTITY, label), new)
        )
    start = time.perf_counter()
    LabelStore(path).close()
    result["opening"] = 1000.0 * (time.perf_counter() - start)
    result["file, MB"] = path.stat().st_size / 1.0e6
    return result


def write_beside_others(path: Path, number: int, n_atoms: int, count: int) -> list[float]:
    """Insert labels in one of several processes; returns the time of each, s."""
    first = 10**7 * (number + 1)
    frames = list(configurations(n_atoms, range(first, first + count)))
    label = some_label(len(frames[0]))
    with LabelStore(path) as store:
        return timed(lambda atoms: store.put(atoms, IDENTITY, label), frames)


def measure_writers(path: Path, n_writers: int, n_atoms: int, count: int = 100) -> dict[str, float]:
    """Insert from several processes at once; times in ms."""
    with multiprocessing.get_context("spawn").Pool(n_writers) as pool:
        tasks = [(path, number, n_atoms, count) for number in range(n_writers)]
        times = [one for part in pool.starmap(write_beside_others, tasks) for one in part]
    name = f"durable insert, {n_writers} writers"
    return {name: median_ms(times), f"{name}, slowest": 1000.0 * max(times)}


def main(arguments: list[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--atoms", type=int, default=64)
    parser.add_argument("--writers", type=int, default=4)
    given = parser.parse_args(arguments)
    columns = []
    for n_labels in given.labels:
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory)
            column = measure(n_labels, given.atoms, place)
            columns.append(
                column | measure_writers(place / "labels.db", given.writers, given.atoms)
            )
    print(f"Label store, {given.atoms} atoms, ms\n")
    print(f"{'labels in the store':<32}" + "".join(f"{n:>12}" for n in given.labels))
    for name in columns[0]:
        print(f"{name:<32}" + "".join(f"{one[name]:>12.2f}" for one in columns))


if __name__ == "__main__":
    sys.exit(main())
