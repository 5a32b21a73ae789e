"""The truth to compare with: the same SSCHA relaxation with the reference itself, no model.

Relaxes with ``--configs`` configurations per population until converged, then averages over
``--average`` further populations.  Prints JSON: volume at the target pressure, free energy,
pressure and frequencies of each irreducible wave vector with standard errors over populations.
``--response N`` adds bulk modulus, thermal expansion and heat capacity by finite differences, from
N configurations for each minimum.

    python benchmarks/direct.py --T 2000 --configs 2000 --average 8 --out direct-2000K.json
"""

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sscha_mlp import units
from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.start import make_start
from sscha_mlp.reference.store import LabelStore
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.observer import LogObserver
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.scha.relaxation import RelaxationSettings, pressure_of, relax
from sscha_mlp.studies.response import respond
from sscha_mlp.validation.direct import DirectEvaluator


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--T", type=float, default=2000.0, help="temperature, K")
    parser.add_argument("--pressure", type=float, default=0.0, help="GPa")
    parser.add_argument("--structure", default="")
    parser.add_argument("--supercell", type=int, nargs=3, default=(2, 2, 2))
    parser.add_argument("--reference", default="tersoff")
    parser.add_argument("--configs", type=int, default=2000)
    parser.add_argument("--average", type=int, default=8)
    parser.add_argument("--response", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    """Run and print."""
    args = read_arguments()
    started = time.perf_counter()
    settings = RunSettings(
        temperature=args.T,
        pressure=args.pressure,
        structure=args.structure,
        supercell=tuple(args.supercell),
        reference=args.reference,
        seed=args.seed,
        workers=args.workers,
    )
    with TemporaryDirectory() as scratch:
        place = RunDirectory(Path(scratch) / "run")
        place.prepare(settings)
        reference = get_reference(args.reference)
        with LabelStore(place.labels) as store:
            context = Context(
                settings, place, Journal(place.journal), store, reference, LogObserver()
            )
            start = make_start(context)
    evaluator = DirectEvaluator(reference, n_workers=args.workers)
    rows = []
    converged_at = None
    loop = RelaxationSettings(n_configs=args.configs, max_populations=10_000)
    state = start.dynamical_matrix
    index = 0
    previous, points = None, ()
    while converged_at is None or len(rows) < args.average:
        index += 1
        population = next(
            relax(
                state,
                evaluator,
                temperature=args.T,
                pressure=args.pressure,
                rng=lambda k: np.random.default_rng([args.seed, k]),
                settings=loop,
                group=context.group,
                first_population=index,
                previous_free_energy=previous,
                points=points,
                reference_volume=start.dynamical_matrix.crystal.volume,
            )
        )
        row = describe(population, args.pressure)
        print(json.dumps({"population": index, **row}), file=sys.stderr, flush=True)
        if converged_at is not None:
            rows.append(row)
        elif population.converged:
            converged_at = index
        step = population.minimisation.steps[-1]
        previous = step.free_energy, step.free_energy_stderr
        state, points = population.following, population.points
        if population.converged:
            # Go on as if it had not: the cell follows the mean, the noise averages out.
            strain = -row["pressure_off_GPa"] / (3 * row["bulk_modulus_GPa"])
            state = state.strained(-strain * np.eye(3))
    result = summarise(rows, settings, evaluator.n_labels, context.group)
    if args.response:
        found = respond(state, evaluator, settings, context.group, n_configs=args.response)
        result["response"] = found.shown().to_json()
        result["n_labels"] = evaluator.n_labels
    result["seconds"] = round(time.perf_counter() - started, 1)
    text = json.dumps(result, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


def describe(population, pressure: float) -> dict:
    """Numbers of one population; the volume is moved to the target pressure."""
    state = population.state
    estimators = population.minimisation.estimators
    volume = state.crystal.volume / state.crystal.n_atoms
    off = pressure_of(estimators.stress.value) / units.GPA - pressure
    bulk = population.bulk_modulus / units.GPA
    return {
        "volume": volume * (1 + off / bulk),
        "pressure_off_GPa": off,
        "bulk_modulus_GPa": bulk,
        "free_energy": population.minimisation.steps[-1].free_energy,
        "frequencies": (state.frequencies_at_qpoints() / units.THZ).tolist(),
    }


def summarise(rows: list[dict], settings: RunSettings, n_labels: int, group) -> dict:
    """Means and standard errors over populations."""

    def mean(values) -> tuple[float, float]:
        array = np.array(values)
        error = array.std(axis=0, ddof=1) / np.sqrt(len(array))
        return array.mean(axis=0), error

    volume, volume_error = mean([row["volume"] for row in rows])
    energy, energy_error = mean([row["free_energy"] for row in rows])
    frequencies, errors = mean([row["frequencies"] for row in rows])
    irreducible = np.unique(group.equivalent_qpoints())
    return {
        "temperature_K": settings.temperature,
        "pressure_GPa": settings.pressure,
        "supercell": list(settings.supercell),
        "reference": settings.reference,
        "n_labels": n_labels,
        "populations_averaged": len(rows),
        "volume_A3_per_atom": {"value": float(volume), "stderr": float(volume_error)},
        "free_energy_eV_per_atom": {"value": float(energy), "stderr": float(energy_error)},
        "frequencies_THz": [
            {
                "q": group.supercell.qpoints[q].tolist(),
                "value": frequencies[q].tolist(),
                "stderr": errors[q].tolist(),
            }
            for q in irreducible
        ],
    }


if __name__ == "__main__":
    main()
