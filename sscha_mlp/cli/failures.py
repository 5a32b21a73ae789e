"""From an exception to one sentence on standard error and an exit status."""

import contextlib
import errno
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

from sscha_mlp.errors import (
    InputError,
    SschaMlpError,
    WaitingForLabelsError,
    message_of,
    one_line,
)

FAILED: Final = 1
"""Exit status of a run that failed, or that ended without a certificate."""

WRONG_INPUT: Final = 2
"""Exit status of input that cannot be used."""

WAITING: Final = 3
"""Exit status of a run that waits for labels that somebody computes by hand."""

_WRONG_PLACES: Final = frozenset(
    {
        *(errno.ENAMETOOLONG, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EEXIST),
        *(errno.EACCES, errno.EPERM, errno.ELOOP, errno.EROFS, errno.EINVAL),
    }
)
"""Errors of the system that another path avoids."""

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Errors of the system where a disk is full or fails; some come without the name of a file."""

_NO_NUMBER: Final = re.compile(r"Input should be a valid (number|integer)\b.*")
"""What the parser of the command line says of a text in the place of a number."""

_OTHER_NAMES: Final = re.compile(r"(?<=') / '[^']*'")
"""The other names of an option, where its parser lists all of them."""

_NUMBERS: Final = {
    "number": "it must be a number, without a unit",
    "integer": "it must be a whole number",
}

_EXAMPLES: Final = {
    "'--supercell'": "--supercell 2 2 2",
    "'size'": "sscha-mlp supercell RUN_DIR 4 4 4",
    "'N N N'": "sscha-mlp supercell RUN_DIR 4 4 4",
}
"""What is right, by the name that the parser of the command line complains about."""

_PART_END: Final = re.compile(r"; |(?<!e\.g)\. (?=[A-Z]|sscha-mlp)")
_ENCLOSED: Final = re.compile(r"\([^()]*\)|(?<!\w)'[^']*'|\"[^\"]*\"")

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it."""

TERMINATED: Final = 143
"""Exit status after SIGTERM, which a batch system sends at the end of its time."""

_LATER: Final = 0.05
"""Seconds after which a signal that came during an import comes again."""

_GOING_ON: Final = frozenset({"relax", "sweep", "supercell", "compare", "label", "reference"})
"""Verbs that keep what is finished, and go on from there."""

_KEPT: Final = "What is finished is kept, and the same command goes on from there."
_NOTHING_WRITTEN: Final = "What was there before is unchanged; the same command begins anew."

_KINDS: Final = {WAITING: "waiting", INTERRUPTED: "interrupted", TERMINATED: "ended by SIGTERM"}
"""What a sentence begins with where nothing went wrong, by exit status."""


class Terminated(SystemExit):
    """SIGTERM has come; it ends a run as Ctrl-C does, which leaves files and workers in order."""


@contextlib.contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM raise :class:`Terminated` in this process, and end its children as before.

    It and Ctrl-C wait until a module is imported: packages swallow the exception, or turn it into
    another one.  Where the command ends before that, with an error or without one, they come at
    its end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = os.getpid()
    waiting: dict[int, threading.Timer] = {}

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif _is_importing(frame):  # what an import makes of exceptions is up to the package
            waiting[number] = threading.Timer(_LATER, os.kill, [own, number])
            waiting[number].start()
        else:
            raise _interruption(number)

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)
    before = [(number, signal.signal(number, end)) for number in numbers]
    try:
        yield
    finally:
        late = [number for number, timer in waiting.items() if timer.is_alive()]
        for timer in waiting.values():
            timer.cancel()
        for number, handler in before:
            signal.signal(number, handler)
        if late:
            raise _interruption(late[0])


def _interruption(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(TERMINATED)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether our command line imports a module where a signal came."""
    while frame is not None and frame.f_globals.get("__name__") != "sscha_mlp.cli":
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def explain(err: BaseException, *, debug: bool, verb: str = "") -> int:
    """Say on standard error what went wrong, and return the exit status.

    Parameters
    ----------
    err
        What was raised.
    debug
        Whether the traceback is printed too.
    verb
        First word of the command line.
    """
    if debug and not _is_usage(err):
        traceback.print_exception(err)
    if isinstance(err, BrokenPipeError):  # the reader of our output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    sentence, status = _sentence(err, debug=debug, verb=verb)
    say(sentence, kind=_KINDS.get(status, "error"))
    return status


def say(sentence: str, *, kind: str = "error") -> None:
    """Print one sentence on standard error: in a box on a terminal, as one line elsewhere."""
    text = one_line(sentence)
    if sys.stderr.isatty():
        _print_box(text, kind)
    else:
        print(f"sscha-mlp: {text if text.startswith(kind) else f'{kind}: {text}'}", file=sys.stderr)


def _print_box(text: str, kind: str) -> None:
    """Print a sentence in a box, with the way out on lines of its own."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    what, way_out = split_way_out(text)
    content = Text(what)
    if way_out:
        content.append("\n\n").append(f"Way out: {way_out}", style="bold")
    colour = "yellow" if kind in _KINDS.values() else "red"
    title = f"sscha-mlp: {kind}"
    Console(stderr=True).print(Panel(content, title=title, title_align="left", border_style=colour))


def split_way_out(text: str) -> tuple[str, str]:
    """Return what went wrong and, where the last part of a sentence says it, the way out.

    Parameters
    ----------
    text
        As errors are written: what and where, then the way out after a full stop or a semicolon.
        What stands in parentheses or quotation marks is not divided.
    """
    bare = _ENCLOSED.sub(lambda found: "_" * len(found[0]), text)
    ends = [found.end() for found in _PART_END.finditer(bare)]
    if not ends:
        return text, ""
    what, way_out = text[: ends[-1]].rstrip(" ;"), text[ends[-1] :]
    what = what if what.endswith(".") else f"{what}."
    return what, f"{way_out[0].upper()}{way_out[1:]}"


def _sentence(err: BaseException, *, debug: bool, verb: str) -> tuple[str, int]:
    if isinstance(err, KeyboardInterrupt | Terminated) or type(err).__name__ == "Abort":
        status = TERMINATED if isinstance(err, Terminated) else INTERRUPTED
        return _KEPT if verb in _GOING_ON else _NOTHING_WRITTEN, status
    text = message_of(err)
    if isinstance(err, WaitingForLabelsError):
        return text, WAITING
    if isinstance(err, InputError):
        return text, WRONG_INPUT
    if isinstance(err, SschaMlpError):
        return text, FAILED
    if _is_usage(err):
        return _usage(err, verb), WRONG_INPUT
    if isinstance(err, OSError) and isinstance(err.filename, str | bytes):
        return _of_a_file(err)
    if isinstance(err, OSError) and err.errno in _NO_ROOM:
        kept = f"{_KEPT[0].lower()}{_KEPT[1:]}"
        return f"A file cannot be written: {err.strerror}. Free some space; {kept}", FAILED
    notes = "".join(f" {note}" for note in getattr(err, "__notes__", ()))
    hint = "" if debug else " Run the same command with --debug to see where."
    return f"unexpected {type(err).__name__}: {text}.{notes}{hint}", FAILED


def _of_a_file(err: OSError) -> tuple[str, int]:
    """Name the file that could not be used; one that cannot have this name is wrong input."""
    text = f"{os.fsdecode(err.filename)}: {err.strerror}; "
    if err.errno in _WRONG_PLACES:
        return f"{text}give another path.", WRONG_INPUT
    return f"{text}what is finished is kept, and the same command goes on from there.", FAILED


def _is_usage(err: BaseException) -> bool:
    """Whether the command line itself was wrong: a click error, from typer's own copy or not."""
    return hasattr(err, "format_message") and hasattr(err, "exit_code")


def _usage(err: BaseException, verb: str) -> str:
    message = str(err.format_message()).rstrip(".")  # type: ignore[attr-defined]
    message = _OTHER_NAMES.sub("", message)
    message = _NO_NUMBER.sub(lambda found: _NUMBERS[found[1]], message)
    example = next((text for name, text in _EXAMPLES.items() if name in message), "")
    message += f"; write for example {example}" if example else ""
    known = verb.isalpha() and "No such command" not in message
    end = "" if message.endswith("?") else "."
    return f"{message}{end} See sscha-mlp {f'{verb} ' if known else ''}--help."


@contextlib.contextmanager
def kept_in_log(log: Path) -> Iterator[None]:
    """Append the traceback of an unexpected exception to a log file, and say where it is."""
    try:
        yield
    except SschaMlpError:
        raise
    except Exception as err:
        from sscha_mlp.data.files import open_own

        with contextlib.suppress(OSError, InputError), open_own(log, append=True) as stream:
            traceback.print_exception(err, file=stream)
            err.add_note(f"The traceback is in {log}.")
        raise
