from __future__ import annotations

from pathlib import Path

import pytest

from wavenet.classifier.data import Clip, read_manifest
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
        ("file,label\na.wav,x\n", r"no column 'path'; its columns are \['file', 'label'\]"),
        (
            "path;label\na.wav;x\n",
            r"'path' and no column 'label'; its columns are \['path;label'\]",
        ),
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


def test_not_utf8(manifest: Path) -> None:
    manifest.write_bytes("path,label\nä.wav,x\n".encode("latin-1"))
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read_manifest(manifest)


def test_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        read_manifest(tmp_path)
