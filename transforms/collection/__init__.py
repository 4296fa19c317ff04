"""Collection: reads sources into batches of records, dead letters and ledger entries."""
