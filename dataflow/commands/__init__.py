"""The commands, one per file; `dataflow.main` defines their command lines."""
