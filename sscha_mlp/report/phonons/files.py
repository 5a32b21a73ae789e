"""The phonons of a run as files: figure and tables, and exports to other codes."""

import io
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import ase.io
import numpy as np
from matplotlib.figure import Figure

from sscha_mlp import units
from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.data.dyn_files import write_dyn
from sscha_mlp.data.files import make_directory, write_atomic, write_json_atomic
from sscha_mlp.digits import fixed, with_error
from sscha_mlp.errors import InputError
from sscha_mlp.properties.phonopy_files import write_phonopy
from sscha_mlp.properties.polar_modes import PolarLevel
from sscha_mlp.quantities import q_name
from sscha_mlp.report.page.csv_text import csv_text
from sscha_mlp.report.page.layout import Column, Flow, new_page, table_pages
from sscha_mlp.report.page.pdf_file import stamped_pdf
from sscha_mlp.report.page.style import GREY, MARGIN, style
from sscha_mlp.report.phonons.data import ModeRow, Phonons, PhononState
from sscha_mlp.report.phonons.figures import NAMES, draw_phonons

SCHEMA: Final = "sscha-mlp/phonons/1"

MEANING: Final = (
    "Harmonic: the start, at the relaxed cell of the reference without vibrations. SSCHA: trial "
    "frequencies at the temperature and the cell of the run; corrected: with the differences to "
    "the reference that the certificate measured. ± is one standard error, known at the wave "
    "vectors of the supercell; between them curves are Fourier interpolation. Change: corrected "
    "less harmonic, of modes with the most similar polarisation. Unstable modes are negative."
)
"""What the curves are."""

ENTROPY: Final = (
    "The entropy of the SSCHA is that of its trial modes at this temperature. Their harmonic free "
    "energy is not the SSCHA free energy, which is in result.json; their heat capacity leaves out "
    "that frequencies change with temperature. k is the Boltzmann constant."
)
"""What the sums over modes mean."""


class Export(StrEnum):
    """Formats for other codes."""

    PHONOPY = "phonopy"
    QE = "qe"
    EXTXYZ = "extxyz"


def write_phonons(
    phonons: Phonons,
    directory: str | Path,
    *,
    exports: Iterable[Export | str] = (),
    born: BornCharges | None = None,
) -> list[Path]:
    """Write ``phonons.pdf``, ``.json``, ``.csv`` and ``phonons-dos.csv``, and exports.

    The exports go to ``phonopy/STATE/`` (``phonopy.yaml`` and ``FORCE_CONSTANTS``),
    ``qe/STATE_dyn*`` and ``STATE.xyz`` (structure of the primitive cell) for each state.

    Parameters
    ----------
    phonons
        From :func:`sscha_mlp.report.phonons.data.run_phonons`.
    directory
        Where the files go; made if needed.
    exports
        Any of ``phonopy``, ``qe`` and ``extxyz``.
    born
        Born charges for ``phonopy.yaml`` and the dyn files; by default those of the phonons.

    Returns
    -------
    The files written, the figure first.

    Raises
    ------
    InputError
        If a format is unknown, or the directory cannot be made.
    SschaMlpError
        If a file cannot be written.
    """
    formats = [as_export(one) for one in exports]
    born = phonons.born if born is None else born
    place = make_directory(directory)
    with style():
        content = stamped_pdf(phonon_pages(phonons), head="Phonons", title="sscha-mlp: phonons")
        write_atomic(place / "phonons.pdf", content)
    write_json_atomic(place / "phonons.json", phonons_json(phonons))
    write_atomic(place / "phonons.csv", _dispersion_csv(phonons))
    write_atomic(place / "phonons-dos.csv", _density_csv(phonons))
    names = ("phonons.pdf", "phonons.json", "phonons.csv", "phonons-dos.csv")
    written = [place / name for name in names]
    for one in phonons.states:
        for how in formats:
            written += _write_export(how, one, place, phonons.temperature, born)
    return written


def as_export(name: Export | str) -> Export:
    """Return the format of this name.

    Raises
    ------
    InputError
        If there is none.
    """
    try:
        return Export(name)
    except ValueError as err:
        raise InputError(
            f"There is no export {name!r}; choose from {', '.join(one.value for one in Export)}."
        ) from err


def _write_export(
    how: Export, one: PhononState, place: Path, temperature: float, born: BornCharges | None
) -> list[Path]:
    if how is Export.PHONOPY:
        return write_phonopy(place / "phonopy" / one.name, one.state, born=born)
    if how is Export.QE:
        return write_dyn(place / "qe" / f"{one.name}_dyn", one.state, born=born)
    atoms = one.state.crystal.to_ase()
    atoms.info = {"state": one.name}
    if one.name != "harmonic":
        atoms.info["temperature_K"] = temperature
    buffer = io.StringIO()
    ase.io.write(buffer, atoms, format="extxyz")
    write_atomic(place / f"{one.name}.xyz", buffer.getvalue())
    return [place / f"{one.name}.xyz"]


def phonon_pages(phonons: Phonons) -> list[Figure]:
    """Return the pages of ``phonons.pdf``: figure, sums over modes, table of modes."""
    page = new_page()
    flow = Flow(page)
    flow.heading(f"Phonons: {phonons.title}", size=13.0)
    flow.top = draw_phonons(page, phonons, left=MARGIN, top=flow.top)
    for sentence in (MEANING, *phonons.notes):
        flow.paragraph(sentence, size=8.2, colour=GREY)
    flow.skip(4.0)
    flow.heading("Sums over modes")
    flow.table(SUM_COLUMNS, _sum_rows(phonons), size=8.2)
    flow.paragraph(f"{_mesh_text(phonons)} {ENTROPY}", size=8.2, colour=GREY)
    flow.skip(4.0)
    if not phonons.rows:
        return [page]
    rows, breaks = mode_cells(phonons.rows)
    columns: Sequence[Column] = MODE_COLUMNS
    if all(row.known is None for row in phonons.rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    more, flow = table_pages("Modes", columns, rows, size=8.2, breaks=breaks, first=flow)
    if not phonons.polar:
        return [page, *more]
    flow.skip(4.0)
    cells = polar_cells(phonons.polar)
    last, flow = table_pages("Modes at q → 0", POLAR_COLUMNS, cells, size=8.2, first=flow)
    flow.paragraph(POLAR, size=8.2, colour=GREY)
    return [page, *more, *last]


SUM_COLUMNS: Final = (
    Column("State", 34.0, "left"),
    Column("T (K)", 16.0),
    Column("Zero-point energy (meV/atom)", 40.0),
    Column("Entropy (k per atom)", 41.0),
    Column("Heat capacity (k per atom)", 41.0),
)
"""Columns of the table of sums over modes."""

MODE_COLUMNS: Final = (
    Column("q", 40.0, "left"),
    Column("Modes", 20.0),
    Column("Harmonic (THz)", 26.0),
    Column("SSCHA (THz)", 34.0),
    Column("Change (THz)", 26.0),
    Column("Known (THz)", 24.0),
)
"""Columns of the table of modes."""


POLAR_COLUMNS: Final = (
    Column("q → 0 along", 40.0, "left"),
    Column("Modes", 20.0),
    Column("Character", 26.0),
    Column("SSCHA (THz)", 34.0),
)
"""Columns of the table of modes with the electric field."""

POLAR: Final = (
    "Modes as q goes to zero along a reciprocal direction, with the electric field of their "
    "dipoles: longitudinal (LO), transverse (TO), or without a dipole. The error is that of the "
    "force constants without the field; Born charges and dielectric tensor are taken as exact."
)
"""What this table holds."""


def polar_cells(rows: Sequence[PolarLevel]) -> list[list[str]]:
    """Return the modes at q → 0 as text."""
    cells: list[list[str]] = []
    before = None
    for row in rows:
        error = None if np.isnan(row.stderr) else row.stderr
        cells.append(
            [
                "" if row.direction == before else q_name(row.direction),
                str(row.degeneracy),
                str(row.character),
                fixed(row.frequency, 3) if error is None else with_error(row.frequency, error),
            ]
        )
        before = row.direction
    return cells


def mode_cells(rows: Sequence[ModeRow]) -> tuple[list[list[str]], list[int]]:
    """Return the table of modes as text, and the rows at which another wave vector begins."""
    cells: list[list[str]] = []
    breaks: list[int] = []
    before: tuple[float, float, float] | None = None
    for row in rows:
        new = row.q != before
        if new:
            breaks.append(len(cells))
        before = row.q
        last = row.band + row.degeneracy - 1
        cells.append(
            [
                row.shown_q if new else "",
                str(row.band) if row.degeneracy == 1 else f"{row.band}–{last}",
                fixed(row.harmonic, 3),
                with_error(row.corrected, row.stderr),
                with_error(row.change, row.stderr, sign=True),
                fixed(row.known, 3),
            ]
        )
    return cells, breaks[1:]


def _sum_rows(phonons: Phonons) -> list[list[str]]:
    rows = []
    for one in phonons.states:
        sums, n_atoms = one.thermodynamics, one.state.crystal.n_atoms
        rows.append(
            [
                NAMES[one.name],
                f"{phonons.temperature:g}",
                fixed(1.0e3 * sums.zero_point / n_atoms, 2),
                fixed(sums.entropy[0] / units.KB / n_atoms, 4),
                fixed(sums.heat_capacity[0] / units.KB / n_atoms, 4),
            ]
        )
    return rows


def _mesh_text(phonons: Phonons) -> str:
    one = phonons.states[0]
    how = {
        "tetrahedron": "linear tetrahedra",
        "gaussian": "Gaussians",
    }[one.density.smearing.value]
    mesh = "×".join(str(n) for n in one.density.mesh)
    return f"Density of states and sums are on a {mesh} mesh, the density by {how}."


def phonons_json(phonons: Phonons) -> dict[str, Any]:
    """Return everything as plain values, in the units that the names say."""
    path = phonons.path
    return {
        "schema": SCHEMA,
        "title": phonons.title,
        "temperature_K": phonons.temperature,
        "nuclei": str(phonons.nuclei),
        "notes": list(phonons.notes),
        "path": {
            "ticks": [{"distance_1_per_A": at, "label": name} for at, name in path.ticks()],
            "segments": [
                {"start": list(one.start), "end": list(one.end), "labels": list(one.labels)}
                for one in path.segments
            ],
            "distances_1_per_A": path.distances.tolist(),
            "q": path.qpoints.tolist(),
        },
        "states": {one.name: _state_json(one, phonons.temperature) for one in phonons.states},
        "modes": [_row_json(row) for row in phonons.rows],
        "polar_modes": [_polar_json(row) for row in phonons.polar],
    }


def _state_json(one: PhononState, temperature: float) -> dict[str, Any]:
    n_atoms = one.state.crystal.n_atoms
    return {
        "cell_A": one.state.crystal.cell.tolist(),
        "scaled_positions": one.state.crystal.scaled_positions.tolist(),
        "symbols": one.state.crystal.symbols,
        "dispersion_THz": one.dispersion.frequencies_thz.tolist(),
        "density_of_states": {
            "mesh": list(one.density.mesh),
            "smearing": one.density.smearing.value,
            "frequency_THz": one.density.frequencies_thz.tolist(),
            "states_per_THz": one.density.density.tolist(),
        },
        "sums_over_modes": {
            "temperature_K": temperature,
            **{
                name: {
                    "zero_point_eV_per_atom": sums.zero_point / n_atoms,
                    "trial_free_energy_eV_per_atom": float(sums.free_energy[0]) / n_atoms,
                    "entropy_kB_per_atom": float(sums.entropy[0]) / units.KB / n_atoms,
                    "heat_capacity_kB_per_atom": float(sums.heat_capacity[0]) / units.KB / n_atoms,
                    "modes_left_out": sums.left_out,
                }
                for name, sums in (("mesh", one.thermodynamics), ("supercell", one.on_grid))
            },
        },
    }


def _row_json(row: ModeRow) -> dict[str, Any]:
    values = {
        "q": list(row.q),
        "name": row.name,
        "band": row.band,
        "degeneracy": row.degeneracy,
        "harmonic_THz": row.harmonic,
        "model_THz": row.model,
        "corrected_THz": row.corrected,
        "stderr_THz": row.stderr,
        "change_THz": row.change,
    }
    return values if row.known is None else {**values, "known_THz": row.known}


def _polar_json(row: PolarLevel) -> dict[str, Any]:
    return {
        "direction": list(row.direction),
        "degeneracy": row.degeneracy,
        "character": str(row.character),
        "frequency_THz": row.frequency,
        "stderr_THz": None if np.isnan(row.stderr) else row.stderr,
    }


def _dispersion_csv(phonons: Phonons) -> str:
    """One line for each point of the path; THz."""
    path = phonons.path
    n_bands = phonons.states[0].dispersion.frequencies.shape[1]
    bands = [f"{one.name}_{k}_THz" for one in phonons.states for k in range(1, n_bands + 1)]
    header = ["distance_1_per_A", "q1", "q2", "q3", "label", *bands]
    names = _labels(phonons)
    columns = [one.dispersion.frequencies_thz for one in phonons.states]
    rows = [
        [
            f"{path.distances[i]:.6f}",
            *(f"{value:.8f}" for value in path.qpoints[i]),
            names.get(i, ""),
            *(f"{value:.6f}" for one in columns for value in one[i]),
        ]
        for i in range(len(path.distances))
    ]
    return csv_text(header, rows)


def _labels(phonons: Phonons) -> dict[int, str]:
    """Label of the first and the last point of each segment."""
    labels: dict[int, str] = {}
    for one, part in zip(phonons.path.segments, phonons.path.parts, strict=True):
        labels[part.start], labels[part.stop - 1] = one.labels
    return labels


def _density_csv(phonons: Phonons) -> str:
    """One line for each bin; modes of the primitive cell per THz."""
    columns = [one.density.density for one in phonons.states]
    middles = phonons.states[0].density.frequencies_thz
    rows = [
        [f"{middle:.6f}", *(f"{one[i]:.8f}" for one in columns)] for i, middle in enumerate(middles)
    ]
    header = ["frequency_THz", *(f"{one.name}_per_THz" for one in phonons.states)]
    return csv_text(header, rows)
