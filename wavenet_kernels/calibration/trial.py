"""First trials of a build on a device, in a child process.

An illegal access or a hang there costs one candidate, not the process that asked. The child is
`python -m wavenet_kernels.calibration.trial`: it reads the jobs as JSON from its standard input and
answers each with a line. One that dies or is silent for too long has failed the job it was at, and
another child goes on with the next.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from wavenet_kernels.calibration import verify
from wavenet_kernels.calibration.keys import Json, Kind

START_SECONDS = 120.0  # to import torch and make a context on a device, on a busy machine
JOB_SECONDS = 60.0  # for a candidate's kernels to be compiled and to run
_MARK = "wavenet_kernels.calibration.trial: "  # before what is an answer on the child's output


@dataclass(frozen=True)
class Job:
    """A backend, by the module that it is, its configuration, and a kind of call to get right."""

    module: str
    configuration: Json | None
    kind: Kind
    sizes: tuple[int, int]


def run(
    jobs: Sequence[Job],
    device: torch.device,
    *,
    deadline: float = float("inf"),
    start_seconds: float = START_SECONDS,
    job_seconds: float = JOB_SECONDS,
) -> list[str | None]:
    """For each job what is wrong, "" if nothing; None: not begun, for want of time or a child."""
    answers: list[str | None] = []
    while len(answers) < len(jobs) and time.monotonic() < deadline:
        before = len(answers)
        rest = jobs[before:]
        with _child(rest, device) as (child, lines):
            said = _next(lines, start_seconds)  # that it is there
            if said is None:
                break  # no candidate is to blame
            while said is not None and len(answers) < len(jobs) and time.monotonic() < deadline:
                said = _next(lines, job_seconds)
                if said is not None:
                    answers.append(said)
            if said is None:
                answers.append(_how_it_ended(child, lines))
    return answers + [None] * (len(jobs) - len(answers))


def _how_it_ended(child: subprocess.Popen[str], lines: queue.Queue[str | None]) -> str:
    try:
        code = child.wait(0 if lines.empty() else 5)
    except subprocess.TimeoutExpired:
        return "did not come to an end in time"
    if code < 0:
        return f"ended its process: {signal.Signals(-code).name}"
    return f"ended its process with code {code}"


@contextlib.contextmanager
def _child(
    jobs: Sequence[Job], device: torch.device
) -> Iterator[tuple[subprocess.Popen[str], queue.Queue[str | None]]]:
    """The process, and the lines that it answers, None after the last."""
    environment = {**os.environ, "WAVENET_KERNELS_CALIBRATE": "off"}
    child = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {_MAIN}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith(_MARK):
                lines.put(json.loads(line.removeprefix(_MARK)))
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert child.stdin is not None
        with contextlib.suppress(OSError):  # it has died already
            child.stdin.write(json.dumps(_as_json(jobs, device)))
            child.stdin.close()
        yield child, lines
    finally:
        child.kill()
        child.wait()
        reader.join()


_MAIN = "from wavenet_kernels.calibration import trial; trial.main()"


def _next(lines: queue.Queue[str | None], seconds: float) -> str | None:
    try:
        line = lines.get(timeout=seconds)
    except queue.Empty:
        return None
    if line is None:
        lines.put(None)  # it has ended: whoever asks next is told, too
    return line


def _as_json(jobs: Sequence[Job], device: torch.device) -> Json:
    return {
        "device": str(device),
        "precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "jobs": [{**job.__dict__, "kind": job.kind.as_json()} for job in jobs],
    }


def main() -> None:
    """The child: answer that it is there, then job by job."""
    given = json.load(sys.stdin)
    torch.set_num_threads(given["threads"])
    torch.set_float32_matmul_precision(given["precision"])
    device = torch.device(given["device"])
    torch.zeros(1, device=device)
    _answer("ready")
    for job in given["jobs"]:
        kind, sizes = Kind.from_json(job["kind"]), tuple(job["sizes"])
        _answer(judge(Job(job["module"], job["configuration"], kind, sizes), device))


def judge(job: Job, device: torch.device) -> str:
    """What is wrong, "" if nothing; in this process."""
    backend: Any = importlib.import_module(job.module)
    way = contextlib.nullcontext()
    if job.configuration is not None:
        way = backend.configured(job.configuration)
    with way:
        return verify.wrong(backend, job.kind, device, job.sizes) or ""


def _answer(text: str) -> None:
    sys.stdout.write(f"{_MARK}{json.dumps(text)}\n")
    sys.stdout.flush()
