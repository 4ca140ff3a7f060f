"""A model is only run with the processor of its own checkpoint."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.errors import InputError
from qwen3_vl.inference.engine import Engine
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.processing.processor import Qwen3VLProcessor
from tests.support.tiny_checkpoint import with_embedded_tokens, write_checkpoint
from tests.support.tiny_models import CONFIGS, random_model

FITTING = with_embedded_tokens(CONFIGS["dense_tied"])


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Qwen3VLProcessor:
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    return Qwen3VLProcessor.from_pretrained(write_checkpoint(folder, random_model(FITTING)))


def _vision(**changes: int) -> Qwen3VLConfig:
    return FITTING.replace(vision_config=replace(FITTING.vision_config, **changes))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            FITTING.replace(image_token_id=7),
            f"image token id of the model is 7, of the processor {FITTING.image_token_id}",
        ),
        (
            FITTING.replace(video_token_id=7),
            f"video token id of the model is 7, of the processor {FITTING.video_token_id}",
        ),
        (_vision(patch_size=8), "patch size of the model is 8, of the processor 4"),
        (_vision(spatial_merge_size=3), "merge size of the model is 3, of the processor 2"),
        (
            _vision(temporal_patch_size=1),
            "temporal patch size of the model is 1, of the processor 2",
        ),
    ],
)
def test_a_processor_of_another_checkpoint_is_refused(
    processor: Qwen3VLProcessor, config: Qwen3VLConfig, told: str
) -> None:
    model = Qwen3VLForConditionalGeneration.skeleton(config)
    with pytest.raises(InputError, match=told):
        Engine(model, processor)


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(processor: Qwen3VLProcessor) -> None:
    size = len(processor.tokenizer) - 1
    text = replace(FITTING.text_config, vocab_size=size)
    model = Qwen3VLForConditionalGeneration.skeleton(FITTING.replace(text_config=text))
    with pytest.raises(
        InputError, match=f"has {len(processor.tokenizer)} tokens.*vocabulary {size}"
    ):
        Engine(model, processor)
