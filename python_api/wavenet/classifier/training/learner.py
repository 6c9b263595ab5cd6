"""What learns: the model with its loss, its average and its optimizer, and one step of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from wavenet.classifier.data import Batch
from wavenet.classifier.run_config import TrainingConfig
from wavenet.classifier.training.losses import ClassificationLoss, smoothing_of
from wavenet.errors import ConfigError
from wavenet.networks.normalization import measure_together, nothing_remembered

# More than steps have, so that no two parts of a run draw alike.
SEEDS_OF_A_PART = 40
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Learner:
    """A classifier in training; `GenerativeLearner` has another loss.

    Weights, moments and average are float32 whatever the precision of the arithmetic.

    Args:
        model: is moved to this process's device.
        settings: of the training.
        accelerator: makes the processes' gradients one.
        steps: optimizer steps of the whole run, over which the learning rate rises and falls.
        weights: of the classes in a classifier's loss, (classes,); None: all the same.

    Raises:
        ConfigError: settings name a label or a part that the model does not have.
    """

    def __init__(
        self,
        model: Any,
        settings: TrainingConfig,
        accelerator: Accelerator,
        steps: int,
        weights: Tensor | None = None,
    ) -> None:
        self.model = model
        self.weights = weights
        self.settings = settings
        self.accelerator = accelerator
        self.steps = steps
        self.device = accelerator.device
        self.precision = choose_precision(settings.mixed_precision, self.device)
        groups = _parameter_groups(model, settings.weight_decay, settings.rates)
        if accelerator.num_processes > 1:
            measure_together(model)
        loss_of = self.loss()
        if settings.compile:
            loss_of.compile(dynamic=True)
        self.loss_of: nn.Module = accelerator.prepare_model(loss_of)
        self.optimizer = torch.optim.AdamW(
            groups,
            settings.learning_rate,
            # On a GPU it would want the counts of steps there, which `load` leaves on the CPU.
            fused=True if self.device.type == "cpu" else None,
        )
        self._rate = settings.learning_rate
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.average: AveragedModel | None = None
        if settings.ema_decay:
            self.average = average_weights(model, settings.ema_decay)

    def loss(self) -> nn.Module:
        """The module that is trained: a batch -> what `losses` makes losses of."""
        settings = self.settings
        labels = self.model.config.labels
        smoothing = smoothing_of(labels, settings.label_smoothing, settings.label_smoothing_of)
        return ClassificationLoss(self.model, smoothing, self.weights, settings.focal_gamma)

    def losses(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The clips' losses (B,), and how many of them are classified right, all tags at 0.5."""
        losses, logits = self.loss_of(batch)
        if self.model.config.tags:
            truth = batch.targets.amax(1) if self.model.config.events else batch.targets
            return losses, ((logits > 0) == (truth > 0.5)).all(1).sum()
        return losses, (logits.argmax(1) == batch.labels).sum()

    def silence(self, clips: int, samples: int) -> Any:
        """A batch of silent clips."""
        lengths = torch.full((clips,), samples, device=self.device)
        waveform = torch.zeros(clips, samples, device=self.device)
        config, targets = self.model.config, None
        if config.tags:
            frames = (-(-samples // config.frame_samples),) if config.events else ()
            targets = torch.zeros(clips, *frames, len(config.labels), device=self.device)
        return Batch(waveform, lengths, torch.zeros_like(lengths), targets)

    def rehearse(self, clips: int, samples: int) -> None:
        """What training and validation compute of a batch, on silence; nothing is learned."""
        batch = self.silence(clips, samples)
        model, evaluated = self.model, self.evaluated
        was_training = model.training, evaluated.training
        model.train()
        with self.autocast(), nothing_remembered(model):
            self.hear(model, batch)
        evaluated.eval()
        with torch.no_grad():
            self.hear(evaluated, batch)
        evaluated.train(was_training[1])
        model.train(was_training[0])

    def hear(self, model: Any, batch: Any) -> None:
        """What a model computes of a batch before its loss."""
        model(batch.waveform)

    def autocast(self) -> Any:
        """The context of the run's precision."""
        kind, precision = self.device.type, self.precision
        return torch.autocast(kind, DTYPES.get(precision), enabled=precision != "no")

    @property
    def evaluated(self) -> Any:
        """The model that is evaluated and saved: the average of the weights, if there is one."""
        return self.model if self.average is None else self.average.module

    @property
    def device_of_sums(self) -> torch.device:
        """Where float64 sums are kept: the mps device has no float64."""
        return torch.device("cpu") if self.device.type == "mps" else self.device

    @property
    def learning_rate(self) -> float:
        """Of the latest step, where `training.rates` says nothing else."""
        return self._rate

    def step(self, parts: Iterable[Any], clips: int, step: int) -> Tensor:
        """One optimizer step.

        The gradient is that of the mean loss over the step's clips, however they are dealt to
        processes and parts.

        Args:
            parts: this process's share of the clips, as many batches in each process.
            clips: how many there are in all processes and parts together.
            step: the number of this step; learning rate and dropout depend on it.

        Returns:
            (3,) float64, of this process's share: sum of the losses, clips classified right, clips.
        """
        settings = self.settings
        self.loss_of.train()
        halve = settings.halve_steps if settings.schedule == "step" else 0
        rate = learning_rate(step, self.steps, settings.warmup_fraction, halve)
        self._rate = settings.learning_rate * rate
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate * group["share"]
        several = self.accelerator.num_processes > 1
        sums = torch.zeros(3, dtype=torch.float64, device=self.device_of_sums)
        for index, (batch, last) in enumerate(_marking_the_last(parts)):
            self._seed_dropout(step, index)
            # Gradients of the earlier parts wait for those of the last.
            waiting = several and not last
            with self.accelerator.no_sync(self.loss_of) if waiting else contextlib.nullcontext():
                with self.autocast():
                    losses, correct = self.losses(batch)
                # Data parallel training averages over processes what is to be summed.
                share = losses.sum() * (self.accelerator.num_processes / clips)
                self.backward(share)
            batch_sums = (losses.detach().sum(), correct, torch.full_like(correct, len(losses)))
            sums += torch.stack([value.to(sums) for value in batch_sums])
        self.update()
        return sums

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients to those that `update` goes by."""
        self.scaler.scale(loss).backward()

    def update(self) -> None:
        """Move the weights by the gradients, and their average with them."""
        self.scaler.unscale_(self.optimizer)
        if self.settings.max_grad_norm:
            nn.utils.clip_grad_norm_(self.loss_of.parameters(), self.settings.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.model)

    def tensors(self) -> dict[str, Tensor]:
        """Weights in training and moments by name; `load` takes them back."""
        named = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                named[f"optimizer.{key}.{name}"] = value
        return {name: value.contiguous() for name, value in named.items()}

    def load(
        self,
        tensors: Mapping[str, Tensor],
        evaluated: Mapping[str, Tensor],
        scaler: Mapping[str, Any],
        step: int,
    ) -> None:
        """Go on from what `tensors`, `evaluated` and `scaler` were after `step` steps.

        Raises:
            ValueError, KeyError, RuntimeError: they are those of another model.
        """
        sections: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            section, _, rest = name.partition(".")
            sections.setdefault(section, {})[rest] = value
        self.model.load_state_dict(sections["model"])
        # There are none if every step so far was skipped because its gradients had no finite value.
        moments = sections.get("optimizer", {})
        learning = ((n, p) for n, p in self.model.named_parameters() if p.requires_grad)
        for name, parameter in learning if moments else ():
            state = {key: moments.pop(f"{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
            for key in ("exp_avg", "exp_avg_sq"):
                if state[key].shape != parameter.shape:
                    raise ValueError(f"{key} of {name} has shape {tuple(state[key].shape)}")
                # In the weight's strides: the fused optimizer takes them for each other's.
                state[key] = torch.empty_like(parameter).copy_(state[key])
            self.optimizer.state[parameter] = state
        if moments:
            raise ValueError(f"moments of unknown weights: {', '.join(moments)}")
        if self.average is not None:
            self.average.module.load_state_dict(evaluated)
            self.average.n_averaged.fill_(step)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(dict(scaler))

    def _seed_dropout(self, step: int, part: int) -> None:
        """Another seed for each step, part and process, whatever happened before."""
        accelerator = self.accelerator
        seed = (
            self.settings.seed * 1_000_003 + step
        ) * accelerator.num_processes + accelerator.process_index
        seed += part << SEEDS_OF_A_PART
        if self.device.type == "cpu":
            # torch.manual_seed keeps a traceback for each kind of device that is not there yet.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)


def _marking_the_last(parts: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    parts = iter(parts)
    batch = next(parts)
    for following in parts:
        yield batch, False
        batch = following
    yield batch, True


def average_weights(model: nn.Module, decay: float) -> AveragedModel:
    """The average of a model's weights: `update_parameters` after each step; `.module` has them.

    A normalisation's running mean and variance are averaged like the weights that they belong to.

    The decay grows to its value as (1 + n) / (10 + n) over the updates n, so that the random
    weights of the start are forgotten early (as TensorFlow's ExponentialMovingAverage does).
    """

    @torch.no_grad()
    def mix(averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor | int) -> None:
        n = int(updates)
        torch._foreach_lerp_(list(averages), list(weights), 1 - min(decay, (1 + n) / (10 + n)))

    average = AveragedModel(model, multi_avg_fn=mix, use_buffers=True)
    average.requires_grad_(False)
    return average


def learning_rate(step: int, steps: int, warmup_fraction: float, halve_steps: int = 0) -> float:
    """The share of the peak rate at a step: linear warm-up, then half a cosine down to 0.

    With `halve_steps` it is halved as often as those steps have passed instead.
    """
    warmup = math.ceil(steps * warmup_fraction)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if halve_steps:
        return float(0.5 ** (step // halve_steps))
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def choose_precision(wanted: str, device: torch.device) -> str:
    """What "auto" stands for: bf16 on a device that computes in it natively, else "no"."""
    if wanted != "auto":
        return wanted
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(False)
    return "bf16" if native else "no"


def _parameter_groups(
    model: nn.Module, weight_decay: float, rates: Mapping[str, float]
) -> list[dict[str, object]]:
    """Weights with decay, biases without, by their part's share of the rate; the frozen ones don't
    learn. (L, C) parameters of the stack are biases too, and a normalisation's scales are as these.
    """
    parts = [name for name, part in model.named_children() if any(True for _ in part.parameters())]
    for part in rates:
        if part not in parts:
            raise ConfigError(
                f"training.rates has the part {part!r}; the model has {', '.join(parts)}"
            )
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        share = rates.get(name.partition(".")[0], 1.0)
        parameter.requires_grad_(share > 0)
        if share > 0:
            plain = name.endswith("bias") or parameter.dim() == 1
            groups.setdefault((share, plain), []).append(parameter)
    if not groups:
        raise ConfigError("training.rates is 0 for every part; accepted is one that learns")
    return [
        {"params": members, "weight_decay": 0.0 if plain else weight_decay, "share": share}
        for (share, plain), members in groups.items()
    ]
