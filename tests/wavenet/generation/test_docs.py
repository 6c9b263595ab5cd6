"""What docs/generation.md shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

from doc_things import glow
from small_generators import small_generator

from wavenet.convert import to_vocoder, to_waveglow
from wavenet.data.mel import MelConfig

DOCS = Path(__file__).parents[3] / "docs"


def test_the_examples_run(tmp_path, monkeypatch):
    """Checkpoints of others lie where they do."""
    monkeypatch.chdir(tmp_path)
    theirs = small_generator("gaussian", head_channels=10, layers_per_stack=2, stacks=4)
    for name in ("checkpoint_step001000000_ema.pth", "vocoder.pth"):
        to_vocoder(theirs, tmp_path / name)
    to_waveglow(glow(MelConfig.tacotron2()), tmp_path / "waveglow_256channels.pt")
    text = (DOCS / "generation.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    assert "generate(" in code and "infer(" in code
    exec(compile(code, "docs/generation.md", "exec"), {})
    assert (tmp_path / "out.pth").is_file() and (tmp_path / "out.pt").is_file()
