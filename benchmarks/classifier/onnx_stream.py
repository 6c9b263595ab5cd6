"""A classifier's network as an ONNX graph of one frame, whose history goes in and comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavenet import WaveNetClassifier
from wavenet.portable import quiet, require


class Step(nn.Module):
    """Samples of a frame and the histories of all layers -> the head's frame and new histories.

    Of stem, stack and head; the head's frame is behind by what its convolutions look ahead.
    """

    def __init__(self, model: WaveNetClassifier) -> None:
        super().__init__()
        self.model = model
        config = model.config
        stack = model.stack
        taps = config.kernel_size - 1
        self.sizes = [(1, config.stem_kernel_size - config.stem_stride)]
        self.sizes += [(config.residual_channels, taps * dilation) for dilation in stack.dilations]
        channels = config.skip_channels
        for conv in model.head.convs:
            self.sizes.append((channels, config.head_kernel_size - 1))
            channels = conv.out_channels

    def histories(self) -> list[Tensor]:
        """Zeros."""
        return [torch.zeros(1, channels, length) for channels, length in self.sizes]

    def forward(self, samples: Tensor, histories: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """(1, samples of a frame) and the histories."""
        model, config, stack = self.model, self.model.config, self.model.stack
        new = []

        def heard(x: Tensor) -> Tensor:
            history = histories[len(new)]
            seen = torch.cat([history, x], dim=2)
            new.append(seen[:, :, seen.shape[2] - history.shape[2] :])
            return seen

        scaled = torch.log1p(255 * samples.abs()) / float(np.log(256)) * samples.sign()
        stem = model.stem.conv
        x = F.conv1d(heard(scaled.unsqueeze(1)), stem.weight, stem.bias, stride=config.stem_stride)
        skips = torch.zeros(())
        for layer, dilation in enumerate(stack.dilations):
            a = F.conv1d(
                heard(x), stack.conv_weight[layer], stack.conv_bias[layer], dilation=dilation
            )
            filter_, gate = a.chunk(2, dim=1)
            z = torch.tanh(filter_) * torch.sigmoid(gate)
            o = F.conv1d(z, stack.out_weight[layer].unsqueeze(2), stack.out_bias[layer])
            x = x + o[:, : x.shape[1]]
            skips = skips + o[:, x.shape[1] :]
        frame = torch.relu(skips).mean(2, keepdim=True)
        for conv in model.head.convs:
            frame = torch.relu(F.conv1d(heard(frame), conv.weight, conv.bias))
        return frame, new


class OnnxStream:
    """The step in onnxruntime, on one thread, with its histories bound in place."""

    def __init__(self, model: WaveNetClassifier, path: Path) -> None:
        require("onnx", "onnxscript", "onnxruntime")
        import onnxruntime

        step, config = Step(model).eval(), model.config
        histories = step.histories()
        samples = torch.zeros(1, config.steps_per_frame * config.stem_stride)
        names = [f"history{i}" for i in range(len(histories))]
        new = [f"new{i}" for i in range(len(histories))]
        with quiet(), torch.no_grad():
            made = torch.onnx.export(
                step,
                (samples, histories),
                input_names=["samples", *names],
                output_names=["frame", *new],
                dynamo=True,
                verbose=False,
            )
        assert made is not None
        path.write_bytes(made.model_proto.SerializeToString())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.names = [given.name for given in self.session.get_inputs()]
        self.histories = [history.numpy() for history in histories]

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The next frame's samples (1, n) -> the head's frame (1, C, 1)."""
        given = dict(zip(self.names, [samples, *self.histories], strict=True))
        frame, *self.histories = self.session.run(None, given)
        return frame
