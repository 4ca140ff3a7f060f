from __future__ import annotations

import os
import subprocess
import sys

import pytest

import qwen3_vl


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, qwen3_vl; print('torch' in sys.modules, 'PIL' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("before", "given", "wanted"),
    [
        ("", {}, "2000"),
        ("", {"GOMP_SPINCOUNT": "7"}, "7"),
        ("", {"OMP_WAIT_POLICY": "active"}, "None"),
        ("import torch; ", {}, "None"),
    ],
)
def test_torch_s_threads_spin_shortly_unless_told_otherwise(
    before: str, given: dict[str, str], wanted: str
) -> None:
    code = f"{before}import os, qwen3_vl; print(os.environ.get('GOMP_SPINCOUNT'))"
    plain = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, env=plain | given, capture_output=True, text=True, check=True)
    assert out.stdout.split() == [wanted]


@pytest.mark.parametrize("name", qwen3_vl.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(qwen3_vl, name).__name__ == name
    assert name in dir(qwen3_vl)


def test_a_name_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match="Qwen3VLInference"):
        qwen3_vl.NoSuchThing  # noqa: B018


def test_a_skeleton_does_not_load_torch_s_compiler() -> None:
    """It takes longer to load than a packed model."""
    code = (
        "import sys; from qwen3_vl import Qwen3VLForConditionalGeneration as Model; "
        "from qwen3_vl.testing import tiny_config; Model.skeleton(tiny_config()); "
        "print('torch._dynamo' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False"]
