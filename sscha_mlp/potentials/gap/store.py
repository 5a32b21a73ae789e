"""Files of a GAP: out of gap_fit's scratch directory, and out of the way of the next fit.

gap_fit puts the time of day into the name of the model and of its files.  Here both are renamed
after the training data and settings, so that the same fit gives the same bytes.
"""

import re
import shutil
from pathlib import Path
from typing import Final

from sscha_mlp.errors import FitError
from sscha_mlp.potentials.gap.command import LOG_FILE, MODEL_FILE, TRAIN_FILE
from sscha_mlp.potentials.registry import MARKER

SCRATCH_PREFIX: Final = ".fit-"

_LABEL: Final = re.compile(rb'<GAP_params label="([^"]+)"')


def adopt(scratch: Path, directory: Path, *, name: str) -> tuple[str, ...]:
    """Move a fit out of its scratch directory, renamed from the time of day to `name`.

    Returns
    -------
    The names of the files that make up the model.

    Raises
    ------
    FitError
        If the model file is not what gap_fit writes, or holds weights that are not finite.
    """
    content = (scratch / MODEL_FILE).read_bytes()
    match = _LABEL.search(content)
    sparse = sorted(scratch.glob(f"{MODEL_FILE}.sparseX.*"))
    if match is None or not sparse:
        raise FitError(f"gap_fit wrote no complete model; its output is in {directory / LOG_FILE}.")
    if re.search(rb'alpha="[^"]*(nan|inf)', content, re.IGNORECASE):
        raise FitError(
            "gap_fit found weights that are not finite: the covariance matrix is singular. "
            f"Raise sparse_jitter or lower n_sparse; the output is in {directory / LOG_FILE}."
        )
    old, new = match[1], name.encode()
    names = []
    for path in sparse:
        names.append(path.name.replace(old.decode(), name))
        path.replace(directory / names[-1])
    (scratch / TRAIN_FILE).replace(directory / TRAIN_FILE)
    (directory / MODEL_FILE).write_bytes(content.replace(old, new))
    return (MODEL_FILE, *names)


def clean(directory: Path) -> None:
    """Remove what a fit leaves in its directory, the marker first; other files stay."""
    (directory / MARKER).unlink(missing_ok=True)
    for path in directory.glob(f"{MODEL_FILE}*"):
        path.unlink()
    for name in (TRAIN_FILE, LOG_FILE):
        (directory / name).unlink(missing_ok=True)
    for path in directory.glob(f"{SCRATCH_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)
