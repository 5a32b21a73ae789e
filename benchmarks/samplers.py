"""How much an estimate scatters with each way of drawing a population, against its claimed error.

Draws populations of the final state of a run with its last model, and prints the standard
deviation over repeats of the free energy, the pressure and the frequency shifts, beside the mean
standard error that one population claims.

    python benchmarks/samplers.py RUN_DIR --configs 512 --repeats 10
"""

import argparse
import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.data.states import load_state
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.potentials.registry import load
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.scha.estimators import estimate
from sscha_mlp.scha.relaxation import evaluate_ensemble, pressure_of


def main() -> None:
    """Draw, estimate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--configs", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    place = RunDirectory(args.run_dir)
    settings = place.settings()
    state = load_state(place.state("model"))
    group = find_space_group(state.supercell)
    newest = max(place.path.glob("models/[0-9]*"))
    print(f"{'sampler':<20}{'F (meV/atom)':>18}{'P (GPa)':>18}{'frequency (THz)':>20}")
    print(f"{'':<20}{'scatter  claimed':>18}{'scatter  claimed':>18}{'scatter  claimed':>20}")
    with load(newest, n_workers=2) as model:
        for sampler in ("random", "sobol"):
            for antithetic in (False, True):
                found, claimed = [], []
                for repeat in range(args.repeats):
                    ensemble = sample(
                        state,
                        temperature=settings.temperature,
                        n_configs=args.configs,
                        rng=np.random.default_rng([repeat, 7]),
                        antithetic=antithetic,
                        sampler=sampler,
                    )
                    one = estimate(evaluate_ensemble(ensemble, model), group)
                    shifts = one.frequency_shifts
                    per_atom = 1.0e3 / state.supercell.n_atoms
                    found.append(
                        [
                            per_atom * float(one.free_energy.value),
                            pressure_of(one.stress.value) / units.GPA,
                            *(shifts.value.ravel()[3:] / units.THZ),
                        ]
                    )
                    claimed.append(
                        [
                            per_atom * float(one.free_energy.stderr),
                            float(one.stress.stderr[0, 0]) / units.GPA,
                            *(shifts.stderr.ravel()[3:] / units.THZ),
                        ]
                    )
                spread = np.array(found).std(axis=0, ddof=1)
                mean = np.sqrt(np.mean(np.square(claimed), axis=0))
                name = f"{sampler}{', antithetic' if antithetic else ''}"
                print(
                    f"{name:<20}{spread[0]:>9.3f}{mean[0]:>9.3f}{spread[1]:>9.3f}{mean[1]:>9.3f}"
                    f"{np.sqrt(np.mean(spread[2:] ** 2)):>11.3f}"
                    f"{np.sqrt(np.mean(mean[2:] ** 2)):>9.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
