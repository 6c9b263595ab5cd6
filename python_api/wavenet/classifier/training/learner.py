"""What learns: the model with its loss, its average and its optimizer, and one step of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from wavenet.classifier.data import Batch
from wavenet.classifier.model import WaveNetClassifier
from wavenet.classifier.run_config import TrainingConfig

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
    """

    def __init__(
        self,
        model: Any,
        settings: TrainingConfig,
        accelerator: Accelerator,
        steps: int,
    ) -> None:
        self.model = model
        self.settings = settings
        self.accelerator = accelerator
        self.steps = steps
        self.device = accelerator.device
        self.precision = choose_precision(settings.mixed_precision, self.device)
        loss_of = self.loss()
        if settings.compile:
            loss_of.compile(dynamic=True)
        self.loss_of: nn.Module = accelerator.prepare_model(loss_of)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(model, settings.weight_decay),
            settings.learning_rate,
            # On a GPU it would want the counts of steps there, which `load` leaves on the CPU.
            fused=True if self.device.type == "cpu" else None,
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.average: AveragedModel | None = None
        if settings.ema_decay:
            self.average = average_weights(model, settings.ema_decay)

    def loss(self) -> nn.Module:
        """The module that is trained: a batch -> what `losses` makes losses of."""
        return ClassificationLoss(self.model, self.settings.label_smoothing)

    def losses(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The clips' losses (B,), and how many of them are classified right."""
        losses, logits = self.loss_of(batch)
        return losses, (logits.argmax(1) == batch.labels).sum()

    def silence(self, clips: int, samples: int) -> Any:
        """A batch of silent clips."""
        lengths = torch.full((clips,), samples, device=self.device)
        waveform = torch.zeros(clips, samples, device=self.device)
        return Batch(waveform, lengths, torch.zeros_like(lengths))

    def rehearse(self, clips: int, samples: int) -> None:
        """What training and validation compute of a batch, on silence; nothing is learned."""
        batch = self.silence(clips, samples)
        model, evaluated = self.model, self.evaluated
        was_training = model.training, evaluated.training
        model.train()
        with self.autocast():
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
        """Of the latest step."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

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
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate
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
        for name, parameter in self.model.named_parameters() if moments else ():
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


class ClassificationLoss(nn.Module):
    """Cross-entropy of the classes and, weighted, of the paper's next-sample prediction, per clip.

    Source: van den Oord et al. 2016 (arXiv 1609.03499), section 3.4: the network generalised
    better with both losses than with the first alone. The second is a clip's mean over its steps;
    it is there if the model's config has a `next_sample_weight`, and only in training.

    Shapes: a `Batch` of B clips -> losses (B,) float32, logits (B, classes).
    """

    def __init__(self, model: WaveNetClassifier, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        weight = self.model.config.next_sample_weight
        if weight == 0 or not self.training:
            logits = self.model(batch.waveform, batch.lengths)
            return self._classification(logits, batch), logits
        logits, following = self.model.forward_with_next_sample(batch.waveform, batch.lengths)
        summed = F.cross_entropy(following.logits.float(), following.targets, reduction="none")
        # Clips of one sample have no next one: they must not divide by zero.
        steps = (following.targets >= 0).sum(1).clamp(min=1)
        return self._classification(logits, batch) + weight * summed.sum(1) / steps, logits

    def _classification(self, logits: Tensor, batch: Batch) -> Tensor:
        smoothing = self.label_smoothing if self.training else 0.0
        truth = batch.labels if batch.targets is None else batch.targets
        return F.cross_entropy(logits.float(), truth, reduction="none", label_smoothing=smoothing)


def _marking_the_last(parts: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    parts = iter(parts)
    batch = next(parts)
    for following in parts:
        yield batch, False
        batch = following
    yield batch, True


def average_weights(model: nn.Module, decay: float) -> AveragedModel:
    """The average of a model's weights: `update_parameters` after each step; `.module` has them.

    The decay grows to its value as (1 + n) / (10 + n) over the updates n, so that the random
    weights of the start are forgotten early (as TensorFlow's ExponentialMovingAverage does).
    """

    @torch.no_grad()
    def mix(averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor | int) -> None:
        n = int(updates)
        torch._foreach_lerp_(list(averages), list(weights), 1 - min(decay, (1 + n) / (10 + n)))

    average = AveragedModel(model, multi_avg_fn=mix)
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


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weights with decay, biases without. (L, C) parameters of the stack are biases too."""
    named = list(model.named_parameters())
    biases = [parameter for name, parameter in named if name.endswith("bias")]
    weights = [parameter for name, parameter in named if not name.endswith("bias")]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
