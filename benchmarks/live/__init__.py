"""Live benchmarks: a collector, a job that follows its log, and senders, all of them processes."""
