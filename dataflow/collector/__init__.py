"""The collector: takes records over TCP, answers when they are durable, and loses nothing that it answered."""
