"""How often the two-sigma intervals of the corrected results cover a long direct run.

Repeats a cheap study (fewer configurations and labels, hyper-parameters given) with many seeds and
counts, for F, the volume and each frequency, how often ``|corrected - direct|`` is within two
combined standard errors.  Prints the table and the root mean square of the deviations in units of
the standard error: 1 means honest error bars.

    python benchmarks/error_bars.py --direct direct-1000K.json --repeats 24
"""

import argparse
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from sscha_mlp.campaign.loop import run
from sscha_mlp.crystal.structure_files import read_structure
from sscha_mlp.potentials.gap.presets import presets
from sscha_mlp.resources import bundled_file
from sscha_mlp.run_files.settings import RunSettings


def main() -> None:
    """Run all repeats and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--direct", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=24)
    parser.add_argument("--preset", default="first-shell")
    parser.add_argument("--configs", type=int, default=400)
    args = parser.parse_args()
    direct = json.loads(args.direct.read_text())
    silicon = read_structure(bundled_file("silicon.cif")).to_ase()
    deviations: list[dict[str, np.ndarray]] = []
    labels = []
    for seed in range(1000, 1000 + args.repeats):
        values = {
            "temperature": direct["temperature_K"],
            "seed": seed,
            "configs": args.configs,
            "model": "gap",
            "gap": presets(silicon)[args.preset],
            "training": {"n_start": 30, "n_test": 8, "explore_configs": 0},
            "certificate": {"n_labels": 30},
        }
        with TemporaryDirectory() as scratch:
            result = run(RunSettings.from_mapping(values), scratch)
        deviations.append(compare(result, direct))
        labels.append(result["labels"]["total"])
        now = {key: np.round(value, 2).tolist() for key, value in deviations[-1].items()}
        print(json.dumps({"seed": seed, "converged": result["converged"], **now}), flush=True)
    print(f"\n{args.repeats} repeats, {np.mean(labels):.0f} labels each on average")
    print(f"{'':<22}{'within 2 sigma':>16}{'rms / sigma':>13}{'mean / sigma':>14}")
    for key in deviations[0]:
        z = np.array([one[key] for one in deviations])
        print(
            f"{key:<22}{np.mean(np.abs(z) <= 2):>15.0%}{np.sqrt((z**2).mean()):>14.2f}"
            f"{z.mean():>14.2f}"
        )


def compare(result: dict, direct: dict) -> dict[str, np.ndarray]:
    """Deviations from the direct run in units of the combined standard error."""
    volume, truth = result["volume_A3_per_atom"], direct["volume_A3_per_atom"]
    energy, known = result["free_energy_eV_per_atom"], direct["free_energy_eV_per_atom"]
    modes = []
    for ours, theirs in zip(result["frequencies_THz"], direct["frequencies_THz"], strict=True):
        values = np.array(theirs["value"])
        real = values > 0.5
        error = np.hypot(ours["stderr"], theirs["stderr"])
        modes.append(((np.array(ours["corrected"]) - values) / np.where(real, error, 1))[real])
    return {
        "free energy": np.array(
            (energy["corrected"] - known["value"]) / np.hypot(energy["stderr"], known["stderr"])
        ),
        "pressure (volume)": np.array(
            (volume["value"] - truth["value"]) / np.hypot(volume["stderr"], truth["stderr"])
        ),
        "frequencies": np.concatenate(modes),
    }


if __name__ == "__main__":
    main()
