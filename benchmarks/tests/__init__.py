"""The benchmark measures right and refuses wrong answers."""
