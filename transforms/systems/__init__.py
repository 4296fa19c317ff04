"""External systems that both ends of a pipeline use: Kafka and its schema registry."""
