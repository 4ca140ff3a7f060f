"""The whole way from messages to tensors, and the errors on it."""

from __future__ import annotations

import inspect
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qwen3_vl.errors import ChatError, CheckpointError, ConfigError, ImageError, InputError
from qwen3_vl.processing.image import ImageInput, ImageLimits, ImageProcessor
from qwen3_vl.processing.inputs import ModelInputs
from qwen3_vl.processing.options import MediaOptions
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.processing.video import VideoLimits
from tests.support.tiny_processor import template_path, write_processor_folder
from tests.support.tiny_videos import video_file, video_frames

PICTURE = Image.fromarray(np.arange(96 * 64 * 3, dtype=np.uint8).reshape(96, 64, 3))
MARK = "<|vision_start|><|image_pad|><|vision_end|>"


def _ask(*content: object) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


def _image(picture: object = PICTURE) -> dict[str, object]:
    return {"type": "image", "image": picture}


TEXT = {"type": "text", "text": "What is it?"}


def test_text_alone(processor: Qwen3VLProcessor) -> None:
    inputs = processor("hi there")
    assert list(inputs) == ["input_ids", "attention_mask", "mm_token_type_ids"]
    assert processor.decode(inputs.input_ids[0]) == "hi there"
    assert inputs.attention_mask.all()
    assert not inputs.mm_token_type_ids.any()


def test_a_conversation_with_a_picture(processor: Qwen3VLProcessor) -> None:
    inputs = processor.apply_chat_template(
        _ask(_image(), TEXT), tokenize=True, return_dict=True, add_generation_prompt=True
    )
    assert isinstance(inputs, ModelInputs)
    assert inputs.image_grid_thw.tolist() == [[1, 6, 4]]
    assert inputs.pixel_values.shape == (24, 1536)
    is_image = inputs.input_ids == processor.image_token_id
    assert is_image.sum() == 6
    assert torch.equal(inputs.mm_token_type_ids, is_image.long())
    text = processor.decode(inputs.input_ids[0], skip_special_tokens=True)
    assert text == "user\nWhat is it?\nassistant\n"


def test_a_conversation_with_a_video(processor: Qwen3VLProcessor) -> None:
    inputs = processor.apply_chat_template(
        _ask({"type": "video", "video": video_file()}, TEXT), tokenize=True, return_dict=True
    )
    assert inputs.video_grid_thw.tolist() == [[3, 4, 6]]
    is_video = inputs.input_ids == processor.video_token_id
    assert is_video.sum() == 3 * 6
    assert torch.equal(inputs.mm_token_type_ids, 2 * is_video.long())
    text = processor.decode(inputs.input_ids[0], skip_special_tokens=True)
    assert text == "user\n<0.3 seconds><1.4 seconds><2.6 seconds>What is it?\n"


def test_ids_alone_lists_and_prompts(processor: Qwen3VLProcessor) -> None:
    messages = _ask(TEXT)
    prompt = "<|im_start|>user\nWhat is it?<|im_end|>\n"
    assert processor.apply_chat_template(messages) == prompt
    assert processor.apply_chat_template([messages, messages]) == [prompt, prompt]
    ids = processor.apply_chat_template(messages, tokenize=True)
    assert isinstance(ids, torch.Tensor)
    rows = processor.apply_chat_template(messages, tokenize=True, return_tensors=None)
    assert rows == ids.tolist()
    assert processor.batch_decode(ids) == [prompt]


def test_a_rendered_prompt_needs_no_sources(processor: Qwen3VLProcessor) -> None:
    assert MARK in processor.apply_chat_template(_ask({"type": "image"}))
    with pytest.raises(ChatError, match=r"messages\[0\]\.content\[0\] needs its image"):
        processor.apply_chat_template(_ask({"type": "image"}), tokenize=True)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(processor: Qwen3VLProcessor, side: Any) -> None:
    inputs = processor(["short", "quite a bit longer"], padding=True, padding_side=side)
    short = processor("short").input_ids[0]
    missing = inputs.input_ids.shape[1] - len(short)
    assert missing > 0
    pad = torch.full((missing,), processor.tokenizer.pad_token_id)
    order = (pad, short) if side == "left" else (short, pad)
    assert torch.equal(inputs.input_ids[0], torch.cat(order))
    assert inputs.attention_mask[0].sum() == len(short)
    assert inputs.attention_mask[0, -1] == (side == "left")
    assert inputs.attention_mask[1].all()


def test_prompts_of_different_length_need_padding(processor: Qwen3VLProcessor) -> None:
    with pytest.raises(InputError, match="padding=True"):
        processor(["short", "quite a bit longer"])
    rows = processor(["short", "quite a bit longer"], return_tensors=None).input_ids
    assert len(rows[0]) != len(rows[1])


def test_the_padding_side_of_the_checkpoint_is_the_default(tmp_path: Path) -> None:
    folder = write_processor_folder(tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"padding_side": "left"}))
    inputs = Qwen3VLProcessor.from_pretrained(folder)(["a", "b c d e f"], padding="longest")
    assert inputs.attention_mask[0, 0] == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"padding": "max_length"}, "padding is True, False or 'longest'"),
        ({"padding_side": "top"}, "side 'top'"),
        ({"return_tensors": "np"}, "return_tensors = 'np'"),
    ],
)
def test_options_that_are_not_supported(
    processor: Qwen3VLProcessor, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        processor("x", **options)


def test_unknown_arguments_are_a_type_error(processor: Qwen3VLProcessor) -> None:
    for name in ("truncation", "max_length", "image"):
        with pytest.raises(TypeError, match=name):
            processor("x", **{name: 1})  # type: ignore[arg-type]
    for method in (Qwen3VLProcessor.__call__, Qwen3VLProcessor.apply_chat_template):
        kinds = {parameter.kind for parameter in inspect.signature(method).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds


@pytest.mark.parametrize("text", [b"bytes", [], [b"x"], 5, None])
def test_text_must_be_text(processor: Qwen3VLProcessor, text: Any) -> None:
    with pytest.raises(InputError, match="text"):
        processor(text)


def test_counts_of_pictures_must_match(processor: Qwen3VLProcessor) -> None:
    with pytest.raises(InputError, match=r"has 1 .* for 2 images"):
        processor(MARK, [PICTURE, PICTURE])
    with pytest.raises(InputError, match=r"has 1 .* for 0 images"):
        processor(MARK)
    with pytest.raises(InputError, match=r"has 0 .* for 1 videos"):
        processor("x", videos=[video_frames(2)])
    with pytest.raises(InputError, match=r"text 1 has 1 .* for 0 images"):
        processor([MARK, MARK], [[PICTURE], []])


def test_a_placeholder_typed_by_a_user_is_not_taken_for_a_picture(
    processor: Qwen3VLProcessor,
) -> None:
    typed = {"type": "text", "text": "<|image_pad|>"}
    with pytest.raises(InputError, match=r"has 2 .* for 1 images"):
        processor.apply_chat_template(_ask(_image(), typed), tokenize=True)


def test_media_settings_of_a_call_and_of_a_part(processor: Qwen3VLProcessor) -> None:
    large = np.zeros((256, 256, 3), np.uint8)
    messages = _ask(_image(large), _image(large) | {"max_pixels": 8192})
    inputs = processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, max_pixels=16 * 1024
    )
    assert inputs.image_grid_thw.tolist() == [[1, 8, 8], [1, 4, 4]]
    film = _ask({"type": "video", "video": video_frames(12)})
    for options, frames in (({"fps": 12}, 6), ({"num_frames": 4}, 4), ({}, 4)):
        inputs = processor.apply_chat_template(film, tokenize=True, return_dict=True, **options)
        assert inputs.video_grid_thw[0, 0] == frames // 2
    inputs = processor.apply_chat_template(
        film, tokenize=True, return_dict=True, do_sample_frames=False, video_max_pixels=12 * 4096
    )
    assert inputs.video_grid_thw[0, 0] == 6


@pytest.mark.parametrize("options", [{"fps": 1}, {"padding": True}, {"return_dict": True}])
def test_settings_without_use_are_refused(
    processor: Qwen3VLProcessor, options: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="tokenize=True"):
        processor.apply_chat_template(_ask(TEXT), **options)


def test_counted_tokens_are_the_tokens(processor: Qwen3VLProcessor) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    PICTURE.resize((300, 100)).save(buffer, "JPEG", exif=exif)
    messages = _ask(_image(buffer.getvalue()), TEXT, {"type": "video", "video": video_file()})
    for options in ({}, {"max_pixels": 16 * 1024, "num_frames": 3}):
        count = processor.count_tokens(messages, options=MediaOptions(**options))  # type: ignore[arg-type]
        inputs = processor.apply_chat_template(
            messages, tokenize=True, return_dict=True, add_generation_prompt=True, **options
        )
        assert count.total == inputs.input_ids.shape[1]
        assert sum(count.images) == (inputs.mm_token_type_ids == 1).sum()
        assert sum(count.videos) == (inputs.mm_token_type_ids == 2).sum()
        assert count.text == (inputs.mm_token_type_ids == 0).sum()


def test_without_mm_token_type_ids(processor: Qwen3VLProcessor) -> None:
    assert list(processor("x", return_mm_token_type_ids=False)) == ["input_ids", "attention_mask"]


def test_limits_can_be_set_when_loading(folder: Path) -> None:
    processor = Qwen3VLProcessor.from_pretrained(
        folder,
        image_limits=ImageLimits(max_pixels=10),
        video_limits=VideoLimits(max_frames=1),
    )
    with pytest.raises(ImageError, match="limit of 10"):
        processor(MARK, PICTURE)
    assert processor.video_processor.limits.max_frames == 1


def test_a_processor_without_a_template(processor: Qwen3VLProcessor) -> None:
    bare = Qwen3VLProcessor(processor.tokenizer)
    assert bare.chat_template is None
    assert bare.image_processor.pixels.max_pixels == 16_777_216
    with pytest.raises(ChatError, match="no chat template"):
        bare.apply_chat_template(_ask(TEXT))


def test_pictures_and_videos_share_one_patch_size(processor: Qwen3VLProcessor) -> None:
    other = ImageProcessor.from_dict({"patch_size": 14})
    with pytest.raises(
        ConfigError, match="patch_size, merge_size and temporal_patch_size must agree"
    ):
        Qwen3VLProcessor(processor.tokenizer, other)


def test_saving_and_loading_again(processor: Qwen3VLProcessor, tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text('{"chat_template": "stale"}')
    (tmp_path / "processor_config.json").write_text('{"image_processor": {"patch_size": 1}}')
    processor.save_pretrained(tmp_path)
    again = Qwen3VLProcessor.from_pretrained(tmp_path)
    assert again.image_processor == processor.image_processor
    assert again.video_processor == processor.video_processor
    assert again.chat_template == processor.chat_template
    messages = _ask(_image(), TEXT)
    ours = processor.apply_chat_template(messages, tokenize=True)
    assert torch.equal(again.apply_chat_template(messages, tokenize=True), ours)
    assert not list(tmp_path.glob(".*"))


def test_a_failed_save_leaves_the_old_files(
    processor: Qwen3VLProcessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer.json").write_text("old")

    def fail(*_: object, **__: object) -> int:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(CheckpointError, match="disk full"):
        processor.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_folders_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no folder"):
        Qwen3VLProcessor.from_pretrained(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        Qwen3VLProcessor.from_pretrained(tmp_path)
    write_processor_folder(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"patchsize": 4}')
    with pytest.raises(ConfigError, match="patchsize"):
        Qwen3VLProcessor.from_pretrained(tmp_path)


def test_an_image_input_can_stand_for_a_picture(processor: Qwen3VLProcessor) -> None:
    inputs = processor(MARK, ImageInput(PICTURE, max_pixels=4096))
    assert inputs.image_grid_thw.tolist() == [[1, 4, 2]]


def test_importing_the_package_is_cheap_and_has_no_effect() -> None:
    code = "import sys, qwen3_vl.processing; print('torch' in sys.modules, 'PIL' in sys.modules)"
    source = str(template_path().parents[3])
    environment = os.environ | {"PYTHONPATH": source}
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert output.stdout.split() == ["False", "False"]


def test_decoding_takes_the_argument_that_transformers_users_write(folder: Path) -> None:
    processor = Qwen3VLProcessor.from_pretrained(folder)
    ids = processor("Hi there").input_ids
    assert processor.batch_decode(ids, clean_up_tokenization_spaces=False) == ["Hi there"]
    with pytest.raises(InputError, match="leave it False"):
        processor.decode(ids[0], clean_up_tokenization_spaces=True)
