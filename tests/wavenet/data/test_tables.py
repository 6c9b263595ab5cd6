"""Parquet and Arrow files as Hugging Face's `datasets` writes them."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import soundfile

from wavenet.audio import tables
from wavenet.audio.inside import inside
from wavenet.classifier.choosing import _headers
from wavenet.classifier.data import AudioCache, find_clips
from wavenet.classifier.data.clip_check import check_clips
from wavenet.classifier.inference.known_clips import known_splits
from wavenet.errors import AudioError, DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

RATE = 8000
NAMES = ["low", "high"]
AUDIO = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def sound(number: int) -> bytes:
    held = io.BytesIO()
    wave = np.sin(np.arange(800 + number) * (0.1 + 0.01 * number))
    soundfile.write(held, wave, RATE, format="FLAC")
    return held.getvalue()


def table(numbers, described=True, **columns):
    """Of recordings, with labels that count through the names."""
    features = {
        "audio": {"sampling_rate": RATE, "_type": "Audio"},
        "label": {"names": NAMES, "_type": "ClassLabel"},
    }
    held = {
        "audio": pa.array([{"bytes": sound(n), "path": f"{n}.flac"} for n in numbers], AUDIO),
        "label": pa.array([n % 2 for n in numbers], pa.int64()),
    }
    made = pa.table(held | columns)
    if described:
        made = made.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    return made


def write_arrow(made, path, batch=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, made.schema) as writer:
        writer.write_table(made, max_chunksize=batch)


@pytest.fixture
def parquet(tmp_path):
    """As the hub has it."""
    root = tmp_path / "hub"
    (root / "data").mkdir(parents=True)
    for split, shard, numbers in (
        ("train", 0, range(5)),
        ("train", 1, range(5, 8)),
        ("test", 0, [8, 9]),
    ):
        groups = pa.array([f"speaker {n % 3}" for n in numbers])
        made = table(numbers, speaker_id=groups)
        pq.write_table(
            made, root / "data" / f"{split}-{shard:05d}-of-00002.parquet", row_group_size=2
        )
    return root


@pytest.fixture
def arrow(tmp_path):
    """As `save_to_disk` writes several splits."""
    root = tmp_path / "saved"
    for split, numbers in (("train", range(8)), ("validation", [8, 9])):
        write_arrow(table(numbers), root / split / "data-00000-of-00001.arrow")
        write_arrow(table([0]), root / split / "cache-12ab.arrow")  # `map` leaves such
        (root / split / "state.json").write_text("{}")
    return root


def test_parquet_is_found_by_split_with_names_of_classes_and_groups(parquet):
    clips = find_clips(parquet)
    assert [clip.split for clip in clips].count("train") == 8
    assert {clip.label for clip in clips} == set(NAMES)
    of_train = [clip for clip in clips if clip.split == "train"]
    assert [clip.label for clip in of_train] == [NAMES[n % 2] for n in range(8)]
    assert [clip.group for clip in of_train] == [f"speaker {n % 3}" for n in range(8)]
    assert of_train[0].path == parquet / "data" / "train-00000-of-00002.parquet" / "0"


def test_arrow_is_found_without_what_map_leaves(arrow):
    assert [clip.split for clip in find_clips(arrow)] == ["train"] * 8 + ["validation"] * 2


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_rows_are_read_in_any_order_as_their_files_would_be(kind, request, tmp_path):
    clips = find_clips(request.getfixturevalue(kind))
    cache = AudioCache(tmp_path / "cache", RATE)
    order = (7, 0, 3, 7, 4, 9)
    by_number = sorted(clips, key=lambda clip: clip.split == "test")
    for n in order:
        expected, _ = soundfile.read(io.BytesIO(sound(n)), dtype="float32")
        assert np.array_equal(cache.open_clip(by_number[n]), expected)
    stored = list((tmp_path / "cache").rglob("*.npy"))
    # An Arrow row is at hand; one of Parquet is read with others, and kept.
    assert len(stored) == (len(set(order)) if kind == "parquet" else 0)
    assert [header.samples for header in _headers(by_number[:2])] == [800, 801]
    assert check_clips(by_number, cache).samples == [800 + n for n in range(10)]


def test_names_of_columns_and_plain_texts_as_labels(tmp_path):
    made = table(range(4), described=False).drop_columns("label")
    texts = pa.array(["rain", "wind", "rain", "wind"])
    pq.write_table(made.append_column("what", texts), tmp_path / "sounds.parquet")
    with pytest.raises(DataError, match=r"has no column 'label'.*label=NAME"):
        find_clips(tmp_path)
    clips = find_clips(tmp_path, columns={"label": "what"})
    assert [(clip.label, clip.split) for clip in clips] == [("rain", None), ("wind", None)] * 2
    with pytest.raises(DataError, match="has no column 'which'"):
        find_clips(tmp_path, columns={"label": "which"})


def test_lists_are_tags_where_tags_are_asked_for(tmp_path):
    made = table(range(3), described=False).drop_columns("label")
    lists = pa.array([["rain", "wind"], ["rain"], []])
    pq.write_table(made.append_column("label", lists), tmp_path / "train.parquet")
    assert [c.tags for c in find_clips(tmp_path, separator="|")] == [
        ("rain", "wind"),
        ("rain",),
        (),
    ]
    with pytest.raises(DataError, match=r"row 0: label is a list; .*label_separator"):
        find_clips(tmp_path)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_rows_may_name_files_instead(tmp_path, kind):
    (tmp_path / "elsewhere.flac").write_bytes(sound(1))
    (tmp_path / "data set").mkdir()
    paths = [str(tmp_path / "elsewhere.flac"), "gone.flac"]
    audio = pa.array([{"bytes": None, "path": path} for path in paths], AUDIO)
    made = pa.table({"audio": audio, "label": ["a", "b"]})
    file = tmp_path / "data set" / f"x.{kind}"
    pq.write_table(made, file) if kind == "parquet" else write_arrow(made, file)
    assert [clip.path for clip in find_clips(file.parent)] == [
        tmp_path / "elsewhere.flac",
        file.parent / "gone.flac",
    ]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_row_without_a_recording_is_a_missing_one(tmp_path, kind):
    there = [{"bytes": sound(n), "path": None} for n in (0, 1)]
    audio = pa.array([*there, {"bytes": None, "path": "x.wav"}], AUDIO)
    made = pa.table({"audio": audio, "label": ["a", "b", "a"]})
    file = tmp_path / f"x.{kind}"
    pq.write_table(made, file) if kind == "parquet" else write_arrow(made, file)
    found = check_clips(find_clips(tmp_path), AudioCache(tmp_path / "cache", RATE))
    assert found.samples == [800, 801] and "row 2 holds no recording" in found.skipped[0].reason


def test_pictures_are_no_sound(tmp_path):
    features = {
        "image": {"_type": "Image"},
        "audio": {"_type": "Audio"},
        "label": {"names": NAMES, "_type": "ClassLabel"},
    }
    pictures = pa.array([{"bytes": b"PNG", "path": "x.png"}] * 2, AUDIO)
    made = table(range(2)).add_column(0, "image", pictures)
    made = made.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    pq.write_table(made, tmp_path / "x.parquet")
    assert AudioCache(tmp_path / "cache", RATE).open_clip(find_clips(tmp_path)[1]).size == 801


def test_files_of_no_split_beside_those_of_one_are_refused(parquet):
    pq.write_table(table(range(3)), parquet / "data" / "validated-00000-of-00001.parquet")
    with pytest.raises(DataError, match="and not validated-00000-of-00001.parquet"):
        find_clips(parquet)


def test_columns_that_a_table_has_no_use_for_are_refused(parquet):
    with pytest.raises(DataError, match="names 'start'; of a table accepted are label"):
        find_clips(parquet, columns={"start": "onset"})


def test_columns_in_any_case(tmp_path):
    pq.write_table(table(range(4)).rename_columns(["Audio", "Label"]), tmp_path / "x.parquet")
    assert len(find_clips(tmp_path)) == 4


def test_a_folder_of_classes_is_one_whatever_tables_lie_beside(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.flac").write_bytes(sound(1))
    pq.write_table(pa.table({"x": [1]}), tmp_path / "metadata.parquet")
    assert [clip.label for clip in find_clips(tmp_path)] == ["a", "b"]


def test_labels_of_a_list_may_hold_the_separator(tmp_path):
    made = table(range(2), described=False).drop_columns("label")
    lists = pa.array([["Male speech, man speaking", "Rain"], ["Rain"]])
    pq.write_table(made.append_column("label", lists), tmp_path / "x.parquet")
    tags = [clip.tags for clip in find_clips(tmp_path, separator=",")]
    assert tags == [("Male speech, man speaking", "Rain"), ("Rain",)]


def test_groups_of_rows_are_kept_up_to_a_limit(parquet, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BYTES_KEPT", 1)
    monkeypatch.setattr(tables, "_KEPT", tables._Kept())
    clips = find_clips(parquet)
    cache = AudioCache(tmp_path / "cache", RATE)
    for clip in clips:
        assert cache.open_clip(clip).size >= 800
    assert len(tables._KEPT._held) == 1


def test_damage_within_a_file_is_named(tmp_path):
    pq.write_table(
        table(range(40)), tmp_path / "x.parquet", compression="none", use_dictionary=False
    )
    content = bytearray((tmp_path / "x.parquet").read_bytes())
    metadata = pq.read_metadata(tmp_path / "x.parquet").row_group(0)
    for number in range(metadata.num_columns):
        at = metadata.column(number).data_page_offset
        content[at : at + 12] = b"\xff" * 12
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.parquet: can't be read as parquet"):
        find_clips(tmp_path)
    with pytest.raises(AudioError, match=r"x\.parquet: can't be read as parquet"):
        AudioCache(tmp_path / "cache", RATE).open(tmp_path / "x.parquet" / "1")


def test_a_row_of_a_table_without_audio_is_missing(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(AudioError, match="row 0 holds no recording"):
        AudioCache(tmp_path / "cache", RATE).open(tmp_path / "x.parquet" / "0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"label": ["a", "b"]}, "has no column of audio"),
        ({"audio": pa.array([{"bytes": b"", "path": ""}], AUDIO), "label": ["a"]}, "all 1 clips"),
        ({"audio": pa.array([None, None], AUDIO), "label": ["a", None]}, "row 1 has no label"),
    ],
)
def test_what_is_missing_is_said(tmp_path, content, message):
    pq.write_table(pa.table(content), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=message):
        find_clips(tmp_path)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    (tmp_path / f"x.{suffix}").write_bytes(b"PAR1 and nothing of it" * 9)
    with pytest.raises(DataError, match=rf"x\.{suffix}: can't be read as {suffix}"):
        find_clips(tmp_path)


def test_a_class_that_is_none_is_named(tmp_path):
    made = table(range(2))
    made = made.set_column(1, "label", pa.array([0, 7]))
    pq.write_table(made, tmp_path / "x.parquet")
    with pytest.raises(DataError, match="row 1: label is 7; there are 2 classes"):
        find_clips(tmp_path)


def test_rows_of_a_file_that_moved_are_known(parquet, tmp_path):
    before = find_clips(parquet)
    moved = tmp_path / "moved"
    parquet.rename(moved)
    known, all_moved = known_splits(find_clips(moved), moved, before, parquet)
    assert all_moved and list(known.values()).count("test") == 2


def test_a_row_beyond_the_end_is_missing(parquet):
    file = parquet / "data" / "test-00000-of-00002.parquet"
    there, beyond = inside(file / "1"), inside(file / "2")
    assert there is not None and there.is_there
    assert beyond is not None and not beyond.is_there
    with pytest.raises(AudioError, match="has 2 rows, no row 2"):
        beyond.read()
    assert inside(file / "first") is None
