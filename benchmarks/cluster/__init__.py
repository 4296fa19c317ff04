"""The same jobs on a Flink cluster of this machine, and a topic of a real broker: `python -m benchmarks.cluster`."""
