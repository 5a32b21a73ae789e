"""The answer of a finished run, and a sweep, as tables."""

from collections.abc import Mapping
from typing import Any

from sscha_mlp.digits import fixed, with_error
from sscha_mlp.quantities import reduced_formula
from sscha_mlp.run_files.conventional_cell import conventional_lattice
from sscha_mlp.tables import ShownContent, Table


class RunResult(ShownContent):
    """The content of ``result.json``."""

    def table(self) -> Table:
        """Return the answer: what the model says, what it becomes, and what it took."""
        return result_table(self)


def result_table(result: Mapping[str, Any]) -> Table:
    """Return the answer of a run: what the model says, what it becomes, and what it took.

    Parameters
    ----------
    result
        What :func:`sscha_mlp.run` returns, or the content of ``result.json``.
    """
    labels, volume = result["labels"], result["volume_A3_per_atom"]
    rows = [
        _corrected_row("free energy (eV/atom)", result["free_energy_eV_per_atom"]),
        _corrected_row("pressure (GPa)", result["pressure_GPa"]),
        ("volume (Å³/atom)", "", with_error(volume["value"], volume["stderr"])),
        *(
            (f"{name[0].lower()}{name[1:]}", "", text)
            for name, text in conventional_lattice(result)
        ),
        *_extreme_modes(result),
        ("labels", "", _counts(labels)),
    ]
    word = "certified" if result["converged"] else "NOT certified"
    title = f"{reduced_formula(result['formula'])} at {result['temperature_K']:g} K: {word}"
    columns = ("", "model", "result")
    return Table(title, tuple(rows), columns, f"{_sentence(result['stop_reason'])}")


def _corrected_row(name: str, value: Mapping[str, float]) -> tuple[str, str, str]:
    text = with_error(value["corrected"], value["stderr"])
    decimals = len(text.partition(" ±")[0].partition(".")[2])
    return name, fixed(value["model"], decimals), text


def _extreme_modes(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The softest and the hardest mode; translations are left out."""
    modes = sorted(
        mode
        for entry in result["frequencies_THz"]
        for mode in zip(entry["corrected"], entry["model"], entry["stderr"], strict=True)
        if mode[1] != 0.0
    )
    return [
        (f"{name} mode (THz)", fixed(model, 3), with_error(corrected, stderr))
        for name, (corrected, model, stderr) in (("softest", modes[0]), ("hardest", modes[-1]))
    ]


def _counts(labels: Mapping[str, int]) -> str:
    parts = ", ".join(f"{labels[name]} {name}" for name in ("train", "test", "check"))
    return f"{labels['total']} ({parts})"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""
