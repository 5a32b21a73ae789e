"""Running a code from the command line: its command, environment and scratch directory.

A command is a list of words, run without a shell.  Programs stay in the session of the process
that starts them, so that a worker which exceeds its time limit takes them along.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from sscha_mlp.errors import ConfigError, ReferenceFailedError

_FOR_A_SHELL: Final = frozenset(";|&<>`$\n\r")


@dataclass(frozen=True)
class Program:
    """How a code is run: nothing here changes a label.

    Parameters
    ----------
    command
        The words of the command line; the first is the path of a program that exists.
    environment
        Variables that are added to those of the process.
    scratch
        Directory under which each calculation gets one of its own.
    keep_files
        Whether these are kept after success, too.
    """

    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    scratch: Path = Path(tempfile.gettempdir())
    keep_files: bool = False

    def run(self, directory: Path, arguments: Sequence[str], *, stdout: str, stderr: str) -> int:
        """Run the command in a directory and return its exit status.

        Parameters
        ----------
        directory
            Where it runs.
        arguments
            Words that are added to the command.
        stdout, stderr
            Names of the files in the directory that get its output.

        Raises
        ------
        ReferenceFailedError
            If it cannot be started.
        """
        try:
            with (directory / stdout).open("wb") as out, (directory / stderr).open("wb") as err:
                done = subprocess.run(
                    [*self.command, *arguments],
                    cwd=directory,
                    env={**os.environ, **dict(self.environment)},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    check=False,
                )
        except OSError as err:
            raise ReferenceFailedError(f"{self.command[0]} cannot be run ({err})") from err
        return done.returncode

    @contextlib.contextmanager
    def directory(self, prefix: str) -> Iterator[Path]:
        """Make a directory for one calculation; it stays after a failure, which names it.

        Raises
        ------
        ReferenceFailedError
            If it cannot be made, or the calculation in it fails.
        """
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
            path = Path(tempfile.mkdtemp(prefix=prefix, dir=self.scratch))
        except OSError as err:
            raise ReferenceFailedError(
                f"no scratch directory can be made in {self.scratch} ({err}); set scratch in the "
                "reference file to a place with room"
            ) from err
        try:
            yield path
        except (ReferenceFailedError, OSError) as err:
            reason = str(err).rstrip(".")
            raise ReferenceFailedError(f"{reason}; its files are kept in {path}") from err
        if not self.keep_files:
            shutil.rmtree(path, ignore_errors=True)


class HasProgram(Protocol):
    """Settings of a calculation with a program."""

    @property
    def program(self) -> Program:
        """How it is run."""


SettingsT = TypeVar("SettingsT", bound=HasProgram)


class ProgramCalculator(Calculator, Generic[SettingsT]):
    """A calculator that runs a program once for each calculation, in a directory of its own.

    Parameters
    ----------
    settings
        What is computed and how.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 -- ASE's
    prefix: ClassVar[str]
    """Beginning of the name of each directory."""

    def __init__(self, settings: SettingsT) -> None:
        super().__init__()
        self.settings = settings

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Run the program once.

        Raises
        ------
        ReferenceFailedError
            If it does not run to its end or has not converged; the sentence names the directory
            with its files.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        assert self.atoms is not None
        with self.settings.program.directory(self.prefix) as directory:
            self.results = self.compute(directory, self.atoms)

    def compute(self, directory: Path, atoms: Atoms) -> dict[str, Any]:
        """Run the program in a directory and return its results in ASE's units and signs."""
        raise NotImplementedError


def make_program(given: Mapping[str, Any], *, default: str, place: Path, hint: str) -> Program:
    """Make a program from what a table says about running it.

    Parameters
    ----------
    given
        May hold ``command``, ``environment``, ``scratch`` and ``keep_files``.
    default
        The command without one.
    place
        Directory to which relative paths refer.
    hint
        What to do where the program is not found.

    Raises
    ------
    ConfigError
        If a value cannot be used, or the program is not found.
    """
    words = split_command(given.get("command", default))
    keep_files = given.get("keep_files", False)
    if not isinstance(keep_files, bool):
        raise ConfigError(f"keep_files is {keep_files!r}; it must be true or false.")
    scratch = given.get("scratch", tempfile.gettempdir())
    if not isinstance(scratch, str) or not scratch:
        raise ConfigError(f"scratch is {scratch!r}; it must be the path of a directory.")
    return Program(
        command=(find_program(words[0], place=place, hint=hint), *words[1:]),
        environment=check_environment(given.get("environment", {})),
        scratch=resolve(scratch, place),
        keep_files=keep_files,
    )


def split_command(command: Any) -> tuple[str, ...]:
    """Return the words of a command: a list as it is, a text split at its spaces.

    Raises
    ------
    ConfigError
        If it is empty, is no text, or has characters that only a shell understands.
    """
    if isinstance(command, list) and command and all(_is_word(word) for word in command):
        return tuple(command)
    if not isinstance(command, str) or not command.strip():
        raise ConfigError(f"command is {command!r}; it must be a text or a list of words.")
    special = sorted(_FOR_A_SHELL.intersection(command))
    if special:
        raise ConfigError(
            f"The command {command!r} has {' '.join(map(repr, special))} in it, but no shell runs "
            "it: put it into a script and name that, or set variables in the table environment."
        )
    try:
        return tuple(shlex.split(command))
    except ValueError as err:
        raise ConfigError(f"The command {command!r} cannot be split into words: {err}.") from err


def find_program(name: str, *, place: Path, hint: str) -> str:
    """Return the absolute path of a program.

    Parameters
    ----------
    name
        A name on the PATH, or a path; relative ones refer to `place`.
    hint
        Said where it is not found.

    Raises
    ------
    ConfigError
        If there is none.
    """
    wanted = str(resolve(name, place)) if "/" in name else name
    found = shutil.which(wanted)
    if found is None:
        raise ConfigError(f"The program {name!r} is not found. {hint}")
    return str(Path(found).absolute())


def check_environment(given: Any) -> tuple[tuple[str, str], ...]:
    """Return environment variables from a table, sorted by name.

    Raises
    ------
    ConfigError
        If it is not a table of texts and whole numbers.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"environment is {given!r}; it must be a table of variables.")
    for name, value in given.items():
        word = isinstance(value, str) or type(value) is int
        if not word or not name or "=" in name or "\0" in f"{name}{value}":
            raise ConfigError(
                f"environment.{name} is {value!r}; variables are texts or whole numbers, and "
                "their names have no '='."
            )
    return tuple(sorted((name, str(value)) for name, value in given.items()))


def resolve(path: str, place: Path) -> Path:
    """Return a path, ``~`` expanded; a relative one refers to `place`."""
    try:
        return place / Path(path).expanduser()
    except RuntimeError as err:
        raise ConfigError(f"The path {path!r} cannot be used: {err}.") from err


def last_line(*files: Path) -> str:
    """Return the last line that is not empty of the first file that has one, or nothing."""
    for file in files:
        lines = read_text(file).split("\n")
        found = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if found:
            return found[:200]
    return ""


def read_text(file: Path) -> str:
    """Return the text of a file, or nothing where there is none."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _is_word(word: Any) -> bool:
    return isinstance(word, str) and bool(word) and "\0" not in word
