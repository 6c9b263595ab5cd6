"""What is in a wheel and in a source distribution, and that the wheel works by itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

import wavenet_kernels

pytestmark = pytest.mark.slow


def _leave_what_earlier_builds_leave(tree: Path) -> None:
    """Compiled modules and Python of other versions, wherever a wheel is made from or in."""
    platform = sysconfig.get_platform()
    built = tree / "build" / f"lib.{platform}-{sys.implementation.cache_tag}"
    for folder in (tree, built, tree / "build" / f"bdist.{platform}" / "wheel"):
        for module in ("_cuda", "_cpu", "_core"):
            stale = folder / "wavenet_kernels" / f"{module}{sysconfig.get_config_var('EXT_SUFFIX')}"
            stale.parent.mkdir(parents=True, exist_ok=True)
            stale.write_bytes(b"stale")
        if folder != tree:
            (folder / "wavenet" / "nn").mkdir(parents=True)
            (folder / "wavenet" / "nn" / "__init__.py").write_text("raise ImportError('stale')")


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _leave_what_earlier_builds_leave(tree)
    # The CUDA module takes minutes, and nothing here depends on it.
    environment = {**os.environ, "WAVENET_KERNELS_CUDA": "0", "CXXFLAGS": "-Werror"}
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    built = subprocess.run(
        [*command, "-w", str(folder), str(tree)], capture_output=True, text=True, env=environment
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_modules_and_python_and_no_sources(wheel, root):
    assert wheel.name.startswith(f"wavenet_kernels-{wavenet_kernels.__version__}-cp3")
    assert "none-any" not in wheel.name
    names = set(zipfile.ZipFile(wheel).namelist())
    compiled = {name for name in names if name.endswith(".so")}
    assert any(name.startswith("wavenet_kernels/_cpu.") for name in compiled)
    assert all(name.startswith("wavenet_kernels/_c") for name in compiled)
    assert {"wavenet_kernels/py.typed", "wavenet/py.typed"} <= names
    assert "wavenet/configs/fsdd.yaml" in names  # which --config fsdd takes
    for package, folder in (("wavenet_kernels", root), ("wavenet", root / "python_api")):
        for path in (folder / package).rglob("*.py"):
            assert path.relative_to(folder).as_posix() in names
    allowed = ("wavenet/", "wavenet_kernels/", f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/")
    assert all(name.startswith(allowed) for name in names)
    sources = (".cpp", ".h", ".cu", ".cuh", ".cmake", "CMakeLists.txt")
    assert not [name for name in names if name.endswith(sources)]


def test_what_earlier_builds_left_is_in_no_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        compiled = [name for name in archive.namelist() if name.endswith(".so")]
        # No CUDA in this build, and no module of a name that CMake doesn't know.
        assert [name.split(".")[0] for name in compiled] == ["wavenet_kernels/_cpu"]
        assert archive.getinfo(compiled[0]).file_size > 10_000
        assert "wavenet/nn.py" in archive.namelist()
        assert not [name for name in archive.namelist() if name.startswith("wavenet/nn/")]


def test_the_readme_of_a_package_index_has_no_links_to_files(wheel, root):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    assert "Description-Content-Type: text/markdown" in metadata
    links = re.findall(r"\]\(([^)]*)\)", metadata)
    assert links and all(link.startswith(("https://", "#")) for link in links)
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert "](wavenet_kernels/reference.py)" in readme
    assert "specification is wavenet_kernels/reference.py" in metadata
    for block in re.findall(r"```python\n.*?```", readme, flags=re.DOTALL):
        assert block in metadata  # code is code, whatever brackets it has


def test_wheel_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
        (entry_points,) = [n for n in archive.namelist() if n.endswith("/entry_points.txt")]
        assert "wavenet = wavenet.cli:main" in archive.read(entry_points).decode()
        assert [n for n in archive.namelist() if n.endswith("licenses/LICENSE")]
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.10" in metadata
    assert "Requires-Dist: torch>=2.6" in metadata
    assert "Provides-Extra: triton" in metadata
    needed = re.findall(r"^Requires-Dist: ([\w-]+)(.*)$", metadata, re.M)
    assert {name for name, rest in needed if "extra ==" not in rest} == {"torch", "numpy"}
    extra = {name for name, rest in needed if "extra == 'classifier'" in rest.replace('"', "'")}
    assert {"accelerate", "soundfile", "typer"} <= extra


def test_sizes_are_below_what_the_documentation_says(wheel, root):
    said = (root / "docs" / "install.md").read_text(encoding="utf-8")
    cpu, cuda = map(float, re.search(r"below ([\d.]+) MB, .* below ([\d.]+) MB", said).groups())
    assert wheel.stat().st_size < cpu * 1e6
    for module in (root / "wavenet_kernels").glob(f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"):
        with_cuda = wheel.stat().st_size + len(zlib.compress(module.read_bytes()))
        assert with_cuda < cuda * 1e6


def test_wheel_works_unpacked(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import torch, wavenet, wavenet_kernels\n"
        f"assert wavenet_kernels.__file__.startswith({str(tmp_path)!r}), wavenet_kernels.__file__\n"
        "wavenet_kernels.use_backend('cpu')\n"
        "assert wavenet_kernels.gated_activation(torch.zeros(1, 4, 3)).shape == (1, 2, 3)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


def test_source_distribution_holds_what_builds_it(tree, tmp_path):
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=tree, check=True, capture_output=True)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert not [name for name in names if name.endswith(".so")]
    needed = [p for p in (tree / "csrc").rglob("*") if p.is_file()]
    assert {p.relative_to(tree).as_posix() for p in needed} <= names
    assert {"CMakeLists.txt", "setup.py", "pyproject.toml", "LICENSE"} <= names
