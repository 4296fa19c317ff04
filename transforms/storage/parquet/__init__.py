"""Tables as folders of Parquet files: published whole by a bounded run, grown by a live job."""
