"""Storing while a job runs: rows as they come, and a checkpoint after all that was stored before it."""
