"""What `pip install` makes of a checkout, with a compiler and without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "qwen3_vl"


def build(folder: Path, **environment: str) -> tuple[str, list[str]]:
    """Build a wheel from nothing; give its name and the files in it."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--config-settings", f"build-dir={folder / 'build'}", "--wheel-dir", folder, ROOT]
    result = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=280
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        return wheel.name, opened.namelist()


def test_wheel_holds_the_package_its_assets_and_nothing_else(tmp_path):
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
        pytest.skip("there is no C++ compiler")
    name, files = build(tmp_path)
    assert not name.endswith("-none-any.whl")
    assert [file for file in files if file.startswith("qwen3_vl/_native.")] != []
    check_python_files(files)


def test_without_a_compiler_a_wheel_is_made_all_the_same(tmp_path):
    missing = str(tmp_path / "no-compiler")
    name, files = build(tmp_path, CC=missing, CXX=missing)
    assert name.endswith("-py3-none-any.whl")
    assert [file for file in files if file.endswith((".so", ".pyd"))] == []
    check_python_files(files)


def check_python_files(files: list[str]) -> None:
    sources = [path for path in SOURCE.rglob("*") if path.is_file()]
    kept = [path for path in sources if path.suffix not in {".pyc", ".so", ".pyd"}]
    expected = {f"qwen3_vl/{path.relative_to(SOURCE).as_posix()}" for path in kept}
    assert expected <= set(files), "files of the package are missing from the wheel"
    others = [file for file in files if not file.startswith(("qwen3_vl/", "qwen3_vl-"))]
    assert others == [], "the wheel would write outside of its package"
    assert any(file.endswith("/licenses/LICENSE") for file in files)
