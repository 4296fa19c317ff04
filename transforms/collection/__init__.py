"""Collection: ranges of files in; batches of records, dead letters and ledger entries out."""
