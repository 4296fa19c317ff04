"""Facilities of a process: threads, the embedded engine, durable files, the pulse, and the job's status."""
