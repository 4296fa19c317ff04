"""What a live job resumes from: snapshots, and the manifest that says what counts."""
