"""Flink's own SQL over a topic, submitted by PyFlink to a cluster that runs: what `benchmarks.live.stack.job` counts.

`python flink_sql.py REST_PORT CONNECTOR_JAR BROKERS TOPIC END_OFFSET,…` waits for the end and prints the job's seconds,
which the cluster's REST API reports. It runs in an environment of its own, which knows nothing of ours.
"""

import json
import sys
import urllib.request

from pyflink.table import EnvironmentSettings, TableEnvironment

EVENTS = """
CREATE TABLE events (
    sensor STRING, ts BIGINT, feature DOUBLE, target DOUBLE,
    happened AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR happened AS happened - INTERVAL '1' SECOND
) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{brokers}', 'format' = 'json',
    'json.ignore-parse-errors' = 'true', 'scan.startup.mode' = 'earliest-offset',
    'scan.bounded.mode' = 'specific-offsets', 'scan.bounded.specific-offsets' = '{ends}'
)"""
FIGURES = """
CREATE TABLE figures (
    window_start TIMESTAMP(3), window_end TIMESTAMP(3), sensor STRING, n BIGINT, mean DOUBLE, deviation DOUBLE,
    least DOUBLE, greatest DOUBLE, xy DOUBLE, xx DOUBLE, y DOUBLE
) WITH ('connector' = 'blackhole')"""
COUNTED = """
INSERT INTO figures
SELECT window_start, window_end, sensor, COUNT(feature), AVG(feature), STDDEV_SAMP(feature), MIN(feature), MAX(feature),
       SUM(feature * target), SUM(feature * feature), SUM(target)
FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(happened), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, sensor"""


def main() -> None:
    port, jar, brokers, topic, offsets = sys.argv[1:]
    ends = ";".join(f"partition:{number},offset:{end}" for number, end in enumerate(offsets.split(",")))
    table = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    for name, value in {
        "execution.target": "remote",
        "rest.address": "127.0.0.1",
        "rest.port": port,
        "pipeline.jars": f"file://{jar}",
        "parallelism.default": "1",
        "execution.checkpointing.interval": "10 s",
        "table.exec.mini-batch.enabled": "true",
        "table.exec.mini-batch.allow-latency": "1 s",
        "table.exec.mini-batch.size": "10000",
    }.items():
        table.get_config().set(name, value)
    table.execute_sql(EVENTS.format(topic=topic, brokers=brokers, ends=ends))
    table.execute_sql(FIGURES)
    running = table.execute_sql(COUNTED)
    running.wait()
    job = running.get_job_client().get_job_id()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/jobs/{job}") as answer:
        print(json.load(answer)["duration"] / 1e3)


if __name__ == "__main__":
    main()
