"""Every technique on disk keeps the contract; a new one is found and held to it by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen3_vl.plugins import techniques
from qwen3_vl.testing import check_optimization
from tests.support.techniques import needed


@pytest.mark.parametrize("name", techniques())
def test_the_contract_is_kept(name: str, files: Path) -> None:
    check_optimization(name, **needed(name, files))


def test_techniques_are_found_on_disk() -> None:
    assert {"sliding_window", "quantized_kv", "weight_int8"} <= techniques().keys()
