"""Streaming: equal to the whole signal at once, whatever the chunks; the command."""

from __future__ import annotations

import gc
import io
import json
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch
from norms import with_statistics
from small_runs import MODEL

from wavenet import StreamingClassifier, WaveNetClassifier, WaveNetConfig, load_model
from wavenet.audio import audio_blocks, pcm_blocks, read_audio
from wavenet.errors import AudioError, DataError

CONFIG = {**MODEL, "stem_stride": 8, "stem_kernel_size": 30}


def _model(**fields) -> WaveNetClassifier:
    torch.manual_seed(0)
    return with_statistics(WaveNetClassifier(WaveNetConfig(**{**CONFIG, **fields})).eval())


def _chunks(waveform: torch.Tensor, longest: int):
    generator = torch.Generator().manual_seed(len(waveform))
    while len(waveform):
        size = int(torch.randint(longest + 1, (), generator=generator))
        yield waveform[:size]
        waveform = waveform[size:]


def _listen(listener: StreamingClassifier, waveform: torch.Tensor, longest: int):
    decisions = [d for chunk in _chunks(waveform, longest) for d in listener.push(chunk)]
    return decisions + listener.finish()


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"input": "mu-law"},
        {"input": "one-hot"},
        {"filters": 5, "filter_layers": 1},
        {"filters": 5, "filter_layers": 2, "filter_norm": "batch"},
        {"filters": 5, "filter_layers": 2, "filter_norm": "batch", "filter_blocks": 2},
        {"filters": 5, "stack_norm": "batch"},
    ],
)
def test_the_last_decision_about_all_is_the_models(fields, pooling):
    model = _model(**fields, pooling=pooling)
    listener = StreamingClassifier(model, window_seconds=None, hop_seconds=0.05)
    for time in (1, 7, 100, 8003):  # one listener: it starts anew after each signal
        waveform = torch.rand(time) * 2 - 1
        last = _listen(listener, waveform, 3000)[-1]
        with torch.inference_mode():
            torch.testing.assert_close(last.logits, model(waveform.unsqueeze(0))[0])
        assert (last.start, last.end) == (0, time / 8000)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"head_layers": 0},
        {"head_kernel_size": 5, "head_layers": 1, "pooling": "attention"},
        {"head_kernel_size": 1, "pooling": "max"},
        {"stem_stride": 1, "stem_kernel_size": 1, "kernel_size": 3},
        {"filters": 7, "stem_stride": 80, "stem_kernel_size": 200},
        {"filters": 7, "filter_layers": 3, "stem_stride": 80, "stem_kernel_size": 64},
        {
            **{"filters": 7, "filter_layers": 2, "filter_norm": "batch"},
            **{"stem_stride": 80, "stem_kernel_size": 64},
        },
    ],
)
@pytest.mark.parametrize("longest", [1, 900, 20000])
def test_windows_equal_pooling_over_the_whole_signal(fields, longest):
    model = _model(**fields)
    listener = StreamingClassifier(model, window_seconds=0.1, hop_seconds=0.03)
    waveform = torch.rand(300 if longest == 1 else 5010) * 2 - 1
    decisions = _listen(listener, waveform, longest)
    config = model.config
    frame = config.steps_per_frame * config.stem_stride
    with torch.inference_mode():
        steps = torch.tensor([-(-len(waveform) // config.stem_stride)])
        frames, _ = model.head(model.stack(model.stem(waveform.unsqueeze(0)))[1], steps)
        ends = [*range(3, frames.shape[2], 3), frames.shape[2]]
        assert len(decisions) == len(ends)
        for end, decision in zip(ends, decisions, strict=True):
            window = frames[:, :, max(0, end - 10) : end]
            pooled = model.pooling(window, torch.tensor([window.shape[2]]))
            torch.testing.assert_close(decision.logits, model.classifier(pooled)[0])
            assert decision.start == max(0, end - 10) * frame / 8000
            assert decision.end == min(end * frame, len(waveform)) / 8000


@pytest.mark.parametrize("longest", [1, 900, 20000])
def test_a_model_that_normalises_clips_hears_every_window_anew(longest):
    model = _model(clip_norm=True, frame_ms=5)
    listener = StreamingClassifier(model, window_seconds=0.1, hop_seconds=0.03)
    assert listener.delay_seconds == 0
    for time in (1, 300, 5010) if longest > 1 else (300,):  # one listener: it starts anew
        waveform = torch.rand(time) * 2 - 1
        decisions = _listen(listener, waveform, longest)
        ends = [*range(240, time, 240), time]
        assert [round(8000 * decision.end) for decision in decisions] == ends
        for end, decision in zip(ends, decisions, strict=True):
            start = max(0, -(-end // 40) * 40 - 800)
            assert round(8000 * decision.start) == start
            with torch.inference_mode():
                expected = model(waveform[start:end].unsqueeze(0))[0]
            torch.testing.assert_close(decision.logits, expected)


def test_a_model_that_normalises_clips_needs_windows():
    with pytest.raises(DataError, match="window_seconds is None .* accepts a length only"):
        StreamingClassifier(_model(clip_norm=True), window_seconds=None)


def test_decisions_come_no_later_than_said():
    listener = StreamingClassifier(_model(), window_seconds=0.1, hop_seconds=0.01)
    assert listener.delay_seconds == 0.02
    late = []
    for _ in range(100):
        decisions = listener.push(np.zeros(16, np.float32))
        late += [listener.seconds - decision.end for decision in decisions]
    assert late and max(late) <= listener.delay_seconds + 16 / 8000
    assert listener.seconds == 0.2


def test_a_decision_names_its_classes():
    listener = StreamingClassifier(_model())
    listener.push(torch.rand(4000))
    (decision,) = listener.finish()[-1:]
    top = decision.top(5)
    assert [label for label, _ in top][0] == decision.label and len(top) == 3
    assert top[0][1] == pytest.approx(decision.probability)
    assert sum(p for _, p in top) == pytest.approx(1)
    assert listener.finish() == []  # nothing was heard since


@pytest.mark.slow
def test_memory_does_not_grow():
    listener = StreamingClassifier(_model(), window_seconds=0.5, hop_seconds=0.1)
    chunk = torch.rand(800)
    sizes = []
    for _ in range(3):
        for _ in range(30):
            listener.push(chunk)
        head = listener._network.head
        kept = [listener._network.stem.samples, head.steps, *head.past]
        kept.append(listener._pool.frames)
        sizes.append(sum(tensor.untyped_storage().nbytes() for tensor in kept))
    assert sizes[0] == sizes[1] == sizes[2]
    for _ in range(500):  # the interpreter's caches fill, faster than while they are traced
        listener.push(chunk)
    tracemalloc.start()
    assert any(_growth(listener, chunk, pushes=60) < 1_000 for _ in range(20))  # 17 bytes a push
    tracemalloc.stop()


def _growth(listener, chunk, pushes: int) -> int:
    """Bytes that Python's objects grow by; the interpreter's caches fill for a while, and stop."""
    gc.collect()  # it empties the lists of freed objects, which count as used
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(pushes):
        listener.push(chunk)
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


@pytest.mark.parametrize(
    ("waveform", "sentence"),
    [
        (torch.zeros(1, 5), r"waveform is torch.float32 with shape \(1, 5\); accepted is"),
        (torch.zeros(5, dtype=torch.int16), "waveform is torch.int16"),
        (torch.tensor([0.0, float("nan")]), "waveform holds NaN or infinite samples"),
    ],
)
def test_what_can_not_be_heard_is_refused_and_changes_nothing(waveform, sentence):
    model = _model()
    listener, other = (StreamingClassifier(model, window_seconds=None) for _ in range(2))
    sound = torch.rand(900)
    listener.push(sound)
    with pytest.raises(DataError, match=sentence):
        listener.push(waveform)
    other.push(sound)
    assert torch.equal(listener.finish()[-1].logits, other.finish()[-1].logits)


@pytest.mark.parametrize(
    "fields", [{"window_seconds": 0.0}, {"hop_seconds": -1.0}, {"hop_seconds": float("inf")}]
)
def test_times_are_above_zero(fields):
    (name,) = fields
    with pytest.raises(DataError, match=f"{name} is .*; accepted is more than 0"):
        StreamingClassifier(_model(), **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"clip_norm": True},
        {"filters": 5, "filter_layers": 1},
        {"filters": 5, "filter_layers": 1, "filter_norm": "batch"},
    ],
)
@pytest.mark.parametrize("weights, off", [("bfloat16", 0.02), ("int8", 0.06)])
def test_fewer_bits_are_near_and_do_not_depend_on_chunks(fields, weights, off):
    """Near: a bfloat16 has 8 bits, of int8 7 are used, in a dozen layers one after another."""
    model, sound = _model(**fields), torch.rand(8003) * 2 - 1
    decided = {
        kind: [
            torch.stack([d.logits for d in _listen(listener, sound, longest)])
            for longest in (3000, 50)
            for listener in [StreamingClassifier(model, window_seconds=0.3, weights=kind)]
        ]
        for kind in ("float32", weights)
    }
    torch.testing.assert_close(*decided[weights], rtol=2e-3, atol=2e-3)
    exact, rounded = decided["float32"][0], decided[weights][0]
    assert 0 < (rounded - exact).norm() < off * exact.norm()


def test_weights_are_of_a_known_kind():
    with pytest.raises(DataError, match="weights is 'int4'; accepted are float32, bfloat16, int8"):
        StreamingClassifier(_model(), weights="int4")


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
def test_blocks_are_the_recording(tmp_path, rate):
    path = tmp_path / "stereo.wav"
    noise = 0.3 * np.random.default_rng(0).standard_normal((rate + 17, 2))
    soundfile.write(path, noise, rate, subtype="FLOAT")
    blocks = list(audio_blocks(path, 8000, 0.1))
    assert len(blocks) > 5
    torch.testing.assert_close(torch.cat(blocks), read_audio(path, 8000), rtol=0, atol=1e-5)


def test_blocks_of_bad_files(tmp_path):
    nan = tmp_path / "nan.wav"
    soundfile.write(nan, np.full(500, np.nan), 8000, subtype="FLOAT")
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0), 8000)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    for path, sentence in (
        (nan, "holds NaN"),
        (empty, "holds no samples"),
        (broken, "can't be decoded"),
        (tmp_path / "none.wav", "no such file"),
    ):
        with pytest.raises(AudioError, match=f"{path.name}: {sentence}"):
            list(audio_blocks(path, 8000))
    with pytest.raises(DataError, match="sample_rate is 0; accepted is more than 0"):
        list(audio_blocks(nan, 0))


@pytest.mark.parametrize(
    ("pcm_format", "dtype", "scale"),
    [("s16", "<i2", 2**15), ("s32", "<i4", 2**31), ("f32", "<f4", 1)],
)
def test_raw_pcm(pcm_format, dtype, scale):
    samples = np.random.default_rng(0).uniform(-1, 1, (1000, 2))
    codes = (samples * scale).astype(dtype)
    data = codes.tobytes() + b"\0"  # a byte that is no whole sample
    blocks = list(pcm_blocks(io.BytesIO(data), 8000, pcm_format=pcm_format, channels=2))
    expected = (codes.astype(np.float64) / scale).mean(1).astype(np.float32)
    assert [len(block) for block in blocks] == [800, 200]
    assert np.array_equal(torch.cat(blocks).numpy(), expected)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"pcm_format": "u8"}, "format is 'u8'; accepted are s16, s32, f32"),
        ({"channels": 0}, "channels is 0; accepted is more than 0"),
        ({"rate": 1}, "rate is 1; 100 to 10000000 Hz are accepted"),
    ],
)
def test_raw_pcm_arguments(fields, sentence):
    with pytest.raises(DataError, match=sentence):
        list(pcm_blocks(io.BytesIO(b"\0" * 80), 8000, **fields))


def test_raw_pcm_with_nan():
    data = np.array([0, np.nan], "<f4").tobytes()
    with pytest.raises(AudioError, match="the PCM: holds NaN"):
        list(pcm_blocks(io.BytesIO(data), 8000, pcm_format="f32"))


def _recording(tones) -> torch.Tensor:
    """Tones of the test split one after another."""
    folder = tones.manifest.parent
    names = ("low/0.wav", "high/1.wav", "middle/2.wav", "low/1.wav")
    return torch.cat([read_audio(folder / name, 4000) for name in names])


@pytest.mark.slow
def test_the_command_hears_a_pipe(tones, tmp_path):
    """As a process: raw PCM in, JSON lines out, the real-time factor on the standard error."""
    waveform = _recording(tones)
    codes = (waveform * 32767).round().to(torch.int16)
    command = [sys.executable, "-m", "wavenet.cli", "stream", str(tones.run)]
    command += ["--window", "0", "--hop", "0.2", "--top", "2"]
    done = subprocess.run(command, input=codes.numpy().tobytes(), capture_output=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    ends = [*(0.2 * (i + 1) for i in range(len(codes) // 800)), len(codes) / 4000]
    assert len(codes) % 800 and [line["end"] for line in lines] == pytest.approx(ends, abs=1e-4)
    model = load_model(tones.run)
    with torch.inference_mode():
        expected = model(codes.unsqueeze(0) / 32768)[0].softmax(0)
    assert lines[-1]["probability"] == pytest.approx(float(expected.max()), abs=2e-6)
    assert lines[-1]["top"][0]["label"] == model.config.labels[int(expected.argmax())]
    assert b"times real time" in done.stderr and b"1 thread(s)" in done.stderr


def _listening(tones) -> subprocess.Popen[bytes]:
    """The command on a pipe that stays open, after its first line."""
    command = [sys.executable, "-m", "wavenet.cli", "stream", str(tones.run)]
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    process = subprocess.Popen(command, **pipes)
    process.stdin.write(bytes(2 * 4000))
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["end"] == 0.1
    return process


@pytest.mark.slow
def test_ctrl_c_ends_a_signal(tones):
    process = _listening(tones)
    while json.loads(process.stdout.readline())["end"] < 0.9:
        pass
    process.send_signal(signal.SIGINT)
    *_, last = process.stdout.read().splitlines()
    assert json.loads(last)["end"] == 1.0
    said = process.stderr.read()
    assert process.wait(60) == 0 and b"1.00 s of audio" in said and b"Traceback" not in said


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_error(tones):
    process = _listening(tones)
    process.stdout.close()
    process.stdin.write(bytes(2 * 8000))
    process.stdin.close()
    said = process.stderr.read()
    assert process.wait(60) == 0 and b"times real time" in said and b"rror" not in said


def test_the_command_hears_files(tones, tmp_path, wavenet):
    waveform = _recording(tones).numpy()
    soundfile.write(tmp_path / "a.wav", waveform, 4000, subtype="PCM_16")
    (tmp_path / "a.raw").write_bytes(soundfile.read(tmp_path / "a.wav", dtype="int16")[0].tobytes())
    outs = []
    for name in ("a.wav", "a.raw"):
        done = wavenet("stream", tones.run, tmp_path / name, "--window", 0.2)
        assert done.code == 0 and "times real time" in done.err
        outs.append(done.out)
    assert outs[0] == outs[1]
    labels = [json.loads(line)["label"] for line in outs[0].splitlines()]
    assert {"low", "high"} <= set(labels)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("none.raw",), "none.raw: no such file; a recording or raw PCM is expected"),
        (("none.wav",), "none.wav: no such file; an audio file is expected"),
        (("sound.raw", "--format", "mp3"), "format is 'mp3'; accepted are s16, s32, f32"),
        (("sound.raw", "--hop", 0), "hop_seconds is 0.0; accepted is more than 0"),
        (("sound.raw", "--window", -1), "window_seconds is -1.0; accepted is more than 0"),
        (("sound.raw", "--window", "inf"), "window_seconds is inf; accepted is more than 0, up to"),
        (("sound.raw", "--chunk", "1e30"), "block_seconds is 1e+30; accepted is more than 0, up"),
        (("sound.wav", "--rate", 8000), "sound.wav is a recording, which says itself"),
        (("sound.raw", "--device", "meta"), "device 'meta' can't be used here"),
    ],
)
def test_the_command_says_what_is_wrong(tones, tmp_path, monkeypatch, wavenet, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sound.raw").write_bytes(b"\0" * 100)
    done = wavenet("stream", tones.run, *arguments)
    assert done.code == 2 and sentence in done.err


def test_nothing_came(tones, tmp_path, wavenet):
    (tmp_path / "empty.raw").touch()
    done = wavenet("stream", tones.run, tmp_path / "empty.raw")
    assert done == (0, "", "no audio came")
