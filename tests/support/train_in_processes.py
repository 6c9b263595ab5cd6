"""What torchrun starts in tests: `train CONFIG RUN [STOP_AT]`, one JSON line of the result.

With STOP_AT, process 1 gets SIGTERM in that step: all of them must save and stop.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from small_runs import quiet

from wavenet.training import TrainingInterrupted, learner, load_config, train


def main() -> None:
    config, run, *stop_at = sys.argv[1:]
    original = learner.Learner.step

    def step(self, parts, clips, now):
        if stop_at and now == int(stop_at[0]) and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, parts, clips, now)

    learner.Learner.step = step  # type: ignore[method-assign]
    resume = Path(run).exists()
    try:
        result = train(load_config(Path(config)), Path(run), resume=resume, console=quiet())
    except TrainingInterrupted as stop:
        print(json.dumps({"stopped by": stop.signal}), flush=True)
        return
    print(json.dumps({"accuracy": result.accuracy, "epochs": result.epochs}), flush=True)


if __name__ == "__main__":
    main()
