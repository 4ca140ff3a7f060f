"""A technique from another package joins by its entry point, and is gone without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"
QWEN3_VL = ("-m", "qwen3_vl")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the plug-in into, and nothing else."""
    folder = tmp_path_factory.mktemp("plugin") / "installed"
    command = ["-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index"]
    python(*command, "--target", str(folder), str(PLUGIN))
    return folder


def python(*arguments: str, plugins: Path | None = None, code: int = 0) -> str:
    """What a Python that sees `plugins` tells on stdout and stderr."""
    environment = os.environ | {
        "PYTHONPATH": str(plugins or ""),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "160",
        "OMP_NUM_THREADS": "1",  # tiny models are fastest so
    }
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_it_is_listed_where_it_is_installed(installed: Path) -> None:
    assert "random_eviction" in python(*QWEN3_VL, "optimizations", plugins=installed)
    assert "random_eviction" not in python(*QWEN3_VL, "optimizations")


def test_its_own_tests_pass_and_with_them_the_contract(installed: Path) -> None:
    tests = ("-m", "pytest", "-v", "-p", "no:cacheprovider", str(PLUGIN))
    assert "test_the_contract_is_kept PASSED" in python(*tests, plugins=installed)


def test_a_recipe_with_it_answers(installed: Path) -> None:
    recipe = "weight_int8|random_eviction(keep=8, sinks=1, recent=2)"
    asked = ("run", "-m", "embedded", "Tell me a story.", "--max-new-tokens", "40", "--stats")
    asked += ("--temperature", "50")  # or it would end the answer at once
    assert "answer tokens at" in python(*QWEN3_VL, *asked, "--recipe", recipe, plugins=installed)


def test_a_misspelt_name_suggests_it_only_where_it_is(installed: Path) -> None:
    asked = (*QWEN3_VL, "run", "-m", "embedded", "Hi", "--recipe", "random_evicton")
    there = python(*asked, plugins=installed, code=2)
    assert there == "error: there is no technique 'random_evicton'; did you mean random_eviction?\n"
    assert "did you mean" not in python(*asked, code=2)
