"""A local web page to try models in, a tab for each.

A classifier is given a recording and shows labels over time and the top five; for models that make
sound see `speaking`.
"""

from __future__ import annotations

import base64
import contextlib
import html
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavenet.audio import audio_blocks
from wavenet.classifier.inference import Segment, classify_windows, merge_decisions
from wavenet.classifier.model import WaveNetClassifier
from wavenet.classifier.speaking import add_speaking
from wavenet.errors import DataError, extra
from wavenet.generation.model import WaveNet
from wavenet.generation.waveglow import WaveGlow
from wavenet.pictures import colour_map, new_figure, png_of

# The picture has no background; on a dark page its black is white, and its colours stay.
STYLE = ".dark img[alt='Labels over time'] { filter: invert(1) hue-rotate(180deg); }"
COLUMNS = 1500  # of the picture, each from the lowest to the highest sample in it


class LabelledRecording:
    """What the model makes of a recording.

    Attributes:
        top: the five likeliest classes, by probabilities averaged over the windows.
        segments: stretches of one label.
        picture: the waveform with the segments behind it, as a figure of matplotlib.
    """

    def __init__(
        self, model: WaveNetClassifier, path: Path, window_seconds: float, hop_seconds: float
    ) -> None:
        self.extremes: list[NDArray[np.float32]] = []  # (2, n): lowest and highest of each 10 ms
        self.seconds = 0.0
        rate = model.config.sample_rate
        decisions = list(
            classify_windows(
                model,
                self._drawn(audio_blocks(path, rate), rate),
                window_seconds=window_seconds,
                hop_seconds=min(hop_seconds, window_seconds),
            )
        )
        mean = torch.stack([decision.probabilities for decision in decisions]).mean(0)
        self.top = model.config.rule.top(mean, 5)
        self.segments = merge_decisions(decisions)
        self.picture = self._picture(model.config.labels)

    def _drawn(self, blocks: Iterator[Tensor], rate: int) -> Iterator[Tensor]:
        """The blocks as they come; what the picture needs of them is kept."""
        for block in blocks:
            self.seconds += len(block) / rate
            samples, edges = block.numpy(), np.arange(0, len(block), max(1, rate // 100))
            both = (ufunc.reduceat(samples, edges) for ufunc in (np.minimum, np.maximum))
            self.extremes.append(np.stack(tuple(both)))
            yield block

    def _picture(self, labels: tuple[str, ...]) -> Any:
        lowest, highest = np.concatenate(self.extremes, axis=1)
        count = len(lowest)
        edges = np.linspace(0, count, min(COLUMNS, count) + 1).astype(int)[:-1]
        low, high = np.minimum.reduceat(lowest, edges), np.maximum.reduceat(highest, edges)
        times = edges * self.seconds / count
        figure = new_figure(11, 3)
        axis = figure.subplots()
        axis.fill_between(times, low, high, step="post", color="black", linewidth=0.5, zorder=3)
        peak = max(1e-3, float(highest.max()), -float(lowest.min()))
        colours = colour_map("tab20")
        for segment in self.segments:
            colour = colours(labels.index(segment.label) % 20)
            axis.axvspan(segment.start, segment.end, color=colour, alpha=0.35, linewidth=0)
            if segment.end - segment.start > 0.03 * self.seconds:  # room for a word
                middle = (segment.start + segment.end) / 2
                word = axis.text(middle, 1.25 * peak, segment.label, ha="center", va="center")
                word.set_parse_math(False)
        axis.set(xlim=(0, self.seconds), ylim=(-1.1 * peak, 1.45 * peak), xlabel="s")
        figure.patch.set_alpha(0)
        axis.patch.set_alpha(0)
        return figure


def build(
    models: Mapping[str, WaveNetClassifier | WaveNet | WaveGlow],
    window_seconds: float = 1.0,
    hop_seconds: float = 0.25,
) -> Any:
    """The page as gradio's Blocks, to be launched with `launch`.

    Args:
        models: by the name that a model's tab has; one alone is the page.
        window_seconds, hop_seconds: of a classifier, until they are changed there.

    Raises:
        MissingPackageError: gradio is not installed.
    """
    gradio = _gradio()
    with gradio.Blocks(title="wavenet", analytics_enabled=False) as page:
        for name, model in models.items():
            with contextlib.nullcontext() if len(models) == 1 else gradio.Tab(name):
                if isinstance(model, WaveNetClassifier):
                    _add_listening(gradio, model, window_seconds, hop_seconds)
                else:
                    add_speaking(gradio, model)
    return page


def _add_listening(
    gradio: Any, model: WaveNetClassifier, window_seconds: float, hop_seconds: float
) -> None:
    """A classifier's controls, on the page or tab that is being built."""

    def listen(path: str | None, window: float, hop: float) -> tuple[Any, Any, Any]:
        if path is None:
            return None, None, None
        try:
            heard = LabelledRecording(model, Path(path), window, hop)
        except DataError as error:
            # The page knows the recording by a path of its own making.
            raise gradio.Error(str(error).replace(path, Path(path).name)) from None
        return _image(heard.picture), dict(heard.top), _rows(heard.segments)

    named = html.escape(_named(model.config.labels))
    gradio.HTML(
        f"<h2>{len(model.config.labels)} classes: {named}</h2>"
        "<p>Drop a recording here, or record one: the model says which class it hears when, "
        "and which five are the likeliest of the whole recording. It stays on this machine.</p>"
    )
    with gradio.Row():
        audio = gradio.Audio(sources=["upload", "microphone"], type="filepath", label="Recording")
        top = gradio.Label(num_top_classes=5, label="Top 5 of the whole recording")
    picture = gradio.HTML(label="Labels over time")
    with gradio.Accordion("Segments and settings", open=False):
        with gradio.Row():
            window = gradio.Slider(0.1, 10, window_seconds, step=0.05, label="Window, s")
            hop = gradio.Slider(0.05, 5, hop_seconds, step=0.05, label="Hop, s")
        table = gradio.Dataframe(
            headers=["start, s", "end, s", "label", "probability"], interactive=False
        )
    gradio.on(
        [audio.change, window.release, hop.release],
        listen,
        [audio, window, hop],
        [picture, top, table],
        api_name="listen",
    )


def launch(page: Any, *, host: str, port: int | None, block: bool = True) -> str:
    """Serve the page, until Ctrl-C if `block`; nothing is asked of the network.

    Returns:
        The address.

    Raises:
        OSError: the port is taken.
    """
    gradio = _gradio()
    fonts = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=not block,
        ssr_mode=False,
        footer_links=[],
        css=STYLE,
        theme=gradio.themes.Default(font=fonts[0], font_mono=fonts[1]),
    )
    return str(address)


def _gradio() -> Any:
    with extra("app"):
        import gradio
    return gradio


def _image(figure: Any) -> str:
    content = base64.b64encode(png_of(figure, dpi=110)).decode()
    return f'<img alt="Labels over time" style="width:100%" src="data:image/png;base64,{content}">'


def _rows(segments: list[Segment]) -> list[list[Any]]:
    return [
        [round(s.start, 2), round(s.end, 2), s.label, round(s.probability, 3)] for s in segments
    ]


def _named(labels: tuple[str, ...]) -> str:
    more = f" and {len(labels) - 12} more" if len(labels) > 12 else ""
    return ", ".join(labels[:12]) + more
