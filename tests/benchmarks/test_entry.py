"""`python -m benchmarks`: one entry for all programs."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]


def test_help_names_every_command(capsys):
    main(["--help"])
    said = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in said and command.summary in said
        assert importlib.util.find_spec(f"benchmarks.{command.module}") is not None
    with pytest.raises(SystemExit, match="there is no 'nothing'"):
        main(["nothing"])


# Those that compile Triton's kernels are not imported here, where its interpreter is on.
@pytest.mark.parametrize("name", [name for name, c in COMMANDS.items() if not c.compiles])
def test_every_command_has_help(name, capsys):
    if name == "synth-baseline":
        pytest.importorskip("sklearn")
    if name == "triton-tuning":
        pytest.importorskip("triton")
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    assert f"usage: python -m benchmarks {name} " in capsys.readouterr().out


@pytest.mark.slow
def test_a_command_in_a_process_of_its_own(tmp_path):
    """Whose memory is limited."""
    command = [sys.executable, "-m", "benchmarks", "run", "overhead", "--out", str(tmp_path)]
    command += ["--workloads", "R=16,S=16,L=1,T=9", "--contenders", "eager", "--passes", "forward"]
    subprocess.run([*command, "--rounds", "1", "--device", "cpu"], cwd=ROOT, check=True)
    (path,) = tmp_path.glob("overhead-cpu-*-float32.json")
    (row,) = json.loads(path.read_text())["rows"]
    assert row["contender"] == "eager" and row["median_us"] > 0


def test_help_imports_nothing():
    program = "import sys; from benchmarks.__main__ import main; main(['--help'])"
    program += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("False\n"), done.stderr


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["run", "--workloads", "nothing"], "'nothing' is not one of"),
        (["run", "--contenders", "nobody"], "nobody"),
        (["run", "--rounds", "0"], "--rounds 0: accepted is 1 or more"),
        (["report", "nowhere"], "nowhere: no result of stack"),
        (["compare", "neither", "main"], "neither: neither a file nor a revision"),
    ],
)
def test_wrong_arguments_get_a_sentence(arguments, sentence):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert sentence in str(stopped.value.code)
