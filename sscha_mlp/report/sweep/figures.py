"""Figures of a sweep: what changes with temperature along isobars, with pressure along isotherms.

Each panel has the points with one standard error, the fit with its band where there is one, and,
as open symbols, what the model says at each point by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.properties.expansion import ExpansionFit
from sscha_mlp.quantities import QUANTITIES
from sscha_mlp.report.page.layout import Flow, add_axes_mm, new_page, set_labels
from sscha_mlp.report.page.style import GREY, MARGIN, TEXT_WIDTH, colour_of, style
from sscha_mlp.report.sweep.fits import Isobar, Isotherm, SweepFits, fit_sweep
from sscha_mlp.report.sweep.series_style import MOST_SERIES, WASH, line_style, marker
from sscha_mlp.run_files.json_fields import Value
from sscha_mlp.studies.sweep.point import SweepPoint
from sscha_mlp.studies.sweep.table import Sweep

_COLUMNS: Final = 2
_PANEL: Final = (70.0, 42.0)
_LEFT: Final = 15.0
_STEP: Final = 58.0
_LABEL: Final = 11.5
_GRID: Final = 161

_Line = TypeVar("_Line", Isobar, Isotherm)

Read = Callable[[SweepPoint], Value | None]


@dataclass(frozen=True, eq=False)
class Series:
    """One isobar or isotherm in a panel.

    Parameters
    ----------
    points
        Its points.
    x
        Temperatures or pressures, shape (n,).
    index
        Its place among the series: decides colour, marker and dashes.
    """

    points: tuple[SweepPoint, ...]
    x: FloatArray
    index: int


@dataclass(frozen=True, eq=False)
class Curve:
    """A fit to draw, on a grid within its points."""

    x: FloatArray
    y: Estimate


def sweep_figure(sweep: Sweep) -> Figure:
    """Return a page with everything over temperature, points and fits, for a few isobars.

    Parameters
    ----------
    sweep
        The table of a sweep.
    """
    with style():
        return temperature_pages(fit_sweep(sweep))[0]


def temperature_pages(fits: SweepFits) -> list[Figure]:
    """Return the pages over temperature; none where every isobar has a single point."""
    if len(fits.sweep.temperatures) < 2:
        return []
    return [_temperature_page(fits, part, shown) for shown, part in _parts(fits.isobars)]


def pressure_pages(fits: SweepFits) -> list[Figure]:
    """Return the pages over pressure; none where every isotherm has a single point."""
    if len(fits.sweep.pressures) < 2:
        return []
    return [_pressure_page(part, shown) for shown, part in _parts(fits.isotherms)]


def length_pages(fits: SweepFits) -> list[Figure]:
    """Return the pages of the lattice parameters; none for a cubic crystal."""
    if fits.is_cubic or len(fits.sweep.temperatures) < 2:
        return []
    return [_length_page(part, shown) for shown, part in _parts(fits.isobars)]


def _parts(rows: Sequence[_Line]) -> list[tuple[int, Sequence[_Line]]]:
    return [(n, rows[n : n + MOST_SERIES]) for n in range(0, len(rows), MOST_SERIES)]


def _temperature_page(fits: SweepFits, isobars: Sequence[Isobar], shown: int) -> Figure:
    page, flow = _begin("Over temperature", _names(isobars), shown)
    series = _over_temperature(isobars)
    panels = _Panels(page, flow.top, QUANTITIES["temperature"].axis)
    _sizes(panels, fits, isobars, series)
    _expansion(panels, isobars, series)
    axes = panels.add(QUANTITIES["gibbs"].axis)
    for one, isobar in zip(series, isobars, strict=True):
        _draw_points(axes, one, lambda p: p.gibbs_eV_per_atom)
        _draw_curve(axes, _thermal_curve(isobar, "gibbs"), one.index)
    axes = panels.add(QUANTITIES["entropy"].axis)
    for one, isobar in zip(series, isobars, strict=True):
        _draw_points(axes, one, lambda p: p.entropy_kB)
        _draw_curve(axes, _thermal_curve(isobar, "entropy"), one.index)
    _heat_capacities(panels, fits, isobars, series)
    _bulk_moduli(panels, fits, series)
    _soft_modes(panels, isobars, series)
    _labels(panels, series)
    return page


def _length_page(isobars: Sequence[Isobar], shown: int) -> Figure:
    page, flow = _begin("Lattice parameters", _names(isobars), shown)
    series = _over_temperature(isobars)
    panels = _Panels(page, flow.top, QUANTITIES["temperature"].axis)
    names = {name for isobar in isobars for name, _ in isobar.lengths}
    for name in sorted(names):
        sizes = panels.add(f"{QUANTITIES['lattice_parameter'].label} {name} (Å)")
        slopes = panels.add(f"{QUANTITIES['linear_expansion'].label} of {name} (ppm/K)")
        slopes.axhline(0.0, color=GREY, linewidth=0.5)
        for one, isobar in zip(series, isobars, strict=True):
            _draw_points(sizes, one, _length(name))
            fit = dict(isobar.lengths).get(name)
            _draw_curve(sizes, _size_curve(fit), one.index)
            if fit is not None and fit.curve is not None:
                x = _within(fit.data.x)
                _draw_curve(slopes, Curve(x, fit.coefficient(x)), one.index, scale=1.0e6)
    return page


def _length(name: str) -> Read:
    index = "abc".index(name)
    return lambda point: point.cell_lengths_A[index]


def _over_temperature(isobars: Sequence[Isobar]) -> list[Series]:
    return [
        Series(one.points, np.array([p.temperature_K for p in one.points]), n)
        for n, one in enumerate(isobars)
    ]


def _pressure_page(isotherms: Sequence[Isotherm], shown: int) -> Figure:
    page, flow = _begin("Over pressure", _names(isotherms), shown)
    series = [
        Series(one.points, np.array([p.pressure_GPa for p in one.points]), n)
        for n, one in enumerate(isotherms)
    ]
    panels = _Panels(page, flow.top, QUANTITIES["pressure"].axis)
    volumes = panels.add(QUANTITIES["volume"].axis)
    bulk = panels.add(QUANTITIES["bulk_modulus"].axis)
    for one, isotherm in zip(series, isotherms, strict=True):
        _draw_points(volumes, one, lambda p: p.volume_A3_per_atom)
        _draw_points(bulk, one, _response("bulk_modulus_GPa"), of_model=True)
        state = isotherm.state
        if state is not None and state.is_known:
            x = _within(state.data.x)
            _draw_curve(volumes, Curve(x, state.volume(x)), one.index)
            _draw_curve(bulk, Curve(x, state.bulk_modulus(x)), one.index)
    axes = panels.add(QUANTITIES["expansion"].axis)
    for one in series:
        _draw_points(axes, one, _response("expansion_per_K"), of_model=True, scale=1.0e6)
    for key, read in (("gibbs", _gibbs), ("entropy", _entropy)):
        axes = panels.add(QUANTITIES[key].axis)
        for one in series:
            _draw_points(axes, one, read, joined=True)
    axes = panels.add(QUANTITIES["heat_capacity"].axis)
    for one in series:
        _draw_points(axes, one, _response("heat_capacity_p_kB"), of_model=True)
    return page


def _gibbs(point: SweepPoint) -> Value:
    return point.gibbs_eV_per_atom


def _entropy(point: SweepPoint) -> Value:
    return point.entropy_kB


def _response(name: str) -> Read:
    """Read a quantity that the model says at the point."""

    def read(point: SweepPoint) -> Value | None:
        found: Value | None = getattr(point.response, name, None)
        return found

    return read


class _Panels:
    """Panels that fill a page from left to right, then down."""

    def __init__(self, page: Figure, top: float, x_label: str) -> None:
        self._page, self._top, self._x_label = page, top, x_label
        self._count = 0

    def add(self, label: str, x_label: str | None = None) -> Axes:
        row, column = divmod(self._count, _COLUMNS)
        self._count += 1
        left = MARGIN + _LEFT + column * (TEXT_WIDTH - _PANEL[0] - _LEFT - 1.0)
        axes = add_axes_mm(self._page, left, self._top + row * _STEP, *_PANEL)
        set_labels(axes, self._x_label if x_label is None else x_label, label)
        axes.yaxis.set_label_coords(-_LABEL / _PANEL[0], 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.margins(0.06, 0.1)
        return axes


def _sizes(
    panels: _Panels, fits: SweepFits, isobars: Sequence[Isobar], series: Sequence[Series]
) -> None:
    """The lattice parameter of a cubic crystal, else the volume."""
    key = "lattice_parameter" if fits.is_cubic else "volume"
    axes = panels.add(QUANTITIES[key].axis)
    for one, isobar in zip(series, isobars, strict=True):
        if fits.is_cubic:
            _draw_points(axes, one, lambda p: p.cell_lengths_A[0])
            fit = isobar.lengths[0][1] if isobar.lengths else None
        else:
            _draw_points(axes, one, lambda p: p.volume_A3_per_atom)
            fit = isobar.volume
        _draw_curve(axes, _size_curve(fit), one.index)


def _expansion(panels: _Panels, isobars: Sequence[Isobar], series: Sequence[Series]) -> None:
    axes = panels.add(QUANTITIES["expansion"].axis)
    for one, isobar in zip(series, isobars, strict=True):
        _draw_points(axes, one, _response("expansion_per_K"), of_model=True, scale=1.0e6)
        fit = isobar.volume
        if fit is not None and fit.curve is not None:
            x = _within(fit.data.x)
            _draw_curve(axes, Curve(x, fit.coefficient(x)), one.index, scale=1.0e6)
    axes.axhline(0.0, color=GREY, linewidth=0.5)


def _heat_capacities(
    panels: _Panels, fits: SweepFits, isobars: Sequence[Isobar], series: Sequence[Series]
) -> None:
    axes = panels.add(QUANTITIES["heat_capacity"].axis)
    for one, isobar in zip(series, isobars, strict=True):
        _draw_points(axes, one, _response("heat_capacity_p_kB"), of_model=True)
        _draw_points(axes, one, _response("heat_capacity_v_kB"), of_model=True, small=True)
        _draw_curve(axes, _thermal_curve(isobar, "capacity"), one.index)
    limit = fits.classical_limit
    axes.axhline(limit, color=GREY, linewidth=0.8, linestyle=(0, (4, 2)))
    handles = [
        Line2D([], [], color=GREY, linewidth=0.8, linestyle=(0, (4, 2))),
        _open_handle(5.0),
        _open_handle(2.4),
    ]
    axes.legend(
        handles,
        [f"Dulong–Petit, {limit:.2f} k", "fixed P, model", "fixed V, model"],
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=3,
        borderaxespad=0.3,
        columnspacing=1.0,
        handletextpad=0.4,
    )


def _bulk_moduli(panels: _Panels, fits: SweepFits, series: Sequence[Series]) -> None:
    """What the model says, and filled what the isotherms through each point say."""
    axes = panels.add(QUANTITIES["bulk_modulus"].axis)
    states = {one.temperature: one.state for one in fits.isotherms}

    def of_isotherm(point: SweepPoint) -> Value | None:
        state = states.get(point.temperature_K)
        if state is None or not state.is_known or not point.converged:
            return None
        found = state.bulk_modulus([point.pressure_GPa])
        return Value(float(found.value[0]), float(found.stderr[0]))

    for one in series:
        _draw_points(axes, one, of_isotherm)
        _draw_points(axes, one, _response("bulk_modulus_GPa"), of_model=True)


def _soft_modes(panels: _Panels, isobars: Sequence[Isobar], series: Sequence[Series]) -> None:
    """Softest squared frequency of the free-energy Hessian, where it is known."""
    if not any(point.soft_mode for one in series for point in one.points):
        return
    axes = panels.add(
        f"Softest {QUANTITIES['squared_frequency'].axis.lower().replace('thz', 'THz')}"
    )
    axes.axhline(0.0, color=GREY, linewidth=0.5)
    for one, isobar in zip(series, isobars, strict=True):
        _draw_points(axes, one, _squared)
        if isobar.soft is not None:
            x = _within(isobar.soft.temperatures)
            axes.plot(x, isobar.soft.line(x), **line_style(one.index))


def _squared(point: SweepPoint) -> Value | None:
    mode = point.soft_mode
    return None if mode is None else Value(mode["squared_frequency_THz2"], mode["stderr_THz2"])


def _labels(panels: _Panels, series: Sequence[Series]) -> None:
    axes = panels.add(f"{QUANTITIES['labels'].label} of the point")
    for one in series:
        _draw_points(axes, one, lambda p: Value(float(p.labels_new), 0.0), joined=True)
    axes.set_ylim(bottom=0.0)


def _draw_points(
    axes: Axes,
    series: Series,
    read: Read,
    *,
    of_model: bool = False,
    small: bool = False,
    joined: bool = False,
    scale: float = 1.0,
) -> None:
    """Points with errors; crosses on those that are not converged."""
    found = [(x, point, read(point)) for x, point in zip(series.x, series.points, strict=True)]
    known = [(x, point, value) for x, point, value in found if value is not None]
    if not known:
        return
    x = [place for place, _, _ in known]
    y = np.array([value.value for _, _, value in known]) * scale
    errors = np.array([value.stderr for _, _, value in known]) * scale
    colour = colour_of(series.index)
    axes.errorbar(
        x,
        y,
        errors,
        color=colour,
        marker=marker(series.index),
        markersize=2.4 if small else 4.4 if of_model else 3.4,
        markerfacecolor="white" if of_model else colour,
        markeredgewidth=0.8,
        linestyle=":" if joined else "none",
        linewidth=0.6,
        elinewidth=0.8,
        capsize=1.5,
        zorder=2.5 if of_model else 3.0,
    )
    failed = [
        (place, value)
        for (place, point, _), value in zip(known, y, strict=True)
        if not point.converged
    ]
    axes.plot(
        [place for place, _ in failed],
        [value for _, value in failed],
        linestyle="none",
        marker="x",
        markersize=7.0,
        color=GREY,
        zorder=3.5,
    )


def _draw_curve(axes: Axes, curve: Curve | None, index: int, *, scale: float = 1.0) -> None:
    """A fit, and the band of one standard error about it."""
    if curve is None:
        return
    y, error = curve.y.value * scale, curve.y.stderr * scale
    axes.plot(curve.x, y, **line_style(index))
    limits = axes.dataLim.get_points().copy()
    axes.fill_between(
        curve.x, y - error, y + error, color=colour_of(index), alpha=WASH, linewidth=0
    )
    axes.dataLim.set_points(limits)  # a band that is wide between points hides nothing else


def _size_curve(fit: ExpansionFit | None) -> Curve | None:
    if fit is None or fit.curve is None:
        return None
    x = _within(fit.data.x)
    return Curve(x, fit.size(x))


def _thermal_curve(isobar: Isobar, what: str) -> Curve | None:
    fit = isobar.thermal
    if fit is None or fit.curve is None:
        return None
    x = _within(fit.gibbs.x)
    found = {
        "gibbs": fit.free_energy,
        "entropy": fit.entropies,
        "capacity": fit.heat_capacity,
    }
    return Curve(x, found[what](x))


def _within(x: FloatArray) -> FloatArray:
    return np.linspace(float(x[0]), float(x[-1]), _GRID)


def _open_handle(size: float) -> Line2D:
    return Line2D(
        [], [], color=GREY, marker="o", markersize=size, markerfacecolor="white", linestyle="none"
    )


def _names(lines: Sequence[Isobar] | Sequence[Isotherm]) -> list[str]:
    return [
        f"{one.pressure:g} GPa" if isinstance(one, Isobar) else f"{one.temperature:g} K"
        for one in lines
    ]


def _begin(title: str, names: Sequence[str], shown: int) -> tuple[Figure, Flow]:
    """A page with its heading and the legend of its series."""
    page = new_page()
    flow = Flow(page)
    flow.heading(title if shown == 0 else f"{title}, continued", size=13.0)
    handles: list[Line2D] = [
        Line2D([], [], marker=marker(n), markersize=3.6, **line_style(n)) for n in range(len(names))
    ]
    page.legend(
        [*handles, _open_handle(4.4)],
        [*names, "model at the point"],
        loc="upper left",
        bbox_to_anchor=(MARGIN / 210.0, 1.0 - flow.top / 297.0),
        ncols=len(names) + 1,
        borderaxespad=0.0,
        columnspacing=1.4,
        handlelength=2.6,
    )
    flow.skip(8.0)
    return page, flow
