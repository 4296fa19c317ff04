"""The commands, one a file; `dataflow.main` says how they are called."""
