"""The elements of pipelines: batches of records with their original bytes, dead letters, ledger entries; a coder."""
