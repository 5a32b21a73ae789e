"""Models made to fail, and what the certificate says of them.

Takes a converged run of the main job and certifies its final state with models that are wrong in
known ways: fitted on ten configurations, fitted on another material's potential, and with an
energy offset.  Each must be refused.  Then runs the tutorial's own mistake, a model trained at
0 K that is asked to relax at 2000 K, and shows where it is stopped.

    python benchmarks/failing_models.py RUN_DIR
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.campaign.loop import run
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.data.dataset import Dataset
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.data.states import load_state
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.potentials.registry import fit, load
from sscha_mlp.reference.label import label
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.scha.estimators import Samples
from sscha_mlp.scha.relaxation import evaluate_ensemble
from sscha_mlp.validation.certificate import certify


def main() -> None:
    """Certify each model and print the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    args = parser.parse_args()
    place = RunDirectory(args.run_dir)
    settings = place.settings()
    state = load_state(place.state("final"))
    group = find_space_group(state.supercell)
    rng = np.random.default_rng(123)
    ensemble = sample(
        state, temperature=settings.temperature, n_configs=40, rng=rng, antithetic=False
    )
    done = label(ensemble.configurations(), get_reference(settings.reference), n_workers=2)
    reference = Samples(
        ensemble,
        np.array([one.energy for one in done.labels]),
        np.array([one.forces.ravel() for one in done.labels]),
        np.array([one.stress for one in done.labels]),
    )
    dataset = Dataset.read(place.dataset)
    newest = max(place.path.glob("models/[0-9]*"))
    with TemporaryDirectory() as scratch, load(newest) as good:
        chosen = dict(good.settings)
        other = mistaken_labels(dataset.train)
        models = {
            "the run's own model": good,
            "fitted on 10 configurations": fit(
                "gap", dataset.train[:10], directory=Path(scratch) / "ten", settings=chosen
            ),
            "fitted on another material": fit(
                "gap", other, directory=Path(scratch) / "other", settings=chosen
            ),
        }
        for name, model in models.items():
            values = evaluate_ensemble(ensemble, model)
            report(name, certify(reference, values, group))
        values = evaluate_ensemble(ensemble, good)
        offset = replace(values, energies=values.energies + 16 * 0.005)
        report("5 meV/atom energy offset", certify(reference, offset, group))
    with TemporaryDirectory() as scratch:
        training = replace(settings.training, temperature=0.0, explore_configs=0)
        budget = settings.least_labels
        cold = run(replace(settings, training=training, max_labels=budget), scratch)
        journal = (Path(scratch) / "journal.jsonl").read_text()
        print(f"\ntrained at 0 K, no budget to learn: {cold['stop_reason']}")
        print(f"populations before the stop: {journal.count('population/round-1')}")


def mistaken_labels(
    train: tuple[LabelledConfiguration, ...],
) -> list[LabelledConfiguration]:
    """Return the same silicon configurations labelled with a crystal of other bonds: Tersoff Ge."""
    from sscha_mlp.calculators.tersoff import tersoff

    reference = get_reference("tersoff").from_factory(tersoff, elements=("Ge",))
    frames = []
    for one in train:
        atoms = one.atoms.copy()
        atoms.numbers[:] = 32
        frames.append(atoms)
    done = label(frames, reference, n_workers=2)
    return [
        LabelledConfiguration(one.atoms, value)
        for one, value in zip(train, done.labels, strict=True)
        if value is not None
    ]


def report(name: str, certificate) -> None:
    """Print one line of shifts and the verdict."""
    shifts = "  ".join(
        f"{key} {one.delta:+.3f} ± {one.stderr:.3f}" for key, one in certificate.shifts.items()
    )
    print(f"{name:<30} {certificate.verdict.value:<12} {shifts}")


if __name__ == "__main__":
    main()
