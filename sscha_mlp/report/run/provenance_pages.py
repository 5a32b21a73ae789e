"""The last pages of a report: how to repeat the run, what it was made with, and its settings."""

from collections.abc import Mapping
from typing import Any, Final

from matplotlib.figure import Figure

from sscha_mlp.digits import DASH
from sscha_mlp.report.page.layout import Column, Flow, new_page, table_pages
from sscha_mlp.report.page.style import GREY
from sscha_mlp.report.run.data import ReportData

_SETTINGS: Final = (
    Column("Setting", 53.0, "left"),
    Column("Value", 33.0, "left"),
    Column("Setting", 55.0, "left"),
    Column("Value", 33.0, "left"),
)
_MARK: Final = "* "
_LONG: Final = 10
"""Characters that a number may have."""


def provenance_pages(data: ReportData) -> list[Figure]:
    """Return the pages of the command that repeats the run, versions, hashes and settings."""
    figure = new_page()
    flow = Flow(figure)
    flow.heading("Provenance", size=13.0)
    flow.paragraph(
        "The command below repeats the run in another directory. The random numbers of each step "
        "follow from the seed, so that with the same versions the same numbers come out, apart "
        "from what other processors round differently.",
        size=8.6,
        colour=GREY,
    )
    flow.skip(2.0)
    flow.pairs(data.provenance, size=8.5, label_width=36.0)
    flow.pairs(_model(data), size=8.5, label_width=36.0)
    flow.skip(2.0)
    versions = data.result.versions
    if versions:
        text = ", ".join(f"{name} {version}" for name, version in versions.items())
        flow.pairs([("Versions", text)], size=8.5, label_width=36.0)
        flow.skip(2.0)
    rows = _settings(data)
    if not rows:
        return [figure]
    half = (len(rows) + 1) // 2
    right = [*rows[half:], ("", "")]
    table = [[*one, *other] for one, other in zip(rows[:half], right, strict=False)]
    title = f"Settings ({_MARK.strip()} other than the default)" if data.defaults else "Settings"
    more, _ = table_pages(title, _SETTINGS, table, size=7.3, first=flow)
    return [figure, *more]


def _model(data: ReportData) -> list[tuple[str, str]]:
    """Return seed, kind, place and hash of the model."""
    model, seed = data.result.model, data.result.seed
    rows = [
        ("Seed", DASH if seed is None else str(seed)),
        ("Model", model.kind),
        ("Model files", model.path),
        ("SHA-256 of the model", model.sha256),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _settings(data: ReportData) -> list[tuple[str, str]]:
    """Return settings by their dotted names, those that were given marked, then the model's."""
    usual = dict(flatten(data.defaults))
    rows = [
        (f"{_MARK if usual and usual.get(name) != value else ''}{name}", value)
        for name, value in flatten(data.settings)
    ]
    model = data.result.model.settings or {}
    return rows + [(f"model.{name}", value) for name, value in flatten(model)]


def flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as dotted names and their values as text."""
    rows: list[tuple[str, str]] = []
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows.extend(flatten(value, f"{name}."))
        else:
            rows.append((name, DASH if value is None or value == "" else _text(value)))
    return rows


def _text(value: object) -> str:
    """Return a setting as text; all digits of a long number are in run.toml and model.json."""
    return f"{value:.7g}" if isinstance(value, float) and len(str(value)) > _LONG else str(value)
