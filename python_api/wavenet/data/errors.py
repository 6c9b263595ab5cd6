"""The errors of this package: whatever is wrong with the user's data, said in one sentence."""

DAY = 86_400


class DataError(ValueError):
    """Something is wrong with the data or with an argument about it.

    The message is one sentence: it names the file or the argument, what came, what is accepted.
    """


def require_seconds(**times: float) -> None:
    """Raise DataError for a time, named by its keyword, that is not above 0 and up to a day."""
    for name, value in times.items():
        if not 0 < value <= DAY:
            raise DataError(f"{name} is {value}; accepted is more than 0, up to {DAY} (a day)")


class AudioError(DataError):
    """One recording can't be used. A training run skips such a clip and says so.

    `kind` is one of "missing", "unreadable", "empty", "silent" and "unknown label"; reports count
    by it. It has a default because DataLoader workers rebuild an exception from its message alone.
    """

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind
