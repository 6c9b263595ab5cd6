"""Generative models by the loop that trains classifiers."""

from __future__ import annotations

import csv
import dataclasses
import math
import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from small_runs import quiet, same

from wavenet import WaveGlow, WaveNet, load_model
from wavenet.classifier.data import Draw
from wavenet.classifier.data.parts import GenerationClips, collate_parts
from wavenet.classifier.inference.evaluate import choose_clips
from wavenet.classifier.inference.likelihood import PartLoss, likelihood
from wavenet.classifier.run_config import RunConfig, load_config
from wavenet.classifier.run_folder import checkpoints
from wavenet.classifier.training import train
from wavenet.classifier.training.generation import GenerativeLearner
from wavenet.classifier.training.learner import learning_rate
from wavenet.classifier.training.processes import processes
from wavenet.classifier.training.tasks import task_of
from wavenet.configs import FOLDER
from wavenet.errors import ConfigError, DataError, TrainingError

MEL = "{n_fft: 128, hop: 32, window: 128, mels: 6, low_hz: 0, high_hz: 2000}"
COMMON = (
    "model.sample_rate=4000",
    "data.max_seconds=0.2",
    "data.crop_seconds=0.1",
    "data.validation_by_group=false",
    "training.epochs=2",
    "training.batch_size=8",
    "training.learning_rate=1e-2",
    "training.ema_decay=0.9",
    "training.device=cpu",
)
WAVENET = (
    "model.architecture=wavenet",
    "model.residual_channels=6",
    "model.dilation_channels=6",
    "model.skip_channels=8",
    "model.layers_per_stack=4",
    "model.stacks=1",
    "data.context=true",
)
WAVEGLOW = (
    "model.architecture=waveglow",
    f"model.mel={MEL}",
    "model.flows=3",
    "model.early_every=2",
    "model.layers=2",
    "model.channels=6",
    "training.ema_decay=0",
)
KINDS = {
    "codes by speaker": (*WAVENET, "model.speakers=groups"),
    "vocoder": (
        *WAVENET,
        *("model.distribution=logistic", "model.mixtures=2", f"model.mel={MEL}"),
        *("model.context_frames=1", "model.high_pass_hz=50", "model.pre_emphasis=0.85"),
        "data.normalize_mel=true",
    ),
    "waveglow": WAVEGLOW,
}


def config_of(recordings: Path, tmp_path: Path, *overrides: str) -> RunConfig:
    where = (f"data.source={recordings / 'all.csv'}", f"data.cache={tmp_path / 'cache'}")
    return load_config(None, [*COMMON, *where, *overrides])


def figures(run: Path) -> list[dict[str, float]]:
    with open(run / "metrics.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_learns_leaves_sounds_and_goes_on_bit_for_bit(recordings, tmp_path, kind):
    config = config_of(recordings, tmp_path, *KINDS[kind], "training.checkpoint_steps=2")
    result = train(config, tmp_path / "run", console=quiet())
    rows = figures(tmp_path / "run")
    assert rows[-1]["validation_bits"] == result.best["validation_bits"]
    assert rows[1]["train_bits"] < rows[0]["train_bits"]
    assert (tmp_path / "run" / "train.yaml").is_file()
    assert load_config(tmp_path / "run" / "train.yaml") == config
    for epoch in ("epoch-0001", "epoch-0002"):
        sound, rate = soundfile.read(tmp_path / "run" / "sounds" / f"{epoch}.wav")
        assert rate == 4000 and 400 < len(sound) <= 1300
        assert (tmp_path / "run" / "sounds" / f"{epoch}.png").stat().st_size > 1000
    model = load_model(tmp_path / "run")
    assert isinstance(model, WaveGlow if kind == "waveglow" else WaveNet)
    if kind == "codes by speaker":
        assert model.config.speakers == ("person0", "person1", "person2")
    if kind == "vocoder":
        assert len(model.config.mel.mean) == 6

    def stop(self, *args):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wavenet.classifier.training.generation.Generation.validate", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "again", console=quiet())
    assert checkpoints(tmp_path / "again")[-1].name == "step-00000002"
    train(config, tmp_path / "again", resume=True, console=quiet())
    assert same(tmp_path / "run", tmp_path / "again")


def test_a_start_from_a_trained_model_keeps_its_voices(recordings, tmp_path):
    config = config_of(recordings, tmp_path, *KINDS["codes by speaker"], "training.epochs=1")
    train(config, tmp_path / "run", console=quiet())
    settings = dataclasses.replace(config.training, init_from=str(tmp_path / "run"))
    again = dataclasses.replace(config, training=settings)
    task = task_of(again)
    data = task.prepare(lambda done, total: None)
    model = task.model(data)
    task.start_from(model)
    trained = load_model(tmp_path / "run").state_dict()
    assert all(torch.equal(trained[name], value) for name, value in model.state_dict().items())
    other = config_of(recordings, tmp_path, *WAVENET, f"training.init_from={tmp_path / 'run'}")
    with pytest.raises(ConfigError, match="its weights don't fit: conditioning"):
        task = task_of(
            dataclasses.replace(
                other,
                model=dataclasses.replace(
                    again.model,
                    config=dataclasses.replace(again.model.config, speaker_channels=3),
                ),
            )
        )
        model = task.model(data)
        task.start_from(model)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_begin_with_clips_and_have_what_came_before(recordings, tmp_path, kind):
    config = config_of(recordings, tmp_path, *KINDS[kind])
    task = task_of(config)
    data = task.prepare(lambda done, total: None)
    clips = task.source(data, torch.device("cpu")).clips
    hop = clips.config.hop
    lengths = clips.lengths()
    first = [clips[Draw(0, epoch)] for epoch in range(40)]
    size = data.cache.open_clip(clips.clips[0]).size
    assert size > clips.crop
    for part in first:
        assert len(part.waveform) <= lengths[0]
        assert part.samples <= clips.crop and part.skipped <= clips.context
        if part.mel is not None:
            extra = 2 * getattr(clips.config, "context_frames", 0)
            assert part.mel.shape[1] == len(part.waveform) // hop + extra
    assert torch.equal(first[3].waveform, clips[Draw(0, 3)].waveform)
    if kind != "waveglow":
        assert clips.context >= clips.config.receptive_field
        assert any(part.skipped == 0 for part in first)  # the clip's own start
        assert any(part.skipped == clips.context for part in first)
    else:
        assert {len(part.waveform) for part in first} == {clips.crop}
        short = min(range(len(clips)), key=lambda i: data.cache.open_clip(clips.clips[i]).size)
        assert len(clips[short].waveform) == clips.crop


def test_what_is_learned_does_not_depend_on_neighbours_or_cuts(recordings, tmp_path):
    """A clip's loss in a batch is its own; in parts with context it is that of the whole."""
    config = config_of(recordings, tmp_path, *KINDS["vocoder"])
    task = task_of(config)
    data = task.prepare(lambda done, total: None)
    torch.manual_seed(0)
    model = task.model(data)
    parts = GenerationClips(data.splits.train[:5], model.config, data.cache, crop=None)
    loss_of = PartLoss(model)
    with torch.no_grad():
        together = loss_of(collate_parts([parts[i] for i in range(5)], model.config))
        alone = [loss_of(collate_parts([parts[i]], model.config))[0] for i in range(5)]
        assert torch.allclose(together, torch.stack(alone), atol=1e-5)
        none = loss_of(collate_parts([], model.config))
    assert none.shape == (0,)
    found = likelihood(model, data.splits.train[:5], data.cache)
    sizes = [data.cache.open_clip(clip).size for clip in data.splits.train[:5]]
    assert found.samples.tolist() == sizes
    assert torch.allclose(found.nats / found.samples, together.double(), atol=1e-5)
    # The middle of a clip, with its context, is as likely as those samples are in the whole.
    cut = GenerationClips(
        data.splits.train[:1],
        model.config,
        data.cache,
        crop=256,
        context=model.config.receptive_field,
    )[0]
    whole = parts[0]
    with torch.no_grad():
        each = model.nll(whole.waveform[None], whole.mel[None])[0]
        first = (sizes[0] // 32 + (sizes[0] % 32 > 0) - 8) // 2 * 32
        assert cut.skipped > 0 and cut.samples == 256
        expected = each[first : first + 256].mean()
        assert torch.allclose(loss_of(collate_parts([cut], model.config))[0], expected, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_float32_in_mixed_precision(recordings, tmp_path, kind, precision):
    settings = f"training.mixed_precision={precision}"
    config = config_of(recordings, tmp_path, *KINDS[kind], settings)
    task = task_of(config)
    data = task.prepare(lambda done, total: None)
    torch.manual_seed(0)
    source = task.source(data, torch.device("cpu"))
    batch = source.collate([source.clips[i] for i in range(4)])
    with processes("cpu") as accelerator:
        learner = task.learner(task.model(data), accelerator, 10)
        assert isinstance(learner, GenerativeLearner)
        with learner.autocast():
            losses, right = learner.losses(batch)
        assert losses.dtype == torch.float32 and int(right) == 0
        first = float(learner.step([batch], 4, 1)[0])
        for step in range(2, 6):
            last = float(learner.step([batch], 4, step)[0])
    assert math.isfinite(last) and last < first


def test_a_loss_that_is_not_finite_stops_with_a_sentence(recordings, tmp_path):
    config = config_of(recordings, tmp_path, *WAVENET, "training.learning_rate=1e30")
    with pytest.raises(TrainingError, match="the loss is not finite in epoch 1; a lower"):
        train(config, tmp_path / "run", console=quiet())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("model.architecture=lstm",), "model.architecture is 'lstm'; accepted is one of"),
        ((*WAVENET, "model.speakers=people"), "speakers is 'people'; accepted is one of"),
        ((*WAVEGLOW, "model.speakers=groups"), "model has no field 'speakers'"),
        ((*WAVENET, "training.best_by=accuracy"), "training.best_by is set; accepted of a wavenet"),
        ((*WAVENET, "augmentation.gain_db=3"), "augmentation.gain_db is set"),
        ((*WAVENET, "training.label_smoothing=0.1"), "training.label_smoothing is set"),
        ((*WAVENET, "data.normalize_mel=true"), "data.normalize_mel is set"),
        ((*WAVENET, "model.speaker_features=3"), "model.speaker_features is set"),
        ((*WAVEGLOW, "data.context=true"), "data.context is set; accepted of a waveglow"),
        ((*WAVENET, "model.preset=waveglow-256"), "preset is 'waveglow-256', which is a waveglow"),
        ((*WAVENET, "model.preset=x"), "preset is 'x'; accepted are"),
        ((*WAVENET, "model.mel={hop: x}"), "model.mel.hop is 'x'; accepted is an int"),
        ((*WAVENET, "model.wings=2"), "has no field 'wings'"),
        ((*WAVENET, "data.events=true"), "data.events is set; accepted of a wavenet is false"),
        ((*WAVENET, "model.notes={hop: 32}"), "model.notes is set; .* is none without data.events"),
        ((*WAVENET, "model.notes={highest: 200}"), "highest is 200; accepted is an int from"),
        ((*WAVENET, "model.notes={hop: 32}", f"model.mel={MEL}"), "accepted is none with mel"),
    ],
)
def test_what_does_not_fit_is_said(recordings, tmp_path, overrides, said):
    with pytest.raises(ConfigError, match=said):
        config_of(recordings, tmp_path, *overrides)


COMMITTED = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize(
    "path", [p for p in COMMITTED if "architecture: wave" in p.read_text()], ids=lambda p: p.stem
)
def test_committed_configurations_are_of_models(path, tmp_path):
    config = load_config(path)
    resolved = config.model.resolved(("a", "b") if config.model.speakers else (), None)
    assert resolved.architecture in ("wavenet", "waveglow")
    config.save(tmp_path / "again.yaml")
    assert load_config(tmp_path / "again.yaml") == config
    if path.stem.startswith("vocoder"):
        assert config.training.schedule == "step" and resolved.hop == 256
        assert round(config.data.crop_seconds * resolved.sample_rate / resolved.hop) == 40
        outputs = {"mol": 30, "gaussian": 2, "mulaw256": 256}[path.stem.partition("-")[2]]
        assert resolved.sample_distribution.channels == outputs


def test_the_rate_is_halved_step_by_step():
    rates = [learning_rate(step, 100, 0.0, 10) for step in (0, 9, 10, 25)]
    assert rates == [1.0, 1.0, 0.5, 0.25]
    assert learning_rate(0, 100, 0.05, 10) == pytest.approx(1 / 6)


def test_options_of_generation_are_not_a_classifiers(recordings, tmp_path):
    with pytest.raises(ConfigError, match="data.crop_seconds is set; it is of generative models"):
        config_of(recordings, tmp_path)


def test_unknown_speakers_are_named(recordings, tmp_path):
    left = "data.leave_out_group=person0"
    config = config_of(recordings, tmp_path, *KINDS["codes by speaker"], left)
    with pytest.raises(DataError, match="the test clips have labels .* person0"):
        train(config, tmp_path / "run", console=quiet())
    named = (*WAVENET, "model.speakers=[low, middle]")
    with pytest.raises(DataError, match="neither its label 'high' nor its group 'person0'"):
        train(config_of(recordings, tmp_path, *named), tmp_path / "run", console=quiet())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vocoder", "waveglow"])
def test_two_processes_train_as_one(recordings, tmp_path, kind):
    from forked import run_together
    from small_runs import weights

    config = config_of(recordings, tmp_path, *KINDS[kind], "training.batch_size=10")
    config.save(tmp_path / "config.yaml")
    train(config, tmp_path / "one", console=quiet())
    command = ("train", "--config", tmp_path / "config.yaml", "--out", tmp_path / "two")
    assert run_together(*command, output=tmp_path / "said") == [0, 0]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        if not name.startswith("state optimizer.exp_avg_sq"):
            assert torch.allclose(value, two[name], rtol=1e-3, atol=1e-4), name
    for row, other in zip(figures(tmp_path / "one"), figures(tmp_path / "two"), strict=True):
        assert other["validation_bits"] == pytest.approx(row["validation_bits"], rel=1e-4)


@pytest.mark.parametrize("kind", [WAVENET, WAVEGLOW], ids=["wavenet", "waveglow"])
def test_recordings_without_labels_will_do(recordings, tmp_path, kind):
    folder = tmp_path / "wavs"
    folder.mkdir()
    for path in sorted(recordings.rglob("*.wav"))[:8]:
        shutil.copy(path, folder / f"{path.parent.name}-{path.name}")
    config = config_of(recordings, tmp_path, *kind, "training.epochs=1", f"data.source={folder}")
    train(config, tmp_path / "run", console=quiet())
    model = load_model(tmp_path / "run")
    assert len(choose_clips(tmp_path / "run", model.config, folder, "all").clips) == 8
    labelled = config_of(
        recordings, tmp_path, *WAVENET, "model.speakers=labels", f"data.source={folder}"
    )
    with pytest.raises(DataError, match="audio files but no sub-folders with audio"):
        train(labelled, tmp_path / "other", console=quiet())
