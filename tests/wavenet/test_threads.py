"""Threads that don't pay aren't used."""

from __future__ import annotations

import pytest
import torch
from small_runs import MODEL

from wavenet import WaveNetClassifier, WaveNetConfig
from wavenet.classifier.inference import classify_stream
from wavenet.classifier.inference.threads import TRIALS, PayingThreads, paying_threads


@pytest.fixture(autouse=True)
def as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("seconds", "chosen"), [
    ({1: 11.0, 4: 62.0}, 1), ({1: 10.0, 4: 9.8}, 1), ({1: 10.0, 4: 4.0}, 4),
])  # fmt: skip
def test_the_faster_number_is_kept_to(seconds, chosen):
    """Also where the first pieces, or single ones, take far longer."""
    now, used = [0.0], []

    def work():
        threads = torch.get_num_threads()
        slow = 100 if len(used) in (0, 1, 4) else 1
        used.append(threads)
        now[0] += slow * seconds[threads]

    threads = PayingThreads(4, clock=lambda: now[0])
    for _ in range(20):
        threads.compute(work, 100)
    trial = 2 * (TRIALS + 1)
    assert used[:trial] == [1, 4] * (trial // 2) and set(used[trial:]) == {chosen}


def test_one_thread_is_not_tried_against_itself_and_all_is_left_as_it_was():
    torch.set_num_threads(2)
    with paying_threads(torch.device("cpu")) as threads:
        assert threads.most == 2 and threads.chosen is None
        threads.compute(lambda: None, 1)
    assert torch.get_num_threads() == 2
    assert PayingThreads(1).chosen == 1


def test_decisions_are_the_same_whatever_is_chosen():
    torch.manual_seed(0)
    model = WaveNetClassifier(WaveNetConfig(**MODEL)).eval()
    signal = 0.1 * torch.randn(12 * 8000)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(list(classify_stream(model, signal.split(8000))))
        assert torch.get_num_threads() == threads
    assert len(found[0]) == len(found[1]) > 20
    for one, two in zip(*found, strict=True):
        assert torch.allclose(one.logits, two.logits, atol=1e-5)
