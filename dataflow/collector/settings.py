"""The settings of a collector: where to listen, where the log is, and every limit."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from transforms.collection.spec import LONGEST_LINE

MiB: Final = 1 << 20
HEARTBEAT: Final = timedelta(seconds=1)
"""If nothing is written for this long, the log gets a chunk without records."""

LONGEST_GAP: Final = timedelta(seconds=2)
"""The most that a pause between two commits counts as listening: a stopped process did not listen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The limits of a collector. Memory stays within a small multiple of `max_in_flight`, whatever clients do.

    Args:
        max_line: the most bytes of a line, without its newline.
        max_in_flight: the most bytes that are received and not yet durable, over all connections; the same again for
            incomplete lines.
        keep: how long chunks stay after every reader has passed them.
        max_log_bytes: above this size the collector waits for the log to be pruned, and answers nothing meanwhile.

    Raises:
        ValueError: names the limit and its rule.
    """

    log: str
    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = field(default=None, repr=False)
    max_line: int = MiB
    max_connections: int = 4096
    max_in_flight: int = 64 * MiB
    idle_timeout: timedelta = timedelta(minutes=10)
    line_timeout: timedelta = timedelta(seconds=30)
    keep: timedelta = timedelta(hours=1)
    max_log_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_line", "max_connections", "max_in_flight", "max_log_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be positive, is {value}")
        for name in ("idle_timeout", "line_timeout"):
            if getattr(self, name) <= timedelta(0):
                raise ValueError(f"{name} must be longer than 0s")
        if self.max_line > LONGEST_LINE:
            raise ValueError(f"max_line must be at most {LONGEST_LINE}, is {self.max_line}")
        if self.max_line > self.max_in_flight:
            raise ValueError(f"max_in_flight must hold a line of {self.max_line} bytes, is {self.max_in_flight}")
        if self.token == "":
            raise ValueError("the token must not be empty")
