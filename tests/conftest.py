"""What all tests share: transformers, the reference, can be imported whole."""

from __future__ import annotations

from tests.support.torchvision_shim import import_torchvision


def pytest_configure() -> None:
    import_torchvision()
