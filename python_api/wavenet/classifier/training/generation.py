"""Training of a generative model: a WaveNet or a WaveGlow, by the likelihood of recordings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from wavenet.audio.reading import wav_of
from wavenet.classifier.data import Clip, PreparedData, prepare_data
from wavenet.classifier.data.parts import (
    GenerationClips,
    PartBatch,
    collate_parts,
    notes_in,
)
from wavenet.classifier.data.splits import require_groups
from wavenet.classifier.inference.likelihood import Likelihood, PartLoss, likelihood
from wavenet.classifier.run_config import RunConfig
from wavenet.classifier.run_folder import SOUNDS_NAME, Row
from wavenet.classifier.training.checkpoint import RunState
from wavenet.classifier.training.display import RunLog
from wavenet.classifier.training.learner import Learner
from wavenet.classifier.training.processes import sum_over_processes
from wavenet.classifier.training.tasks import Source, Task
from wavenet.data.notes import Note
from wavenet.errors import ConfigError, DataError, TrainingError
from wavenet.files import replace_file
from wavenet.generation.config import GeneratorConfig
from wavenet.generation.memory import training_bytes
from wavenet.generation.model import WaveNet
from wavenet.generation.pictures import picture_of
from wavenet.generation.recordings import hear
from wavenet.generation.section import GenerativeModel
from wavenet.generation.waveglow import WaveGlow
from wavenet.generation.waveglow_config import WaveGlowConfig
from wavenet.saved import load_saved

# What an epoch leaves to be listened to: at most so much, and of a WaveGlow at this sigma.
SECONDS_OF_A_SOUND = 2.0
SIGMA = 0.6


class GenerativeLearner(Learner):
    """A WaveNet or WaveGlow in training."""

    def loss(self) -> nn.Module:
        return PartLoss(self.model)

    def losses(self, batch: Any) -> tuple[Tensor, Tensor]:
        losses: Tensor = self.loss_of(batch)
        return losses, torch.zeros((), dtype=torch.int64)

    def silence(self, clips: int, samples: int) -> PartBatch:
        part = GenerationClips.silence(self.model.config, samples)
        return collate_parts([part] * clips, self.model.config).to(self.device)

    def hear(self, model: Any, batch: Any) -> None:
        PartLoss(model)(batch)


class Generation(Task):
    """Clips may have speakers; an epoch is as good as the likelihood of what it never heard."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        assert isinstance(config.model, GenerativeModel)
        self.section = config.model
        self.resolved: GeneratorConfig | WaveGlowConfig | None = None

    def prepare(
        self, progress: Callable[[int, int], None], run: Path | None = None
    ) -> PreparedData:
        section, config = self.section, self.config

        def label_of(clip: Clip) -> str:
            notes_in(clip, section.config)  # what can't be played is said before all is decoded
            return speaker_of(clip, section)

        return prepare_data(
            config.data,
            section.sample_rate,
            section.receptive_field,
            config.training.seed,
            progress,
            label_of=label_of,
            classes=1 if section.speakers or section.named else 0,
        )

    def model_config(self, data: PreparedData) -> GeneratorConfig | WaveGlowConfig:
        """The model's, with what only the data says."""
        if self.resolved is None:
            speakers = data.labels if self.section.speakers else ()
            normalised = self.config.data.normalize_mel
            measured = self._mean_and_std(data) if normalised else None
            self.resolved = self.section.resolved(speakers, measured)
        return self.resolved

    def model(self, data: PreparedData) -> WaveNet | WaveGlow:
        config = self.model_config(data)
        return WaveNet(config) if isinstance(config, GeneratorConfig) else WaveGlow(config)

    def start_from(self, model: nn.Module) -> None:
        start_from(model, self.config.training.init_from)

    def learner(self, model: nn.Module, accelerator: Accelerator, steps: int) -> Learner:
        return GenerativeLearner(model, self.config.training, accelerator, steps)

    def source(self, data: PreparedData, device: torch.device) -> Source:
        settings, config = self.config.data, self.model_config(data)
        seconds = settings.crop_seconds or settings.max_seconds
        clips = GenerationClips(
            data.splits.train,
            config,
            data.cache,
            crop=max(1, round(seconds * config.sample_rate)) if seconds else None,
            context=config.receptive_field if settings.context else 0,
            training=True,
            seed=self.config.training.seed,
        )
        lengths = clips.lengths()
        return Source(
            clips=clips,
            targets=clips.targets,
            lengths=lengths,
            changed=lengths,
            collate=functools.partial(collate_parts, config=config),
            finish=lambda batch: batch.to(device),
            bytes_of=functools.partial(training_bytes, config),
        )

    def learned(self, state: RunState, model: nn.Module) -> Row:
        return self._figures(state.loss_sum / state.clips, model)

    def validate(self, accelerator: Accelerator, model: nn.Module, data: PreparedData) -> Row:
        clips = data.splits.validation[accelerator.process_index :: accelerator.num_processes]
        assert isinstance(model, WaveNet | WaveGlow)
        mine = likelihood(
            model,
            clips,
            data.cache,
            batch_size=self.config.training.batch_size,
            max_samples=self.config.data.max_samples(model.config.sample_rate),
        )
        sums = torch.stack([mine.nats.sum(), mine.samples.sum().double()])
        sums = sum_over_processes(accelerator, sums)
        return self._figures(Likelihood(sums[0], sums[1]).loss, model)

    def line(self, row: Row, model: nn.Module, data: PreparedData) -> str:
        assert isinstance(model, WaveNet | WaveGlow)
        return (
            f"loss {row['train_loss']:.4f}  bits {row['train_bits']:.3f}  "
            f"validation loss {row['validation_loss']:.4f}  bits {row['validation_bits']:.3f} "
            f"({model.bits_counted})"
        )

    def progress(self, loss: float, correct: float) -> str:
        return f"loss {loss:.3f}"

    def leave(self, model: nn.Module, data: PreparedData, row: Row, log: RunLog) -> None:
        """A sound: of the first validation clip's speaker, and its mel-spectrogram or notes."""
        assert isinstance(model, WaveNet | WaveGlow)
        clip, config, epoch = data.splits.validation[0], model.config, int(row["epoch"])
        recording = torch.from_numpy(data.cache.open_clip(clip).copy())
        recording = recording[: round(SECONDS_OF_A_SOUND * config.sample_rate)]
        try:
            sound = sound_like(recording, model, clip.label, notes_in(clip, config))
        except FloatingPointError as error:
            raise TrainingError(
                f"after epoch {epoch} no sound can be made: {error}; a lower "
                f"training.learning_rate than {self.config.training.learning_rate:g} may help"
            ) from None
        folder = log.run / SOUNDS_NAME
        folder.mkdir(exist_ok=True)
        name = f"epoch-{epoch:04d}"
        replace_file(
            folder / f"{name}.wav", wav_of(sound.clamp(-1, 1).numpy(), config.sample_rate, "PCM_16")
        )
        replace_file(folder / f"{name}.png", picture_of(sound, config.sample_rate, name))
        log.writer.add_audio("sound", sound.clamp(-1, 1), int(row["step"]), config.sample_rate)
        log.writer.add_text("bits are of", model.bits_counted, int(row["step"]))

    def _figures(self, loss: float, model: nn.Module) -> Row:
        assert isinstance(model, WaveNet | WaveGlow)
        return {"loss": loss, "bits": model.bits_of(loss)}

    def _mean_and_std(self, data: PreparedData) -> tuple[list[float], list[float]]:
        """Of each mel channel over the training clips."""
        sums = squares = torch.zeros((), dtype=torch.float64)
        frames = 0
        for clip in data.splits.train:
            heard = hear(torch.from_numpy(data.cache.open_clip(clip).copy()), self.section.config)
            assert heard.mel is not None
            mel = heard.mel.double()
            sums, squares = sums + mel.sum(1), squares + mel.square().sum(1)
            frames += mel.shape[1]
        mean = sums / frames
        std = (squares / frames - mean.square()).clamp_min(0).sqrt()
        return mean.tolist(), std.clamp_min(1e-5).tolist()


def speaker_of(clip: Clip, section: GenerativeModel) -> str:
    """What a model is told of a clip: its group or label; of a model without speakers the label."""
    if section.named and clip.label not in section.named:
        if clip.group not in section.named:
            raise DataError(
                f"{clip.name}: neither its label {clip.label!r} nor its group {clip.group!r} is "
                f"one of the model's speakers, {', '.join(section.named)}"
            )
        return clip.group
    if section.speakers == "groups":
        require_groups([clip], "model.speakers: groups needs")
        return str(clip.group)
    return clip.label


def sound_like(
    recording: Tensor, model: WaveNet | WaveGlow, speaker: str, notes: Sequence[Note] = ()
) -> Tensor:
    """(T,): of a recording's mel-spectrogram or notes, or as long, by that speaker.

    It is the same every time.
    """
    config = model.config
    heard = hear(recording, config, notes=notes)
    if isinstance(model, WaveGlow):
        assert heard.mel is not None
        return model.infer(heard.mel[None], sigma=SIGMA, seed=0)[0].cpu()
    who = speaker if isinstance(config, GeneratorConfig) and config.speakers else None
    mel = None if heard.mel is None else heard.mel[None]
    sound = model.generate(mel, speaker=who, samples=len(heard.waveform), seed=0)
    assert isinstance(sound, Tensor)
    return sound[0].cpu()


@torch.no_grad()
def start_from(model: Any, source: str) -> None:
    """Take over a saved model's weights; of its speakers those that both know.

    Raises:
        ModelError: the saved model can't be loaded.
        ConfigError: its weights don't fit.
    """
    kind, config = type(model), type(model.config)
    saved: Any = load_saved(source, "cpu", {model.config.architecture: lambda: (kind, config)})
    weights, kept = saved.state_dict(), {}
    for name, own in model.state_dict().items():
        given = weights.get(name)
        if name == "conditioning.embedding.weight" and given is not None:
            both = set(model.config.speakers) & set(saved.config.speakers)
            rows = own.clone()
            for who in both if own.shape[1:] == given.shape[1:] else ():
                rows[model.config.speakers.index(who)] = given[saved.config.speakers.index(who)]
            given = rows
        if given is None or given.shape != own.shape:
            came = "missing" if given is None else tuple(given.shape)
            raise ConfigError(
                f"training.init_from {source}: its weights don't fit: {name} is {came}, the "
                f"configuration asks for {tuple(own.shape)}"
            )
        kept[name] = given
    model.load_state_dict(kept)
