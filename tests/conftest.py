"""What all tests share: where torchvision is installed, transformers can be imported whole."""

from __future__ import annotations

from importlib.util import find_spec

from qwen3_vl.validation.reference import import_torchvision


def pytest_configure() -> None:
    if find_spec("torchvision"):
        import_torchvision()
