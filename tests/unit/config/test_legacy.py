"""The dictionaries of older versions: each key has a place, each switch a technique."""

from __future__ import annotations

import pytest

from qwen3_vl.config.legacy import SWITCHES, read_legacy
from qwen3_vl.config.origins import build
from qwen3_vl.errors import ConfigError
from qwen3_vl.plugins import techniques


def test_every_switch_is_a_technique() -> None:
    assert set(SWITCHES.values()) <= techniques().keys()
    assert len(set(SWITCHES.values())) == len(SWITCHES)


@pytest.mark.parametrize(("switch", "name"), SWITCHES.items())
def test_a_switch_that_is_on_is_a_step(switch: str, name: str) -> None:
    assert build(read_legacy({switch: True})).optimization.recipe == name
    assert build(read_legacy({switch: False})).optimization.recipe == ""


def test_several_switches_are_one_recipe() -> None:
    old = {"use_weight_quantization": True, "use_kv_quantization": True, "gpu_memory": 4}
    config = build(read_legacy(old))
    assert config.optimization.recipe == "quantized_kv|weight_int8"
    assert config.gpu.max_bytes == 4 * 2**30


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(ConfigError, match="did you mean use_token_merging"):
        read_legacy({"use_token_merge": True})
    with pytest.raises(ConfigError, match="use_adaptive_depth is 1; it must be true or false"):
        read_legacy({"use_adaptive_depth": 1})
