"""The journal: each finished step of a run, in order, durable; a step is done once."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sscha_mlp.data.files import open_own, read_plain
from sscha_mlp.errors import InputError, SschaMlpError
from sscha_mlp.run_files.records.fields import Record

Payload = dict[str, Any]

_R = TypeVar("_R", bound=Record)


class Journal:
    """An append-only file of finished steps, one JSON object a line.

    A line that was cut off by a crash is dropped when the journal is opened.

    Parameters
    ----------
    path
        The file; made if needed.
    read_only
        Leave the file as it is: a run may be writing the line that looks cut off.
    """

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self.read_only = read_only
        self._steps: dict[str, Payload] = {}
        self._seconds: dict[str, float] = {}
        self._read()

    def _read(self) -> None:
        """Read finished steps and cut off an unfinished last line."""
        if not self.path.exists():
            return
        kept = 0
        content = read_plain(self.path)
        for line in content.splitlines(keepends=True):
            try:
                key, payload, seconds = _entry(line)
            except (ValueError, KeyError, TypeError, RecursionError) as err:
                if kept + len(line) < len(content):
                    raise SschaMlpError(
                        f"The journal {self.path} is damaged at byte {kept}; restore it, or start "
                        "again in another run directory (--label-store finds its labels)."
                    ) from err
                break
            if not line.endswith(b"\n"):
                break
            self._steps[key] = payload
            self._seconds[key] = seconds
            kept += len(line)
        if kept < len(content) and not self.read_only:
            with self.path.open("r+b") as stream:
                stream.truncate(kept)

    def __contains__(self, key: str) -> bool:
        return key in self._steps

    def __getitem__(self, key: str) -> Payload:
        return self._steps[key]

    def steps(self, prefix: str = "") -> list[tuple[str, Payload]]:
        """Return finished steps whose key starts with `prefix`, in the order they were finished."""
        return [(key, value) for key, value in self._steps.items() if key.startswith(prefix)]

    def seconds(self, prefix: str = "") -> float:
        """Wall time of finished steps whose key starts with `prefix`, s."""
        return sum(value for key, value in self._seconds.items() if key.startswith(prefix))

    def record(self, key: str, payload: Payload, seconds: float = 0.0) -> Payload:
        """Write a finished step; it is on the disk when this returns.

        Raises
        ------
        InputError
            If something else than a plain file has its name.
        SschaMlpError
            If it cannot be written, for example because the disk is full.
        """
        entry: dict[str, Any] = {"step": key, "seconds": round(seconds, 3), "payload": payload}
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            with open_own(self.path, append=True) as stream:
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as err:
            raise SschaMlpError(
                f"The journal {self.path} cannot be written ({err.strerror}); free some space and "
                "run the same command again. Everything finished so far is kept."
            ) from err
        # What a resumed run reads is what this run goes on with.
        self._steps[key] = json.loads(line)["payload"]
        self._seconds[key] = entry["seconds"]
        return self._steps[key]

    def has(self, kind: type[Record], name: str | int = "") -> bool:
        """Whether the record of this kind and name is there."""
        return kind.key_of(name) in self._steps

    def find(self, kind: type[_R], name: str | int = "") -> _R | None:
        """Return the record of this kind and name; None where its step is not finished.

        Raises
        ------
        SschaMlpError
            If its row does not hold what a run writes.
        """
        key = kind.key_of(name)
        return self._typed(kind, key) if key in self._steps else None

    def get(self, kind: type[_R], name: str | int = "") -> _R:
        """Return the record of this kind and name.

        Raises
        ------
        SschaMlpError
            If its step is not finished, or its row does not hold what a run writes.
        """
        found = self.find(kind, name)
        if found is None:
            raise SschaMlpError(
                f"The journal {self.path} lacks the step {kind.key_of(name)}: it is damaged, or "
                "its run has not come so far."
            )
        return found

    def all(self, kind: type[_R], prefix: str = "") -> tuple[_R, ...]:
        """Return the records of a kind whose name begins so, in the order they were finished.

        Raises
        ------
        SschaMlpError
            If a row does not hold what a run writes.
        """
        start = f"{kind.kind}/{prefix}"
        return tuple(
            self._typed(kind, key)
            for key in self._steps
            if key.startswith(start) or key == kind.kind
        )

    def typed_steps(self, *kinds: type[Record]) -> Iterator[Record]:
        """Yield the records of several kinds in the order they were finished."""
        by_name = {one.kind: one for one in kinds}
        for key in self._steps:
            kind = by_name.get(key.partition("/")[0])
            if kind is not None:
                yield self._typed(kind, key)

    def _typed(self, kind: type[_R], key: str) -> _R:
        try:
            return kind.from_row(self._steps[key], key.partition("/")[2])
        except (InputError, ValueError, TypeError, AttributeError, LookupError) as err:
            raise SschaMlpError(
                f"The journal {self.path} does not hold what a run writes at its step {key} "
                f"({err}): it is damaged, or from another version. Take a copy that is whole, or "
                "run again in another directory (--label-store finds its labels)."
            ) from err

    def write(self, record: _R, seconds: float = 0.0) -> _R:
        """Write the record of a finished step, and return it as a resumed run reads it.

        Raises
        ------
        SschaMlpError
            If it cannot be written, for example because the disk is full.
        """
        self.record(record.key, record.to_row(), seconds)
        return self._typed(type(record), record.key)

    def make(self, kind: type[_R], name: str | int, step: Callable[[], _R]) -> _R:
        """Return the record of a step: from the journal, or by doing it and writing it."""
        found = self.find(kind, name)
        if found is not None:
            return found
        start = time.perf_counter()
        record = step()
        return self.write(record, time.perf_counter() - start)

    def once(self, key: str, step: Callable[[], Payload]) -> Payload:
        """Return the payload of a step: from the journal, or by doing it and recording it."""
        if key in self._steps:
            return self._steps[key]
        start = time.perf_counter()
        payload = step()
        return self.record(key, payload, time.perf_counter() - start)


def _entry(line: bytes) -> tuple[str, Payload, float]:
    """Return step, payload and seconds of a line.

    Raises
    ------
    ValueError, KeyError, TypeError, RecursionError
        If it is no line of a journal.
    """
    entry = json.loads(line)
    key, payload, seconds = entry["step"], entry["payload"], entry["seconds"]
    if not isinstance(key, str) or not isinstance(payload, dict):
        raise TypeError("a step without name or payload")
    return key, payload, float(seconds)
