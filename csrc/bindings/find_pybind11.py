"""Prints the folder of pybind11's headers: that of the package, or else torch's copy of them."""

import importlib.util
from pathlib import Path


def candidates() -> list[Path]:
    found = []
    for package in ("pybind11", "torch"):  # found, not imported: importing torch takes seconds
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            found.append(Path(folder) / "include")
    return found


for include in candidates():
    if (include / "pybind11" / "pybind11.h").exists():
        print(include)
        break
