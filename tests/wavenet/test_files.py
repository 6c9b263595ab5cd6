"""Files appear whole or not at all, and what can't be written is named."""

from __future__ import annotations

import os
import resource

import pytest

from wavenet import WaveGlow, WaveGlowConfig
from wavenet.convert import to_waveglow
from wavenet.files import replace_file, replacing
from wavenet_kernels.calibration import store


def test_a_file_is_replaced(tmp_path):
    for content in ("old", b"new"):
        replace_file(tmp_path / "a.txt", content)
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_was_there_is_kept_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    replace_file(path, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # cut short, as by a full disk
    try:
        with pytest.raises(OSError) as caught:
            replace_file(path, "new" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        replace_file(tmp_path / "folder", "new")
    assert caught.value.filename == str(tmp_path / "folder")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "folder"}


@pytest.mark.parametrize("write", [replace_file, store.replace])
def test_what_is_no_file_stays_what_it_is(tmp_path, write):
    """As /dev/null: a file in its place would be there for all programs."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "file")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(pipe, "said")
        assert os.read(reader, 100) == b"said"
    finally:
        os.close(reader)
    write(link, "said")
    assert (tmp_path / "file").read_text() == "said"
    assert pipe.is_fifo() and link.is_symlink() and len(list(tmp_path.iterdir())) == 3


def test_nothing_is_left_of_what_was_not_finished(tmp_path):
    (tmp_path / "a.pth").write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.pth") as partial:
        partial.write_text("ne")
        raise KeyboardInterrupt
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    with pytest.raises(FileNotFoundError) as caught:
        to_waveglow(
            WaveGlow(WaveGlowConfig(flows=2, layers=1, channels=4)), tmp_path / "b" / "g.pt"
        )
    assert caught.value.filename == str(tmp_path / "b" / "g.pt")


def test_the_command_names_the_file(tones, wavenet):
    recording = tones.manifest.parent / "low" / "0.wav"
    done = wavenet("timeline", tones.run, recording, "--out", "/proc/a.csv")
    assert done.code == 2 and done.err == "error: /proc/a.csv: No such file or directory"
