"""Every command that README.md and docs/ show runs, as it stands there, but for those listed here.

Each block has a folder of its own, in which there is what it names (tests/support/doc_things.py).
"""

from __future__ import annotations

import re
import urllib.request

import pytest
from doc_blocks import FENCE, LANGUAGES, SAID, UNFENCED, blocks, pages
from doc_shell import Shell, understand, wavenet_command
from doc_things import Things, classifier

from benchmarks.__main__ import COMMANDS as BENCHMARKS
from benchmarks.reporting import report
from wavenet.classifier import app, run_config
from wavenet.classifier.data import synth
from wavenet_kernels.calibration import program

# All commands that are not run, by how they begin, and why.
NOT_RUN = {
    "git clone ": "it asks the network",
    "make ": "it installs, and takes minutes or runs these very tests",
    "torchrun ": "four processes on two cores; tests/wavenet/test_processes.py starts two",
    "cmake .* -DCMAKE_SYSTEM_PROCESSOR=": "another compiler, which tests/runtime uses where it is",
    "pytest benchmarks/": "it measures for minutes, or longer",
    "python -m benchmarks (?!.*--help|report)": "it measures for minutes, or longer",
}
BLOCKS = list(blocks())
COMMANDS = [command for block in BLOCKS for command in block.commands]


def why_not(command: str) -> str | None:
    """The reason for which it is not run."""
    return next((why for form, why in NOT_RUN.items() if re.match(form, command)), None)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """What blocks call runs/mine; made for the first that does."""
    run = tmp_path_factory.mktemp("trained") / "run"
    classifier(run)
    return run


@pytest.fixture
def in_seconds(monkeypatch, tmp_path):
    """All that is not as users have it: how much is done, where no command says how much.

    A training has one epoch, a data set few sounds, calibration small networks; the page that is
    served is looked at once, and what was measured lies in the block's folder.
    """
    load_config, write_data_set, build = run_config.load_config, synth.write_data_set, app.build

    def load(config, overrides, *rest):
        return load_config(config, [*overrides, "training.epochs=1"], *rest)

    def write(*args, **kwargs):
        return write_data_set(*args, **{**kwargs, "clips_per_class": 10, "seconds": 0.5})

    def build_page(*args):
        page = build(*args)

        def look():
            with urllib.request.urlopen(page.local_url, timeout=60) as answer:
                assert b"gradio" in answer.read()
            page.close(verbose=False)

        page.block_thread = look
        return page

    monkeypatch.setattr(run_config, "load_config", load)
    monkeypatch.setattr(synth, "write_data_set", write)
    monkeypatch.setattr(app, "build", build_page)
    for name in program.WORKLOADS:
        monkeypatch.setitem(program.WORKLOADS, name, (4, 4, 4, 2, 2, 1, "causal"))
    monkeypatch.setattr(report, "BUILD", tmp_path / "build" / "bench")


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_runs(block, tmp_path, monkeypatch, request, in_seconds):
    shell = Shell(tmp_path, monkeypatch)
    things = Things(tmp_path, block.shown, lambda: request.getfixturevalue("trained"))
    for command in filter(lambda command: why_not(command) is None, block.commands):
        made = things.provide(command)
        shell.run(command)
        assert all((tmp_path / path).exists() for path in made), command


@pytest.mark.parametrize("command", [c for c in COMMANDS if why_not(c) is not None])
def test_what_is_not_run_is_understood(command, monkeypatch):
    understand(command, monkeypatch)
    pytest.skip(f"not run: {why_not(command)}")


def test_no_reason_is_left_over():
    assert all(any(re.match(form, command) for command in COMMANDS) for form in NOT_RUN)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_no_command_is_overlooked(page):
    """All code is fenced and says what it is; what is named in a sentence exists."""
    text = page.read_text("utf-8")
    fences = FENCE.findall(text)
    assert len(fences) == text.count("\n```") / 2
    assert {language for language, _ in fences} <= LANGUAGES
    prose = FENCE.sub("", text)
    assert not UNFENCED.search(prose)
    for said in SAID.findall(prose):
        program, name, *words = said.split()
        if program == "wavenet":
            known = {option for one in wavenet_command(name).params for option in one.opts}
            assert {word for word in words if word.startswith("--")} <= known | {"--help"}, said
        else:
            assert words[1] in BENCHMARKS, said
