"""What unit tests share: one thread, and each variant of the kernels that this machine runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from qwen3_vl.ops import native


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models are fastest so: more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[one.name for one in native.available_variants()])
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each test that asks for it runs once for each variant."""
    monkeypatch.setenv(native.FORCED_BY, request.param)
    native.variant.cache_clear()
    yield request.param
    native.variant.cache_clear()
