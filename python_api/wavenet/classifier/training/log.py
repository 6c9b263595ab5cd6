"""What a run leaves to be looked at: metrics.csv, TensorBoard events, a training curve."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from wavenet.files import replace_file
from wavenet.pictures import new_figure, png_of

HISTORY_NAME = "metrics.csv"

Row = dict[str, float]


def read_history(run: Path) -> list[Row]:
    """The row of each epoch of a run; none where there was no training."""
    if not (run / HISTORY_NAME).is_file():
        return []
    with open(run / HISTORY_NAME, newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def ranking(history: Sequence[Row]) -> list[Row]:
    """Best epoch first: by validation accuracy, then by loss, then the earlier one."""
    return sorted(history, key=lambda row: (-row["validation_accuracy"], row["validation_loss"]))


class RunLog:
    """Writes a row for each epoch; a resumed run goes on from the rows of its checkpoint.

    Args:
        run: the run folder.
        history: the rows so far.
        step: the optimizer step from which TensorBoard's older events are to be dropped.
    """

    def __init__(self, run: Path, history: Sequence[Row], step: int) -> None:
        self.run = run
        self.history = list(history)
        self.writer = SummaryWriter(run / "tensorboard", purge_step=step + 1 if step else None)

    def add(self, row: Row) -> None:
        """One epoch's figures: metrics.csv is rewritten as a whole, the curve is drawn anew."""
        self.history.append(row)
        for name, value in row.items():
            if name not in ("epoch", "step"):
                self.writer.add_scalar(name, value, int(row["step"]))
        self.writer.flush()
        text = io.StringIO()
        table = csv.DictWriter(text, fieldnames=list(self.history[0]))
        table.writeheader()
        table.writerows(self.history)
        replace_file(self.run / HISTORY_NAME, text.getvalue())
        replace_file(self.run / "training_curve.png", training_curve(self.history))

    def close(self) -> None:
        self.writer.close()


def training_curve(history: Sequence[Row]) -> bytes:
    """Loss and accuracy of training and validation over epochs, as PNG."""
    figure = new_figure(9, 3.5)
    axes = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for axis, name, unit in zip(
        axes, ("loss", "accuracy"), ("nats", "share of clips"), strict=True
    ):
        for part in ("train", "validation"):
            axis.plot(epochs, [row[f"{part}_{name}"] for row in history], label=part)
        axis.set(xlabel="epoch", ylabel=unit, title=name)
        axis.grid(alpha=0.3)
        axis.legend()
    return png_of(figure)
