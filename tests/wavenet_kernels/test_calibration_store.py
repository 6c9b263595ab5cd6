"""The files of decisions: whole or a miss, whatever happens to them or to who writes them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wavenet_kernels.calibration import store
from wavenet_kernels.calibration.keys import SCHEMA

KEY = {"schema": SCHEMA, "kind": "some"}
ENTRY = store.entry_of(KEY, {"backend": "cpu"})


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("WAVENET_KERNELS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def path_of_entry() -> Path:
    path = store.write(store.DECISIONS, ENTRY)
    store.forget_memory()
    return path


def test_an_entry_is_a_file_and_comes_back(folder):
    assert store.is_empty()
    assert store.read(store.DECISIONS, KEY) is None
    path = path_of_entry()
    assert path.parent == folder / "decisions"
    assert not store.is_empty()
    assert store.read(store.DECISIONS, KEY) == ENTRY
    assert store.entries(store.DECISIONS) == [ENTRY]
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    store.forget()
    assert store.is_empty() and store.read(store.DECISIONS, KEY) is None


@pytest.mark.parametrize("length", [0, 1, 40, -3])
def test_a_torn_file_is_a_miss(length):
    path = path_of_entry()
    path.write_bytes(path.read_bytes()[:length])
    assert store.read(store.DECISIONS, KEY) is None
    assert store.entries(store.DECISIONS) == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\xfe",
        b"[1, 2]",
        b"null",
        b"[" * 100_000,
        json.dumps({"key": KEY}).encode(),
        json.dumps({**ENTRY, "content": {"backend": "cuda"}}).encode(),  # edited, or a bit flipped
        json.dumps({**ENTRY, "key": {**KEY, "kind": "another"}}).encode(),
    ],
)
def test_garbage_is_a_miss_and_is_written_over(garbage):
    path = path_of_entry()
    path.write_bytes(garbage)
    assert store.read(store.DECISIONS, KEY) is None
    assert path_of_entry() == path
    assert store.read(store.DECISIONS, KEY) == ENTRY


def test_an_entry_of_another_schema_is_a_miss():
    key = {**KEY, "schema": SCHEMA + 1}
    store.write(store.DECISIONS, store.entry_of(key, {}))
    store.forget_memory()
    assert store.read(store.DECISIONS, key) is None


def test_a_folder_in_place_of_a_file_is_a_miss_and_memory_is_left():
    path = path_of_entry()
    path.unlink()
    path.mkdir()
    assert store.read(store.DECISIONS, KEY) is None
    with pytest.warns(UserWarning, match="can't be written"):
        assert store.write(store.DECISIONS, ENTRY) is None
    assert store.read(store.DECISIONS, KEY) == ENTRY
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing half-written is left


def test_a_cache_under_a_file_is_memory_alone_and_is_said_once(monkeypatch, tmp_path, recwarn):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("WAVENET_KERNELS_CACHE", str(file / "cache"))
    for _ in range(2):
        assert store.write(store.DECISIONS, ENTRY) is None
    assert store.read(store.DECISIONS, KEY) == ENTRY
    assert not store.is_empty()
    (warning,) = recwarn
    assert "can't be written (Not a directory)" in str(warning.message)
    assert "WAVENET_KERNELS_CACHE names another folder" in str(warning.message)


def test_where_the_cache_is(monkeypatch):
    monkeypatch.delenv("WAVENET_KERNELS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert store.folder() == Path("/somewhere/wavenet_kernels")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert store.folder() == Path.home() / ".cache" / "wavenet_kernels"


# Loads the two modules by themselves: without torch, a process writes after some milliseconds.
WRITER = """
import sys, types
for name in ("wavenet_kernels", "wavenet_kernels.calibration"):
    sys.modules[name] = types.ModuleType(name)
keys = types.ModuleType("wavenet_kernels.calibration.keys")
import hashlib, json
def digest(content):
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
keys.SCHEMA, keys.Json, keys.digest = 1, dict, digest
sys.modules["wavenet_kernels.calibration.keys"] = keys
import importlib.util
spec = importlib.util.spec_from_file_location("store", sys.argv[1])
store = importlib.util.module_from_spec(spec)
spec.loader.exec_module(store)
print("ready", flush=True)
number = 0
while True:
    number += 1
    content = {"backend": "cpu", "writer": sys.argv[2], "padding": "x" * (number % 50000)}
    for kind in ("a", "b", "c"):
        store.write("decisions", store.entry_of({"schema": 1, "kind": kind}, content))
"""


def test_eight_writers_that_are_killed_leave_whole_entries(folder):
    """Whoever reads meanwhile finds each entry whole, or, at the start, none."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, store.__file__, str(number)],
            stdout=subprocess.PIPE,
            env={**os.environ, "WAVENET_KERNELS_CACHE": str(folder)},
        )
        for number in range(8)
    ]
    try:
        for writer in writers:
            assert writer.stdout.readline() == b"ready\n"
        keys = [{"schema": 1, "kind": kind} for kind in ("a", "b", "c")]
        seen = set()
        end = time.monotonic() + 10
        while len(seen) < 3 and time.monotonic() < end:
            time.sleep(0.01)
            seen |= {key["kind"] for key in keys if _read(key)}
        for writer in writers:
            time.sleep(0.02)
            os.kill(writer.pid, signal.SIGKILL)  # in the middle of whatever it does
            for key in keys:
                assert _read(key)["content"]["backend"] == "cpu"
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.stdout.close()
    assert all(_read(key) for key in keys)
    assert len(store.entries(store.DECISIONS)) == 3  # partial files are no entries


def _read(key):
    store.forget_memory()
    return store.read(store.DECISIONS, key)
