"""Of the benchmark against a guitar amplifier's engine: what the C library plays is its network."""

from __future__ import annotations

import json

import pytest

from benchmarks.amplifier import run
from benchmarks.amplifier.network import Network, write_ours, write_stacks, write_theirs


@pytest.mark.slow  # the library is compiled first
@pytest.mark.parametrize("gated, source", [(False, "ours.c"), (True, "ours.c"), (True, "stacks.c")])
def test_the_library_plays_the_network(library_folder, tmp_path, gated, source):
    network, x, path = Network.drawn(gated), run.noise(), tmp_path / "ours"
    if source == "stacks.c":
        write_stacks(network, path)
    else:
        write_theirs(network, tmp_path / "model.nam")
        write_ours(tmp_path / "model.nam", path)
    played = run.player(tmp_path, library_folder, source).playing(path, 64)(x)
    exact = network.exact(x)
    assert exact.std() > 0.005
    assert run.apart(played, exact) < 2e-6


def test_the_engine_gets_every_weight(tmp_path):
    for gated, count in ((False, 13802), (True, 13802 + 10 * (48 + 2) * 16 + 10 * (24 + 2) * 8)):
        network = Network.drawn(gated)
        write_theirs(network, tmp_path / "model.nam")
        content = json.loads((tmp_path / "model.nam").read_text())
        assert len(content["weights"]) == count
        weights = sum(getattr(chain, name).size for chain in network.chains for name in vars(chain))
        assert count == weights + 2  # the head's bias and scale


def test_without_an_engine_it_says_what_it_wants(tmp_path):
    with pytest.raises(SystemExit, match="of a checkout of NeuralAmpModelerCore, with NAM/dsp.h"):
        run.main([])
    with pytest.raises(SystemExit, match=str(tmp_path)):
        run.main(["--engine", str(tmp_path)])
