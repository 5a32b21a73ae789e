"""Rows of the first version of the journal: the one place that knows how they differ.

They have no ``schema``.  A population's ``n_configs`` there is what was drawn, a certificate has
its worst stress under ``pressure`` and its number under ``round``, and a batch of labels, a fit
and a validation are known by the name of their step alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sscha_mlp.run_files.records.batch_names import batch_fields

OLD_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "population": {"n_configs": "n_drawn"},
    "certificate": {"pressure": "stress", "round": "number"},
    "choice": {"kind": "model", "name": "choice"},
    "fit": {"kind": "model"},
}
"""Names of the first version, by the kind of record, and what they are now.  Rows still hold them
for programs that read the journal."""


def upgraded(kind: str, name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the first version with the fields of the present one.

    Parameters
    ----------
    kind
        Of the record.
    name
        Of its step in the journal.
    row
        The row.
    """
    renamed = {new: row[old] for old, new in OLD_NAMES.get(kind, {}).items() if old in row}
    more = _MORE.get(kind)
    return {**renamed, **row, **({} if more is None else more(name, row))}


def _batch(name: str, _: Mapping[str, Any]) -> dict[str, Any]:
    return {"batch": batch_fields(name)}


def _numbered(name: str, _: Mapping[str, Any]) -> dict[str, Any]:
    return {"number": int(name)}


def _population(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    state = row.get("state", f"population-{name.replace('/', '-')}")
    return {"phase": name.partition("/")[0], "state": state}


def _validation(name: str, _: Mapping[str, Any]) -> dict[str, Any]:
    part, number = name.split("-")
    return {"part": part, "number": int(number)}


def _origin(_: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Older rows have the fit and the choice of the other run, without numbers."""
    fit, choice = row.get("fit"), row.get("choice")
    return {
        "fit": upgraded("fit", "0", fit) if fit else None,
        "choice": upgraded("choice", "0", choice) if choice else None,
    }


_MORE: Final[Mapping[str, Callable[[str, Mapping[str, Any]], dict[str, Any]]]] = {
    "labels": _batch,
    "population": _population,
    "choice": _numbered,
    "fit": _numbered,
    "validation": _validation,
    "certificate": _numbered,
    "origin": _origin,
}
