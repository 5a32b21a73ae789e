"""References that keep accounts of their calls, or fail in a way that the configuration decides."""

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.calculators.emt import EMT
from cheap import DIARY

from sscha_mlp.data.labels import configuration_key

SECONDS = 0.03
"""Time of a label of :class:`Accounting`: long enough to be killed in the middle of it."""

SHARES = {"raise": 10, "nan": 2, "no stress": 2, "hang": 1}
"""Of a hundred displaced configurations, how many fail and how."""


class Accounting(EMT):
    """EMT that notes when it begins and ends a configuration, and in which process."""

    def calculate(self, atoms=None, *args, **kwargs):
        key = configuration_key(atoms)
        note("begin", key)
        time.sleep(SECONDS)
        super().calculate(atoms, *args, **kwargs)
        note("end", key)


def accounting() -> EMT:
    """EMT that keeps accounts."""
    return Accounting()


def note(what: str, key: str) -> None:
    """Add a line to the accounts; one short write cannot be cut in two by a kill."""
    descriptor = os.open(os.environ[DIARY], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, f"{what} {key} {os.getpid()}\n".encode())
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Accounts:
    """What a reference has written: how often each configuration was begun, and who is at work."""

    begun: Counter
    at_work: dict[int, str]

    @classmethod
    def read(cls, path: Path) -> "Accounts":
        begun: Counter = Counter()
        at_work: dict[int, str] = {}
        for line in path.read_text().splitlines() if path.is_file() else []:
            what, key, process = line.split()
            if what == "begin":
                begun[key] += 1
                at_work[int(process)] = key
            else:
                at_work.pop(int(process), None)
        return cls(begun, at_work)


def fault_of(atoms) -> str:
    """Say how a configuration fails: decided by its content, so that it fails every time."""
    number = int(configuration_key(atoms)[8:16], 16) % 100
    for name, share in SHARES.items():
        if number < share:
            return name
        number -= share
    return ""


class Unreliable(EMT):
    """EMT that fails on displaced configurations: an error, NaN, no stress, or no answer."""

    def calculate(self, atoms=None, *args, **kwargs):
        super().calculate(atoms, *args, **kwargs)
        forces = np.linalg.norm(self.results["forces"], axis=1)
        self.fault = fault_of(atoms) if np.count_nonzero(forces > 0.05) > 3 else ""
        if self.fault == "raise":
            raise RuntimeError("the electronic structure did not converge")
        if self.fault == "hang":
            time.sleep(600.0)
        if self.fault == "no stress":
            del self.results["stress"]
        if self.fault == "nan":
            self.results["forces"] = np.full_like(self.results["forces"], np.nan)

    def get_property(self, name, atoms=None, allow_calculation=True):
        value = super().get_property(name, atoms, allow_calculation)
        return None if name == "stress" and self.fault == "no stress" else value


def unreliable() -> EMT:
    """EMT that fails now and then."""
    return Unreliable()
