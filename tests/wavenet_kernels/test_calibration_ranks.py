"""Several processes decide alike: the first one measures, the others follow, or it is an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# Each process has a clock of its own, by which another backend wins.
PROGRAM = """
import json, os, sys
import torch, torch.distributed as dist
import pytest
from datetime import timedelta
rank, store, what = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2,
                        timeout=timedelta(seconds=120))
from fake_gpu import FakeGpu
from wavenet_kernels import calibration
from wavenet_kernels.calibration import choice, keys
from test_calibration import convolution, computed_by
said = {}
with pytest.MonkeyPatch.context() as patch:
    gpu = FakeGpu(patch).has(reference=2.0, right=1.0 if rank == 0 else 9.0)
    call = convolution()
    said["before"] = computed_by(call)  # inside a step nothing is measured
    if what == "other build" and rank == 1:
        patch.setattr(keys, "facts_of", lambda device: {"type": "cpu", "name": "Other GPU"})
    if what == "failure" and rank == 0:
        patch.setattr(choice, "shadow", lambda call: 1 / 0)
    try:
        calls = [(call, True)] if rank == 0 else []
        made = calibration.calibrate(calls, group=dist.group.WORLD)
        said["hashes"] = [decision.hash for decision in made]
        said["timed"] = len(gpu.timed)
        said["after"] = computed_by(call)
        said["another"] = computed_by(convolution(channels=6))
    except RuntimeError as error:
        said["error"] = str(error)
print(json.dumps(said), flush=True)
dist.barrier()
dist.destroy_process_group()
os._exit(0)  # torch's own threads have ended a process by abort() here, once in some hundred runs
"""


def together(tmp_path: Path, what: str) -> list[dict]:
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]
    path = os.pathsep.join([*folders, *filter(None, sys.path)])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), str(tmp_path / "store"), what],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": path,
                "OMP_NUM_THREADS": "1",
                "WAVENET_KERNELS_CACHE": str(tmp_path / f"cache {rank}"),
            },
        )
        for rank in range(2)
    ]
    said = []
    for process in processes:
        out, error = process.communicate(timeout=300)
        assert process.returncode == 0, error[-3000:]
        said.append(json.loads(out))
    return said


def test_processes_with_different_clocks_decide_alike(tmp_path):
    first, second = together(tmp_path, "")
    assert first["before"] == second["before"] == "eager"
    assert first["hashes"] == second["hashes"]
    assert first["timed"] > 0 and second["timed"] == 0
    assert first["after"] == second["after"] == "right"
    assert first["another"] == second["another"] == "eager"  # not agreed on: the shipped rule


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("other build", "process(es) [1] of 2 would not decide as the first"),
        ("failure", "calibration failed in the first process: ZeroDivisionError"),
    ],
)
def test_what_differs_or_fails_is_an_error_in_every_process(tmp_path, what, message):
    for said in together(tmp_path, what):
        assert message in said["error"]
