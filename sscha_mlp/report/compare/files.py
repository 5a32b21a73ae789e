"""Model against reference as files: PDF, JSON and tables."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from sscha_mlp import units
from sscha_mlp.data.files import make_directory, write_atomic, write_json_atomic
from sscha_mlp.digits import fixed, with_error
from sscha_mlp.properties.equation_of_state import EquationOfState
from sscha_mlp.report.compare.figures import draw_comparison, draw_volumes
from sscha_mlp.report.page.csv_text import csv_text
from sscha_mlp.report.page.layout import Column, Flow, new_page, table_pages
from sscha_mlp.report.page.pdf_file import stamped_pdf
from sscha_mlp.report.page.style import GREY, MARGIN, style
from sscha_mlp.studies.compare_values import (
    MODULUS_LIMIT,
    VOLUME_LIMIT,
    Comparison,
    ElasticComparison,
    FrequencyComparison,
    LevelRow,
    VolumeComparison,
    constant_name,
)

SCHEMA: Final = "sscha-mlp/compare/1"

MEANING: Final = (
    "At rest: without vibrations, at the structure that the run started from; both on the same "
    "displaced cells. SSCHA: trial frequencies at the temperature of the run; the reference is "
    "there the corrected frequency of the result, with its standard error. Points of the lower "
    "figure are at the wave vectors of the supercell, modes paired by their polarisation; curves "
    "are Fourier interpolation. Own cell: the model relaxed by itself, drawn in reciprocal-lattice "
    "units. Unstable modes are negative."
)
"""What the curves and points are."""

ENERGIES: Final = (
    "Energies of the supercell at rest with shape and scaled positions kept, and Birch-Murnaghan "
    "fits of third order."
)
"""What the energies are."""

QUANTITY_COLUMNS: Final = (
    Column("At rest", 62.0, "left"),
    Column("Reference", 28.0),
    Column("Model", 28.0),
    Column("Difference", 30.0),
    Column("Relative (%)", 24.0),
)
"""Columns of the table of quantities of the lattice at rest."""

LEVEL_COLUMNS: Final = (
    Column("q", 40.0, "left"),
    Column("Modes", 22.0),
    Column("Reference (THz)", 36.0),
    Column("Model (THz)", 30.0),
    Column("Model − reference (THz)", 42.0),
)
"""Columns of the tables of frequencies."""

FILES: Final = ("compare.pdf", "compare.json", "compare-bands.csv", "compare-modes.csv")


def write_comparison(comparison: Comparison, directory: str | Path) -> list[Path]:
    """Write ``compare.pdf``, ``compare.json`` and ``compare-*.csv``.

    Parameters
    ----------
    comparison
        From :func:`sscha_mlp.studies.compare.compare_run`.
    directory
        Where the files go; made if needed.

    Returns
    -------
    The files written, the PDF first.

    Raises
    ------
    InputError
        If the directory cannot be made.
    SschaMlpError
        If a file cannot be written.
    """
    place = make_directory(directory)
    with style():
        pages, head = comparison_pages(comparison), "Model against reference"
        title = "sscha-mlp: model against reference"
        write_atomic(place / "compare.pdf", stamped_pdf(pages, head=head, title=title))
    write_json_atomic(place / "compare.json", comparison_json(comparison))
    write_atomic(place / "compare-bands.csv", _bands_csv(comparison))
    write_atomic(place / "compare-modes.csv", _modes_csv(comparison))
    written = [place / name for name in FILES]
    if comparison.eos is not None:
        write_atomic(place / "compare-eos.csv", _volumes_csv(comparison.eos))
        written.append(place / "compare-eos.csv")
    if comparison.elastic is not None:
        write_atomic(place / "compare-elastic.csv", _elastic_csv(comparison.elastic))
        written.append(place / "compare-elastic.csv")
    return written


# --- tables -----------------------------------------------------------------------------------


def quantity_cells(comparison: Comparison) -> list[list[str]]:
    """Return volumes, energies and moduli of the lattice at rest as rows of text.

    Columns are name with unit, reference, model, difference, and relative difference in %.
    """
    rows = []
    harmonic = comparison.harmonic
    if harmonic.own is not None:
        n_atoms = harmonic.own.n_atoms
        own, theirs = harmonic.own.volume / n_atoms, harmonic.reference.crystal.volume / n_atoms
        rows.append(_quantity("Volume, each relaxed (Å³/atom)", theirs, own, 3))
    if comparison.eos is not None:
        rows += _eos_cells(comparison.eos)
    if comparison.elastic is not None:
        rows += list(_elastic_cells(comparison.elastic))
    return rows


def _quantity(
    name: str, reference: float, model: float, decimals: int, *, relative: bool = True
) -> list[str]:
    difference = model - reference
    part = fixed(100.0 * difference / abs(reference), 2, sign=True) if relative else ""
    return [
        name,
        fixed(reference, decimals),
        fixed(model, decimals),
        fixed(difference, decimals, sign=True),
        part,
    ]


def _eos_cells(eos: VolumeComparison) -> list[list[str]]:
    first, second = eos.reference_fit, eos.model_fit
    if first is None or second is None:
        return []
    return [
        _quantity("V0 (Å³/atom)", first.volume, second.volume, 3),
        _quantity("E0 (eV/atom)", first.energy, second.energy, 5, relative=False),
        _quantity("B0 (GPa)", first.bulk_modulus / units.GPA, second.bulk_modulus / units.GPA, 2),
        _quantity("B0′", first.derivative, second.derivative, 2),
    ]


def _elastic_cells(elastic: ElasticComparison) -> Iterator[list[str]]:
    """Relaxed constants, and the clamped ones where they differ."""
    reference, model = elastic.pair()
    clamped = [one.clamped / units.GPA for one in (elastic.reference, elastic.model)]
    for place in elastic.places:
        name = constant_name(place)
        if not elastic.is_relaxed:
            yield _quantity(f"{name}, clamped (GPa)", reference[place], model[place], 2)
            continue
        yield _quantity(f"{name} (GPa)", reference[place], model[place], 2)
        if abs(clamped[0][place] - reference[place]) > 0.05:
            yield _quantity(f"{name}, clamped (GPa)", clamped[0][place], clamped[1][place], 2)


def level_cells(found: FrequencyComparison) -> tuple[list[list[str]], list[int]]:
    """Return the levels as rows of text, and the rows at which another wave vector begins.

    Columns are q, modes, reference with its error, model, and difference, THz.
    """
    cells: list[list[str]] = []
    breaks: list[int] = []
    before: tuple[float, float, float] | None = None
    for row in found.rows:
        new = row.q != before
        if new:
            breaks.append(len(cells))
        before = row.q
        last = row.band + row.degeneracy - 1
        error = row.stderr if row.stderr > 0 else None
        cells.append(
            [
                row.shown_q if new else "",
                str(row.band) if row.degeneracy == 1 else f"{row.band}–{last}",
                with_error(row.reference, error),
                fixed(row.model, 3),
                fixed(row.difference, 3, sign=True),
            ]
        )
    return cells, breaks[1:]


def label_lines(comparison: Comparison) -> list[str]:
    """Return a line on the reference labels of each part."""
    lines = []
    for one in comparison.labels:
        text = f"{one.part}: {one.n_needed} labels, {one.n_new} new, {one.n_stored} from the store"
        lines.append(text + (f", {one.n_failed} failed" if one.n_failed else ""))
    return lines


# --- pages ------------------------------------------------------------------------------------


def comparison_pages(comparison: Comparison) -> list[Figure]:
    """Return the pages of ``compare.pdf``: dispersions, lattice at rest, tables of frequencies."""
    pages = [_first_page(comparison)]
    if comparison.eos is not None or comparison.elastic is not None:
        pages.append(_second_page(comparison))
    flow = None
    for title, found in (
        ("Harmonic frequencies, at rest", comparison.harmonic.frequencies),
        (f"SSCHA frequencies at {comparison.temperature:g} K", comparison.sscha),
    ):
        cells, breaks = level_cells(found)
        if flow is not None:
            flow.skip(5.0)
        more, flow = table_pages(title, LEVEL_COLUMNS, cells, size=8.2, breaks=breaks, first=flow)
        pages += more
        flow.paragraph(_summary(found), size=8.2, colour=GREY)
    return pages


def _summary(found: FrequencyComparison) -> str:
    row = found.largest
    return (
        f"Model less reference over all modes of the supercell: rms {fixed(found.rms, 3)} THz, "
        f"largest {fixed(row.difference, 3, sign=True)} THz at {row.shown_q}."
    )


def _first_page(comparison: Comparison) -> Figure:
    page = new_page()
    flow = Flow(page)
    flow.heading(f"Model against reference: {comparison.title}", size=13.0)
    flow.paragraph(comparison.verdict)
    flow.skip(3.0)
    flow.top = draw_comparison(page, comparison, left=MARGIN, top=flow.top)
    for sentence in (MEANING, *comparison.notes):
        flow.paragraph(sentence, size=8.2, colour=GREY)
    flow.skip(2.0)
    for line in label_lines(comparison):
        flow.paragraph(f"Reference, {line}.", size=8.2, colour=GREY)
    return page


def _second_page(comparison: Comparison) -> Figure:
    page = new_page()
    flow = Flow(page)
    flow.heading("The lattice at rest")
    if comparison.eos is not None:
        flow.top = draw_volumes(page, comparison.eos, left=MARGIN, top=flow.top)
        flow.paragraph(ENERGIES, size=8.2, colour=GREY)
        flow.skip(3.0)
    flow.table(QUANTITY_COLUMNS, quantity_cells(comparison), size=8.2)
    flow.paragraph(_limits(comparison), size=8.2, colour=GREY)
    return page


def _limits(comparison: Comparison) -> str:
    """What the constants are, and what counts as a departure."""
    text = ""
    if comparison.elastic is not None:
        how = "with atoms at rest in the strained cell, and clamped where that differs"
        if not comparison.elastic.is_relaxed:
            how = "of atoms that follow the cell"
        text = (
            f"Elastic constants {how}, in the axes of the conventional cell, from strains in "
            f"{comparison.elastic.n_strains} directions. "
        )
    absolute, relative = comparison.frequency_limit
    return text + (
        f"A difference counts as a departure above {100 * VOLUME_LIMIT:g} % of a volume, "
        f"{100 * MODULUS_LIMIT:g} % of a modulus, and the larger of {absolute:g} THz and "
        f"{100 * relative:g} % of a frequency."
    )


# --- plain values -----------------------------------------------------------------------------


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return everything as plain values, in the units that the names say."""
    return {
        "schema": SCHEMA,
        "title": comparison.title,
        "temperature_K": comparison.temperature,
        "certified": comparison.is_certified,
        "verdict": comparison.verdict,
        "departures": [
            {
                "name": one.name,
                "difference": one.difference,
                "unit": one.unit,
                "relative": one.relative,
                "departs": one.departs,
            }
            for one in comparison.departures
        ],
        "harmonic": _harmonic_json(comparison),
        "equation_of_state": None if comparison.eos is None else _eos_json(comparison.eos),
        "elastic": None if comparison.elastic is None else _elastic_json(comparison.elastic),
        "sscha": _frequencies_json(comparison.sscha),
        "labels": [
            {
                "part": one.part,
                "needed": one.n_needed,
                "new": one.n_new,
                "from_store": one.n_stored,
                "failed": one.n_failed,
            }
            for one in comparison.labels
        ],
        "extrapolation": [
            {
                "part": one.part,
                "largest": one.largest,
                "beyond_limit": one.n_beyond,
                "configurations": one.n_configs,
            }
            for one in comparison.extrapolation
        ],
        "notes": list(comparison.notes),
    }


def _harmonic_json(comparison: Comparison) -> dict[str, Any]:
    harmonic = comparison.harmonic
    own = None
    if harmonic.own is not None and harmonic.own_frequencies is not None:
        own = {
            "volume_A3_per_atom": harmonic.own.volume / harmonic.own.n_atoms,
            **_frequencies_json(harmonic.own_frequencies),
        }
    crystal = harmonic.reference.crystal
    return {
        "cell_A": crystal.cell.tolist(),
        "volume_A3_per_atom": crystal.volume / crystal.n_atoms,
        **_frequencies_json(harmonic.frequencies),
        "model_own_cell": own,
    }


def _frequencies_json(found: FrequencyComparison) -> dict[str, Any]:
    return {
        "rms_difference_THz": found.rms,
        "largest_difference_THz": found.largest.difference,
        "modes": [_row_json(row) for row in found.rows],
    }


def _row_json(row: LevelRow) -> dict[str, Any]:
    return {
        "q": list(row.q),
        "name": row.name,
        "band": row.band,
        "degeneracy": row.degeneracy,
        "reference_THz": row.reference,
        "stderr_THz": row.stderr,
        "model_THz": row.model,
        "difference_THz": row.difference,
    }


def _eos_json(eos: VolumeComparison) -> dict[str, Any]:
    return {
        "volumes_A3_per_atom": eos.volumes.tolist(),
        "reference_eV_per_atom": eos.reference.tolist(),
        "model_eV_per_atom": eos.model.tolist(),
        "reference_fit": _fit_json(eos.reference_fit),
        "model_fit": _fit_json(eos.model_fit),
    }


def _fit_json(fit: EquationOfState | None) -> dict[str, Any] | None:
    if fit is None:
        return None
    return {
        "volume_A3_per_atom": fit.volume,
        "energy_eV_per_atom": fit.energy,
        "bulk_modulus_GPa": fit.bulk_modulus / units.GPA,
        "bulk_modulus_derivative": fit.derivative,
        "rms_residual_eV_per_atom": fit.residual,
        "extrapolated": fit.is_extrapolated,
    }


def _elastic_json(elastic: ElasticComparison) -> dict[str, Any]:
    return {
        "independent": [constant_name(place) for place in elastic.places],
        "strain_directions": elastic.n_strains,
        **{
            name: {
                "clamped_GPa": (one.clamped / units.GPA).tolist(),
                "relaxed_GPa": None if one.relaxed is None else (one.relaxed / units.GPA).tolist(),
                "bulk_modulus_GPa": one.bulk_modulus / units.GPA,
            }
            for name, one in (("reference", elastic.reference), ("model", elastic.model))
        },
    }


def _bands_csv(comparison: Comparison) -> str:
    """One line for each point of the path; THz."""
    harmonic = comparison.harmonic
    path = harmonic.reference_bands.path
    states = {"reference": harmonic.reference_bands, "model": harmonic.model_bands}
    if harmonic.own_bands is not None:
        states["model_own_cell"] = harmonic.own_bands
    n_bands = harmonic.reference_bands.frequencies.shape[1]
    header = ["distance_1_per_A", "q1", "q2", "q3"]
    header += [f"{name}_{k}_THz" for name in states for k in range(1, n_bands + 1)]
    columns = [one.frequencies_thz for one in states.values()]
    rows = [
        [
            f"{path.distances[i]:.6f}",
            *(f"{value:.8f}" for value in path.qpoints[i]),
            *(f"{value:.6f}" for one in columns for value in one[i]),
        ]
        for i in range(len(path.distances))
    ]
    return csv_text(header, rows)


def _modes_csv(comparison: Comparison) -> str:
    """One line for each level, at rest and of the SSCHA; THz."""
    header = ["kind", "q1", "q2", "q3", "band", "degeneracy"]
    header += ["reference_THz", "stderr_THz", "model_THz", "difference_THz"]
    kinds = (("harmonic", comparison.harmonic.frequencies), ("sscha", comparison.sscha))
    rows = [
        [
            kind,
            *(f"{value:.8f}" for value in row.q),
            str(row.band),
            str(row.degeneracy),
            *(f"{v:.6f}" for v in (row.reference, row.stderr, row.model, row.difference)),
        ]
        for kind, found in kinds
        for row in found.rows
    ]
    return csv_text(header, rows)


def _volumes_csv(eos: VolumeComparison) -> str:
    rows = [
        [f"{v:.6f}", f"{a:.8f}", f"{b:.8f}"]
        for v, a, b in zip(eos.volumes, eos.reference, eos.model, strict=True)
    ]
    return csv_text(["volume_A3_per_atom", "reference_eV_per_atom", "model_eV_per_atom"], rows)


def _elastic_csv(elastic: ElasticComparison) -> str:
    """All 21 constants; GPa, relaxed ones empty where there are none."""

    def text(values: Any, i: int, j: int) -> str:
        return "" if values is None else f"{values[i, j] / units.GPA:.4f}"

    both: Sequence[Any] = (elastic.reference, elastic.model)
    rows = [
        [
            constant_name((i, j)),
            *(text(one.clamped, i, j) for one in both),
            *(text(one.relaxed, i, j) for one in both),
        ]
        for i in range(6)
        for j in range(i, 6)
    ]
    header = ["constant", "reference_clamped_GPa", "model_clamped_GPa"]
    return csv_text([*header, "reference_relaxed_GPa", "model_relaxed_GPa"], rows)
