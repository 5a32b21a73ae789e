"""The only module that imports quippy, and only when a potential is asked for.

Importing quippy turns NumPy's ``ComplexWarning`` into an error for the whole process, on which
other codes then die; the filters are put back as they were.  A quippy potential computes forces
when it is asked for energies and starts again when it is asked for stresses; here one call
computes all three.  QUIP changes the working directory of the whole process while it reads a
parameter file, so that it finds the files of sparse points beside it; another thread then resolves
relative paths in the wrong place.  Here the file is read by Python, and QUIP gets its text with
absolute names.
"""

import contextlib
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

from ase.calculators.calculator import Calculator

from sscha_mlp.errors import InputError, ModelError
from sscha_mlp.parallel.signals import signals_held

_LOCK = threading.Lock()

_SPARSE_FILE: Final = re.compile(r'(?<=sparseX_filename=")(?!/)')
"""Where a relative name of a file of sparse points begins."""

_PLAIN_PATH: Final = re.compile(r"[\w/.+=@,:-]+", re.ASCII)
"""Paths that an XML attribute holds as they are, and that f90wrap can pass on."""


def import_quippy() -> ModuleType:
    """Import quippy and leave the warning filters of the process as they were.

    Raises
    ------
    InputError
        If quippy is not installed or cannot be loaded.
    """
    with warnings.catch_warnings(), signals_held():
        try:
            import quippy
            import quippy.potential
        except ImportError as err:
            raise InputError(
                f"quippy cannot be imported ({err}): install it with `pip install quippy-ase`."
            ) from err
    module: ModuleType = quippy
    return module


def quippy_potential(
    args: str,
    *,
    param_str: str | None = None,
    param_filename: str | Path | None = None,
    calc_args: str = "",
) -> Calculator:
    """Return a QUIP potential that computes energy, forces and stress in one call.

    Parameters
    ----------
    args
        Kind of the potential, for example ``"IP Tersoff"`` or ``"IP GAP"``.
    param_str
        Parameters as XML text.
    param_filename
        File with the parameters, instead of ``param_str``.
    calc_args
        Arguments of each calculation, for example ``"local_gap_variance"``.

    Raises
    ------
    InputError
        If quippy is missing, or not exactly one source of parameters is given.
    ModelError
        If the parameters cannot be read.
    """
    if (param_str is None) == (param_filename is None):
        raise InputError("Give the parameters either as text or as a file.")
    if param_filename is not None and not Path(param_filename).is_file():
        raise ModelError(f"The potential file {param_filename} does not exist.")
    quippy = import_quippy()
    source = param_filename or args
    try:
        with _text_for_quip(param_filename, param_str) as text, _silence():
            potential: Calculator = quippy.potential.Potential(
                args, param_str=text, calc_args=calc_args
            )
    except (OSError, RuntimeError, ValueError, TypeError) as err:
        raise ModelError(
            f"QUIP cannot read the parameters of {source}: {' '.join(str(err).split())}"
        ) from err
    potential.set_default_properties(["energy", "forces", "stress"])
    return potential


@contextlib.contextmanager
def _text_for_quip(file: str | Path | None, text: str | None) -> Iterator[str]:
    """Return parameters as text in which the files of sparse points have absolute names.

    A path that QUIP could not read gets a plain one for the time being: a symbolic link to it.
    """
    if file is None:
        yield text or ""
        return
    place = Path(file).resolve().parent
    content = Path(file).read_text(encoding="utf-8")
    with contextlib.ExitStack() as stack:
        if not _PLAIN_PATH.fullmatch(str(place)):
            links = stack.enter_context(tempfile.TemporaryDirectory(prefix="sscha-mlp-"))
            link = Path(links) / "model"
            link.symlink_to(place, target_is_directory=True)
            place = link
        yield _SPARSE_FILE.sub(lambda _: f"{place}/", content)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Send what Fortran writes to the standard streams nowhere, for a moment."""
    with _LOCK, contextlib.ExitStack() as stack:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
        null = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, null)
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):  # a closed stream needs no silence
                saved = os.dup(descriptor)
                stack.callback(os.close, saved)
                stack.callback(os.dup2, saved, descriptor)
                os.dup2(null, descriptor)
        yield
