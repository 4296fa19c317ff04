"""What a process has: its threads and embedded engine, durable files, its pulse, and how far it is."""
