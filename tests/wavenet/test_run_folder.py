"""The names and readers of a run's folder."""

from __future__ import annotations

from wavenet.classifier.data import AudioCache, Clip, PreparedData, find_clips
from wavenet.classifier.data.clip_check import CheckReport, Skipped
from wavenet.classifier.data.clips import Event
from wavenet.classifier.data.prepare import Splits
from wavenet.classifier.run_folder import (
    CLIPS_NAME,
    CONFIG_NAME,
    CROSS_VALIDATION_NAME,
    CURVE_NAME,
    HISTORY_NAME,
    TENSORBOARD_NAME,
    checkpoint_folder,
    checkpoints,
    clips_table,
    read_clips,
    read_config,
    read_history,
)
from wavenet.saved import MODEL_NAMES


def test_a_folder_without_a_run_has_nothing_to_read(tmp_path):
    assert read_config(tmp_path) is None and read_clips(tmp_path) is None
    assert read_history(tmp_path) == [] and checkpoints(tmp_path) == []


def test_what_a_run_leaves_is_read(tones):
    named = {CLIPS_NAME, CONFIG_NAME, CURVE_NAME, HISTORY_NAME, TENSORBOARD_NAME, *MODEL_NAMES}
    left = {path.name for path in tones.run.iterdir()}
    assert named <= left and CROSS_VALIDATION_NAME not in left
    assert read_config(tones.run) == tones.config
    clips, skipped = read_clips(tones.run)
    assert {clip.path for clip in clips} == {clip.path for clip in find_clips(tones.manifest)}
    assert {clip.split for clip in clips} == {"train", "validation", "test"} and skipped == []
    history = read_history(tones.run)
    assert [row["epoch"] for row in history] == list(range(1, len(history) + 1))
    last = int(history[-1]["step"])
    assert checkpoints(tones.run)[-1] == checkpoint_folder(tones.run, last)


def test_the_table_of_clips_says_events_where_there_are_some(tmp_path):
    """Else it is what runs have written since before there were any, which are resumed by it."""

    def written(events: tuple[Event, ...] | None) -> str:
        clip = Clip(tmp_path / "1.wav", "a", tags=None if events is None else ("a",), events=events)
        other = Clip(tmp_path / "2.wav", "b", "test", start=0.5, end=2.0)
        report = CheckReport([clip], [8000], [Skipped(other, "silent", "is silent")])
        splits = Splits([clip], [], [])
        return clips_table(
            PreparedData(splits, ("a",), AudioCache(tmp_path, 8000), report), tmp_path
        )

    folder = tmp_path.resolve()
    assert written(None).splitlines() == [
        "path,label,split,skipped,start,end",
        f"{folder}/1.wav,a,train,,,",
        f"{folder}/2.wav,b,test,is silent,0.5,2.0",
    ]
    header, first, second = written((Event(0, 1, "a"),)).splitlines()
    assert header.endswith(",events") and first.endswith(',"[[0, 1, ""a""]]"')
    assert second.endswith(",2.0,")
