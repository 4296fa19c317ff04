"""The job: its file, read and validated, and the plan that is made from it."""
