"""A life in a thread of its own, so that it can be stopped in the middle of anything and go on much later."""

import threading

from tests.live.life import Life, Saved
from tests.live.world import Killed, Wrong
from transforms.errors import SinkError


class Process(threading.Thread):
    """Runs a life; only one of all processes runs at a time."""

    def __init__(self, life: Life, saved: Saved | None):
        super().__init__(daemon=True)
        self.life, self._saved = life, saved
        self.is_left_over = False
        self.is_killed = False
        self.error: BaseException | None = None
        self.has_ended = False
        self._go, self._back = threading.Event(), threading.Event()

    def run(self) -> None:
        try:
            self.life.live(self._saved)
        except Killed:
            self.is_killed = True
        except (SinkError, Wrong) as error:
            self.is_killed = True
            if not self.is_left_over:  # what such a one sees is of others' making; what it leaves is looked at
                self.error = error
        except BaseException as error:  # noqa: BLE001  # the waiting thread raises it
            self.error = error
        self.has_ended = True
        self._back.set()

    def go(self) -> None:
        """Lets it run until it stops or ends; what it found to be wrong is raised here."""
        self._back.clear()
        self._go.set()
        if self.ident is None:
            self.start()
        self._back.wait()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """It is stopped: to be called by itself; it returns when it goes on."""
        self._go.clear()
        self._back.set()
        self._go.wait()
