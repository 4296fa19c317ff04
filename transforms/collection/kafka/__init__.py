"""A Kafka topic as a source: its messages as records, the progress of each partition, and reading it to an end."""
