"""A wavenet classifier as a Hugging Face model, trained by their Trainer.

    python examples/huggingface_trainer.py     # pip install transformers

It is registered with AutoModelForAudioClassification, so that whatever works with those does with
it: save_pretrained, from_pretrained, evaluation, hyperparameter search.
"""

import tempfile
from typing import Any

import torch
from plain_loop import PITCHES, RATE, tones
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForAudioClassification,
    PretrainedConfig,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)
from transformers.modeling_outputs import SequenceClassifierOutput

import wavenet


class WaveNetHFConfig(PretrainedConfig):
    """The fields of wavenet.WaveNetConfig in `network`, beside Hugging Face's own."""

    model_type = "wavenet_classifier"

    def __init__(self, network: dict[str, Any] | None = None, **common: Any) -> None:
        self.network = network or {}
        labels = self.network.get("labels", ())
        common.setdefault("id2label", dict(enumerate(labels)))
        common.setdefault("label2id", {label: i for i, label in enumerate(labels)})
        super().__init__(**common)


class WaveNetForAudioClassification(PreTrainedModel):
    """input_values (B, T), attention_mask (B, T) or None, labels (B,) or None -> loss, logits."""

    config_class = WaveNetHFConfig
    main_input_name = "input_values"

    def __init__(self, config: WaveNetHFConfig) -> None:
        super().__init__(config)
        network = {**config.network, "labels": tuple(config.network["labels"])}
        self.wavenet = wavenet.WaveNetClassifier(wavenet.WaveNetConfig(**network))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: every layer has begun with weights of its own."""

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        lengths = None if attention_mask is None else attention_mask.sum(1)
        logits = self.wavenet(input_values, lengths)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


AutoConfig.register("wavenet_classifier", WaveNetHFConfig)
AutoModelForAudioClassification.register(WaveNetHFConfig, WaveNetForAudioClassification)


class Tones(torch.utils.data.Dataset):
    """Examples as Trainer's collator takes them."""

    def __init__(self, count: int, seed: int) -> None:
        self.waveform, self.which = tones(count, seed)

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_values": self.waveform[index], "labels": self.which[index]}


def main(steps: int = 60) -> float:
    """Train, save, load again, and return the accuracy."""
    torch.manual_seed(0)
    network = {
        "labels": [f"{pitch:g} Hz" for pitch in PITCHES],
        "sample_rate": RATE,
        "stem_stride": 8,
        "stem_kernel_size": 16,
        "residual_channels": 16,
        "dilation_channels": 16,
        "skip_channels": 32,
        "layers_per_stack": 4,
        "stacks": 1,
        "head_channels": 16,
    }
    model = WaveNetForAudioClassification(WaveNetHFConfig(network=network))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=16,
            learning_rate=1e-2,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=Tones(16 * steps, seed=2))
        trainer.train()
        model.save_pretrained(folder)
        again = AutoModelForAudioClassification.from_pretrained(folder).eval()
    waveform, which = tones(90, seed=1)
    with torch.inference_mode():
        reached = (again(waveform).logits.argmax(1) == which).float().mean().item()
    print(f"Trainer: {reached:.1%} of 90 tones after {steps} steps")
    return reached


if __name__ == "__main__":
    main()
