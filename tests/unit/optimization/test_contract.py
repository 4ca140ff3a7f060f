"""Every technique on disk keeps the contract; a new one is found and held to it by itself."""

from __future__ import annotations

import pytest

from qwen3_vl.plugins import techniques
from qwen3_vl.testing import check_optimization


@pytest.mark.parametrize("name", techniques())
def test_the_contract_is_kept(name: str) -> None:
    check_optimization(name)


def test_techniques_are_found_on_disk() -> None:
    assert {"sliding_window", "quantized_kv", "weight_int8"} <= techniques().keys()
