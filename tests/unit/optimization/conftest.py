"""One tiny model on disk for all tests of techniques, and a place for the files that some read."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen3_vl.ops import native
from qwen3_vl.testing import Bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture
def torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernels: what is multiplied is not rounded."""
    monkeypatch.setattr(native, "kernels_for", lambda *_: None)
