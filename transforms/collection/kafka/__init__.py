"""A topic of Kafka as a source: its messages as records, how far each partition is, and reading it to an end."""
