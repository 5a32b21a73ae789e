"""Functions, factories and calculators that fail in every way that the package must survive."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.units import Bohr, GPa, Hartree, Rydberg

COUNT_FILE = "SSCHA_MLP_TEST_COUNT_FILE"
"""Environment variable: file to which :func:`counting` adds one line for each call."""


def square(task: float) -> float:
    """Return the square."""
    return task * task


def make_square() -> Callable[[float], float]:
    """Make :func:`square`."""
    return square


def misbehave(task: object) -> object:
    """Do what the task says: raise, exit, die, hang, chatter, or return what it is."""
    if task == "raise":
        raise ValueError("this one\ndoes not converge")
    if task == "sys.exit":
        sys.exit(4)
    if task == "exit":
        os.write(2, b"SYSTEM ABORT: out of ideas\n")
        os._exit(3)
    if task == "hang":
        time.sleep(600.0)
    if task == "unpicklable":
        return lambda: None
    if task == "print":
        print("x" * 200_000)
    if task == "environment":
        return os.environ["OMP_NUM_THREADS"], os.getpid(), os.getpgrp()
    if isinstance(task, str) and task.startswith("spawn "):
        with subprocess.Popen(["sleep", "600"]) as process:
            Path(task.removeprefix("spawn ")).write_text(str(process.pid))
    if isinstance(task, tuple):
        time.sleep(float(task[1]))
        return task[0]
    return task


def make_misbehave() -> Callable[[object], object]:
    """Make :func:`misbehave`."""
    return misbehave


def broken_factory() -> Callable[[object], object]:
    """Fail before there is a function."""
    raise RuntimeError("no licence")


def dying_factory() -> Callable[[object], object]:
    """Take the worker down before there is a function."""
    os._exit(7)


class MuteError(Exception):
    """An exception that has no text."""

    def __str__(self) -> str:
        """Fail as well."""
        raise AttributeError("no text")


class Faulty(Calculator):
    """EMT that fails on the configurations whose atoms carry a tag."""

    implemented_properties = ["energy", "forces", "stress"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute, or fail as the first atom's tag says."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        tag = int(self.atoms.get_tags()[0])
        if tag == 1:
            raise RuntimeError("the electronic structure did not converge")
        if tag == 2:
            time.sleep(600.0)
        if tag == 3:
            os._exit(9)
        if tag == 7:
            os._exit(0)
        if tag == 8:
            raise MuteError
        if tag == 9:
            raise RuntimeError("\x1b[2J\x1b[31mall is well\x9b0m")
        inner = self.atoms.copy()
        inner.calc = EMT()
        self.results = {
            "energy": inner.get_potential_energy(),
            "forces": inner.get_forces(),
            "stress": inner.get_stress(),
        }
        if tag == 4:
            self.results["forces"][0, 0] = np.nan
        if tag == 5:
            del self.results["stress"]
        if tag == 6:
            self.results["energy"] = float("inf")


def faulty() -> Calculator:
    """Make the faulty calculator."""
    return Faulty()


class Leaving(EMT):
    """EMT that ends its process as if all were well."""

    def calculate(self, *args: object, **kwargs: object) -> None:
        """Leave."""
        os._exit(0)


def leaving() -> Calculator:
    """Make the calculator that leaves."""
    return Leaving()


class OtherUnits(EMT):
    """EMT whose results are multiplied by factors."""

    def __init__(self, energy: float = 1.0, forces: float = 1.0, stress: float = 1.0) -> None:
        super().__init__()
        self.factors = {"energy": energy, "free_energy": energy, "forces": forces, "stress": stress}

    def calculate(self, *args: object, **kwargs: object) -> None:
        """Compute, and change the units."""
        super().calculate(*args, **kwargs)
        for name, factor in self.factors.items():
            self.results[name] = self.results[name] * factor


def scaled(**factors: float) -> Calculator:
    """Make EMT whose results are multiplied by factors."""
    return OtherUnits(**factors)


def hartree_and_rydberg() -> Calculator:
    """Make EMT with energies in Hartree, forces in Ry/bohr and a stress in Ry/bohr³."""
    return OtherUnits(1 / Hartree, Bohr / Rydberg, Bohr**3 / Rydberg)


def stress_in_gpa() -> Calculator:
    """Make EMT with a stress in GPa."""
    return OtherUnits(stress=1 / GPa)


class Counting(EMT):
    """EMT that writes one line to a file for each calculation, and takes its time."""

    def calculate(self, *args: object, **kwargs: object) -> None:
        """Compute, slowly, and count."""
        with Path(os.environ[COUNT_FILE]).open("a") as stream:
            stream.write("x\n")
        time.sleep(0.05)
        super().calculate(*args, **kwargs)


def counting(delay: float = 0.0) -> Calculator:
    """Make the counting calculator."""
    time.sleep(delay)
    return Counting()


def no_calculator() -> str:
    """Make something that is not a calculator."""
    return "calculator"


not_callable = 3.0
