"""Tables as folders of Parquet files: a bounded run publishes them whole, a live job adds files."""
