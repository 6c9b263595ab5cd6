"""Several processes, one decision: the first one's, or an error that says how they differ.

Operators have no collective: this is the only point at which the processes of a group meet.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch

from wavenet_kernels.calibration.decide import Decision
from wavenet_kernels.calibration.keys import Json, Key, digest


def agree(find: Callable[[], list[Decision]], group: Any) -> list[Decision]:
    """What `find` gives in the group's first process, in all of them.

    Raises:
        RuntimeError: `find` failed there, or a process has another build or device than the first.
    """
    distributed = torch.distributed
    rank = distributed.get_rank(group)
    first = distributed.get_global_rank(group, 0)
    said: list[str] = [""]
    error: Exception | None = None
    content: Json
    if rank == 0:
        try:
            content = {"decisions": [decision.as_entry() for decision in find()]}
        except Exception as raised:  # the others must not wait for it in vain
            content = {"error": f"{type(raised).__name__}: {raised}"}
            error = raised
        said = [json.dumps(content)]
    distributed.broadcast_object_list(said, src=first, group=group)
    content = json.loads(said[0])
    if "error" in content:
        raise RuntimeError(
            f"calibration failed in the first process: {content['error']}"
        ) from error
    made = [Decision.from_entry(entry) for entry in content["decisions"]]
    mine = digest([_mine(decision.key).as_json() for decision in made])
    hashes: list[str] = [""] * distributed.get_world_size(group)
    distributed.all_gather_object(hashes, mine, group=group)
    if len(set(hashes)) > 1:
        different = [index for index, other in enumerate(hashes) if other != hashes[0]]
        raise RuntimeError(
            f"process(es) {different} of {len(hashes)} would not decide as the first: their "
            "versions, settings or devices differ (hashes "
            f"{', '.join(dict.fromkeys(hashes))}). Give all processes the same, name a backend, or "
            "set WAVENET_KERNELS_CALIBRATE=off"
        )
    return made


def _mine(key: Key) -> Key:
    """The key of the same kind, of this process's device and build."""
    kind = str(key.device["type"])
    index = torch.cuda.current_device() if kind == "cuda" else None
    device = torch.device(kind) if index is None else torch.device(kind, index)
    return Key.of(key.kind, device)
