"""Ctrl-C and SIGTERM where a library would swallow them."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Final

_NUMBERS: Final = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM, and let them come at the end of the block.

    Packages that try imports with a bare ``except`` swallow the exception that a signal raises,
    and the program goes on as if nobody had asked it to end.  Meant for what takes seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # exceptions of signals are raised in the main thread alone
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    held = [number for number, handler in before.items() if callable(handler)]
    for number in held:
        signal.signal(number, lambda one, _: came.append(one))
    try:
        yield
    finally:
        for number in held:
            signal.signal(number, before[number])
        for found in dict.fromkeys(came):
            signal.raise_signal(found)
