"""The job: its file, read and validated, and the plan that it is bound to."""
