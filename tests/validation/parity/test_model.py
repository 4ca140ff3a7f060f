"""The plain model equals transformers in float32, from ids to greedy answer, in every shape."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.validation.cases import cases
from qwen3_vl.validation.parity import NEW_TOKENS, Row, compare, summarise
from tests.support.tiny_checkpoint import with_embedded_tokens, write_checkpoint
from tests.support.tiny_models import CONFIGS, random_model


@pytest.fixture(scope="module", params=CONFIGS)
def rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    config = with_embedded_tokens(CONFIGS[request.param])
    text = replace(config.text_config, max_position_embeddings=2048)
    model = random_model(config.replace(text_config=text), seed=7)
    return compare(write_checkpoint(tmp_path_factory.mktemp("parity") / "model", model))


def test_everything_is_equal(rows: list[Row]) -> None:
    assert [row for row in rows if not row.passed] == []


def test_logits_differ_by_less_than_one_in_ten_thousand(rows: list[Row]) -> None:
    errors = [row.error for row in rows if row.what == "logits"]
    assert len(errors) == len(cases())
    assert max(errors) <= 1e-4


def test_every_kind_of_number_is_compared(rows: list[Row]) -> None:
    seen = {(row.case, row.what) for row in rows}
    for case in cases():
        assert {"input ids", "attention mask", "positions", "logits", "layer 3", "final norm"} <= {
            what for name, what in seen if name == case.name
        }
        assert ((case.name, "greedy tokens") in seen) == (case.padding_side == "left")
    for what in ("pixel values", "image grid thw", "vision features", "DeepStack 2"):
        assert ("two images of equal size", what) in seen
    for what in ("pixel values videos", "video grid thw", "vision features", "DeepStack 2"):
        assert ("video", what) in seen
    assert {row.case for row in summarise(rows)} <= {case.name for case in cases()}
    assert NEW_TOKENS >= 8


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_exact_2b_shape_is_equal(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Takes 9 GB of memory, 5 GB of disk and a few minutes."""
    config = with_embedded_tokens(Qwen3VLConfig.preset("2b-instruct"))
    model = Qwen3VLForConditionalGeneration.random(config, seed=1, dtype=torch.bfloat16)
    folder = write_checkpoint(tmp_path_factory.mktemp("2b") / "model", model)
    del model
    rows = compare(folder, [case for case in cases() if case.name == "one image"])
    assert [row for row in rows if not row.passed] == []
    assert max(row.error for row in rows if row.what == "logits") <= 1e-4
    assert sum(row.what.startswith("layer") for row in rows) == 28
