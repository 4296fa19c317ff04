"""What the senders of a case send: made from its seed, every line there once."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

BEGIN_MS: Final = 1_700_000_000_000
OUT_OF_ORDERNESS_MS: Final = 2_000
SPEED: Final = 10
"""Event time goes so much faster than the clock: a case of seconds has many windows."""

BROKEN_SHARE: Final = 0.02

JOB: Final[dict[str, Any]] = {
    "job": "faults",
    "source": {"log": {"path": "log/log"}},
    "record": {
        "event_time": {"column": "ts", "unit": "ms"},
        "columns": {"ts": "int64", "key": "string", "value": "float64?", "x": "float64"},
    },
    "aggregations": [
        {
            "name": "by_key",
            "key": ["key"],
            "window": {"size": "2s"},
            "statistics": {"value": ["count", "missing", "mean", "std", "min", "max", "p50"], "x": ["sum"]},
            "models": {"line": {"kind": "linear_regression", "target": "value", "features": ["x"]}},
        },
        {
            "name": "sliding",
            "key": [],
            "window": {"size": "4s", "every": "1s"},
            "allowed_lateness": "1s",
            "statistics": {"value": ["count", "mean", "p90"], "key": ["distinct"]},
        },
    ],
    "watermark": {"out_of_orderness": f"{OUT_OF_ORDERNESS_MS}ms", "idle_after": "never"},
    "sinks": [{"parquet": {"path": "disk/out"}}, {"sql": {"url": "sqlite:///disk/figures.db"}}],
    "dead_letters": {"fail_above": 1.0},
    "state": "disk/state",
    "execution": {"checkpoint": "1s"},
}
"""The job of every case. No source may be idle: a sender that is killed must not make its own records late."""


@dataclass(frozen=True)
class Sent:
    """What one source has to send: its lines, how many a second, and which of them are broken."""

    source: str
    path: Path
    rate: float
    lines: tuple[bytes, ...]
    broken: frozenset[bytes]


def made(folder: Path, source: str, dice: random.Random, rate: float, seconds: float) -> Sent:
    """Lines of a source, in a file. Event times advance, out of order by less than what the job allows."""
    lines, broken = [], set()
    pace = dice.uniform(0.8, 1.2) * SPEED * 1000 / rate
    for number in range(int(rate * seconds)):
        if number and dice.random() < BROKEN_SHARE:  # the first one tells that the source is there
            line = _broken(source, number, dice)
            broken.add(line)
        else:
            line = _record(source, number, BEGIN_MS + number * pace, dice)
        lines.append(line)
    path = folder / f"{source}.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return Sent(source, path, rate, tuple(lines), frozenset(broken))


def _record(source: str, number: int, at: float, dice: random.Random) -> bytes:
    record = {
        "id": f"{source}-{number}",
        "ts": int(at - dice.uniform(0, 0.95 * OUT_OF_ORDERNESS_MS)),
        "key": f"k{dice.randrange(8)}",
        "value": None if dice.random() < 0.05 else round(dice.gauss(100, 15), 3),
        "x": round(dice.uniform(0, 10), 3),
    }
    return json.dumps(record).encode()


def _broken(source: str, number: int, dice: random.Random) -> bytes:
    name = f"{source}-{number}"
    return dice.choice(
        [
            f"not json {name}".encode(),
            b"\xff\xfe " + name.encode(),
            json.dumps({"id": name, "ts": "soon", "key": "k1", "x": 1.0}).encode(),
            json.dumps({"id": name, "ts": BEGIN_MS, "x": 1.0}).encode(),
            json.dumps({"id": name, "ts": BEGIN_MS, "key": "k1", "x": "much"}).encode()[: dice.randrange(60, 70)],
        ]
    )
