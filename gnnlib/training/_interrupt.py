"""Ctrl-C that loses nothing."""

import signal
import threading
from types import FrameType


class Interrupt:
    """Turns the first Ctrl-C into a request to stop after this epoch; a second one stops at once.

    An epoch that is cut short cannot be resumed to the bit, hence the request. Python delivers
    Ctrl-C to the main thread alone, so elsewhere there is nothing to catch.
    """

    def __init__(self) -> None:
        self.asked = False
        self.catches = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "Interrupt":
        if self.catches:
            self.previous = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self.catches:
            signal.signal(signal.SIGINT, self.previous)

    def _ask(self, signum: int, _: FrameType | None) -> None:
        self.asked = True
        signal.signal(signum, self.previous)
