"""Is a certified number right within its error?  One table over many crystals.

Each crystal is relaxed with the defaults, as ``sscha-mlp relax`` would, and every number of its
answer is held to a direct SSCHA with the reference (``accuracy_truth.py``), in units of the
combined standard error.  Runs are kept in ``runs/accuracy``: what is finished is not done again.

    python benchmarks/accuracy.py                 # all crystals that have a truth
    python benchmarks/accuracy.py quartz argon    # some
    python benchmarks/accuracy.py --read          # the table of what is there
    python benchmarks/accuracy.py quartz --seeds 24 --configs 400
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from accuracy_crystals import CASES
from accuracy_scores import KINDS, Scores, coverage, scores_of
from accuracy_truth import truth_file
from ase.io import write

from sscha_mlp.campaign.loop import run
from sscha_mlp.errors import SschaMlpError
from sscha_mlp.run_files.settings import RunSettings

RUNS: Final = Path("runs/accuracy")


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crystals", nargs="*", help=f"of: {', '.join(CASES)}")
    parser.add_argument("--read", action="store_true", help="run nothing")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each crystal")
    parser.add_argument("--configs", type=int, help="configurations per population")
    parser.add_argument("--out", type=Path, default=RUNS)
    args = parser.parse_args()
    names = args.crystals or [name for name in CASES if truth_file(name).is_file()]
    found: list[Scores] = []
    for name in names:
        truth = json.loads(truth_file(name).read_text())
        for seed in range(args.seeds):
            result = answer(name, seed, args)
            if result is None:
                continue
            found.append(scores_of(CASES[name].title, result, truth))
            print(found[-1].line(), flush=True)
    if found:
        print(table(found))


def answer(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any] | None:
    """Return the result of a crystal: of its run directory, or of a run that is made now."""
    label = name if args.configs is None else f"{name}-{args.configs}"
    place = args.out / (label if seed == 0 else f"{label}-{seed}")
    if (place / "result.json").is_file():
        content: dict[str, Any] = json.loads((place / "result.json").read_text())
        return content
    if args.read:
        return None
    case = CASES[name]
    args.out.mkdir(parents=True, exist_ok=True)
    structure = args.out / f"{name}.vasp"
    write(structure, case.structure(), format="vasp", direct=True)
    values = case.settings(structure, seed)
    if args.configs is not None:
        values["configs"] = args.configs
    try:
        return dict(run(RunSettings.from_mapping(values), place))
    except SschaMlpError as err:
        print(f"{case.title}: failed: {err}", flush=True)
        return None


def table(found: list[Scores]) -> str:
    """Return one line for each crystal, and the coverage of each kind of number."""
    header = f"{'crystal':<28}{'certified':>10}{'labels':>8}" + "".join(
        f"{kind:>14}" for kind in KINDS
    )
    lines = ["", header, *(one.line() for one in found), ""]
    lines.append(
        f"{'numbers of certified runs':<28}{'count':>10}{'in 2 s':>8}{'rms z':>8}{'worst':>8}"
    )
    good = [one for one in found if one.certified]
    for kind in KINDS:
        z = np.concatenate([one.z[kind] for one in good]) if good else np.zeros(0)
        if len(z):
            inside, rms, worst = coverage(z)
            lines.append(f"  {kind:<26}{len(z):>10}{inside:>8.0%}{rms:>8.2f}{worst:>8.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
