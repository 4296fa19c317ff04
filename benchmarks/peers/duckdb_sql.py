"""DuckDB on whole files.

usage: python -m benchmarks.peers.duckdb_sql OUT_FOLDER THREADS SOURCE...
"""

import sys
from pathlib import Path

import duckdb

LINES = """
    from read_ndjson($1, columns = {sensor: 'VARCHAR', ts: 'BIGINT', feature: 'DOUBLE', target: 'DOUBLE'})
"""
QUERY = """
    select sensor, ts // 60000 * 60000 as window_start, count(*) as n,
        avg(feature) as mean, stddev_samp(feature) as std, min(feature) as min, max(feature) as max,
        regr_slope(target, feature) as slope, regr_intercept(target, feature) as intercept,
        regr_r2(target, feature) as r2
    from events
    group by all
"""


def main(out: Path, threads: int, sources: list[str]) -> None:
    with duckdb.connect(config={"threads": threads}) as connection:
        if sources[0].endswith(".jsonl"):
            events = connection.sql(LINES, params=[sources])
        else:
            events = connection.read_parquet(sources)
        events.create_view("events")
        connection.sql(QUERY).write_parquet(str(out / "answer.parquet"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
