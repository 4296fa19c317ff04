"""`image …`: builds, pushes and inspects the container image."""
