"""The only module that imports quippy, and only when a potential is asked for.

Importing quippy turns NumPy's ``ComplexWarning`` into an error for the whole process, on which
other codes then die; the filters are put back as they were.  A quippy potential computes forces
when it is asked for energies and starts again when it is asked for stresses; here one call
computes all three.
"""

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from ase.calculators.calculator import Calculator

from sscha_mlp.errors import InputError, ModelError

_LOCK = threading.Lock()


def import_quippy() -> ModuleType:
    """Import quippy and leave the warning filters of the process as they were.

    Raises
    ------
    InputError
        If quippy is not installed or cannot be loaded.
    """
    with warnings.catch_warnings():
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
    filename = None if param_filename is None else str(param_filename)
    try:
        with _silence():
            potential: Calculator = quippy.potential.Potential(
                args, param_str=param_str, param_filename=filename, calc_args=calc_args
            )
    except (RuntimeError, ValueError, UnicodeDecodeError) as err:
        where = f"in {filename} " if filename else ""
        raise ModelError(
            f"QUIP cannot read the parameters {where}of {args!r}: {' '.join(str(err).split())}"
        ) from err
    potential.set_default_properties(["energy", "forces", "stress"])
    return potential


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
