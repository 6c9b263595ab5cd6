"""The command line in processes that start at once: forked from one that has imported torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["wavenet.classifier.training"])


def start(
    *arguments: object,
    output: str | Path = os.devnull,
    environment: dict[str, str] | None = None,
    stop_in_step: int | None = None,
) -> BaseProcess:
    """`wavenet arguments...`, its outputs in a file.

    Args:
        arguments: of the command.
        output: of what it prints, the standard error as well.
        environment: more variables.
        stop_in_step: training gets SIGTERM in that step.
    """
    process = FORKSERVER.Process(
        target=_main,
        args=(list(map(str, arguments)), str(output), environment or {}, stop_in_step),
        daemon=True,
    )
    process.start()
    return process


def run_together(*arguments: object, output: Path, stop_in_step: int | None = None) -> list[int]:
    """The same command in two processes that share its training; their exit codes.

    `output` is a folder. Only the second one gets SIGTERM in the step `stop_in_step`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    output.mkdir(exist_ok=True)
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    world |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    world |= {"OMP_NUM_THREADS": "1"}  # as torchrun has it
    started = [
        start(
            *arguments,
            output=output / f"{rank}.txt",
            environment={**world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stop_in_step=stop_in_step if rank == 1 else None,
        )
        for rank in range(2)
    ]
    for process in started:
        process.join(timeout=300)
        assert process.exitcode is not None, "it hangs"
    return [int(process.exitcode or 0) for process in started]


def _main(
    arguments: list[str], output: str, environment: dict[str, str], stop_in_step: int | None
) -> None:
    os.environ.update(environment)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)

    from wavenet.classifier.training.learner import Learner
    from wavenet.cli import main  # it looks at the environment

    original = Learner.step

    def step(self, parts, clips, now):
        if now == stop_in_step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, parts, clips, now)

    Learner.step = step  # type: ignore[method-assign]
    sys.argv = ["wavenet", *arguments]
    main()
