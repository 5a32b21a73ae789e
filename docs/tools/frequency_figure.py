"""Draw the figure of the first page: model, corrected and direct frequencies of one run.

sscha-mlp relax --T 2000 --run-dir runs/demo
python benchmarks/direct.py --T 2000 --configs 2000 --average 8 --out runs/direct-2000K.json
python docs/tools/frequency_figure.py runs/demo runs/direct-2000K.json
"""

import argparse
import json
from pathlib import Path

import sscha_mlp as sm
from sscha_mlp.report.phonons.known_frequencies import known_frequencies

FIGURE = Path(__file__).parents[1] / "figures" / "frequencies.png"


def main() -> None:
    """Read run and direct result, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("direct", type=Path, help="output of benchmarks/direct.py")
    parser.add_argument("--out", type=Path, default=FIGURE)
    given = parser.parse_args()
    result = json.loads((given.run / "result.json").read_text(encoding="utf-8"))
    figure = sm.frequency_figure(
        result["frequencies_THz"], known=known_frequencies(given.direct, result)
    )
    figure.savefig(given.out, dpi=130)
    print(given.out)


if __name__ == "__main__":
    main()
