"""How wrong the physics of a model is, against the number of labels, for each way to choose them.

One state, the converged SSCHA state of silicon at 2000 K (Tersoff, 16 atoms), and 1600 independent
labels of it: a pool of 1000 to choose from, and a check of 600 that no fit sees.  Every selector
begins with the same 24 random labels of the pool, fits an MTP, adds 16 labels with
`sscha_mlp.potentials.selection`, and fits again.  After each fit the whole check goes into a
certificate.

    python benchmarks/learning_curve.py --seeds 8 --out curve.json --figure curve.png
    python benchmarks/learning_curve.py --read curve.json --figure curve.png

The labels are made once and kept (--data).  A seed decides which of them are pool and check, the
first labels, and what is drawn at random: the range over seeds holds the chance of the check too.
All selectors of a seed share pool, check and start.  Each fit begins afresh, so that a model
depends on its labels alone.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
from potential_data import DEFAULT_DIRECTORY, SEED, converged_state, random_draws

from sscha_mlp import units
from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group
from sscha_mlp.data.extxyz import read_extxyz, write_extxyz
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.data.states import load_state, save_state
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import Ensemble
from sscha_mlp.potentials.active_set import BREAK
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.potentials.registry import fit
from sscha_mlp.potentials.selection import SelectionMethod, select
from sscha_mlp.reference.label import label, labelled_configurations
from sscha_mlp.report.page.style import BLUE, GREEN, GREY, INK, MM, ORANGE, PURPLE, VERMILION, style
from sscha_mlp.scha.estimators import Samples
from sscha_mlp.validation.certificate import MIN_LABELS, Certificate, certify

TEMPERATURE = 2000.0
N_POOL, N_CHECK = 1000, 600
N_START, N_STEP, N_STEPS = 24, 16, 5
SIZES = tuple(N_START + N_STEP * step for step in range(N_STEPS + 1))
HALF = "half d-optimal"
SELECTORS = ("random", "d-optimal", HALF, "fps", "cur", "variance")
MODELS = {
    "linear": {"cutoff": 3.1},
    "refined": {
        "cutoff": 3.1,
        "level": 16,
        "radial_weight": 4,
        "max_tensors": 4,
        "n_polynomials": 12,
        "refine_steps": 10,
    },
}


Labels = Sequence[LabelledConfiguration]


@dataclass(frozen=True)
class Study:
    """Labels to choose from and labels to check with."""

    pool: Labels
    reference: Samples
    group: SpaceGroup

    @property
    def check(self) -> Ensemble:
        """The configurations of the check."""
        return self.reference.ensemble


@dataclass(frozen=True)
class Point:
    """One fit and what the check says of it.

    Energies in meV/atom, pressures in GPa, forces in meV/Å, displacements in Å; frequency shifts in
    units of their tolerance.  ``grade`` is the largest, ``n_beyond`` how many check configurations
    are beyond the grade at which MLIP stops, ``largest_share`` the part of all squared force errors
    that one of them has.  ``check_labels`` is how many labels a certificate would need to pass,
    were the shifts to stay as they are; None if one is outside.
    """

    model: str
    selector: str
    seed: int
    n_labels: int
    frequency: float
    frequency_stderr: float
    free_energy: float
    free_energy_stderr: float
    pressure: float
    pressure_stderr: float
    force_rmse: float
    force_typical: float
    energy_std: float
    grade: float
    n_beyond: int
    largest_share: float
    check_labels: float | None
    train_rms: float
    ridge: float
    fit_seconds: float


def main() -> None:
    """Measure or read, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="how many; the seeds are 0, 1, ...")
    parser.add_argument("--model", nargs="+", choices=tuple(MODELS), default=["linear"])
    parser.add_argument("--selectors", nargs="+", choices=SELECTORS, default=SELECTORS)
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DIRECTORY, help="where labels are kept"
    )
    parser.add_argument("--read", type=Path, nargs="+", help="earlier results, instead of fits")
    parser.add_argument("--out", type=Path, help="write all numbers as JSON")
    parser.add_argument("--figure", type=Path, help="draw the curves, PNG or SVG")
    args = parser.parse_args()
    if args.read:
        points = [Point(**row) for file in args.read for row in json.loads(file.read_text())]
    else:
        state, labels = labels_of_the_state(args.data)
        points = []
        for model, seed in product(args.model, range(args.seeds)):
            begin = time.perf_counter()
            data = divide(state, labels, np.random.default_rng([SEED, 200, seed]))
            points += curves(data, model, args.selectors, seed)
            seconds = time.perf_counter() - begin
            print(f"{model}, seed {seed}: {seconds:.0f} s", file=sys.stderr, flush=True)
            write(args.out, points)
    print_tables(points)
    write(args.out, points)
    if args.figure:
        draw(points, args.figure)


def write(file: Path | None, points: Sequence[Point]) -> None:
    """Keep all numbers, if asked for."""
    if file:
        file.write_text(json.dumps([asdict(point) for point in points], indent=1) + "\n")


def labels_of_the_state(directory: Path) -> tuple[DynamicalMatrix, Labels]:
    """Read the state and its labels, or make and keep them."""
    directory.mkdir(parents=True, exist_ok=True)
    state_file, file = directory / "learning-state.npz", directory / "learning-labels.xyz"
    if not state_file.is_file():
        save_state(state_file, converged_state("tersoff", "silicon.cif", TEMPERATURE))
    state = load_state(state_file)
    count = N_POOL + N_CHECK
    if not file.is_file():
        frames = random_draws(state, TEMPERATURE, count, np.random.default_rng([SEED, 100]))
        report = label(frames, get_reference("tersoff"))
        write_extxyz(file, labelled_configurations(frames, report, origin="learning"))
    labels = read_extxyz(file)
    if len(labels) != count:
        raise SystemExit(f"{file} holds {len(labels)} labels, not {count}: remove it.")
    return state, labels


def divide(state: DynamicalMatrix, labels: Labels, rng: np.random.Generator) -> Study:
    """Make some labels the pool and the others the check."""
    order = rng.permutation(len(labels))
    pool, check = ([labels[i] for i in part] for part in (order[:N_POOL], order[N_POOL:]))
    centroids = state.supercell.crystal.positions
    ensemble = Ensemble(
        Gaussian(state, TEMPERATURE),
        np.array([(one.atoms.positions - centroids).ravel() for one in check]),
        antithetic=False,
    )
    samples = Samples(
        ensemble,
        np.array([one.label.energy for one in check]),
        np.array([one.label.forces.ravel() for one in check]),
        np.array([one.label.stress for one in check]),
    )
    return Study(pool, samples, find_space_group(state.supercell))


def curves(data: Study, model: str, selectors: Sequence[str], seed: int) -> Iterator[Point]:
    """All selectors, beginning with the first labels of the pool and the model of these."""
    start = dict(enumerate(data.pool[:N_START]))
    first = learn(data, model, start)
    for selector in selectors:
        rng = np.random.default_rng([SEED, seed, SELECTORS.index(selector)])
        train, (potential, measured) = dict(start), first
        yield Point(model, selector, seed, N_START, **measured)
        for size in SIZES[1:]:
            extend(train, data.pool, selector, potential, rng)
            potential, measured = learn(data, model, train)
            yield Point(model, selector, seed, size, **measured)


def learn(
    data: Study, model: str, train: dict[int, LabelledConfiguration]
) -> tuple[Potential, dict[str, float | None]]:
    """Fit, and measure on the check."""
    labels = list(train.values())
    begin = time.perf_counter()
    with TemporaryDirectory() as scratch:
        potential = fit("mtp", labels, directory=scratch, settings=MODELS[model])
    seconds = time.perf_counter() - begin
    return potential, {
        **measure(data, potential),
        "train_rms": float(np.mean([one.displacement_rms for one in labels])),
        "ridge": potential.record.details["ridge"],
        "fit_seconds": seconds,
    }


def extend(
    train: dict[int, LabelledConfiguration],
    pool: Labels,
    selector: str,
    potential: Potential,
    rng: np.random.Generator,
) -> None:
    """Add labels of the pool to the training set; "half" as a run does: first the random ones."""
    n_random = {"random": N_STEP, HALF: N_STEP - N_STEP // 2}.get(selector, 0)
    method = SelectionMethod.D_OPTIMAL if selector == HALF else SelectionMethod(selector)
    for count, how in ((n_random, SelectionMethod.RANDOM), (N_STEP - n_random, method)):
        left = [index for index in range(len(pool)) if index not in train]
        picked = select(
            [pool[index].atoms for index in left],
            count,
            method=how,
            potential=potential,
            rng=rng,
            known=[one.atoms for one in train.values()],
        )
        chosen = how is not SelectionMethod.RANDOM
        train.update({left[k]: replace(pool[left[k]], chosen=chosen) for k in picked})


def measure(data: Study, potential: Potential) -> dict[str, float | None]:
    """Compare model and reference on the whole check."""
    found = potential.evaluate(data.check.configurations(), uncertainty=True)
    model = Samples(
        data.check,
        np.asarray(found.energies),
        np.array([np.ravel(forces) for forces in found.forces]),
        np.asarray(found.stresses),
    )
    certificate = certify(data.reference, model, data.group)
    delta = data.reference.minus(model)
    squares = (1.0e3 * delta.forces) ** 2
    frequency, frequency_stderr = largest_frequency_shift(certificate)
    free_energy = certificate.free_energy_shift
    wanted = certificate.labels_wanted
    return {
        "frequency": frequency,
        "frequency_stderr": frequency_stderr,
        "free_energy": free_energy.delta,
        "free_energy_stderr": free_energy.stderr,
        "pressure": float(certificate.pressure.value) / units.GPA,
        "pressure_stderr": float(certificate.pressure.stderr) / units.GPA,
        "force_rmse": float(np.sqrt(squares.mean())),
        "force_typical": float(np.exp(0.5 * np.log(squares.mean(axis=1)).mean())),
        "energy_std": float(1.0e3 * np.std(delta.energies, ddof=1) / certificate.n_atoms),
        "grade": float(np.max(found.uncertainty)),
        "n_beyond": int(np.sum(found.uncertainty > BREAK)),
        "largest_share": certificate.largest_share,
        "check_labels": max(wanted, float(MIN_LABELS)) if np.isfinite(wanted) else None,
    }


def largest_frequency_shift(certificate: Certificate) -> tuple[float, float]:
    """Shift and standard error of the mode that is largest in units of its tolerance."""
    allowed = np.maximum(
        certificate.tolerances.frequency_thz * units.THZ,
        certificate.tolerances.frequency_relative * np.abs(certificate.model_frequencies),
    ).ravel()
    shifts = np.abs(certificate.frequencies.value).ravel() / allowed
    worst = int(np.argmax(shifts))
    return float(shifts[worst]), float(
        certificate.frequencies.stderr.ravel()[worst] / allowed[worst]
    )


COLUMNS: dict[str, tuple[str, Callable[[Point], float]]] = {
    "frequency": ("dw/allowed", lambda p: p.frequency),
    "free energy": ("|dF| (meV/atom)", lambda p: abs(p.free_energy)),
    "pressure": ("|dP| (GPa)", lambda p: abs(p.pressure)),
    "force rmse": ("force rmse (meV/Å)", lambda p: p.force_rmse),
    "force typical": ("typical (meV/Å)", lambda p: p.force_typical),
    "energy": ("std dE (meV/atom)", lambda p: p.energy_std),
    "grade": ("largest grade", lambda p: p.grade),
    "beyond": (f"grades > {BREAK:g}", lambda p: p.n_beyond),
    "share": ("share of the worst", lambda p: p.largest_share),
    "check labels": ("check labels", lambda p: p.check_labels or np.inf),
}
COMPARED = ("frequency", "free energy", "pressure", "force rmse", "force typical", "energy")
ERRORS = {
    "frequency": lambda p: p.frequency_stderr,
    "free energy": lambda p: p.free_energy_stderr,
    "pressure": lambda p: p.pressure_stderr,
}
LATE = SIZES[2:]


def print_tables(points: Sequence[Point]) -> None:
    """Print the medians and ranges over seeds, and the ratios to random labels."""
    for model in dict.fromkeys(point.model for point in points):
        mine = [point for point in points if point.model == model]
        seeds = sorted({point.seed for point in mine})
        selectors = [one for one in SELECTORS if any(p.selector == one for p in mine)]
        seconds = np.median([point.fit_seconds for point in mine])
        print(f"\n{model}: {len(seeds)} seeds, {seconds:.1f} s a fit (median)")
        print("median (range over seeds), s: median of the standard error of the check")
        for key, (title, _) in COLUMNS.items():
            print(f"\n{title:<24}" + "".join(f"{f'{size} labels':>34}" for size in SIZES))
            for selector in selectors:
                cells = (spread(mine, selector, size, key) for size in SIZES)
                print(f"  {selector:<22}" + "".join(f"{cell:>34}" for cell in cells))
        if "random" in selectors:
            print_ratios(mine, [one for one in selectors if one != "random"], seeds)


def spread(points: Sequence[Point], selector: str, size: int, key: str) -> str:
    """Median and range of a quantity, and its standard error where it has one."""
    some = [point for point in points if point.selector == selector and point.n_labels == size]
    values = [COLUMNS[key][1](point) for point in some]
    text = f"{np.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"
    if key in ERRORS:
        text += f" s {np.median([ERRORS[key](point) for point in some]):.2g}"
    return text


def print_ratios(points: Sequence[Point], selectors: Sequence[str], seeds: Sequence[int]) -> None:
    """Print each selector over random labels: same start, same check, same number of labels."""
    print(
        f"\nratio to random at {LATE[0]} to {LATE[-1]} labels: geometric mean, its standard error "
        "over seeds, and in how many seeds it is below 1"
    )
    print(f"{'':<24}" + "".join(f"{key:>22}" for key in [*COMPARED, "displacements"]))
    for selector in selectors:
        cells = []
        for of in [*(COLUMNS[key][1] for key in COMPARED), lambda p: p.train_rms]:
            logs = np.array([log_ratio(points, selector, seed, of) for seed in seeds])
            error = logs.std(ddof=1) / np.sqrt(len(logs)) if len(logs) > 1 else np.nan
            mean = np.exp(logs.mean())
            cells.append(f"{mean:.2f} ± {mean * error:.2f} {np.sum(logs < 0):>2}/{len(logs)}")
        print(f"{'':<8}{selector:<16}{''.join(f'{cell:>22}' for cell in cells)}")


def log_ratio(
    points: Sequence[Point], selector: str, seed: int, of: Callable[[Point], float]
) -> float:
    """Mean logarithm of the ratio to random over the later sizes."""
    value = {(p.selector, p.n_labels): of(p) for p in points if p.seed == seed}
    return float(np.mean([np.log(value[selector, n] / value["random", n]) for n in LATE]))


PANELS = {
    "frequency": "Largest frequency shift / tolerance",
    "free energy": "Free-energy shift |ΔF| (meV/atom)",
    "energy": "Spread of the energy error (meV/atom)",
}
LOOKS = {
    "random": (INK, "o", "-"),
    "d-optimal": (BLUE, "s", "-"),
    HALF: (BLUE, "D", "--"),
    "fps": (GREEN, "^", ":"),
    "cur": (VERMILION, "v", "-."),
    "variance": (PURPLE, "P", (0, (5, 1.5, 1, 1.5, 1, 1.5))),
}
ALLOWED = {"frequency": 1.0, "free energy": 1.0}
LEAST = {"free energy": 0.01}  # a shift can be nil by chance: what is below is cut off


def draw(points: Sequence[Point], file: Path) -> None:
    """One row for each model, one panel for each quantity."""
    models = list(dict.fromkeys(point.model for point in points))
    with style():
        figure = Figure(figsize=(180 * MM, (16 + 62 * len(models)) * MM), layout="constrained")
        rows = figure.subplots(len(models), len(PANELS), squeeze=False, sharex=True)
        for model, axes in zip(models, rows, strict=True):
            mine = [point for point in points if point.model == model]
            for key, one in zip(PANELS, axes, strict=True):
                draw_panel(one, mine, key)
            n_seeds = len({point.seed for point in mine})
            axes[0].set_title(f"{model} basis, {n_seeds} seeds", loc="left")
        for one in rows[-1]:
            one.set_xlabel("Number of labels")
        figure.legend(handles=legend(points), loc="outside upper center", ncols=4, handlelength=3.4)
        figure.savefig(file, dpi=200)


def draw_panel(axes: Axes, points: Sequence[Point], key: str) -> None:
    """Medians as lines, ranges over seeds as bars beside each other."""
    present = [one for one in SELECTORS if any(p.selector == one for p in points)]
    of = COLUMNS[key][1]
    for place, selector in enumerate(present):
        table = np.array(
            [
                [of(p) for p in points if p.selector == selector and p.n_labels == size]
                for size in SIZES
            ]
        )
        x = np.array(SIZES) + np.sign(np.array(SIZES) - N_START) * 1.7 * (
            place - 0.5 * (len(present) - 1)
        )
        colour, marker, line = LOOKS[selector]
        axes.vlines(x, table.min(axis=1), table.max(axis=1), color=colour, lw=0.6, alpha=0.6)
        middle = np.median(table, axis=1)
        axes.plot(x, middle, color=colour, ls=line)
        filled = [resolved(points, selector, size, key) for size in SIZES]
        for a, b, full in zip(x, middle, filled, strict=True):
            face = colour if full else "white"
            axes.plot(a, b, color=colour, marker=marker, mfc=face, mew=0.7, ls="none")
    if key in ALLOWED:
        axes.axhline(ALLOWED[key], color=ORANGE, lw=0.8, zorder=0)
    axes.set_yscale("log")
    axes.set_ylim(bottom=LEAST.get(key))
    axes.xaxis.set_major_locator(FixedLocator(SIZES))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel(PANELS[key])


def resolved(points: Sequence[Point], selector: str, size: int, key: str) -> bool:
    """Whether a shift is more than two standard errors of the check (median over seeds)."""
    if key not in ERRORS:
        return True
    of, error = COLUMNS[key][1], ERRORS[key]
    some = [p for p in points if p.selector == selector and p.n_labels == size]
    return bool(np.median([of(p) / error(p) for p in some]) > 2.0)


def legend(points: Sequence[Point]) -> list[Line2D]:
    """What lines and marks mean."""
    present = {point.selector for point in points}
    names = {HALF: "half d-optimal, half random"}
    handles = [
        Line2D([], [], color=colour, marker=marker, ls=line, mew=0.7, label=names.get(name, name))
        for name, (colour, marker, line) in LOOKS.items()
        if name in present
    ]
    return [
        *handles,
        Line2D(
            [],
            [],
            color=GREY,
            marker="o",
            mfc="white",
            ls="none",
            label="hollow: below two standard errors",
        ),
        Line2D([], [], color=ORANGE, lw=0.8, label="tolerance"),
    ]


if __name__ == "__main__":
    main()
