"""Print the benchmark tables: ours beside its peer, in one run on one machine, one BLAS thread.

python benchmarks/run.py           evaluation, minimiser, label store and executors, steps of a
                                   refinement, potentials beside other codes, and the whole job
                                   beside the tutorial done by hand (about half an hour on two
                                   cores)
python benchmarks/run.py --quick   without the whole job, and of the potentials one data set and
                                   what takes seconds (about two minutes)

The sizes of label store and executors are small; --labels 1000 100000 and --configs 1000 give those
of a large study.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.structure_files import read_structure
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group, symmetrise_structure
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.ensemble.sampling import Ensemble, sample
from sscha_mlp.potentials.gap.presets import presets
from sscha_mlp.potentials.registry import fit, load
from sscha_mlp.reference.calculator import LabelCalculator
from sscha_mlp.reference.label import label
from sscha_mlp.resources import bundled_file


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 1000], help="in the store")
    parser.add_argument("--configs", type=int, default=100, help="labelled by each executor")
    args = parser.parse_args()
    ensemble, labelled = silicon_ensemble(args.seed)
    with TemporaryDirectory() as scratch:
        evaluation_table(Path(scratch), ensemble, labelled)
    engine_tables(quick=args.quick)
    labelling_tables(args.labels, args.configs)
    child("refinement.py", *(["--quick"] if args.quick else []))
    potentials_table(quick=args.quick)
    if not args.quick:
        whole_job_table(args.seed)


def silicon_ensemble(seed: int) -> tuple[Ensemble, list[LabelledConfiguration]]:
    """2000 K ensemble of the harmonic state of Tersoff silicon, 16 atoms, 1000 configurations."""
    from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, symmetrise

    reference = get_reference("tersoff")
    crystal = symmetrise_structure(read_structure(bundled_file("silicon.cif")))
    scale = 5.432 / 5.43
    crystal = Crystal(
        crystal.cell * scale, crystal.positions * scale, crystal.numbers, crystal.masses
    )
    supercell = Supercell(crystal, (2, 2, 2))
    group = find_space_group(supercell)
    constants = np.zeros((2, 16, 3, 3))
    calculator = LabelCalculator(reference)
    for atom in range(2):
        for axis in range(3):
            for sign in (1, -1):
                frame = supercell.crystal.to_ase()
                frame.positions[atom, axis] += sign * 0.01
                frame.calc = calculator
                constants[atom, :, axis, :] -= sign * frame.get_forces() / 0.02
    state = DynamicalMatrix(supercell, symmetrise(group, constants))
    rng = np.random.default_rng(seed)
    ensemble = sample(state, temperature=2000.0, n_configs=1000, rng=rng)
    done = label(ensemble.configurations()[:100], reference, n_workers=2)
    values = [one for one in done.labels if one is not None]
    labelled = [
        LabelledConfiguration(ensemble.configuration(k), values[k], temperature=2000.0)
        for k in range(100)
    ]
    return ensemble, labelled


def evaluation_table(
    scratch: Path, ensemble: Ensemble, labelled: list[LabelledConfiguration]
) -> None:
    """Milliseconds per 16-atom configuration: quippy as ASE calls it, and ours."""
    from sscha_mlp.quippy_adapter import quippy_potential

    print("\nGAP evaluation, energy + forces + stress, 16 atoms (ms per configuration)")
    print(f"{'hyper-parameters':<14}{'fit, 100 labels (s)':>20}{'quippy, 3 getters':>19}", end="")
    print(f"{'ours, 1 process':>17}{'2 processes':>13}{'ratio':>8}")
    frames = ensemble.configurations()[:256]
    for name, settings in gap_presets(ensemble):
        begin = time.perf_counter()
        model = fit("gap", labelled, directory=scratch / name, settings=settings)
        seconds = time.perf_counter() - begin
        model.close()
        peer = quippy_potential("IP GAP", param_filename=model_file(scratch / name))
        peer.set_default_properties(["energy", "forces"])
        begin = time.perf_counter()
        for frame in frames[:48]:
            frame.calc = peer
            frame.get_potential_energy(), frame.get_forces(), frame.get_stress()
            frame.calc = None
        by_hand = (time.perf_counter() - begin) / 48
        ours = []
        for workers in (1, 2):
            with load(scratch / name, n_workers=workers) as loaded:
                loaded.evaluate(frames[:16])
                begin = time.perf_counter()
                loaded.evaluate(frames)
                ours.append((time.perf_counter() - begin) / len(frames))
        print(
            f"{name:<14}{seconds:>20.1f}{1e3 * by_hand:>19.1f}{1e3 * ours[0]:>17.1f}"
            f"{1e3 * ours[1]:>13.1f}{by_hand / ours[1]:>7.1f}x"
        )


def gap_presets(ensemble: Ensemble) -> list[tuple[str, dict]]:
    """Presets of silicon by name."""
    return list(presets(ensemble.dynamical_matrix.crystal.to_ase()).items())


def model_file(directory: Path) -> str:
    """Path of the potential's XML file."""
    return str(next(directory.glob("*.xml")))


def engine_tables(*, quick: bool) -> None:
    """The SSCHA engine beside python-sscha, each measurement in a process of its own."""
    script = Path(__file__).with_name("scha_engine.py")
    options = ["--quick"] if quick else []
    sys.stdout.flush()
    subprocess.run([sys.executable, str(script), *options], check=True)


def labelling_tables(n_labels: list[int], n_configs: int) -> None:
    """Times of the label store, and what executor and store add to a label."""
    print(flush=True)
    child("label_store.py", "--labels", *map(str, n_labels))
    print("\nLabelling with a calculator that takes 1 ms, through a store on the disk", flush=True)
    child("executors.py", "--configs", str(n_configs), "--repeats", "3")


def potentials_table(*, quick: bool) -> None:
    """Learned potentials on the same data, each in a process of its own."""
    child("potentials.py", *(["--quick"] if quick else []))


def child(script: str, *options: str) -> None:
    """Run another benchmark of this directory in a process of its own."""
    sys.stdout.flush()
    path = Path(__file__).with_name(script)
    subprocess.run([sys.executable, str(path), *options], check=True)


def whole_job_table(seed: int) -> None:
    """``sscha-mlp relax --T 2000`` beside the tutorial done by hand."""
    print(
        "\nThe whole job, silicon at 2000 K, 2x2x2, N = 1000 (direct: 5.4885 Å, 4.253, 15.664 THz)"
    )
    print(f"{'':<22}{'seconds':>9}{'labels':>8}{'a (Å)':>18}{'softest (THz)':>18}{'certified':>11}")
    with TemporaryDirectory() as scratch:
        begin = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-m", "sscha_mlp", "relax", "--T", "2000", "--quiet"),
                *("--seed", str(seed), "--run-dir", scratch),
            ],
            check=False,
            stdout=subprocess.DEVNULL,
        )
        ours = time.perf_counter() - begin
        result = json.loads((Path(scratch) / "result.json").read_text())
    volume = result["volume_A3_per_atom"]
    lattice = (8 * volume["value"]) ** (1 / 3)
    error = lattice * volume["stderr"] / volume["value"] / 3
    modes = [
        (value, stderr)
        for row in result["frequencies_THz"]
        for value, stderr in zip(row["corrected"], row["stderr"], strict=True)
        if value > 0.5
    ]
    soft = min(modes)
    print(
        f"{'sscha-mlp relax':<22}{ours:>9.0f}{result['labels']['total']:>8}"
        f"{f'{lattice:.4f} ± {error:.4f}':>18}{f'{soft[0]:.3f} ± {soft[1]:.3f}':>18}"
        f"{'yes' if result['converged'] else 'no':>11}"
    )
    script = Path(__file__).with_name("tutorial_by_hand.py")
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(script), "--seed", str(seed)],
        check=True,
        capture_output=True,
        text=True,
    )
    theirs = time.perf_counter() - begin
    peer = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{'tutorial by hand':<22}{theirs:>9.0f}{peer['labels']:>8}"
        f"{peer['lattice_parameter_A']:>18.4f}{peer['softest_THz']:>18.3f}{'-':>11}"
    )
    print(f"ratio of seconds: {ours / theirs:.3f}")


if __name__ == "__main__":
    main()
