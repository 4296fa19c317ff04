"""`flink …`: a job on a Flink cluster, started, looked at, and ended."""
