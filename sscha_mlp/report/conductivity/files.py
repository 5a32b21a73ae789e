"""Heat transport as files: a page and a table of the modes."""

from collections.abc import Iterator
from pathlib import Path

from sscha_mlp.data.files import make_directory, write_atomic
from sscha_mlp.report.conductivity.figures import conductivity_figure
from sscha_mlp.report.page.csv_text import csv_text
from sscha_mlp.report.page.pdf_file import pdf_bytes
from sscha_mlp.report.page.style import style
from sscha_mlp.run_files.records.conductivity import ConductivityRecord

_COLUMNS = (
    "q1",
    "q2",
    "q3",
    "multiplicity",
    "band",
    "frequency_THz",
    "speed_km_s",
    "half_width_THz",
    "half_width_stderr_THz",
    "kappa_W_mK",
)


def write_conductivity(found: ConductivityRecord, directory: str | Path) -> list[Path]:
    """Write ``conductivity.pdf`` and ``conductivity-modes.csv``.

    Parameters
    ----------
    found
        Content of ``conductivity.json``.
    directory
        Where they go; made if needed.

    Returns
    -------
    The files.

    Raises
    ------
    SschaMlpError
        If a file cannot be written.
    """
    place = make_directory(directory)
    with style():
        content = pdf_bytes([conductivity_figure(found)], title="sscha-mlp: heat transport")
    paths = [place / "conductivity.pdf", place / "conductivity-modes.csv"]
    write_atomic(paths[0], content)
    write_atomic(paths[1], csv_text(_COLUMNS, _rows(found)))
    return paths


def _rows(found: ConductivityRecord) -> Iterator[list[str]]:
    for one in found.modes:
        for band in range(len(one.frequency_THz)):
            numbers = (
                one.frequency_THz[band],
                one.speed_km_s[band],
                one.half_width_THz[band],
                one.half_width_stderr_THz[band],
                one.kappa[band],
            )
            place = [*(f"{value:.8f}" for value in one.q), str(one.multiplicity), str(band + 1)]
            yield [*place, *(f"{value:.8g}" for value in numbers)]
