"""The verb ``labels``: what is in a label store, and is it sound."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from typer import Argument, Exit, Option

from sscha_mlp.cli import options
from sscha_mlp.cli.failures import FAILED
from sscha_mlp.errors import printable

if TYPE_CHECKING:
    from sscha_mlp.reference.inspection import Record, Selection, Verified
    from sscha_mlp.reference.store import LabelStore

_ACTIONS: Final = ("list", "counts", "show", "export", "backup", "verify", "release")
_SHOWN: Final = 20
_WIDTH: Final = 79


def labels(
    store: Annotated[Path, Argument(metavar="STORE", help="A labels.db.", show_default=False)],
    action: Annotated[
        str,
        Argument(
            metavar="[list|counts|show|export|backup|verify|release]",
            help="list rows, counts of each reference, show one row, export to a file, backup all "
            "to one new file, verify every row, or release rows from quarantine.",
        ),
    ] = "list",
    rows: Annotated[
        list[int] | None,
        Argument(metavar="[ROW...]", help="Rows for show and release.", show_default=False),
    ] = None,
    reference: Annotated[
        str, Option("--reference", help="Only references whose identity holds this text.")
    ] = "",
    status: Annotated[
        str | None, Option("--status", help="Only rows that are label, failed or quarantined.")
    ] = None,
    lowest: Annotated[
        float | None, Option("--min-energy", help="Lowest energy, in eV/atom.")
    ] = None,
    highest: Annotated[
        float | None, Option("--max-energy", help="Highest energy, in eV/atom.")
    ] = None,
    since: Annotated[
        str | None, Option("--since", help="Stored at or after this date, such as 2026-01-31.")
    ] = None,
    until: Annotated[str | None, Option("--until", help="Stored before or at this date.")] = None,
    out: Annotated[
        Path | None,
        Option("--out", help="For export: .xyz, .cfg or another format; for backup: a new .db."),
    ] = None,
    n_shown: Annotated[int, Option("-n", help="For list: the last so many rows; 0 for all.")] = (
        _SHOWN
    ),
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List, count, show, export, back up or verify the labels of a store.

    Verify ends with status 1 when a row is damaged; failures, duplicates and rows in quarantine
    are named but are no damage.
    """
    del debug  # read by the command line itself
    from sscha_mlp.errors import InputError
    from sscha_mlp.reference.inspection import open_existing

    if action not in _ACTIONS:
        raise InputError(f"There is no action {action!r}; choose {', '.join(_ACTIONS)}.")
    selection = _selection(
        reference=reference,
        status=status,
        lowest=lowest,
        highest=highest,
        since=since,
        until=until,
    )
    with open_existing(store) as opened:
        if action in ("show", "release"):
            _rows(opened, action, rows or [], as_json=as_json)
        elif action == "verify":
            _verify(opened, as_json=as_json)
        elif action == "backup":
            _back_up(opened, out)
        else:
            _selected(opened, action, selection, out, (n_shown, as_json))


def _selection(**given: Any) -> "Selection":
    from sscha_mlp.errors import InputError
    from sscha_mlp.reference.index import State
    from sscha_mlp.reference.inspection import Selection, parse_time

    status = given.pop("status")
    if status is not None and status not in list(State):
        raise InputError(f"--status {status!r} is none of {', '.join(State)}.")
    times = {
        name: None if given[name] is None else parse_time(given[name])
        for name in ("since", "until")
    }
    return Selection(state=None if status is None else State(status), **(given | times))


def _selected(
    store: "LabelStore",
    action: str,
    selection: "Selection",
    out: Path | None,
    shown: tuple[int, bool],
) -> None:
    """List, count or export the rows of a selection."""
    from sscha_mlp.reference.inspection import counts, records

    n_shown, as_json = shown
    found = records(store, selection)
    if action == "export":
        _export(store, found, out)
    elif action == "counts":
        _print_counts(counts(found), as_json=as_json)
    elif as_json:
        _print_json([_plain(one) for one in found])
    else:
        _print_list(found, n_shown)


def _rows(store: "LabelStore", action: str, rows: Sequence[int], *, as_json: bool) -> None:
    """Show rows, or release them from quarantine."""
    from sscha_mlp.cli.screen import note
    from sscha_mlp.errors import InputError
    from sscha_mlp.reference.inspection import configuration, records

    if not rows:
        raise InputError(f"Name the rows to {action}, as labels STORE {action} 12.")
    known = {one.row: one for one in records(store)}
    missing = [row for row in rows if row not in known]
    if missing:
        raise InputError(f"{store.path} has no row {missing[0]}.")
    for row in rows:
        if action == "release":
            store.release(row)
            note(f"row {row} is believed again")
            continue
        atoms, label = configuration(store, row)
        content = _plain(known[row]) | {
            "symbols": atoms.get_chemical_symbols(),
            "cell_A": atoms.cell.array.tolist(),
            "positions_A": atoms.positions.tolist(),
            "forces_eV_per_A": None if label is None else label.forces.tolist(),
            "stress_eV_per_A3": None if label is None else label.stress.tolist(),
        }
        if as_json:
            _print_json(content)
        else:
            _print_row(content)


def _export(store: "LabelStore", found: "Sequence[Record]", out: Path | None) -> None:
    from sscha_mlp.cli.screen import note
    from sscha_mlp.data.formats import write_any
    from sscha_mlp.errors import InputError
    from sscha_mlp.reference.index import State
    from sscha_mlp.reference.inspection import export

    if out is None:
        raise InputError("Name the file to write with --out, such as labels.xyz or labels.cfg.")
    believed = [one for one in found if one.state is State.LABEL]
    written = write_any(out, export(store, believed))
    lost = f"; it does not hold {', '.join(written.left_out)}" if written.left_out else ""
    note(
        f"{written.n_configs} labels, {len(found) - len(believed)} other rows left out: {out}{lost}"
    )


def _back_up(store: "LabelStore", out: Path | None) -> None:
    from sscha_mlp.cli.screen import note
    from sscha_mlp.errors import InputError

    if out is None:
        raise InputError("Name the file to write with --out, such as backup.db.")
    store.back_up(out)
    note(f"all of {store.path}: {out}")


def _verify(store: "LabelStore", *, as_json: bool) -> None:
    from sscha_mlp.reference.inspection import verify

    result = verify(store)
    if as_json:
        _print_json(asdict(result))
    else:
        _print_verified(result)
    if result.problems:
        raise Exit(FAILED)


def _plain(record: "Record") -> dict[str, Any]:
    content = asdict(record) | {"time": _time(record.time)}
    content["energy_eV"] = content.pop("energy")
    content["volume_A3"] = content.pop("volume")
    return content


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))


def _print_list(found: "Sequence[Record]", n_shown: int) -> None:
    print(f"{'row':>7}  {'stored':<16}  {'status':<11}  {'configuration':<16} {'eV/atom':>10}")
    for one in found[-n_shown:] if n_shown > 0 else found:
        energy = "" if one.energy is None else f"{one.energy / one.n_atoms:.5f}"
        name = one.formula or f"{one.n_atoms} atoms"
        print(
            f"{one.row:>7}  {_time(one.time)[:16]}  {one.state:<11}  {name[:16]:<16} {energy:>10}"
        )
        if one.reason:
            print(_cut(f"{'':>9}{one.reason}"))
    left = len(found) - n_shown
    if 0 < n_shown < len(found):
        print(f"and {left} earlier; -n 0 lists all")


def _print_counts(table: dict[str, dict[str, int]], *, as_json: bool) -> None:
    if as_json:
        _print_json(table)
        return
    print(f"{'labels':>8} {'failed':>8} {'quarantined':>12}  reference")
    for identity, row in table.items():
        line = f"{row['label']:>8} {row['failed']:>8} {row['quarantined']:>12}  {identity}"
        print(_cut(line))


def _print_row(content: dict[str, Any]) -> None:
    for name in ("row", "state", "reason", "time", "formula", "n_atoms", "energy_eV", "volume_A3"):
        if content[name] not in (None, ""):
            print(_cut(f"{name:<10} {content[name]}"))
    print(f"key        {content['key']}")
    print(_cut(f"reference  {content['reference']}"))
    for name in ("cell_A", "stress_eV_per_A3"):
        for i, row in enumerate(content[name] or []):
            print(f"{name if i == 0 else '':<17}" + "".join(f"{value:>14.6f}" for value in row))
    forces = content["forces_eV_per_A"] or [[]] * len(content["symbols"])
    print("atom  position (Å) and force (eV/Å)")
    for symbol, place, force in zip(
        content["symbols"], content["positions_A"], forces, strict=True
    ):
        print(f"{symbol:<3}" + "".join(f"{value:>12.5f}" for value in [*place, *force]))


def _print_verified(result: "Verified") -> None:
    for row, text in result.problems:
        print(_cut(f"{'file' if row == 0 else f'row {row}'}: {text}"))
    for row, earlier, exact in result.duplicates:
        how = "" if exact else " in another order, place or wrapping"
        print(f"row {row} is the same configuration as row {earlier}{how}")
    for reason, number in result.failures:
        print(_cut(f"{number} × {reason}"))
    print(
        f"{result.n_rows} rows: {len(result.problems)} damaged, "
        f"{len(result.duplicates)} duplicates, "
        f"{sum(number for _, number in result.failures)} without a label to use"
    )


def _cut(line: str) -> str:
    line = printable(line)
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
