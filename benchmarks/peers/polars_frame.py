"""Polars' streaming engine.

usage: python -m benchmarks.peers.polars_frame OUT_FOLDER SOURCE...
"""

# It lives in the peers' environment, where mypy does not look.
# mypy: disable-error-code="import-not-found"

import sys
from pathlib import Path

import polars as pl

SCHEMA = {"sensor": pl.String, "ts": pl.Int64, "feature": pl.Float64, "target": pl.Float64}


def main(out: Path, sources: list[str]) -> None:
    is_json = sources[0].endswith(".jsonl")
    events = pl.scan_ndjson(sources, schema=SCHEMA) if is_json else pl.scan_parquet(sources)
    feature, target = pl.col("feature"), pl.col("target")
    slope = pl.cov(feature, target) / feature.var()
    answer = events.group_by("sensor", window_start=pl.col("ts") // 60_000 * 60_000).agg(
        n=pl.len(),
        mean=feature.mean(),
        std=feature.std(),
        min=feature.min(),
        max=feature.max(),
        slope=slope,
        intercept=target.mean() - slope * feature.mean(),
        r2=pl.corr(feature, target) ** 2,
    )
    answer.collect(engine="streaming").write_parquet(out / "answer.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
