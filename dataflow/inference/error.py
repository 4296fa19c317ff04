"""The one way an inference fails: the data offers nothing a job file could be written from."""


class InferenceError(ValueError):
    """No job file can be written for these files; the message is one sentence that names the file and the reason."""
