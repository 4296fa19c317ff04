"""A wall clock that a file sets: `clock` in the folder where the process works holds seconds to add. Others go on."""

import time


def install() -> None:
    """Lets the clock of this process follow the file."""
    true_time, true_time_ns = time.time, time.time_ns

    def offset() -> float:
        try:
            with open("clock") as file:
                return float(file.read() or 0)
        except FileNotFoundError:
            return 0.0

    time.time = lambda: true_time() + offset()
    time.time_ns = lambda: true_time_ns() + int(offset() * 1e9)
