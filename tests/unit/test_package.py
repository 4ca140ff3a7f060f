from __future__ import annotations

import subprocess
import sys

import pytest

import qwen3_vl


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, qwen3_vl; print('torch' in sys.modules, 'PIL' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("name", qwen3_vl.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(qwen3_vl, name).__name__ == name
    assert name in dir(qwen3_vl)


def test_a_name_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match="Qwen3VLInference"):
        qwen3_vl.NoSuchThing  # noqa: B018
