"""Reading files of torch.save runs nothing, and says what is wrong with a file."""

from __future__ import annotations

import collections
import os
import pickle
import subprocess
import zipfile

import numpy as np
import pytest
import torch

from wavenet.convert.state_dicts import state_dict_of
from wavenet.convert.torch_files import read_torch_file
from wavenet.errors import ModelError

BOTH = pytest.mark.parametrize("zipped", [True, False])


class Hostile:
    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


@BOTH
@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8],
)
def test_what_torch_writes_is_read(zipped, dtype, tmp_path):
    base = torch.arange(24).reshape(4, 6).to(dtype)
    saved = {
        "plain": base,
        "view": base[1:, ::2].T,
        "parameter": torch.nn.Parameter(torch.ones(2, 3)),
        "empty": torch.zeros(0, 3, dtype=dtype),
        "numbers": [1, 2.5, None, "x", (True, {3})],
        "ordered": collections.OrderedDict(a=torch.zeros(())),
    }
    torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    read = read_torch_file(tmp_path / "x.pth")
    assert read["numbers"] == saved["numbers"]
    for name in ("plain", "view", "parameter", "empty"):
        assert (
            torch.equal(read[name], saved[name].detach()) and read[name].dtype == saved[name].dtype
        )
    assert read["ordered"]["a"].shape == ()


@BOTH
def test_a_whole_module_gives_its_weights(zipped, tmp_path):
    """Of a class that nobody has here: only what it holds is read."""
    module = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 1), torch.nn.BatchNorm1d(3))
    torch.save(
        {"model": module, "iteration": 5},
        tmp_path / "x.pt",
        _use_new_zipfile_serialization=zipped,
    )
    weights = state_dict_of(read_torch_file(tmp_path / "x.pt"))
    expected = module.state_dict()
    assert set(weights) == set(expected)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@BOTH
@pytest.mark.parametrize(
    "hostile",
    [
        Hostile(os.system, "touch {}"),
        Hostile(subprocess.check_call, ["touch", "{}"]),
        Hostile(eval, "open('{}', 'w')"),
        Hostile(getattr, "x", "upper"),
        Hostile(pickle.loads, b"i1\n."),
        Hostile(torch.load, "{}"),
    ],
    ids=lambda hostile: hostile.called[0].__name__,
)
def test_nothing_is_run(zipped, hostile, tmp_path):
    touched = tmp_path / "touched"
    function, arguments = hostile.called
    if isinstance(arguments[0], str):
        hostile = Hostile(function, arguments[0].format(touched), *arguments[1:])
    saved = {"state_dict": {"w": torch.zeros(2)}, "optimizer": hostile}
    torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match=r"x.pth: asks for [\w.]+, which no checkpoint needs"):
        read_torch_file(tmp_path / "x.pth")
    assert not touched.exists()


@BOTH
def test_files_that_end_too_soon(zipped, tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"w": torch.randn(500)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in (0, 1, 30, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=f"{path}: "):
            read_torch_file(path)


def test_other_files(tmp_path):
    path = tmp_path / "x.pth"
    with pytest.raises(ModelError, match="there is no such file"):
        read_torch_file(path)
    path.write_text("hello")
    with pytest.raises(ModelError, match="is damaged, or no file of torch.save"):
        read_torch_file(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(ModelError, match="a zip file, but none of torch.save"):
        read_torch_file(path)
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))
    with pytest.raises(ModelError, match="holds a TorchScript program"):
        read_torch_file(path)
    torch.save([1, 2], path)
    with pytest.raises(ModelError, match="holds no weights"):
        state_dict_of(read_torch_file(path))


def test_a_tensor_beyond_its_elements_is_refused(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"w": torch.zeros(1000)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data[:100] if name.endswith("data/0") else data)
    with pytest.raises(ModelError, match="is damaged"):
        read_torch_file(path)


@BOTH
def test_what_others_put_beside_the_weights_is_passed_over(zipped, tmp_path):
    """Types, and arrays of NumPy: of a schedule, of an optimizer, of a random generator."""
    beside = {"dtype": torch.float16, "state": np.random.RandomState(0).get_state()[1]}
    saved = {"state_dict": {"w": torch.ones(2)}, "beside": beside, "rate": np.float64(0.5)}
    torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    read = read_torch_file(tmp_path / "x.pth")
    assert torch.equal(read["state_dict"]["w"], torch.ones(2))
    assert read["beside"]["dtype"] == torch.float16


@BOTH
def test_no_element_stands_for_many(zipped, tmp_path):
    """Or a file of some bytes takes all of the memory when it is read."""
    saved = {"state_dict": {"w": torch.zeros(1).expand(10**6, 10**6)}}
    torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match="is damaged: a tensor is larger than its elements"):
        read_torch_file(tmp_path / "x.pth")
