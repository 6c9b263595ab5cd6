"""From a dataset of Hugging Face with an Audio column to what `wavenet train --data` takes.

    python examples/datasets_audio.py          # pip install datasets torchcodec; makes tones
    wavenet train --data build/from-datasets

`datasets.load_dataset(...)["train"]` goes in the place of `tones_dataset()`.
"""

import csv
from pathlib import Path

import soundfile
from datasets import Audio, ClassLabel, Dataset, Features
from plain_loop import PITCHES, RATE, tones


def tones_dataset(folder: Path, count: int = 12) -> Dataset:
    """Some tones as a dataset with columns audio and label."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, waveforms, which = [], *tones(count, seed=0)
    for number, waveform in enumerate(waveforms):
        paths.append(str(folder / f"{number}.wav"))
        soundfile.write(paths[-1], waveform.numpy(), RATE)
    features = Features(
        audio=Audio(), label=ClassLabel(names=[f"{pitch:g} Hz" for pitch in PITCHES])
    )
    return Dataset.from_dict({"audio": paths, "label": which.tolist()}, features=features)


def write_folder(dataset: Dataset, folder: Path, split: str = "train") -> Path:
    """Its recordings, as they are encoded, and metadata.csv, which names the class of each.

    Nothing is decoded; `Audio(decode=False)` gives the files' bytes or paths.
    """
    names = dataset.features["label"].names
    recordings = folder / split
    recordings.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, row in enumerate(dataset.cast_column("audio", Audio(decode=False))):
        audio = row["audio"]
        path = recordings / f"{number:06d}{Path(audio['path'] or 'x.wav').suffix or '.wav'}"
        path.write_bytes(audio["bytes"] or Path(audio["path"]).read_bytes())
        rows.append((path.name, names[row["label"]]))
    with open(recordings / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file_name", "label"), *rows])
    return recordings


def main(folder: Path = Path("build/from-datasets")) -> Path:
    """Write the tones so."""
    written = write_folder(tones_dataset(folder / "original"), folder)
    print(f"wrote {written}")
    return folder


if __name__ == "__main__":
    main()
