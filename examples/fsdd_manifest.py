"""Makes manifest.csv of a checkout of the Free Spoken Digit Dataset, with its official split.

    git clone https://github.com/Jakobovski/free-spoken-digit-dataset fsdd
    python examples/fsdd_manifest.py fsdd
    wavenet train --config fsdd --data fsdd/manifest.csv --out runs/fsdd

Its files are called DIGIT_SPEAKER_TAKE.wav; takes 0 to 4 are the test split. Any data set whose
file names say what is in them gets a manifest in the same way.
"""

import argparse
import csv
import re
from pathlib import Path

NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+)\.wav")
TEST_TAKES = 5


def write_manifest(checkout: Path) -> Path:
    """Write the manifest beside the recordings' folder; paths in it are relative to it."""
    rows = []
    for path in sorted((checkout / "recordings").glob("*.wav")):
        if match := NAME.fullmatch(path.name):
            split = "test" if int(match["take"]) < TEST_TAKES else "train"
            relative = path.relative_to(checkout).as_posix()
            rows.append((relative, match["digit"], split, match["speaker"]))
    if not rows:
        raise SystemExit(f"{checkout}/recordings holds no DIGIT_SPEAKER_TAKE.wav")
    manifest = checkout / "manifest.csv"
    with open(manifest, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "split", "group"), *rows])
    print(f"wrote {manifest}: {len(rows)} clips")
    return manifest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    write_manifest(parser.parse_args().checkout)
