"""Systems that both ends of a pipeline reach: Kafka and its schema registry."""
