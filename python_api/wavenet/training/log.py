"""What a run leaves to be looked at: metrics.csv, TensorBoard events, a training curve."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from torch.utils.tensorboard import SummaryWriter  # noqa: E402

Row = dict[str, float]


class RunLog:
    """Writes a row for each epoch; on resuming, the rows of the checkpoint replace what is there.

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
        self.write()

    def write(self) -> None:
        """Bring metrics.csv and training_curve.png up to the history."""
        if not self.history:
            return
        text = io.StringIO()
        table = csv.DictWriter(text, fieldnames=list(self.history[0]))
        table.writeheader()
        table.writerows(self.history)
        replace_file(self.run / "metrics.csv", text.getvalue().encode())
        replace_file(self.run / "training_curve.png", training_curve(self.history))

    def close(self) -> None:
        self.writer.close()


def replace_file(path: Path, content: bytes) -> None:
    """Write the file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def training_curve(history: Sequence[Row]) -> bytes:
    """Loss and accuracy of training and validation over epochs, as PNG."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axis, name, unit in zip(
        axes, ("loss", "accuracy"), ("nats", "share of clips"), strict=True
    ):
        for part in ("train", "validation"):
            axis.plot(epochs, [row[f"{part}_{name}"] for row in history], label=part)
        axis.set(xlabel="epoch", ylabel=unit, title=name)
        axis.grid(alpha=0.3)
        axis.legend()
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    plt.close(figure)
    return out.getvalue()
