"""Small recordings to test with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavenet.classifier.data import AudioCache

RATE = 8000
WriteClip = Callable[..., Path]


@pytest.fixture
def write_clip(tmp_path: Path) -> WriteClip:
    """write_clip("a/b.wav", seconds=0.1, rate=8000, pitch=440.0) -> path, its folders made."""

    def write(name: str, seconds: float = 0.1, rate: int = RATE, pitch: float = 440.0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        t = np.arange(round(seconds * rate)) / rate
        soundfile.write(path, 0.5 * np.sin(2 * np.pi * pitch * t), rate)
        return path

    return write


@pytest.fixture
def class_folder(tmp_path: Path, write_clip: WriteClip) -> Path:
    """Three clips each of "low" and "high", 50 to 150 ms."""
    for label, pitch in (("low", 200.0), ("high", 1500.0)):
        for number in range(3):
            write_clip(f"set/{label}/{number}.wav", 0.05 + 0.05 * number, pitch=pitch)
    return tmp_path / "set"


@pytest.fixture
def cache(tmp_path: Path) -> AudioCache:
    return AudioCache(tmp_path / "cache", RATE)
