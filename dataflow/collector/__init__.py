"""The collector: receives records over TCP, acknowledges them once they are durable, and never loses one after that."""
