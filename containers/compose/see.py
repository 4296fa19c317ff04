"""Shows that the compose file's stack works: sends a minute of readings to the collector, and waits for its windows.

`docker-compose -f containers/compose.yaml run --rm see` runs it; the exit code is 0 when every window is in PostgreSQL
with the right count.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sql

DEVICES: Final = ("boiler", "pump", "roof")
SECONDS: Final = 60
WINDOW_MS: Final = 10_000
PATIENCE_SECONDS: Final = 120.0


def readings(begin_ms: int) -> list[dict[str, object]]:
    """One reading a second of each device."""
    return [
        {"t": begin_ms + 1000 * second, "device": device, "temperature": 20.0 + index + second % 10}
        for second in range(SECONDS)
        for index, device in enumerate(DEVICES)
    ]


def main() -> int:
    """Sends, waits, prints."""
    begin_ms = (int(time.time() * 1000) // WINDOW_MS) * WINDOW_MS - 1000 * SECONDS
    path = Path("/tmp/readings.jsonl")
    path.write_text("".join(f"{json.dumps(reading)}\n" for reading in readings(begin_ms)), encoding="utf-8")
    source = f"see-{begin_ms}"
    send = [sys.executable, "-m", "dataflow.main", "send", str(path), "--to", "collector:8080", "--source", source]
    subprocess.run(send, check=True)
    password = os.environ["POSTGRES_PASSWORD"]
    url = sql.URL.create("postgresql+psycopg", "streamgauge", password, "postgres", database="streamgauge")
    query = sql.text(
        "select window_start, device, temperature_count, temperature_mean from by_device"
        " where extract(epoch from window_start) * 1000 >= :begin and final order by 1, 2"
    )
    wanted = SECONDS * 1000 // WINDOW_MS * len(DEVICES)
    rows: list[Any] = []
    until = time.monotonic() + PATIENCE_SECONDS
    engine = sql.create_engine(url)
    while len(rows) < wanted and time.monotonic() < until:
        time.sleep(0.5)
        with engine.connect() as connection:
            if sql.inspect(connection).has_table("by_device"):
                rows = list(connection.execute(query, {"begin": begin_ms}))
    for start, device, count, mean in rows:
        sys.stdout.write(f"{start}  {device:<8}{count:>4}  {mean:6.2f}\n")
    right = sum(count == WINDOW_MS // 1000 for _, _, count, _ in rows)
    sys.stdout.write(f"{right} of {wanted} windows are in PostgreSQL with all their readings\n")
    return 0 if right == wanted else 1


if __name__ == "__main__":
    sys.exit(main())
