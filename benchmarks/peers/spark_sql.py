"""Spark in one process, batch.

usage: python -m benchmarks.peers.spark_sql OUT_FOLDER SOURCE...
"""

# It lives in the peers' environment, where mypy does not look.
# mypy: disable-error-code="import-not-found"

import os
import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

SCHEMA = "sensor string, ts long, feature double, target double"


def main(out: str, sources: list[str]) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    session = (
        SparkSession.builder.master(f"local[{cores}]")
        .config("spark.sql.shuffle.partitions", 2 * cores)  # its default of 200 is meant for a cluster
        .config("spark.driver.memory", "4g")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    reader = session.read.schema(SCHEMA)
    events = reader.json(sources) if sources[0].endswith(".jsonl") else reader.parquet(*sources)
    minute = (f.floor(f.col("ts") / 60_000) * 60_000).alias("window_start")
    answer = events.groupBy("sensor", minute).agg(
        f.count("*").alias("n"),
        f.avg("feature").alias("mean"),
        f.stddev_samp("feature").alias("std"),
        f.min("feature").alias("min"),
        f.max("feature").alias("max"),
        f.regr_slope("target", "feature").alias("slope"),
        f.regr_intercept("target", "feature").alias("intercept"),
        f.regr_r2("target", "feature").alias("r2"),
    )
    answer.write.mode("overwrite").parquet(out)
    session.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
