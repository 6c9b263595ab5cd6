from __future__ import annotations

from pathlib import Path

import pytest

from wavenet.classifier.data import Clip, read_manifest
from wavenet.classifier.data.manifest import parse_columns
from wavenet.errors import DataError


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "list.csv"


def test_all_columns(manifest: Path) -> None:
    manifest.write_text(
        '\ufeffPath, label ,rate,split,fold,group\n"a, b.wav",x,8,Val,1,theo\n\n'
        "/abs/c.wav, y ,8,train,2,lucas\n",
        encoding="utf-8",
    )
    assert read_manifest(manifest) == [
        Clip(manifest.parent / "a, b.wav", "x", "validation", "1", "theo"),
        Clip(Path("/abs/c.wav"), "y", "train", "2", "lucas"),
    ]


def test_an_empty_optional_column_is_none(manifest: Path) -> None:
    manifest.write_text("path,label,fold\na.wav,x,\nb.wav,y, \n")
    assert [clip.fold for clip in read_manifest(manifest)] == [None, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected a header"),
        ("\n\n", "is empty; expected a header"),
        ("path,label\n", "has a header but no rows"),
        ("what,label\na.wav,x\n", r"no column 'path'; its columns are \['what', 'label'\]"),
        (
            "path:label\na.wav:x\n",
            r"'path' and no column 'label'; its columns are \['path:label'\]",
        ),
        ("path,label,start\na.wav,x,soon\n", "line 2: the field 'start' is 'soon'; accepted are"),
        ("path,label,start,end\na.wav,x,2,1\n", "line 2: ends at 1 s, but starts at 2 s"),
        ("path,label,label\na.wav,x,y\n", "names the column 'label' more than once"),
        ("path,label\na.wav,x\n,y\n", "line 3: the field 'path' is empty"),
        ("path,label\na.wav,x\n\nb.wav, \n", "line 4: the field 'label' is empty"),
        ("path,label\na.wav\n", "line 2: has 1 fields, the header has 2"),
        ("path,label\na.wav,x,y\n", "line 2: has 3 fields, the header has 2"),
        ("path,label\na.wav,x\nb.wav,x\na.wav,y\n", "line 4: a.wav is already listed in line 2"),
        ("path,label,split\na.wav,x,holdout\n", "line 2: the split is 'holdout'; accepted are"),
        (
            "path,label,group\na.wav,x,g\nb.wav,x,\n",
            "line 3: the field 'group' is empty, but line 2",
        ),
        ("path,label,fold\na.wav,x,\nb.wav,x,1\n", "line 2: the field 'fold' is empty, but line 3"),
        ('path,label\n"' + "a" * 200_000 + '",x\n', "is not a CSV file"),
    ],
)
def test_wrong(manifest: Path, text: str, message: str) -> None:
    manifest.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(manifest)
    assert str(manifest) in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_and_encodings(manifest: Path, separator: str, encoding: str) -> None:
    text = "path,label,group\nä.wav,Füße,α\nb.wav,x,β\n".replace(",", separator)
    bom = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    manifest.write_bytes((bom + text).encode(encoding))
    assert read_manifest(manifest) == [
        Clip(manifest.parent / "ä.wav", "Füße", group="α"),
        Clip(manifest.parent / "b.wav", "x", group="β"),
    ]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_that_does_not_say_so(manifest: Path, encoding: str) -> None:
    manifest.write_bytes("path,label\nä.wav,Füße\n".encode(encoding))
    assert read_manifest(manifest) == [Clip(manifest.parent / "ä.wav", "Füße")]


def test_a_line_that_names_the_separator(manifest: Path) -> None:
    """Which spreadsheets ask for."""
    manifest.write_text("sep=;\r\npath;label\r\na.wav;x\r\n", newline="")
    assert read_manifest(manifest) == [Clip(manifest.parent / "a.wav", "x")]


@pytest.mark.parametrize("inside", ["\u2028", "\x0b", "\x85"])
def test_what_ends_lines_elsewhere_is_part_of_a_field(manifest: Path, inside: str) -> None:
    manifest.write_text(f"path,label\r\na.wav,x{inside}y\r\nb.wav,z\r\n", "utf-8", newline="")
    assert [clip.label for clip in read_manifest(manifest)] == [f"x{inside}y", "z"]


def test_windows_1252(manifest: Path) -> None:
    manifest.write_bytes("path,label\nä.wav,x\n".encode("cp1252"))
    with pytest.warns(UserWarning, match=r"is not UTF-8 \(byte 11\); it is read as Windows-1252"):
        assert read_manifest(manifest) == [Clip(manifest.parent / "ä.wav", "x")]


@pytest.mark.parametrize("content", [b"path,label\n\x81.wav,x\n", b"\xff\xfep\0a"])
def test_no_text(manifest: Path, content: bytes) -> None:
    manifest.write_bytes(content)
    with pytest.raises(DataError, match="is not text|has no column"):
        read_manifest(manifest)


def test_columns_of_other_names(manifest: Path) -> None:
    manifest.write_text("filename,fold,target,category,speaker\na.wav,1,0,dog,theo\n")
    (clip,) = read_manifest(manifest)
    assert clip == Clip(manifest.parent / "a.wav", "dog", fold="1", group="theo")
    columns = parse_columns("label=target, group=category")
    (clip,) = read_manifest(manifest, columns=columns)
    assert clip == Clip(manifest.parent / "a.wav", "0", fold="1", group="dog")


def test_a_subset_is_a_split_where_it_can_be(manifest: Path) -> None:
    manifest.write_text("path,label,subset\na.wav,x,Train\nb.wav,y,dev\n")
    assert [clip.split for clip in read_manifest(manifest)] == ["train", "validation"]
    manifest.write_text("path,label,subset\na.wav,x,small\nb.wav,y,train\n")
    assert [clip.split for clip in read_manifest(manifest)] == [None, None]
    with pytest.raises(DataError, match="line 2: the split is 'small'"):
        read_manifest(manifest, columns={"split": "subset"})


def test_json_lines(tmp_path: Path) -> None:
    manifest = tmp_path / "list.jsonl"
    manifest.write_text(
        '{"file_name": "a.wav", "label": "Füße", "speaker": 1, "note": {"by": "me"}}\n\n'
        '{"label": "y", "file_name": "b.wav", "speaker": 2}\n',
        encoding="utf-8",
    )
    assert read_manifest(manifest) == [
        Clip(tmp_path / "a.wav", "Füße", group="1"),
        Clip(tmp_path / "b.wav", "y", group="2"),
    ]
    manifest.write_text('{"path": "a.wav", "labels": ["x", "y"]}\n{"path": "b.wav", "labels": []}')
    assert [clip.tags for clip in read_manifest(manifest, separator=";")] == [("x", "y"), ()]
    with pytest.raises(DataError, match=r"line 1: the field 'labels' is \['x', 'y'\]; several"):
        read_manifest(manifest)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected"),
        ('{"path": "a.wav", "label": "x"}\n["b.wav"]', "line 2: is no JSON object"),
        ('{"path": "a.wav", "label": "x"', "line 1: is no JSON object; accepted is one a line"),
        ('{"path": "a.wav"}', "has no column 'label'"),
        (
            '{"path": "a.wav", "label": "x"}\n{"path": "b.wav"}',
            "line 2: the field 'label' is empty",
        ),
    ],
)
def test_wrong_json_lines(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path / "list.jsonl")


@pytest.mark.parametrize("text", ["label", "label=", "sound=x", "=x"])
def test_columns_that_are_none(text: str) -> None:
    with pytest.raises(DataError, match="accepted is NAME=COLUMN"):
        parse_columns(text)


def test_parts_of_recordings(manifest: Path) -> None:
    manifest.write_text("path,label,start,end\na.wav,x,0,1.5\na.wav,y,1.5,\n")
    first, second = read_manifest(manifest)
    assert (first.start, first.end, second.start, second.end) == (0, 1.5, 1.5, None)
    assert second.name.endswith("a.wav (1.5 s to its end)")


def test_paths_of_windows(manifest: Path) -> None:
    (manifest.parent / "x").mkdir()
    (manifest.parent / "x" / "a.wav").touch()
    manifest.write_text("path,label\nx\\a.wav,x\n")
    assert [clip.path for clip in read_manifest(manifest)] == [manifest.parent / "x/a.wav"]


@pytest.mark.parametrize("folder", ["audio", "clips", "wavs", "../audio"])
def test_recordings_in_a_folder_of_their_own(tmp_path: Path, folder: str) -> None:
    manifest = tmp_path / "meta" / "list.csv"
    manifest.parent.mkdir()
    root = (manifest.parent / folder).resolve()
    root.mkdir()
    (root / "a.wav").touch()
    manifest.write_text("path,label\na.wav,x\n")
    assert [clip.path for clip in read_manifest(manifest)] == [root / "a.wav"]


def test_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        read_manifest(tmp_path)
