"""Asking, as a program does it: with the embedded model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from qwen3_vl.api import Qwen3VLInference, user_message
from qwen3_vl.config.origins import build
from qwen3_vl.config.sources import read_overrides
from qwen3_vl.errors import ConfigError, ContextLengthError, InputError
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.ops import native
from tests.support.tiny_checkpoint import with_embedded_tokens, write_checkpoint
from tests.support.tiny_models import CONFIGS, random_model


@pytest.fixture(scope="module")
def vlm() -> Qwen3VLInference:
    return Qwen3VLInference("embedded")


@pytest.fixture
def picture() -> Image.Image:
    return Image.radial_gradient("L").resize((80, 64)).convert("RGB")


def test_stream_and_response_say_the_same(vlm: Qwen3VLInference, picture: Image.Image) -> None:
    pieces = list(vlm.stream("What?", [picture], max_new_tokens=12, seed=1))
    assert len(pieces) > 1
    whole = vlm.generate_response("What?", images=[picture], max_new_tokens=12, seed=1)
    assert "".join(pieces) == whole


def test_the_answer_is_that_of_generate(vlm: Qwen3VLInference, picture: Image.Image) -> None:
    model, processor = vlm.engine.model, vlm.engine.processor
    inputs = processor.apply_chat_template(
        user_message("What?", [picture]),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
    )
    ids = model.generate(**inputs, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]
    expected = processor.decode(ids, skip_special_tokens=True)
    assert vlm.generate_multimodal("What?", [picture], max_new_tokens=12) == expected


def test_the_picture_matters(vlm: Qwen3VLInference, picture: Image.Image) -> None:
    def answer(image: Image.Image) -> str:
        return vlm.generate_response("What?", [image], max_new_tokens=16, seed=4)

    assert answer(picture) != answer(picture.rotate(180).point(lambda level: 255 - level))


def test_a_video_of_frames_is_answered(vlm: Qwen3VLInference) -> None:
    frames = [np.full((48, 64, 3), level, np.uint8) for level in (0, 80, 160, 240)]
    pieces = list(vlm.chat(user_message("What?", videos=[frames]), max_new_tokens=3))
    assert pieces[-1].finish_reason == "length"
    assert pieces[-1].answer_tokens == 3
    assert pieces[-1].prompt_tokens > 2 * 2


def test_a_stop_string_ends_the_answer_before_it(vlm: Qwen3VLInference) -> None:
    whole = vlm.generate_text("Hi", max_new_tokens=24, seed=2)
    stop = whole[8:10]
    pieces = list(vlm.chat(user_message("Hi"), max_new_tokens=24, seed=2, stop=stop))
    assert "".join(piece.text for piece in pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish_reason == "stop"
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)


def test_an_end_token_ends_the_answer(vlm: Qwen3VLInference) -> None:
    ids = vlm.engine.model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=1)
    inputs = user_message("Hi")
    token = int(ids[0, -1])
    pieces = list(vlm.chat(inputs, max_new_tokens=24, eos_token_id=tuple(range(288))))
    assert token < 288
    assert [(piece.text, piece.finish_reason) for piece in pieces] == [("", "stop")]


def test_a_saved_model_answers_by_its_folder(tmp_path: Path, picture: Image.Image) -> None:
    model = random_model(with_embedded_tokens(CONFIGS["dense_tied"]))
    folder = write_checkpoint(tmp_path / "model", model)
    by_name = Qwen3VLInference(folder)
    by_hand = Qwen3VLInference(model, by_name.engine.processor)
    asked = {"images": [picture.resize((40, 32))], "max_new_tokens": 6}
    assert by_name.generate_response("Q", **asked) == by_hand.generate_response("Q", **asked)
    half = Qwen3VLInference.from_pretrained(folder, dtype="bfloat16")
    assert half.engine.model.dtype == torch.bfloat16
    assert isinstance(half.generate_response("Q", **asked), str)


def test_questions_that_cannot_be_answered(vlm: Qwen3VLInference, picture: Image.Image) -> None:
    with pytest.raises(InputError, match="images must be a list"):
        vlm.generate_response("What?", images=picture)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs images or videos"):
        vlm.generate_multimodal("What?")
    with pytest.raises(ContextLengthError, match="lower max_new_tokens"):
        vlm.generate_text("Hi", max_new_tokens=10**6)
    with pytest.raises(ContextLengthError, match="context of 8192"):
        vlm.generate_text("Hi " * 5000)
    with pytest.raises(InputError, match="lone surrogate"):
        vlm.generate_text("broken \ud800")
    with pytest.raises(TypeError, match="unknown argument num_beams"):
        vlm.generate_text("Hi", num_beams=4)  # type: ignore[call-arg]


def test_a_loaded_model_needs_its_processor() -> None:
    model = Qwen3VLForConditionalGeneration.random(CONFIGS["dense_tied"])
    with pytest.raises(InputError, match="needs its processor"):
        Qwen3VLInference(model)


def test_a_recipe_changes_how_the_model_runs(vlm: Qwen3VLInference) -> None:
    asked = {"max_new_tokens": 12}
    plain = vlm.generate_text("Hi", **asked)
    exact = Qwen3VLInference.from_pretrained("embedded", recipe="memory_efficient_attention")
    assert exact.generate_text("Hi", **asked) == plain
    small = Qwen3VLInference.from_pretrained("embedded", recipe="weight_int8")
    layer = small.engine.model.get_submodule("model.language_model.layers.0.mlp.up_proj")
    assert {buffer.dtype for buffer in layer.buffers()} == {torch.int8, torch.float32}
    with pytest.raises(ConfigError, match="did you mean weight_int8"):
        Qwen3VLInference.from_pretrained("embedded", recipe="weight_int9")


def test_a_config_decides_how_the_model_runs() -> None:
    config = build(
        read_overrides(
            [
                "cpu.threads=1",
                "cpu.kernels=scalar",
                "gpu.device=cpu",
                "memory.max_context=64",
                "optimization.recipe=weight_int8",
                "generation.max_new_tokens=5",
            ]
        )
    )
    threads = torch.get_num_threads()
    try:
        vlm = Qwen3VLInference.from_config("embedded", config)
        assert torch.get_num_threads() == 1
        assert native.report().startswith("CPU kernels: scalar")
        assert list(vlm.chat(user_message("Hi")))[-1].answer_tokens == 5
        with pytest.raises(ContextLengthError, match=r"limit of 64 that was set"):
            vlm.generate_text("Hi " * 60)
    finally:
        torch.set_num_threads(threads)
        os.environ.pop(native.FORCED_BY)
        native.variant.cache_clear()


def test_a_config_that_cannot_hold_the_model_is_refused_before_it_loads() -> None:
    config = build(read_overrides(["memory.max_bytes=1 GB", "gpu.device=cpu"]))
    with pytest.raises(ConfigError, match=r"memory.max_bytes: .* GB are needed for the weights"):
        Qwen3VLInference.from_config("2b-instruct", config)
