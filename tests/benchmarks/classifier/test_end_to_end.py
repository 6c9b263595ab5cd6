"""The end-to-end benchmark: its clock, its rows, its file."""

from __future__ import annotations

import itertools
import json

import pytest
from small_runs import OVERRIDES

from benchmarks.classifier.end_to_end import DATA, main
from benchmarks.classifier.sections import SECTIONS, Clock
from benchmarks.reporting import report

CONFIG = """\
data: {validation_fraction: 0.2}
augmentation: {noise_snr_db: [10, 20]}
training: {ema_decay: 0.9, accumulation: 2}
"""


def test_a_clock_gives_every_moment_to_one_section():
    times = itertools.count()
    clock = Clock(now=lambda: float(next(times)))
    clock.start()  # 0
    assert list(clock.drawn("ab")) == ["a", "b"]  # data 1-2, 3-4, 5-6
    before = clock.enter("head")  # 7
    clock.enter(clock.enter("operators"))  # 8-9
    clock.enter(before)  # 10
    seconds = {name: value for name, value in clock.seconds.items() if value}
    assert seconds == {"data": 3, "rest": 4, "head": 2, "operators": 1}


def test_rows_file_and_report(recordings, tmp_path, capsys):
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    out = tmp_path / "end-to-end-tiny.json"
    names = ["eager", "ours reference", "ours cpu"]
    data = str(recordings / "all.csv")
    main(
        [str(config), data, "--steps", "2", "--device", "cpu", "--out", str(out)]
        + ["--contenders", *names, "--set", *OVERRIDES]
    )
    record = json.loads(out.read_text())
    assert {"commit", "device", "versions", "config", "data", "rounds"} <= record.keys()
    rows = {row["contender"]: row for row in record["rows"]}
    assert list(rows) == [*names, DATA] and "ours cpu" in capsys.readouterr().out
    for name, row in rows.items():
        assert 0 < row["clips_per_second_p10"] <= row["clips_per_second"]
        assert row["samples_per_second"] > 100 * row["clips_per_second"], name
        if name == DATA:
            assert "shares" not in row
            continue
        shares = row["shares"]
        assert list(shares) == list(SECTIONS) and sum(shares.values()) == pytest.approx(1)
        assert all(share > 0 for share in shares.values()), name
        assert row["outside_stack"] == pytest.approx(1 - shares["operators"])
        assert row["outside"] <= row["outside_stack"]
        assert row["section_ms"].keys() == shares.keys()
    report.main([str(tmp_path)])
    lines = (tmp_path / "README.md").read_text().splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert sum(line.startswith("|") for line in lines) == 2 + len(rows)
    assert rows["eager"]["over_eager"] == 1
    assert rows[DATA]["clips_per_second"] > rows["ours cpu"]["clips_per_second"]


def test_contenders_that_there_are_not(tmp_path):
    with pytest.raises(SystemExit, match="there are"):
        main([str(tmp_path), "--contenders", "magic"])
