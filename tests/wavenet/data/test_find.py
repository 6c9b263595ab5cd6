from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from wavenet.classifier.data import Clip, DataConfig, find_clips, find_labelled, labels_of
from wavenet.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not looked at")
    return root


def test_class_folders(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "dog/10.wav",
        "dog/2.WAV",
        "dog/deeper/still/1.flac",
        "cat/a.mp3",
        "cat/b.ogg",
        "cat/c.opus",
        "cat/d.aif",
        "cat/e.aiff",
        "cat/notes.txt",
        "cat/.hidden.wav",
        "cat/.hidden/x.wav",
        ".git/x.wav",
        "docs/readme.md",
    )
    clips = find_clips(tmp_path)
    assert [clip.path.relative_to(tmp_path).as_posix() for clip in clips] == [
        "cat/a.mp3",
        "cat/b.ogg",
        "cat/c.opus",
        "cat/d.aif",
        "cat/e.aiff",
        "dog/2.WAV",
        "dog/10.wav",
        "dog/deeper/still/1.flac",
    ]
    assert labels_of(clips) == ["cat", "dog"]
    assert all(clip.split is clip.fold is clip.group is None for clip in clips)


def test_labels_are_sorted_by_number_and_composed(tmp_path: Path) -> None:
    touch(tmp_path, "10/a.wav", "9/a.wav", "u\u0308/a.wav")
    assert labels_of(find_clips(str(tmp_path))) == ["9", "10", "\u00fc"]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Validation"])
def test_split_folders(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "train/a/1.wav", "train/b/1.wav", f"{name}/a/2.wav", "test/b/3.wav")
    found = {(clip.label, clip.split, clip.path.stem) for clip in find_clips(tmp_path)}
    assert found == {
        ("a", "train", "1"),
        ("b", "train", "1"),
        ("a", "validation", "2"),
        ("b", "test", "3"),
    }


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("training", "testing"), ["train", "test"]),
        (("train", "val", "eval"), ["train", "validation", "test"]),
        (("Train", "dev", "held_out"), ["train", "validation", "test"]),
        (("validation", "test"), ["validation", "test"]),
    ],
)
def test_whatever_splits_are_called(tmp_path: Path, folders, splits) -> None:
    touch(tmp_path, *(f"{folder}/{label}/1.wav" for folder in folders for label in "ab"))
    clips = find_clips(tmp_path)
    assert {(clip.split, clip.label) for clip in clips} == {(s, c) for s in splits for c in "ab"}


def test_folds(tmp_path: Path) -> None:
    touch(tmp_path, *(f"fold{fold}/{label}/1.wav" for fold in (1, 2, 10) for label in "ab"))
    assert {(clip.fold, clip.label) for clip in find_clips(tmp_path)} == {
        (fold, label) for fold in ("1", "2", "10") for label in "ab"
    }


@pytest.mark.parametrize("other", ["extra", "fold1", "2024"])
def test_what_looks_like_splits_and_is_not_named_so(tmp_path: Path, other: str) -> None:
    touch(tmp_path, *(f"{folder}/{label}/1.wav" for folder in ("train", other) for label in "abc"))
    with pytest.raises(DataError, match=r"look like parts of a data set, for both hold a, b, c"):
        find_clips(tmp_path)


def test_what_systems_leave_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "b/1.wav", "b/@eaDir/1.wav")
    names = ("$RECYCLE.BIN", "System Volume Information", "@eaDir", "lost+found", "__MACOSX")
    touch(tmp_path, *(f"{name}/x.wav" for name in names))
    assert len(find_clips(tmp_path)) == 2


def test_background_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "b/1.wav", "_background_noise_/hum.wav")
    with pytest.warns(UserWarning, match=r"_background_noise_: holds background and is no class"):
        assert labels_of(find_clips(tmp_path)) == ["a", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for used in ("_background_noise_", str(tmp_path / "_background_noise_")):
            find_labelled(DataConfig(source=str(tmp_path), background=used), tmp_path)


def test_one_level_too_many(tmp_path: Path) -> None:
    touch(tmp_path, "data/a/1.wav", "data/b/1.wav", "data/b/2.wav")
    with pytest.raises(DataError, match="all 3 clips .*; is .*/data meant, which holds 2 folders"):
        find_clips(tmp_path)


def test_every_suffix_that_libsndfile_reads(tmp_path: Path) -> None:
    names = ("1.au", "2.caf", "3.w64", "4.oga", "5.aifc", "6.WAVE", "7.rf64", "8.snd", "9.bwf")
    names += ("10.ircam", "11.mpga")
    touch(tmp_path, "a/1.wav", *(f"b/{name}" for name in names))
    assert len(find_clips(tmp_path)) == 12


def test_what_is_passed_over_is_counted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")  # no ffmpeg
    touch(tmp_path, "a/1.wav", "b/1.wav", "b/2.m4a", "b/3.M4A", "a/4.wma")
    (tmp_path / "a" / "5.wav").symlink_to(tmp_path / "nowhere.wav")
    with pytest.warns(UserWarning) as caught:
        assert len(find_clips(tmp_path)) == 2
    messages = [str(warning.message) for warning in caught]
    assert any("2 .m4a, 1 .wma passed over; they need ffmpeg" in text for text in messages)
    assert any("1 links that lead nowhere are passed over" in text for text in messages)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train_set", "valid_set", "test_set"), {"train", "validation", "test"}),
        (("Train Data", "Test Data"), {"train", "test"}),
        (("trainset", "devset"), {"train", "validation"}),
        (("audio-train", "held out"), {"train", "test"}),
        (("fold_a", "fold_b"), {"a", "b"}),
        (("cv01", "cv02"), {"1", "2"}),
    ],
)
def test_splits_and_folds_by_other_names(tmp_path: Path, folders, expected) -> None:
    touch(tmp_path, *(f"{folder}/{label}/1.wav" for folder in folders for label in "xy"))
    clips = find_clips(tmp_path)
    assert {clip.split or clip.fold for clip in clips} == expected
    assert labels_of(clips) == ["x", "y"]


def test_class_folders_that_all_hold_the_same_folders(tmp_path: Path) -> None:
    """Parts by names that nobody knows, or speakers: it is said what they are taken for."""
    touch(tmp_path, *(f"{folder}/{label}/1.wav" for folder in ("set1", "set2") for label in "xy"))
    with pytest.warns(
        UserWarning, match=r"set1, set2 are taken for the classes, and all hold .* x"
    ):
        assert labels_of(find_clips(tmp_path)) == ["set1", "set2"]
    touch(tmp_path, "set1/z/1.wav")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_clips(tmp_path)


def test_classes_deeper_than_expected(tmp_path: Path) -> None:
    touch(tmp_path / "a", "data/clips/x/1.wav", "data/clips/y/1.wav")
    with pytest.raises(DataError, match="is .*/data/clips meant, which holds 2 folders"):
        find_clips(tmp_path / "a")
    parts = (f"{split}/wavs/{label}/1.wav" for split in ("train", "test") for label in "xy")
    touch(tmp_path / "b", *parts)
    with pytest.raises(DataError, match="the 2 folders in .*/test/wavs and .*/train/wavs, a level"):
        find_clips(tmp_path / "b")


def test_lists_of_validation_and_test(tmp_path: Path) -> None:
    """As Speech Commands has them."""
    touch(tmp_path, *(f"{label}/{i}.wav" for label in "xy" for i in range(3)))
    (tmp_path / "validation_list.txt").write_text("x/0.wav\ny/0.wav\n")
    (tmp_path / "testing_list.txt").write_text("x/1.wav\n")
    splits = {
        clip.path.relative_to(tmp_path).as_posix(): clip.split for clip in find_clips(tmp_path)
    }
    assert splits == {
        **dict.fromkeys(("x/2.wav", "y/1.wav", "y/2.wav"), "train"),
        **dict.fromkeys(("x/0.wav", "y/0.wav"), "validation"),
        "x/1.wav": "test",
    }
    for name in ("validation_list.txt", "testing_list.txt"):
        (tmp_path / name).write_text("elsewhere/1.wav\n")
    with pytest.raises(DataError, match="none of its recordings is in its lists"):
        find_clips(tmp_path)


def test_a_table_that_is_not_read_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "b/1.wav")
    (tmp_path / "labels.csv").write_text("path,label\na/1.wav,x\nb/1.wav,y\n")
    with pytest.warns(UserWarning, match=r"classes, and labels\.csv is not read; --data .*/labels"):
        assert labels_of(find_clips(tmp_path)) == ["a", "b"]


TABLE = "file_name,label\n1.wav,x\n2.wav,y\n"
ROWS = '{"file_name": "1.wav", "label": "x"}\n\n{"file_name": "2.wav", "label": "y"}\n'


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"metadata.csv": TABLE}, {("1.wav", None), ("2.wav", None)}),
        (
            {"train/metadata.csv": TABLE, "test/metadata.csv": TABLE},
            {(f"{s}/{i}.wav", s) for s in ("train", "test") for i in (1, 2)},
        ),
        (
            {"train.csv": TABLE, "dev.tsv": "path\tlabel\n3.wav\tx\n"},
            {("1.wav", "train"), ("2.wav", "train"), ("3.wav", "validation")},
        ),
        (
            {"train/metadata.jsonl": ROWS, "test/metadata.jsonl": ROWS},
            {(f"{s}/{i}.wav", s) for s in ("train", "test") for i in (1, 2)},
        ),
        (
            {"train_manifest.csv": TABLE, "test_manifest.csv": TABLE.replace("2.wav", "3.wav")},
            {("1.wav", "train"), ("2.wav", "train"), ("1.wav", "test"), ("3.wav", "test")},
        ),
        (  # UrbanSound8K's, whose times are of what the clips were cut from
            {
                "metadata/UrbanSound8K.csv": "slice_file_name,start,end,fold,classID,class\n"
                "1.wav,317.5,321.5,1,0,x\n2.wav,0.2,1,2,1,y\n"
            },
            {("audio/fold1/1.wav", None), ("audio/fold2/2.wav", None)},
        ),
        (
            {"meta/esc50.csv": "filename,fold,target,category\n1.wav,1,0,x\n2.wav,2,1,y\n"},
            {("audio/1.wav", None), ("audio/2.wav", None)},
        ),
    ],
)
def test_tables_as_others_lay_them_out(tmp_path: Path, files, expected) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    touch(tmp_path, *(path for path, _ in expected))
    clips = find_clips(tmp_path)
    found = {(clip.path.relative_to(tmp_path).as_posix(), clip.split) for clip in clips}
    assert found == expected and not any(clip.start or clip.end for clip in clips)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path, "train/day1/1.wav", "plane/1.wav")
    assert labels_of(find_clips(tmp_path)) == ["plane", "train"]


@pytest.mark.parametrize("loose", ["test/1.wav", "train/1.wav"])
def test_a_split_without_classes(tmp_path: Path, loose: str) -> None:
    touch(tmp_path, "train/a/1.wav", "train/b/1.wav", "test/a/2.wav", loose)
    with pytest.raises(DataError, match=rf"{loose} is in no class"):
        find_clips(tmp_path)


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    elsewhere = touch(tmp_path / "elsewhere", "1.wav")
    root = touch(tmp_path / "set", "b/1.wav")
    (root / "a").symlink_to(elsewhere, target_is_directory=True)
    (root / "b" / "again").symlink_to(root / "b", target_is_directory=True)
    assert [(clip.label, clip.path.name) for clip in find_clips(root)] == [
        ("a", "1.wav"),
        ("b", "1.wav"),
    ]


def test_loose_files_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "b/1.wav", "loose.wav")
    with pytest.warns(UserWarning, match="1 audio files are in no class folder"):
        assert len(find_clips(tmp_path)) == 2


def test_the_folder_with_a_manifest_is_read_by_it(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.wav", "x/2.wav")
    (tmp_path / "manifest.csv").write_text("path,label\nx/1.wav,p\nx/2.wav,q\n")
    expected = [Clip(tmp_path / "x/1.wav", "p"), Clip(tmp_path / "x/2.wav", "q")]
    assert find_clips(tmp_path) == expected
    assert find_clips(tmp_path / "manifest.csv") == expected


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        find_clips(tmp_path / "nowhere")


def test_not_a_data_set(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    with pytest.raises(DataError, match=r"a\.wav: a data set is a folder .* not a \.wav file"):
        find_clips(tmp_path / "a.wav")


def test_a_folder_without_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found no audio files; expected one sub-folder per class"):
        find_clips(tmp_path)
    touch(tmp_path, "a.wav", "b.wav", "empty/readme.txt")
    with pytest.raises(DataError, match="found 2 audio files but no sub-folders with audio"):
        find_clips(tmp_path)


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch) -> None:
    touch(tmp_path, "a/1.wav", "b/1.wav")

    def refused(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refused)  # root may list anything
    with pytest.raises(DataError, match=r"can't be listed \(Permission denied\)"):
        find_clips(tmp_path)


def test_a_folder_in_it_that_may_not_be_listed(tmp_path: Path, monkeypatch) -> None:
    touch(tmp_path, "a/1.wav", "b/1.wav", "b/closed/2.wav")
    listed = Path.iterdir

    def iterdir(self: Path):
        if self.name == "closed":  # root may list anything
            raise PermissionError(13, "Permission denied")
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.warns(UserWarning, match=r"1 folders that can't be listed .* b/closed"):
        assert len(find_clips(tmp_path)) == 2


def test_one_class_only(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "a/2.wav")
    with pytest.raises(DataError, match="all 2 clips have the label 'a'; at least 2 classes"):
        find_clips(tmp_path)
    assert len(find_clips(tmp_path, min_classes=1)) == 2


def test_recordings_without_labels_are_found_where_none_are_needed(tmp_path):
    """A folder of nothing but recordings, of which each file is a clip."""
    folder = tmp_path / "wavs"
    folder.mkdir()
    for name in ("b10", "b2", "a"):
        (folder / f"{name}.wav").touch()
    clips = find_clips(folder, min_classes=0)
    assert [clip.path.stem for clip in clips] == ["a", "b2", "b10"]
    assert {clip.label for clip in clips} == {"wavs"}
    with pytest.raises(DataError, match="found 3 audio files but no sub-folders with audio"):
        find_clips(folder, min_classes=1)
    (folder / "one").mkdir()
    (folder / "one" / "c.wav").touch()
    assert {clip.path.stem for clip in find_clips(folder, min_classes=0)} == {"a", "b2", "b10", "c"}


def test_splits_without_labels_are_found_where_none_are_needed(tmp_path):
    for place in ("train/a", "train/b", "test/c"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / f"{place}.wav").touch()
    clips = find_clips(tmp_path, min_classes=0)
    splits = {clip.path.stem: clip.split for clip in clips}
    assert splits == {"a": "train", "b": "train", "c": "test"}
    assert {clip.label for clip in clips} == {tmp_path.name}
    with pytest.raises(DataError, match="is in no class; expected one sub-folder per class"):
        find_clips(tmp_path, min_classes=1)
