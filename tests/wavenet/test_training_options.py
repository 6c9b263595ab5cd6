"""What a run is the best by, how many epochs it has, folds of groups, and how all that is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from small_runs import OVERRIDES, quiet, small_config

from wavenet.classifier.cross_validation import cross_validate
from wavenet.classifier.data import Clip, DataConfig, fold_groups, split_clips
from wavenet.classifier.run_config import load_config
from wavenet.classifier.run_folder import best_epoch, rank_epochs, read_history
from wavenet.classifier.training import train
from wavenet.errors import ConfigError, DataError

ROWS = [
    {"epoch": 1, "validation_accuracy": 0.9, "validation_macro_f1": 0.4, "validation_loss": 0.5},
    {"epoch": 2, "validation_accuracy": 0.8, "validation_macro_f1": 0.7, "validation_loss": 0.6},
    {"epoch": 3, "validation_accuracy": 0.8, "validation_macro_f1": 0.6, "validation_loss": 0.4},
]


@pytest.mark.parametrize(
    ("by", "order"),
    [("accuracy", [1, 3, 2]), ("macro_f1", [2, 3, 1]), ("loss", [3, 1, 2]), ("last", [3, 2, 1])],
)
def test_the_best_epoch_is_chosen_by_any_figure(by, order):
    assert [row["epoch"] for row in rank_epochs(ROWS, by)] == order


def test_the_chosen_figure_decides_which_model_is_kept(recordings, tmp_path):
    config = small_config(
        recordings, tmp_path, "training.best_by=loss", "training.learning_rate=5e-2"
    )
    said = Console(record=True, width=300, file=open("/dev/null", "w"))
    result = train(config, tmp_path / "run", console=said)
    history = read_history(tmp_path / "run")
    best = min(history, key=lambda row: row["validation_loss"])
    assert best_epoch(tmp_path / "run") == best and result.accuracy == best["validation_accuracy"]
    line = next(line for line in said.export_text().splitlines() if line.startswith("epoch   1/3"))
    assert "(majority 33.3%)  macro-F1 0." in line


def test_a_finished_run_goes_on_for_more_epochs(recordings, tmp_path):
    run = tmp_path / "run"
    train(small_config(recordings, tmp_path, "training.epochs=1"), run, console=quiet())
    first = read_history(run)[0]
    more = small_config(recordings, tmp_path, "training.epochs=3")
    assert train(more, run, resume=True, console=quiet()).epochs == 3
    history = read_history(run)
    assert len(history) == 3 and history[0] == first
    assert load_config(run / "train.yaml").training.epochs == 3
    fewer = small_config(recordings, tmp_path, "training.epochs=2")
    with pytest.raises(ConfigError, match="different are training.epochs"):
        train(fewer, run, resume=True, console=quiet())


def _spoken(speakers: int) -> list[Clip]:
    return [
        Clip(Path(f"{label}/{speaker}-{i}.wav"), label, group=f"s{speaker}")
        for speaker in range(speakers)
        for label in ("a", "b")
        for i in range(1 + speaker % 5)
    ]


def test_folds_are_of_whole_groups_and_of_about_one_size():
    clips = _spoken(221)
    folded = fold_groups(clips, 5)
    assert {clip.fold for clip in folded} == {"1", "2", "3", "4", "5"}
    assert len({(clip.group, clip.fold) for clip in folded}) == 221
    sizes = [sum(clip.fold == str(fold + 1) for clip in folded) for fold in range(5)]
    assert max(sizes) - min(sizes) <= 10
    backwards = fold_groups(clips[::-1], 5)
    assert {c.path: c.fold for c in backwards} == {c.path: c.fold for c in folded}
    splits = split_clips(clips, DataConfig(group_folds=5, leave_out_fold="2"), seed=0)
    assert not {c.group for c in splits.test} & {c.group for c in splits.train + splits.validation}
    with pytest.raises(DataError, match="group_folds is 9, and there are 3 groups"):
        fold_groups(_spoken(3), 9)
    with pytest.raises(DataError, match="folds of groups need a group for every clip, 1 have none"):
        fold_groups([Clip(Path("x.wav"), "a")], 2)


@pytest.mark.slow
def test_a_cross_validation_of_folds_of_groups(recordings, tmp_path, wavenet):
    options = [*OVERRIDES, "training.epochs=1", f"data.cache={tmp_path / 'cache'}"]
    command = ["cross-validate", "--group-folds", 2, "--data", recordings / "all.csv"]
    command += [part for option in options for part in ("--set", option)]
    done = wavenet(*command, "--out", tmp_path / "cv")
    assert done.code == 0, done.err
    assert {path.name for path in (tmp_path / "cv").iterdir()} == {
        "fold-1",
        "fold-2",
        "cross_validation.json",
    }
    result = cross_validate(
        load_config(
            None, [*options, f"data.source={recordings / 'all.csv'}", "data.group_folds=2"]
        ),
        tmp_path / "cv",
        by="fold",
        console=quiet(),
    )
    assert sorted(part["clips"] for part in result.parts) == [12, 24]


def test_the_option_at_fault_is_named(tmp_path):
    """And the file only where it is at fault itself."""
    path = tmp_path / "config.yaml"
    path.write_text("training: {epochs: 4}")
    fine = "training.batch_size=8"
    for wrong, said in (
        ("training.epochs=many", "--set training.epochs=many: training.epochs is 'many'"),
        ("training.lr=1", "--set training.lr=1: training has no field 'lr'"),
        ("training.batch_size=0", "--set training.batch_size=0: training.batch_size is 0"),
    ):
        for overrides in ([wrong], [fine, wrong], [wrong, "training.seed=1"]):
            with pytest.raises(ConfigError) as caught:
                load_config(path, overrides)
            assert said in str(caught.value) and "config.yaml" not in str(caught.value)
    path.write_text("training: {epochs: none}")
    with pytest.raises(ConfigError, match=r"config\.yaml: training\.epochs is 'none'"):
        load_config(path, [fine])


def test_warnings_are_lines_and_lines_into_a_pipe_are_whole():
    """What a program of its own prints, without a terminal."""
    program = (
        "import sys, warnings; from wavenet import cli; from wavenet.commands.common import say\n"
        "cli.application = lambda: lambda: (warnings.warn('the cache is full'), say('x ' * 600))\n"
        "sys.argv = ['wavenet', 'cache']; cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == "warning: the cache is full\n"
    assert len(done.stdout.splitlines()) == 1
