"""Configurations that are installed with the package, by name: `--config fsdd`."""

from __future__ import annotations

from pathlib import Path

from wavenet.errors import ConfigError

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Of all that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def locate(config: Path) -> Path:
    """The file that is meant: this one, or the one of this name.

    Raises:
        ConfigError: there is neither.
    """
    if config.is_file():
        return config
    if str(config) in names():
        return FOLDER / f"{config}.yaml"
    raise ConfigError(
        f"{config}: there is no such configuration file; by name there are {', '.join(names())}"
    )
