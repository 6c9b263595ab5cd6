"""Set-up of all tests: uninitialised memory is NaN, Triton is interpreted where there is no GPU."""

import os
import signal

import pytest

# Before torch is imported: several processes of tests share the cores, and threads that spin while
# they wait for one another would take them from the rest.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

if not torch.cuda.is_available():
    # Before triton is imported anywhere: its decorators look at this once.
    os.environ.setdefault("TRITON_INTERPRET", "1")

import wavenet_kernels
from wavenet_kernels.calibration import choice, store

# A shell that runs tests in the background has them ignore Ctrl-C, and so the programs they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["browser", "fake_gpu", "small_runs"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="each test once (its first parameters) on each backend, without those marked slow",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        items[:] = _quick(items)
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):  # keywords have the names of folders, too
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _quick(items: list[pytest.Item]) -> list[pytest.Item]:
    chosen: dict[tuple[str, object], pytest.Item] = {}
    for item in items:
        if "slow" not in item.keywords:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            test = item.nodeid.partition("[")[0]
            chosen.setdefault((test, parameters.get("backend")), item)
    return list(chosen.values())


@pytest.fixture(autouse=True)
def _nothing_remembered(tmp_path_factory, monkeypatch):
    """No decision of another test or of the user is in force, nor in programs that tests start."""
    monkeypatch.setenv("WAVENET_KERNELS_CACHE", str(tmp_path_factory.getbasetemp() / "decisions"))
    monkeypatch.delenv("WAVENET_KERNELS_CALIBRATE", raising=False)
    choice.forget()
    store.forget_memory()


@pytest.fixture(autouse=True)
def _nan_in_uninitialised_memory():
    """torch.empty gives NaN, so an element that a kernel does not write fails the test."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def _backend_as_it_was():
    with wavenet_kernels.use_backend("auto"):
        yield


@pytest.fixture
def threads():
    """Sets torch's number of threads, which is afterwards what it was."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
