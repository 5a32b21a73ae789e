"""The tolerances of a run, and what of the crystal each of them follows from."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from sscha_mlp.digits import significant
from sscha_mlp.report.page.layout import Column, Flow, new_page
from sscha_mlp.report.page.style import GREY
from sscha_mlp.report.run.data import ReportData
from sscha_mlp.scha.convergence import RULES as OF_RELAXATION
from sscha_mlp.scha.convergence import Rule
from sscha_mlp.validation.certificate import RULES as OF_CERTIFICATE

COLUMNS: Final = (
    Column("Tolerance", 78.0, "left"),
    Column("Value", 28.0),
    Column("Why this value", 66.0, "left"),
)
_RELAXATION: Final = {
    "frequency_thz": "Shift that the gradient asks of a mode (THz)",
    "pressure_gpa": "Stress less its target (GPa)",
    "free_energy_mev": "Change of the free energy between populations (meV/atom)",
    "max_frequency_stderr_thz": "Standard error of a frequency (THz)",
    "max_pressure_stderr_gpa": "Standard error of the stress (GPa)",
    "max_free_energy_stderr_mev": "Standard error of the free energy (meV/atom)",
}
_CERTIFICATE: Final = {
    "free_energy_mev": "Shift of the free energy (meV/atom)",
    "pressure_gpa": "Shift of the pressure and of the stress (GPa)",
    "frequency_thz": "Shift of a frequency (THz)",
    "frequency_relative": "Shift of a frequency, as a part of it",
}
_SCALES: Final = {
    "bulk_modulus_gpa": ("bulk modulus", "GPa"),
    "highest_thz": ("highest frequency", "THz"),
    "mode_energy_mev": ("mean energy of a mode", "meV"),
}
_SAME: Final = 1.0e-9


def tolerance_pages(data: ReportData) -> list[Figure]:
    """Return the page of tolerances; none where the result does not say them."""
    parts = [
        ("What the relaxation had to keep", "relaxation", _RELAXATION, OF_RELAXATION),
        ("What the certificate allowed", "certificate", _CERTIFICATE, OF_CERTIFICATE),
    ]
    had = data.result.tolerances or {}
    if not any(had.get(key) for _, key, _, _ in parts):
        return []
    page = new_page()
    flow = Flow(page)
    flow.heading("Tolerances", size=13.0)
    flow.paragraph(
        "A tolerance that was not given fits the crystal: a part of its bulk modulus (ions "
        "following), of its highest frequency, or of the mean energy of a mode, which is kT in a "
        "hot crystal and half a quantum in a cold one; at most that of a hard crystal. What is "
        "small in diamond is large in argon.",
        size=8.6,
        colour=GREY,
    )
    for title, key, names, rules in parts:
        if had.get(key):
            flow.skip(4.0)
            flow.heading(title)
            given = (data.settings.get(key) or {}).get("tolerances") or {}
            flow.table(COLUMNS, tolerance_rows(had[key], given, names, rules), size=8.3)
    return [page]


def tolerance_rows(
    had: Mapping[str, Any],
    given: Mapping[str, Any],
    names: Mapping[str, str],
    rules: Mapping[str, Rule],
) -> list[list[str]]:
    """Return each tolerance as name, value and reason.

    Parameters
    ----------
    had
        Tolerances as they were in this crystal, by their fields.
    given
        Those of the settings.
    names
        Text of each field.
    rules
        How those that were not given follow from the crystal.
    """
    return [
        [names[key], significant(float(value), 2), _why(float(value), given.get(key), rules, key)]
        for key, value in had.items()
        if key in names
    ]


def _why(value: float, given: Any, rules: Mapping[str, Rule], key: str) -> str:
    rule = rules.get(key)
    if rule is None:
        return "the larger of this and the line above counts"
    if given is not None:
        return "given in the settings"
    what, unit = _SCALES[rule.scale]
    if np.isclose(value, rule.most, rtol=_SAME):
        return f"that of a hard crystal (1/{rule.divisor:g} of the {what} at most)"
    return f"1/{rule.divisor:g} of the {what}, {significant(value * rule.divisor, 3)} {unit}"
