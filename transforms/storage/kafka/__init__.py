"""Tables as topics of Kafka: rows as messages, in transactions, each once."""
