"""The answer of a run as rows of text: the one table that terminal, notebook and report show."""

from dataclasses import dataclass
from typing import Final

from sscha_mlp.digits import DASH, fixed, is_number, with_error
from sscha_mlp.properties.modes import TRANSLATION_THZ
from sscha_mlp.run_files.conventional_cell import conventional_lattice, state_values
from sscha_mlp.run_files.records.result import Corrected, Frequencies, Result

_FALLBACK: Final = 4


@dataclass(frozen=True)
class AnswerRow:
    """One quantity as text.

    Parameters
    ----------
    name
        With its unit.
    model, correction, result
        Empty where a quantity has no such part.
    """

    name: str
    model: str
    correction: str
    result: str


def corrected_row(name: str, value: Corrected | None) -> AnswerRow:
    """Return a corrected number, all parts with the decimals that its error allows."""
    if value is None:
        return AnswerRow(name, DASH, DASH, DASH)
    text = with_error(value.corrected, value.stderr, fallback=_FALLBACK)
    decimals = len(text.partition(" ±")[0].partition(".")[2]) if text != DASH else _FALLBACK
    return AnswerRow(
        name, fixed(value.model, decimals), fixed(value.correction, decimals, sign=True), text
    )


def moving_modes(result: Result) -> list[tuple[Frequencies, Corrected]]:
    """Return each mode that is no translation, with the entry of its wave vector."""
    return [
        (entry, mode)
        for entry in result.frequencies_THz
        for mode in entry.modes
        if abs(mode.model) >= TRANSLATION_THZ
    ]


def thermodynamic_rows(result: Result) -> list[AnswerRow]:
    """Return free energy, pressure, volume, lattice, coordinates and sums over the modes."""
    volume = result.volume_A3_per_atom
    text = DASH if volume is None else with_error(volume.value, volume.stderr)
    return [
        corrected_row("Free energy (eV/atom)", result.free_energy_eV_per_atom),
        corrected_row("Pressure (GPa)", result.pressure_GPa),
        AnswerRow("Volume (Å³/atom)", "", "", text),
        *(
            AnswerRow(name, "", "", value)
            for name, value in (*conventional_lattice(result), *state_values(result))
        ),
    ]


def extreme_rows(result: Result) -> list[AnswerRow]:
    """Return the softest and the hardest mode."""
    modes = [one for one in moving_modes(result) if is_number(one[1].corrected)]
    if not modes:
        return [AnswerRow("Frequencies (THz)", DASH, DASH, DASH)]
    modes.sort(key=lambda one: one[1].corrected)
    return [
        corrected_row(f"{name} mode, q = {entry.shown_q} (THz)", mode)
        for name, (entry, mode) in (("Softest", modes[0]), ("Hardest", modes[-1]))
    ]


def answer_rows(result: Result) -> list[AnswerRow]:
    """Return the answer: free energy, pressure, volume, lattice, softest and hardest mode."""
    return [*thermodynamic_rows(result), *extreme_rows(result)]
