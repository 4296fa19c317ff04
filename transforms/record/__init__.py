"""What travels: batches of records with their original bytes, dead letters, ledger entries, and their coder."""
