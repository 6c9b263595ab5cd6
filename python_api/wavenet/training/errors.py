"""The errors of training; what is wrong with a configuration is `ConfigError`."""


class TrainingError(RuntimeError):
    """Training that can't go on: the message says why, and what to change."""


class CheckpointError(TrainingError):
    """A checkpoint that can't be written or used: the message says which and why."""


class TrainingInterrupted(KeyboardInterrupt):
    """Training was asked to stop, and has left a checkpoint to go on from.

    `signal` is the number of the signal that asked for it.
    """

    def __init__(self, signal: int) -> None:
        super().__init__()
        self.signal = signal
