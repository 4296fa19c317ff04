"""Storage: workers stage tables, and one step publishes them together into folders, databases and topics."""
