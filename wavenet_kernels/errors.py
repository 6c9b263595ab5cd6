"""The exceptions of the package that are not built in."""


class BackendUnavailableError(RuntimeError):
    """A backend can't serve a call on this machine: the message says why, and what would."""
