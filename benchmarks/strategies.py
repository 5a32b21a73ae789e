"""Where to take training labels: what each strategy costs and what it reaches.

Runs the main job with each strategy and several seeds and prints a table: labels until the
certificate passes (or the budget of 300 is spent), fits, seconds, and the distance of the corrected
results from a long direct run.  The evidence behind the defaults; see docs/training.md.

    python benchmarks/strategies.py --direct direct-2000K.json --seeds 0 1 2
"""

import argparse
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from sscha_mlp.campaign.loop import run
from sscha_mlp.run_files.settings import RunSettings, merge

TUTORIAL = {"cutoff": 4.2}
STRATEGIES = {
    "default": {},
    "start only": {"training": {"n_start": 80, "explore_configs": 0}},
    "0 K start, then retrain": {"training": {"temperature": 0.0, "explore_configs": 0}},
    "ladder: half of T, then T": {"training": {"temperature": 1000.0}},
    "tutorial's hyper-parameters": {"gap": TUTORIAL},
    "smaller: 24 + 24 + 30": {
        "training": {"n_start": 24, "n_test": 12, "n_explored": 24},
        "certificate": {"n_labels": 30},
    },
}


def main() -> None:
    """Run all strategies and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--direct", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--model", default="gap")
    parser.add_argument("--only", nargs="*", default=None)
    args = parser.parse_args()
    direct = json.loads(args.direct.read_text())
    print(
        f"{'strategy':<30}{'seed':>5}{'certified':>11}{'labels':>8}{'fits':>6}{'s':>6}"
        f"{'da (%)':>9}{'dF (meV)':>10}{'dw/allowed':>12}"
    )
    for name, changes in STRATEGIES.items():
        if args.only and not any(word in name for word in args.only):
            continue
        for seed in args.seeds:
            with TemporaryDirectory() as scratch:
                base = {"temperature": direct["temperature_K"], "seed": seed, "model": args.model}
                values = merge(base, changes)
                result = run(RunSettings.from_mapping(values), scratch)
            print(f"{name:<30}{seed:>5}{row(result, direct)}", flush=True)


def row(result: dict, direct: dict) -> str:
    """Distances from the direct run."""
    ratio = result["volume_A3_per_atom"]["value"] / direct["volume_A3_per_atom"]["value"]
    energy = (
        result["free_energy_eV_per_atom"]["corrected"] - direct["free_energy_eV_per_atom"]["value"]
    )
    ours = np.array([one["corrected"] for one in result["frequencies_THz"]])
    truth = np.array([one["value"] for one in direct["frequencies_THz"]])
    allowed = np.maximum(0.05, 0.01 * truth)
    return (
        f"{'yes' if result['converged'] else 'no':>11}{result['labels']['total']:>8}"
        f"{result['retrains'] + 1:>6}{result['timings_s']['total']:>6.0f}"
        f"{100 * (ratio ** (1 / 3) - 1):>+9.3f}{1e3 * energy:>+10.2f}"
        f"{np.max(np.abs(ours - truth) / allowed):>12.2f}"
    )


if __name__ == "__main__":
    main()
