"""WaveGlow: the map and its inverse, its determinant, gradients, chunks, files, and refusals."""

from __future__ import annotations

import json
import math
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import wavenet.convert
from wavenet import WaveGlow, WaveGlowConfig
from wavenet.data.mel import MelConfig
from wavenet.errors import DataError, ModelError
from wavenet.generation.denoise import constant_sound, denoise
from wavenet.generation.export import export_waveglow
from wavenet_kernels import numerics, use_backend
from wavenet_kernels.nn import ResidualStack

MEL = MelConfig.tacotron2(8000, n_fft=64, hop=16, window=64, mels=5, high_hz=4000.0)


def config_of(**fields) -> WaveGlowConfig:
    small = {"sample_rate": 8000, "mel": MEL, "flows": 5, "early_every": 2, "layers": 3}
    return WaveGlowConfig(**{**small, "channels": 8, **fields})


def model_of(**fields) -> WaveGlow:
    """Small, in float64, and not the identity."""
    torch.manual_seed(0)
    model = WaveGlow(config_of(**fields)).double()
    for flow in model.flows:
        torch.nn.init.normal_(flow.network.end.weight, std=0.1)
        torch.nn.init.normal_(flow.network.end.bias, std=0.1)
    return model


def sound(batch: int = 2, frames: int = 6) -> tuple[Tensor, Tensor]:
    """A waveform and frames."""
    random = torch.Generator().manual_seed(1)
    waveform = 0.3 * torch.randn(batch, 16 * frames, generator=random, dtype=torch.float64)
    return waveform, torch.randn(batch, 5, frames, generator=random, dtype=torch.float64)


def original(weights: dict[str, Tensor], waveform: Tensor, mel: Tensor, **sizes: int):
    """Forward as the paper and the original have it, from a file's weights in plain PyTorch."""

    def conv(x: Tensor, name: str, **options: int) -> Tensor:
        v, g = weights[f"{name}.weight_v"], weights[f"{name}.weight_g"]
        return F.conv1d(
            x, g * v / v.norm(dim=(1, 2), keepdim=True), weights[f"{name}.bias"], **options
        )

    every, size, layers, hop = (sizes[n] for n in ("every", "size", "layers", "hop"))
    up = F.conv_transpose1d(mel, weights["upsample.weight"], weights["upsample.bias"], stride=hop)
    up = up[:, :, : waveform.shape[1]].unfold(2, 8, 8).permute(0, 2, 1, 3)
    spect = up.flatten(2).permute(0, 2, 1)
    x = waveform.unfold(1, 8, 8).permute(0, 2, 1)
    out, log_determinant = [], 0.0
    for k in range(sum(name.startswith("convinv.") for name in weights)):
        if k and k % every == 0:
            out.append(x[:, :size])
            x = x[:, size:]
        w = weights[f"convinv.{k}.conv.weight"]
        log_determinant = log_determinant + x.shape[2] * w.squeeze(2).det().abs().log()
        a, b = F.conv1d(x, w).chunk(2, dim=1)
        h, skip = conv(a, f"WN.{k}.start"), 0.0
        cond = conv(spect, f"WN.{k}.cond_layer")
        c = h.shape[1]
        for i in range(layers):
            padding = 2**i * (weights[f"WN.{k}.in_layers.{i}.weight_v"].shape[2] - 1) // 2
            s = conv(h, f"WN.{k}.in_layers.{i}", dilation=2**i, padding=padding)
            s = s + cond[:, 2 * c * i : 2 * c * (i + 1)]
            r = conv(s[:, :c].tanh() * s[:, c:].sigmoid(), f"WN.{k}.res_skip_layers.{i}")
            if i < layers - 1:
                h = h + r[:, :c]
            skip = skip + r[:, -c:]
        shift, log_s = F.conv1d(
            skip, weights[f"WN.{k}.end.weight"], weights[f"WN.{k}.end.bias"]
        ).chunk(2, dim=1)
        x = torch.cat((a, log_s.exp() * b + shift), dim=1)
        log_determinant = log_determinant + log_s.sum((1, 2))
    return torch.cat((*out, x), dim=1), log_determinant


VARIANTS = pytest.mark.parametrize(
    "fields",
    [
        {},
        {"swap_halves": True},
        {"early_size": 0},
        {"group": 4, "early_every": 5},
        {"kernel_size": 1},
        {"whiten": 16},
        {"whiten": 8, "swap_halves": True},
    ],
    ids=str,
)


@VARIANTS
def test_infer_undoes_forward(fields):
    model = model_of(**fields)
    waveform, mel = sound()
    z, _ = model(waveform, mel)
    group = model.config.group
    assert z.shape == (2, group, 96 // group)
    assert torch.allclose(model.infer(mel, z=z), waveform, rtol=0, atol=1e-9)


@VARIANTS
def test_the_determinant_is_that_of_the_jacobian(fields):
    model = model_of(**fields)
    waveform, mel = sound(1, 1)
    _, log_determinant = model(waveform, mel)
    jacobian = torch.autograd.functional.jacobian(lambda x: model(x, mel)[0].flatten(), waveform)
    expected = torch.linalg.slogdet(jacobian.view(16, 16)).logabsdet
    assert torch.allclose(log_determinant, expected, rtol=0, atol=1e-9)


def test_the_determinant_may_be_negative():
    model = model_of()
    with torch.no_grad():
        model.flows[0].convolution.weight[0] *= -2
    waveform, mel = sound()
    loss = model.loss(waveform, mel)
    loss.backward()
    assert loss.isfinite() and model.flows[0].convolution.weight.grad.isfinite().all()
    z, _ = model(waveform, mel)
    assert torch.allclose(model.infer(mel, z=z), waveform, rtol=0, atol=1e-9)  # not a stale inverse


def test_the_loss_is_the_likelihood_without_constants():
    model = model_of(sigma=0.7)
    waveform, mel = sound()
    z, log_determinant = model(waveform, mel)
    density = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 0.7)
    nats = -(density.log_prob(z).sum((1, 2)) + log_determinant) / 96
    constants = math.log(0.7) + math.log(2 * math.pi) / 2
    assert torch.allclose(model.loss(waveform, mel) + constants, nats.mean())
    assert torch.allclose(model.bits_per_sample(waveform, mel), nats / math.log(2) + 15)


def test_a_new_model_only_rotates():
    model = WaveGlow(config_of()).double()
    waveform, mel = sound()
    z, log_determinant = model(waveform, mel)
    assert torch.allclose(z.square().sum(), waveform.square().sum())
    assert log_determinant.abs().max() < 1e-4  # its rotations are float32's


@pytest.mark.parametrize("block", [0, 16])
def test_reversible_training_has_the_same_gradients(block):
    waveform, mel = sound()
    gradients = []
    for reversible in (False, True):
        model = model_of(reversible=reversible, whiten=block)
        x, m = waveform.clone().requires_grad_(), mel.clone().requires_grad_()
        model.loss(x, m).backward()
        gradients.append([x.grad, m.grad, *(p.grad for p in model.parameters())])
    for kept, computed in zip(*gradients, strict=True):
        assert torch.allclose(kept, computed, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("fields", [{}, {"whiten": 16}, {"reversible": True}], ids=str)
def test_gradients_are_right_by_the_rule(fields):
    """Of the compiled backend in float32, by what plain PyTorch is off by."""
    pytest.importorskip("wavenet_kernels._cpu")
    waveform, mel = (t.float() for t in sound(2, 12))

    def losses_and_gradients(backend: str, dtype: torch.dtype) -> list[Tensor]:
        model = model_of(**{"channels": 16, **fields}).float().to(dtype)
        with use_backend(backend):
            losses = model.losses(waveform.to(dtype), mel.to(dtype))
            losses.sum().backward()
        return [losses.detach(), *(p.grad for p in model.parameters())]

    truth = losses_and_gradients("reference", torch.float64)
    plain = losses_and_gradients("reference", torch.float32)
    for got, exact, eager in zip(
        losses_and_gradients("cpu", torch.float32), truth, plain, strict=True
    ):
        assert numerics.violation(got, exact, eager.double() - exact) is None


def test_conditioning_is_not_copied(monkeypatch):
    """The stack reads it where the product left it: rows of all layers' channels."""
    model, seen = model_of(flows=1), []
    forward = ResidualStack.forward

    def watched(self: ResidualStack, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((tuple(cond.shape), cond.stride()))
        return forward(self, x, cond)

    monkeypatch.setattr(ResidualStack, "forward", watched)
    model.infer(sound()[1])
    channels = 2 * 8 * 3
    assert seen == [((2, channels, 12), (12 * channels, 1, channels))]


def test_reversible_training_of_a_part():
    model = model_of(reversible=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("flows.1.network.end" in name)
    waveform, mel = sound()
    model.loss(waveform, mel).backward()
    trained = [name for name, p in model.named_parameters() if p.grad is not None]
    assert trained == ["flows.1.network.end.weight", "flows.1.network.end.bias"]


def test_reversible_training_keeps_less():
    kept = []
    for reversible in (False, True):
        model, bytes_of = model_of(reversible=reversible, flows=4), {}

        def keep(tensor: Tensor, bytes_of=bytes_of) -> Tensor:
            bytes_of[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.loss(*sound(2, 60))
        kept.append(sum(bytes_of.values()))
    assert kept[1] < kept[0] / 3


def test_autocast_keeps_the_map_in_float32():
    model = model_of().float()
    waveform, mel = (t.float() for t in sound())
    with torch.autocast("cpu", torch.bfloat16):
        z, log_determinant = model(waveform, mel)
        loss = model.loss(waveform, mel)
    assert z.dtype == log_determinant.dtype == loss.dtype == torch.float32
    exact, _ = model_of()(waveform.double(), mel.double())
    assert (z - exact).abs().max() < 0.05
    gradients = []
    for reversible in (False, True):
        model = model_of(reversible=reversible).float()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(waveform, mel)
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert (gradients[0] - gradients[1]).norm() < 0.02 * gradients[0].norm()


@pytest.mark.parametrize("fields", [{}, {"whiten": 8}, {"whiten": 16, "kernel_size": 1}], ids=str)
@pytest.mark.parametrize("chunks", [(1,) * 70, (7, 30, 1, 32), (70,)])
def test_a_stream_is_the_whole_bit_for_bit(chunks, fields):
    model = model_of(**{"flows": 2, "layers": 2, **fields}).float()
    _, mel = (t.float() for t in sound(2, 70))
    z = torch.randn(2, 8, 140, generator=torch.Generator().manual_seed(2))
    whole = model.infer(mel, z=z)
    pieces = list(model.stream(mel.split(chunks, dim=2), z=z, frames=5))
    assert len(pieces) > 1 or len(chunks) == 1
    assert torch.equal(torch.cat(pieces, dim=1), whole)
    by_seed = torch.cat(list(model.stream(mel.split(chunks, dim=2), seed=3, frames=5)), dim=1)
    assert torch.equal(by_seed, model.infer(mel, seed=3))


def test_the_noise_is_the_seeds():
    model = model_of()
    _, mel = sound(3)
    audio = model.infer(mel, sigma=0.5, seed=4)
    assert audio.shape == (3, 96)
    assert torch.allclose(model.infer(mel[2:], sigma=0.5, seed=4, first_signal=2), audio[2:])
    assert not torch.allclose(model.infer(mel, sigma=0.5, seed=5), audio)
    assert torch.allclose(
        model.infer(mel, sigma=0.0), model.infer(mel, z=torch.zeros(3, 8, 12, dtype=torch.float64))
    )


def test_the_denoiser_takes_the_constant_sound_away():
    model = model_of()
    audio = 0.2 * torch.randn(1, 2000, dtype=torch.float64)
    constant = constant_sound(model)
    assert constant.shape == (513,)
    assert torch.allclose(denoise(audio, constant, 0.0), audio, atol=1e-12)
    without = denoise(audio, constant, 0.5)
    spectrum, window = (lambda x, w: torch.stft(x, 1024, 256, window=w, return_complex=True)), None
    window = torch.hann_window(1024, dtype=torch.float64)
    expected = spectrum(audio, window)
    size = (expected.abs() - 0.5 * constant[:, None]).clamp_min(0)
    expected = torch.istft(
        torch.polar(size, expected.angle()), 1024, 256, window=window, length=2000
    )
    assert torch.allclose(without, expected, atol=1e-12)
    _, mel = sound(1, 40)
    assert torch.allclose(
        model.infer(mel, seed=1, denoise=0.5), denoise(model.infer(mel, seed=1), constant, 0.5)
    )


def test_saving(tmp_path):
    model = model_of().float()
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architecture"] == "waveglow"
    again = WaveGlow.from_pretrained(tmp_path)
    assert again.config == model.config
    _, mel = (t.float() for t in sound())
    assert torch.equal(again.infer(mel, seed=1), model.infer(mel, seed=1))


# Files.


def big(**fields) -> WaveGlow:
    """With the hop that the original's code has."""
    return model_of(mel=MelConfig.tacotron2(mels=3), sample_rate=22050, **fields)


def older(weights: dict[str, Tensor], layout: str, layers: int, channels: int) -> dict[str, Tensor]:
    """The names of earlier layouts."""
    new = dict(weights)
    for name in weights:
        part = name.split(".")[-1]
        if ".cond_layer." in name and layout != "newest":
            for i, rows in enumerate(new.pop(name).chunk(layers)):
                new[name.replace("cond_layer.", f"cond_layers.{i}.")] = rows
        if ".res_skip_layers." in name and layout == "first":
            rows = new.pop(name)
            skip = name.replace("res_skip_layers", "skip_layers")
            if len(rows) > channels:
                new[name.replace("res_skip_layers", "res_layers")] = rows[:channels]
            new[skip] = rows[-channels:]
            assert part in ("weight_g", "weight_v", "bias")
    return new


@pytest.mark.parametrize("layout", ["newest", "middle", "first"])
@pytest.mark.parametrize("wrap", ["state_dict", "module.", "plain"])
def test_every_layout_is_read(tmp_path, layout, wrap):
    model = big()
    wavenet.convert.to_waveglow(model, tmp_path / "a.pt")
    weights = torch.load(tmp_path / "a.pt", weights_only=True)["state_dict"]
    waveform = 0.1 * torch.randn(2, 512, dtype=torch.float64)
    mel = torch.randn(2, 3, 2, dtype=torch.float64)
    z, log_determinant = original(weights, waveform, mel, every=2, size=2, layers=3, hop=256)
    weights = older(weights, layout, 3, 8)
    if wrap == "module.":
        weights = {f"module.{name}": value for name, value in weights.items()}
    saved = {"state_dict": weights} if wrap == "state_dict" else weights
    torch.save(saved, tmp_path / "b.pt", _use_new_zipfile_serialization=wrap != "plain")
    again = WaveGlow.from_checkpoint(tmp_path / "b.pt")
    assert again.config == model.config
    ours = again(waveform, mel)
    assert torch.allclose(ours[0], z, rtol=0, atol=1e-9)
    assert torch.allclose(ours[1], log_determinant, rtol=0, atol=1e-9)
    assert torch.allclose(again.infer(mel, z=z), waveform, rtol=0, atol=1e-9)


def test_options_and_what_was_assumed(tmp_path):
    wavenet.convert.to_waveglow(big(), tmp_path / "a.pt")
    imported = wavenet.convert.import_checkpoint(tmp_path / "a.pt", swap_halves=True, sigma=0.7)
    assert imported.model.config.swap_halves and imported.model.config.sigma == 0.7
    assert imported.found.startswith("WaveGlow, newest layout, weight norm old: 5 flows of 3 x 8")
    assert "the mel-spectrogram of Tacotron 2" in imported.assumed
    with pytest.raises(ModelError, match="stacks is no option of WaveGlow"):
        wavenet.convert.load_checkpoint(tmp_path / "a.pt", stacks=2)
    weights = torch.load(tmp_path / "a.pt", weights_only=True)["state_dict"]
    del weights["WN.1.end.bias"]
    torch.save(weights, tmp_path / "b.pt")
    with pytest.raises(ModelError, match=r"b\.pt: has no WN\.1\.end\.bias"):
        WaveGlow.from_checkpoint(tmp_path / "b.pt")


def test_what_the_original_can_not_say_is_not_exported(tmp_path):
    for model, what in (
        (model_of(), "a hop of 16"),
        (big(swap_halves=True), "swap_halves"),
        (big(whiten=64), "whiten"),
    ):
        with pytest.raises(ModelError, match=what):
            wavenet.convert.to_waveglow(model, tmp_path / "a.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"group": 7}, "group is 7; accepted is an even divisor of the hop, 16"),
        ({"sample_rate": 16000}, "sample_rate is 16000; accepted is 8000 Hz"),
        ({"early_size": 4, "flows": 6}, "early_size is 4; accepted is so small that 2 of 8"),
        ({"kernel_size": 2}, "kernel_size is 2; accepted is an odd int"),
        ({"upsample_kernel_size": 8}, "upsample_kernel_size is 8; accepted is an int from the hop"),
        ({"whiten": 12}, "whiten is 12; accepted is 0 or a divisor of the hop, 16"),
        ({"whiten": -8}, "whiten is -8; accepted is an int from 0"),
        (
            {"whiten": 8, "mel": replace(MEL, padding="lws")},
            "whiten is 8; accepted is 0 where mel's frames are not centred",
        ),
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"sigma": "1"}, "sigma is '1'; accepted is more than 0"),
        ({"reversible": "yes"}, "reversible is 'yes'; accepted is true or false"),
        ({"mel": None}, "mel is None; accepted is a MelConfig"),
        ({"mel": {"hops": 3}}, "mel has 'hops'; accepted are sample_rate, n_fft, hop"),
        ({"flows": 0}, "flows is 0"),
    ],
)
def test_configurations_that_can_not_be(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        config_of(**fields)


def test_what_does_not_fit_is_said():
    model = model_of()
    waveform, mel = sound()
    z, _ = model(waveform, mel)
    for call, sentence in (
        (
            lambda: model(waveform[:, :-1], mel),
            "waveform has 95 samples; accepted is a multiple of",
        ),
        (lambda: model(waveform[0], mel), "waveform is torch.float64 of shape"),
        (lambda: model(waveform, mel[:1]), r"mel has shape \(1, 5, 6\); accepted is \(2, 5, F\)"),
        (lambda: model(waveform, mel[:, :4]), r"accepted is \(2, 5, F\) with F from 1"),
        (lambda: model(waveform, mel[:, :, :2]), "mel has 2 frames, which reach over 80 samples"),
        (
            lambda: model.infer(mel, z=torch.zeros(2, 8, 11)),
            r"z has shape .*accepted is \(2, 8, 12",
        ),
        (lambda: model.infer(mel, sigma=-1.0), "sigma is -1.0; accepted is 0 or more"),
        (lambda: model.infer(mel, sigma="a"), "sigma is 'a'; accepted is 0 or more"),
        (lambda: model.infer(mel.numpy()), "mel is a ndarray; accepted is a tensor"),
        (lambda: model.infer(mel.long()), "mel is torch.int64; accepted are floats"),
        (lambda: model.infer(mel * math.nan), "mel holds values that aren't finite numbers"),
        (lambda: model.infer(mel, z=math.inf * z), "z holds values that aren't finite numbers"),
        (lambda: model(waveform * math.nan, mel), "waveform holds values that aren't finite"),
        (lambda: model([0.5], mel), "waveform is a list; accepted is a tensor"),
        (lambda: next(model.stream([mel[0]])), r"a chunk of mel_chunks has shape \(5, 6\)"),
        (lambda: list(model.stream([mel, mel[:1]])), r"has shape \(1, 5, n\); accepted is \(2, 5"),
        (lambda: next(model.stream([mel], frames=0)), "frames is 0; accepted is an int from 1"),
        (lambda: denoise(waveform, mel[0]), r"sound has shape \(5, 6\); accepted is \(n_fft"),
        (
            lambda: model.infer(mel, denoise=0.1),
            "denoise is given for 96 samples; accepted are more",
        ),
    ):
        with pytest.raises(DataError, match=sentence):
            call()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_module_is_read_and_not_run(tmp_path, monkeypatch, zipped):
    """As train.py writes it: the module itself, of the original's own classes."""
    glow = types.ModuleType("glow")
    exec(
        "import torch\nclass WaveGlow(torch.nn.Module): pass\nclass WN(WaveGlow): pass", vars(glow)
    )
    monkeypatch.setitem(sys.modules, "glow", glow)
    model = big()
    wavenet.convert.to_waveglow(model, tmp_path / "a.pt")
    root = glow.WaveGlow()
    for name, value in torch.load(tmp_path / "a.pt", weights_only=True)["state_dict"].items():
        module = root
        *path, last = name.split(".")
        for part in path:
            if part not in module._modules:
                module.add_module(part, glow.WN() if part == "WN" else torch.nn.Module())
            module = module._modules[part]
        module.register_parameter(last, torch.nn.Parameter(value))
    saved = {"model": root, "iteration": 7, "learning_rate": 1e-4}
    torch.save(saved, tmp_path / "b.pt", _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "glow")
    again = WaveGlow.from_checkpoint(tmp_path / "b.pt")
    assert "glow" not in sys.modules
    for ours, theirs in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("block", [0, 16])
def test_exported_files_make_the_same_sound(block):
    pytest.importorskip("onnxruntime")
    model = model_of(flows=3, whiten=block)
    files = export_waveglow(model)  # it compares them with the model
    assert set(files) == {"model.onnx", "model.pt2"} and all(files.values())
    with pytest.raises(DataError, match="format is 'tflite'; accepted are onnx, torch"):
        export_waveglow(model, ["tflite"])


@pytest.mark.parametrize("whiten", [0, 16])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_of_every_width(dtype, whiten):
    """What passes the flows is sound, in float32 at least, whatever the weights and inputs are."""
    exact = model_of(whiten=whiten)
    waveform, mel = sound()
    model = model_of(whiten=whiten).to(dtype)
    tolerance = {torch.float16: 1e-2, torch.bfloat16: 1e-1}.get(dtype, 1e-4)
    for given in (dtype, torch.float32):
        with torch.no_grad():
            z, log_det = model(waveform.to(given), mel.to(given))
            expected, _ = exact(waveform.to(given).double(), mel.to(given).double())
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        assert z.dtype == log_det.dtype == wide
        difference = (z - expected).square().mean().sqrt() / expected.square().mean().sqrt()
        assert difference < tolerance
        back = model.infer(mel.to(given), z=z)
        assert back.dtype == wide and model.infer(mel.to(given)).dtype == wide
        assert (back - waveform).abs().max() < 5 * tolerance


@pytest.mark.parametrize("of", [np.float32, np.array, torch.tensor])
def test_numbers_of_numpy_and_torch(of):
    model = model_of()
    mel = torch.randn(1, 5, 80)
    expected = model.infer(mel, sigma=0.5, denoise=0.25)
    assert torch.equal(model.infer(mel, sigma=of(0.5), denoise=of(0.25)), expected)
    whole = torch.cat(list(model.stream([mel], sigma=of(0.5), frames=np.int64(7))), dim=1)
    assert torch.equal(whole, torch.cat(list(model.stream([mel], sigma=0.5, frames=7)), dim=1))
