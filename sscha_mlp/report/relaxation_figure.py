"""Figure of a relaxation from its populations, as :func:`sscha_mlp.relax` yields them."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from sscha_mlp.campaign.relaxing import population_row
from sscha_mlp.errors import InputError
from sscha_mlp.report.model import PopulationRow
from sscha_mlp.report.run_figures import run_figure
from sscha_mlp.scha.relaxation import Population
from sscha_mlp.tables import Table, pm

_COLUMNS = ("Population", "F (eV/atom)", "P (GPa)", "V (Å³/atom)", "gradient (THz)", "ended with")


def relaxation_figure(
    populations: Sequence[Population], *, pressure: float | None = None
) -> Figure:
    """Return free energy, gradient, sample size, frequencies and cell over a relaxation.

    Lines are the steps of each minimisation, dots the populations with two standard errors.

    Parameters
    ----------
    populations
        In order, at least one.
    pressure
        Pressure that was asked for, GPa.

    Raises
    ------
    InputError
        If there is no population.
    """
    if not populations:
        raise InputError("A figure of a relaxation needs at least one population.")
    rows = [PopulationRow.from_mapping({**population_row(one), "round": 0}) for one in populations]
    return run_figure(rows, pressure_target_GPa=pressure)


def relaxation_table(populations: Sequence[Population]) -> Table:
    """Return one line for each population of a relaxation."""
    return Table("Relaxation", tuple(_line(population_row(one)) for one in populations), _COLUMNS)


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(row["population"]),
        pm(row["free_energy"], row["free_energy_stderr"], 5),
        pm(row["pressure_GPa"], row["pressure_stderr_GPa"], 3, sign=True),
        f"{row['volume']:.4f}",
        pm(row["gradient_THz"], row["gradient_stderr_THz"], 3),
        row["reason"],
    )
