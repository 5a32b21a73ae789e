"""How a result changes with the size of the supercell: one page, and the numbers as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sscha_mlp.data.files import write_atomic, write_json_atomic
from sscha_mlp.digits import with_error
from sscha_mlp.errors import InputError
from sscha_mlp.quantities import QUANTITIES
from sscha_mlp.report.page.layout import (
    Column,
    Flow,
    add_axes_mm,
    legend_above,
    new_page,
    set_labels,
)
from sscha_mlp.report.page.pdf_file import stamped_pdf
from sscha_mlp.report.page.style import BLUE, INK, TEXT_WIDTH, VERMILION, style
from sscha_mlp.report.phonons.data import Phonons, run_phonons
from sscha_mlp.report.phonons.figures import set_path
from sscha_mlp.run_files.provenance import versions
from sscha_mlp.studies.supercell_convergence import SizeRow

SCHEMA: Final = "sscha-mlp/sizes/1"

_LOOKS: Final[tuple[dict[str, Any], ...]] = (
    {"color": VERMILION, "linewidth": 0.9, "linestyle": (0, (4.0, 2.0)), "zorder": 2.2},
    {"color": BLUE, "linewidth": 1.2, "linestyle": "-", "zorder": 2.0},
)
"""The smaller and the larger cell; told apart without colours, too."""

_MARKERS: Final = ("s", "o")
_LEFT: Final = 14.0
_BANDS: Final = 86.0
_PANEL: Final = 38.0


def write_sizes(rows: Sequence[SizeRow], directory: str | Path) -> tuple[Path, Path]:
    """Write ``sizes.json`` and ``sizes.pdf``.

    Parameters
    ----------
    rows
        From :func:`sscha_mlp.studies.supercell_convergence.size_rows`, at least one.
    directory
        Where to.

    Returns
    -------
    The two files.

    Raises
    ------
    InputError
        If there is no row, or a run of them cannot be read.
    SschaMlpError
        If a file cannot be written.
    """
    if not rows:
        raise InputError("There is no run to compare.")
    place = Path(directory)
    content = {
        "schema": SCHEMA,
        "sizes": [row.to_json() for row in rows],
        "versions": versions(),
    }
    write_json_atomic(place / "sizes.json", content)
    page, head = sizes_page(rows), Path(rows[-1].directory).name
    with style():
        pdf = stamped_pdf([page], head=head, title="Change with the supercell")
        write_atomic(place / "sizes.pdf", pdf)
    return place / "sizes.json", place / "sizes.pdf"


def sizes_page(rows: Sequence[SizeRow]) -> Figure:
    """Return the page: dispersions of the two largest cells, volume, free energy and frequencies.

    Raises
    ------
    InputError
        If a run of the rows cannot be read.
    """
    shown = rows[-2:]
    found = [run_phonons(row.directory) for row in shown]
    with style():
        figure = new_page()
        flow = Flow(figure)
        flow.heading(f"Change with the supercell: {found[-1].title}", size=12.0)
        flow.paragraph(
            "Curves are interpolated from the corrected force constants of each supercell, symbols "
            "stand at its own wave vectors, with two standard errors. Where the curves of the "
            "smaller cell leave those of the larger one, interactions reach beyond it. The free "
            "energy of N atoms lacks the three translations of the supercell: most of its change "
            "with N is that."
        )
        flow.top = _draw_bands(figure, flow, shown, found)
        flow.top = _draw_panels(figure, flow, rows)
        flow.skip(2.0)
        flow.heading("Frequencies at the wave vectors that both have")
        columns, cells = _table(shown)
        flow.table(columns, cells)
    return figure


def _draw_bands(
    figure: Figure, flow: Flow, rows: Sequence[SizeRow], found: Sequence[Phonons]
) -> float:
    """Dispersions over each other; return where they end, mm."""
    top = flow.top + 8.0
    axes = add_axes_mm(figure, flow.left + _LEFT, top, TEXT_WIDTH - _LEFT - 1.0, _BANDS)
    for number, (row, one) in enumerate(zip(rows, found, strict=True)):
        index = number + len(_LOOKS) - len(rows)
        _draw_one(axes, row, one, index)
    path = found[-1].path
    set_path(axes, path, length=float(path.distances[-1]))
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), None)
    axes.set_ylabel(QUANTITIES["frequency"].axis)
    legend_above(axes)
    return top + _BANDS + 12.0


def _draw_one(axes: Axes, row: SizeRow, found: Phonons, index: int) -> None:
    """The curves of one supercell, and its own frequencies."""
    state = found.states[-1]
    path, curves = state.dispersion.path, state.dispersion.frequencies_thz
    length = path.distances[-1]
    for part in path.parts:
        axes.plot(path.distances[part] / length, curves[part], **_LOOKS[index])
    for point in found.points:
        axes.errorbar(
            np.full(len(point.corrected), point.distance / length),
            point.corrected,
            2.0 * point.stderr,
            color=_LOOKS[index]["color"],
            marker=_MARKERS[index],
            markersize=4.4 if index == 0 else 2.6,
            markerfacecolor="white" if index == 0 else _LOOKS[index]["color"],
            markeredgewidth=0.8,
            linestyle=_LOOKS[index]["linestyle"],
            linewidth=0.0,
            elinewidth=0.8,
            capsize=1.6,
            zorder=3.0 + 0.1 * index,
            clip_on=False,
            label=f"{row.cells} cells ({row.n_atoms} atoms)",
        )


def _draw_panels(figure: Figure, flow: Flow, rows: Sequence[SizeRow]) -> float:
    """Volume and free energy against the number of atoms; return where they end, mm."""
    width = (TEXT_WIDTH - 2 * _LEFT - 8.0) / 2
    names = ("volume", "free_energy")
    values = ([row.volume for row in rows], [row.free_energy for row in rows])
    for number, (name, pairs) in enumerate(zip(names, values, strict=True)):
        left = flow.left + _LEFT + number * (width + _LEFT + 8.0)
        axes = add_axes_mm(figure, left, flow.top, width, _PANEL)
        axes.errorbar(
            [row.n_atoms for row in rows],
            [value for value, _ in pairs],
            [2.0 * error for _, error in pairs],
            color=INK,
            marker="o",
            markersize=3.5,
            markerfacecolor="white",
            linewidth=0.7,
            linestyle=":",
            elinewidth=0.9,
            capsize=2.0,
        )
        axes.set_xscale("log")
        axes.set_xticks([row.n_atoms for row in rows], [str(row.n_atoms) for row in rows])
        axes.minorticks_off()
        axes.margins(x=0.2, y=0.2)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.ticklabel_format(axis="y", useOffset=False)
        set_labels(axes, "Atoms of the supercell", QUANTITIES[name].axis)
    return flow.top + _PANEL + 13.0


def _table(rows: Sequence[SizeRow]) -> tuple[list[Column], list[list[str]]]:
    """Frequencies at wave vectors of every row, and the change from the first to the last."""
    columns = [
        Column("q", 45.0, "left"),
        *(Column(f"{row.cells} (THz)", 40.0) for row in rows),
        Column("Change (THz)", 40.0),
    ]
    cells = []
    for level in rows[0].levels:
        place = rows[0].at(level.q).index(level)
        others = [row.at(level.q)[place : place + 1] for row in rows]
        if not all(others):
            continue
        found = [one[0] for one in others]
        error = float(np.hypot(found[0].stderr, found[-1].stderr))
        equal = f" ×{level.count}" if level.count > 1 else ""
        cells.append(
            [
                f"{level.shown_q}{equal}",
                *(with_error(one.frequency, one.stderr) for one in found),
                with_error(found[-1].frequency - found[0].frequency, error),
            ]
        )
    return columns, cells
