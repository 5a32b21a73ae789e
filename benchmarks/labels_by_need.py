"""How many labels do the defaults take, and is what they certify right?  Some seeds of each study.

Each study is run with the defaults alone, and held to a direct SSCHA with the reference
(``accuracy_truth.py``).  "labels" are all calls of the reference: structure, displaced and strained
cells of the start, training, test and check.  Runs are kept in ``runs/labels``: what is finished is
not done again, and what was interrupted goes on.

    python benchmarks/labels_by_need.py                       # all studies, five seeds
    python benchmarks/labels_by_need.py silicon salt --seeds 2
    python benchmarks/labels_by_need.py --truth               # and the direct runs
    python benchmarks/labels_by_need.py --read                # the table of what is there
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from accuracy_crystals import Case, own
from accuracy_scores import coverage, scores_of
from accuracy_truth import truth_of
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.io import write

from sscha_mlp.campaign.loop import run
from sscha_mlp.errors import SschaMlpError
from sscha_mlp.run_files.settings import RunSettings

RUNS: Final = Path("runs/labels")
SHOWN: Final = ("F", "V", "frequencies")


def triclinic() -> Atoms:
    """Return eight atoms of two kinds on fcc sites, in a cell and an order without symmetry."""
    atoms = make_supercell(bulk("Ni", "fcc", a=3.6), [[2, 1, 0], [0, 2, 0], [1, 1, 2]])
    symbols = np.array(["Ni"] * 8)
    symbols[[4, 6, 7]] = "Al"
    atoms.symbols = symbols
    return atoms


@dataclass(frozen=True)
class Study:
    """A case and how many labels it may take in all."""

    case: Case
    target: int


def silicon() -> Atoms:
    """Return the diamond structure."""
    return bulk("Si", a=5.43)


STUDIES: Final = {
    "silicon": Study(Case("Si, Tersoff, 300 K", silicon, "tersoff", 300.0, (2, 2, 2), 1000), 25),
    "hot-silicon": Study(
        Case("Si, Tersoff, 2000 K", silicon, "tersoff", 2000.0, (2, 2, 2), 1000), 90
    ),
    "salt": Study(
        Case(
            "NaCl, ions, 300 K",
            lambda: bulk("NaCl", "rocksalt", a=5.64),
            own("salt"),
            300.0,
            (2, 2, 2),
        ),
        35,
    ),
    "silicon-germanium": Study(
        Case(
            "SiGe, Tersoff, 600 K",
            lambda: bulk("SiGe", "zincblende", a=5.54),
            "tersoff-sige",
            600.0,
            (2, 2, 2),
            1000,
        ),
        40,
    ),
    "copper": Study(
        Case("Cu, EMT, 27 atoms, 600 K", lambda: bulk("Cu", a=3.61), "emt", 600.0, (3, 3, 3)), 40
    ),
    "triclinic": Study(
        Case("Ni5Al3, triclinic, pairs, 300 K", triclinic, own("alloy"), 300.0, (1, 1, 1), 200),
        60,
    ),
}


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="*", help=f"of: {', '.join(STUDIES)}")
    parser.add_argument("--read", action="store_true", help="run nothing")
    parser.add_argument("--truth", action="store_true", help="compute the direct runs too")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each study")
    parser.add_argument("--out", type=Path, default=RUNS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.studies or list(STUDIES):
        results = [answer(name, seed, args.out, read=args.read) for seed in range(args.seeds)]
        truth = truth_of_study(name, args.out, compute=args.truth and not args.read)
        print(table(STUDIES[name], [one for one in results if one], truth), flush=True)


def truth_of_study(name: str, out: Path, *, compute: bool) -> dict[str, Any] | None:
    """Return the direct answer of a study: of its file, or computed; None where there is none."""
    place = out / f"{name}-truth.json"
    if not place.is_file():
        if not compute:
            return None
        place.write_text(json.dumps(truth_of(STUDIES[name].case), indent=1) + "\n")
    content: dict[str, Any] = json.loads(place.read_text())
    return content


def answer(name: str, seed: int, out: Path, *, read: bool) -> dict[str, Any] | None:
    """Return the result of a run: of its directory, or of a run that is made or goes on now."""
    place = out / f"{name}-{seed}"
    if not (place / "result.json").is_file():
        if read:
            return None
        case = STUDIES[name].case
        structure = out / f"{name}.vasp"
        if not structure.is_file():
            write(structure, case.structure(), format="vasp", direct=True)
        started = time.perf_counter()
        try:
            run(RunSettings.from_mapping(case.settings(structure, seed)), place)
        except SschaMlpError as err:
            print(f"{case.title}, seed {seed}: failed: {err}", flush=True)
            return None
        (place / "seconds").write_text(f"{time.perf_counter() - started:.0f}\n")
    content: dict[str, Any] = json.loads((place / "result.json").read_text())
    content["seed"] = seed
    content["seconds"] = (place / "seconds").read_text().strip()
    return content


def table(study: Study, results: Sequence[dict[str, Any]], truth: dict[str, Any] | None) -> str:
    """Return one line for each run of a study."""
    lines = [f"\n{study.case.title}: {study.target} labels at most are aimed at"]
    lines.append(
        f"  {'seed':>4}{'labels':>8}{'start':>7}{'train':>7}{'test':>6}{'check':>7}{'refits':>8}"
        f"{'s':>7}{'certified':>11}{'z of F':>9}{'V':>7}{'frequencies, rms (worst)':>27}"
    )
    for one in results:
        labels = one["labels"]
        calls = labels["total"] + labels["start"]
        text = f"  {one['seed']:>4}{calls:>8}{labels['start']:>7}{labels['train']:>7}"
        text += f"{labels['test']:>6}{labels['check']:>7}{one['retrains']:>8}{one['seconds']:>7}"
        text += f"{'yes' if one['converged'] else 'NO':>11}"
        if truth is not None:
            z = scores_of(study.case.title, one, truth).z
            text += f"{z['F'][0]:>+9.1f}{z['V'][0]:>+7.1f}"
            _, rms, worst = coverage(z["frequencies"])
            text += f"{f'{rms:.2f} ({worst:.1f})':>27}"
        lines.append(text)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
