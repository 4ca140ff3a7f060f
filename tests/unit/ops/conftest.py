"""Each variant of the kernels that this machine runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qwen3_vl.ops import native


@pytest.fixture(params=[one.name for one in native.available_variants()])
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv(native.FORCED_BY, request.param)
    native.variant.cache_clear()
    yield request.param
    native.variant.cache_clear()
