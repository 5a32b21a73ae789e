"""The error family of the package.

Every message says what was wrong, where, and the way out.  The command line turns
:class:`InputError` into exit status 2, :class:`WaitingForLabelsError` into 3, and any other
:class:`SschaMlpError` into exit status 1.
"""

from unicodedata import category


def printable(text: str) -> str:
    r"""Return a text in which a terminal finds no commands.

    Texts of files and of other people's exceptions may hold escape sequences; what cannot be
    printed stands as Python writes it, such as ``\x1b``.
    """
    return "".join(
        one if one.isprintable() or category(one) == "Zs" else ascii(one)[1:-1] for one in text
    )


def one_line(text: str) -> str:
    """Return a text on one line, printable, with single spaces."""
    return printable(" ".join(text.split()))


def message_of(err: BaseException) -> str:
    """Return the text of an exception, also of one that cannot be turned into text."""
    try:
        return str(err)
    except Exception as second:  # noqa: BLE001 - whatever a foreign __str__ raises
        return f"(without a text: its __str__ raises {type(second).__name__})"


def cause_of(err: Exception) -> str:
    """Return why a file could not be read, without the path that errors of the system repeat.

    Parameters
    ----------
    err
        What opening or parsing the file raised.
    """
    return (isinstance(err, OSError) and err.strerror) or message_of(err)


class SschaMlpError(Exception):
    """A run failed for a reason that the message names."""


class InputError(SschaMlpError):
    """What the user gave cannot be used: a file, a number, a name or a setting."""


class StructureError(InputError):
    """A structure is unreadable, empty, or has atoms on top of each other."""


class ConfigError(InputError):
    """A setting is unknown, out of range, or differs from the run that is being resumed."""


class ReferenceFailedError(SschaMlpError):
    """The reference calculator could not label what it had to label."""


class WaitingForLabelsError(SschaMlpError):
    """Inputs for labels are written, and somebody has to compute them.

    Parameters
    ----------
    message
        What is waited for, where the inputs are, and what to do with the outputs.
    directory
        Where the inputs are.
    n_waiting
        How many labels are missing.
    """

    def __init__(self, message: str, *, directory: str = "", n_waiting: int = 0) -> None:
        super().__init__(message)
        self.directory = directory
        self.n_waiting = n_waiting


class FitError(SschaMlpError):
    """A model could not be fitted, or the fit did not read the data it was given."""


class ModelError(InputError):
    """A model file is missing, damaged, or does not fit the crystal it is used for."""


class RelaxationError(SschaMlpError):
    """A relaxation cannot go on from the state it is in."""
