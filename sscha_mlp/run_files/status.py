"""Where a run or a sweep stands, from the files of its directory alone; nothing is changed."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sscha_mlp.data.files import read_plain
from sscha_mlp.digits import duration
from sscha_mlp.errors import InputError
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.label_progress import Coming
from sscha_mlp.run_files.provenance import timings
from sscha_mlp.run_files.records.certificate import CertificateRecord
from sscha_mlp.run_files.records.labels import BatchRecord
from sscha_mlp.run_files.records.models import FitRecord
from sscha_mlp.run_files.records.population import PopulationRecord
from sscha_mlp.run_files.records.start import OriginRecord, StartRecord
from sscha_mlp.run_files.settings import RunSettings

_STAGE: Final = "== "
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[,.]\d+ (.*)")


class State(StrEnum):
    """What a run is doing."""

    CERTIFIED = "finished, certified"
    NOT_CERTIFIED = "finished, not certified"
    WORKING = "working"
    WAITING = "waiting for labels"
    FAILED = "failed"
    STOPPED = "stopped"
    TO_COME = "to come"


@dataclass(frozen=True)
class LogTail:
    """The end of a log.

    Parameters
    ----------
    stage
        The stage that began last; empty if there is none.
    since
        When it began, local time as the log has it.
    last
        The last line, without its time.
    last_time
        When it was written; empty for the last line of a traceback.
    """

    stage: str = ""
    since: str = ""
    last: str = ""
    last_time: str = ""

    @classmethod
    def read(cls, log: Path) -> "LogTail":
        """Read a log; one that is not there is empty."""
        try:
            text = read_plain(log).decode("utf-8", errors="replace")
        except (OSError, InputError):
            return cls()
        stage = since = last = last_time = ""
        for line in filter(str.strip, text.splitlines()):
            found = _TIME.match(line)
            last_time, last = found.groups() if found else ("", line.strip())
            if last.startswith(_STAGE):
                stage, since = last.removeprefix(_STAGE), last_time
        return cls(stage, since, last.removeprefix(_STAGE), last_time)

    @property
    def ending(self) -> tuple[State, str]:
        """How the last sitting ended where it did not finish, and why."""
        if self.last.startswith("failed: "):
            return State.FAILED, self.last.removeprefix("failed: ")
        waiting = self.last.removeprefix("waiting: ")  # of earlier versions
        if waiting.startswith("waiting for "):
            return State.WAITING, waiting
        if self.last and not self.last_time:
            return State.FAILED, self.last
        return State.STOPPED, ""

    def at(self, *, working: bool) -> str:
        """Return the stage, and while somebody is `working` for how long; empty without one."""
        seconds = self.seconds_since(datetime.now().replace(microsecond=0))
        return f"{self.stage}, for {duration(seconds)}" if working and self.stage else self.stage

    def seconds_since(self, now: datetime) -> float | None:
        """Seconds from the begin of the stage to a time; None if no stage has begun."""
        if not self.since:
            return None
        return max(0.0, (now - datetime.fromisoformat(self.since)).total_seconds())


@dataclass(frozen=True)
class Standing:
    """Where a run stands.

    Parameters
    ----------
    place
        Its directory.
    settings
        Its settings.
    state
        What it is doing.
    reason
        Why it ended, failed or waits; empty where there is nothing to say.
    labels
        New labels of this run, those of the step at work included.
    labels_taken_over
        Labels of the run that it starts from.
    labels_failed
        Configurations that the reference could not label.
    start_calls
        Calls of the reference for the start; None before it is finished.
    origin
        Directory of the run that it starts from, or empty.
    timings_s
        Seconds of each kind of work in finished steps.
    populations
        Finished ones in order.
    certificates
        Checks in order.
    fits
        Models fitted or taken over.
    last_step
        Key of the last finished step, or empty.
    log
        The end of its log.
    coming
        Labels of a step that is not finished; None where there is none.
    """

    place: RunDirectory
    settings: RunSettings
    state: State
    reason: str
    labels: int
    labels_taken_over: int
    labels_failed: int
    start_calls: int | None
    origin: str
    timings_s: dict[str, float]
    populations: tuple[PopulationRecord, ...]
    certificates: tuple[CertificateRecord, ...]
    fits: int
    last_step: str
    log: LogTail
    coming: Coming | None = None

    @classmethod
    def read(cls, directory: str | Path) -> "Standing":
        """Read where the run in a directory stands.

        Raises
        ------
        InputError
            If this is not a run directory, or a file of it is damaged.
        SschaMlpError
            If the journal is damaged, or holds what no run writes.
        """
        place = RunDirectory(Path(directory))
        settings = place.settings()
        journal = Journal(place.journal, read_only=True)
        with place.trusted():
            log = LogTail.read(place.log)
            state, reason = _state(place, log)
            batches = journal.all(BatchRecord)
            coming = _coming(place, journal)
            new = 0 if coming is None or coming.of_the_start else coming.in_step
            origin, start = journal.find(OriginRecord), journal.find(StartRecord)
            return cls(
                place=place,
                settings=settings,
                state=state,
                reason=reason,
                labels=sum(one.n_labels for one in batches) + new,
                labels_taken_over=0 if origin is None else origin.n_labels,
                labels_failed=sum(len(one.failures) for one in batches),
                start_calls=None if start is None else start.n_calls,
                origin=settings.origin,
                timings_s=timings(journal),
                populations=journal.all(PopulationRecord),
                certificates=journal.all(CertificateRecord),
                fits=len(journal.all(FitRecord)),
                last_step=journal.steps()[-1][0] if journal.steps() else "",
                log=log,
                coming=coming,
            )

    @property
    def now_at(self) -> str:
        """The stage that began last, how long ago, and how many labels it has so far."""
        labels = "" if self.coming is None else f": {self.coming.in_words()}"
        return self.log.at(working=self.state is State.WORKING) + labels

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers of populations and checks in place of their lines."""
        result = self.place.read_result() if self.place.result.is_file() else None
        states = {State.CERTIFIED: "finished", State.NOT_CERTIFIED: "finished"}
        return {
            "run_directory": str(self.place.shown),
            "state": states.get(self.state, str(self.state).partition(" ")[0]),
            "reason": self.reason or None,
            "converged": None if result is None else result.converged,
            "stop_reason": None if result is None else result.stop_reason,
            "origin": self.origin or None,
            "labels": self.labels,
            "labels_taken_over": self.labels_taken_over,
            "labels_failed": self.labels_failed,
            "max_labels": self.settings.max_labels,
            "labels_of_the_step": None if self.coming is None else self.coming.to_json(),
            "start_calls": self.start_calls,
            "fits": self.fits,
            "populations": len(self.populations),
            "phase": self.populations[-1].phase if self.populations else None,
            "certificates": len(self.certificates),
            "seconds": round(self.timings_s["total"], 1),
            "timings_s": self.timings_s,
            "last_step": self.last_step or None,
            "stage": self.log.stage or None,
            "stage_since": self.log.since or None,
            "last_line": self.log.last or None,
        }


def _coming(place: RunDirectory, journal: Journal) -> Coming | None:
    """Return how many labels there are of the step at work; what is finished is in the journal."""
    found = None if place.result.is_file() else Coming.read(place.labelling)
    return None if found is None or found.step in journal else found


def _state(place: RunDirectory, log: LogTail) -> tuple[State, str]:
    if place.result.is_file():
        result = place.read_result()
        state = State.CERTIFIED if result.converged else State.NOT_CERTIFIED
        return state, result.stop_reason
    return (State.WORKING, "") if place.is_locked() else log.ending
