"""`image …`: the container image, built, pushed, and looked into."""
