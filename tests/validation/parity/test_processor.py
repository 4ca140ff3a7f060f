"""Our processor against transformers' own, both loaded from the same folder: equal to the bit.

Where the two differ on purpose, a test at the end says how.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qwen3_vl.errors import VideoError
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.processing.video import VideoInput
from tests.support.tiny_processor import write_processor_folder
from tests.support.tiny_videos import video_file, video_frames

VISION = "<|vision_start|><|{}_pad|><|vision_end|>"
PICTURE, VIDEO = VISION.format("image"), VISION.format("video")
WORDS = "naïve 你好 😀  it's 1234\n\n\tx <tool_call>{}</tool_call> <|im_end|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_processor_folder(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def ours(folder: Path) -> Qwen3VLProcessor:
    return Qwen3VLProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def uncapped(ours: Qwen3VLProcessor) -> Qwen3VLProcessor:
    videos = dataclasses.replace(ours.video_processor, cap_pixels_per_frame=False)
    return Qwen3VLProcessor(ours.tokenizer, ours.image_processor, videos, ours.chat_template)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    from transformers import Qwen3VLProcessor as Reference

    return Reference.from_pretrained(folder)


def _picture(height: int, width: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def _assert_equal(ours: Any, theirs: Any) -> None:
    assert list(ours) == list(theirs)
    for name in theirs:
        assert ours[name].dtype == theirs[name].dtype, name
        assert torch.equal(ours[name], theirs[name]), name


def _file_for_reference(
    data: bytes, theirs: Any, **sampling: Any
) -> tuple[list[np.ndarray], list[Any]]:
    """What transformers makes of a file through PyAV: sampled frames, and where they stood."""
    from transformers.video_utils import read_video_pyav

    def choose(metadata: Any) -> Any:
        defaults = {} if sampling else {"fps": theirs.video_processor.fps}
        return theirs.video_processor.sample_frames(metadata, **(sampling or defaults))

    frames, metadata = read_video_pyav(io.BytesIO(data), choose)
    return [frames], [metadata]


def test_text_alone(ours: Qwen3VLProcessor, theirs: Any) -> None:
    for text in ("", "hi", WORDS, PICTURE.replace("image", "vision")):
        if text:
            _assert_equal(ours(text), theirs(text=[text], return_tensors="pt"))
        rows = ours(text, return_tensors=None)
        assert rows.input_ids == theirs(text=[text]).input_ids


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_of_mixed_lengths(ours: Qwen3VLProcessor, theirs: Any, side: Any) -> None:
    texts = ["short", WORDS, f"{PICTURE} and {PICTURE}", f"see {PICTURE}"]
    pictures = [_picture(64, 64, 1), _picture(64, 64, 2), _picture(200, 90, 3)]
    options = {"padding": True, "padding_side": side, "return_tensors": "pt"}
    _assert_equal(ours(texts, pictures, **options), theirs(text=texts, images=pictures, **options))


SIZES = [
    [(96, 96)],
    [(64, 128), (64, 128)],
    [(64, 128), (128, 64), (64, 128)],
    [(1, 1)],
    [(1, 200), (200, 1)],
    [(33, 47), (479, 641), (1000, 31)],
    [(272, 272), (304, 304), (240, 368)],
    [(1500, 2000)],
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_pictures_of_many_sizes(
    ours: Qwen3VLProcessor, theirs: Any, sizes: list[tuple[int, int]]
) -> None:
    pictures = [_picture(*size, seed) for seed, size in enumerate(sizes)]
    text = WORDS.join([PICTURE] * len(sizes))
    _assert_equal(ours(text, pictures), theirs(text=[text], images=pictures, return_tensors="pt"))


def _palette() -> Image.Image:
    return _picture(70, 90).quantize(16)


def _cut_out(image: Image.Image) -> Image.Image:
    transparency = Image.linear_gradient("L").resize(image.size)
    image = image.copy()
    image.putalpha(transparency)
    return image


@pytest.mark.parametrize(
    "picture",
    [
        _palette(),
        _picture(70, 90).convert("L"),
        _picture(70, 90).convert("1"),
        _picture(70, 90).convert("CMYK"),
        _cut_out(_picture(70, 90)),
        _cut_out(_picture(70, 90).convert("L")),
        np.array(_picture(70, 90)),
        np.array(_picture(70, 90).convert("L"))[:, :, None],
    ],
    ids=["palette", "grey", "bits", "cmyk", "rgba", "grey alpha", "array", "grey array"],
)
def test_kinds_of_pictures(ours: Qwen3VLProcessor, theirs: Any, picture: Any) -> None:
    reference = theirs(text=[PICTURE], images=[picture], return_tensors="pt")
    _assert_equal(ours(PICTURE, [picture]), reference)


def test_limits_of_a_call(ours: Qwen3VLProcessor, theirs: Any) -> None:
    picture = _picture(300, 500)
    size = {"shortest_edge": 1024, "longest_edge": 20_000}
    reference = theirs(text=[PICTURE], images=[picture], size=size, return_tensors="pt")
    _assert_equal(ours(PICTURE, picture, min_pixels=1024, max_pixels=20_000), reference)


@pytest.mark.parametrize("count", [2, 3, 5, 12, 30, 61])
@pytest.mark.parametrize("cap", [True, False])
def test_lists_of_frames(
    ours: Qwen3VLProcessor, uncapped: Qwen3VLProcessor, theirs: Any, count: int, cap: bool
) -> None:
    frames = [_picture(90, 130, seed) for seed in range(count)]
    reference = theirs(text=[VIDEO], videos=[frames], cap_pixels_per_frame=cap, return_tensors="pt")
    _assert_equal((ours if cap else uncapped)(VIDEO, videos=[frames]), reference)


@pytest.mark.parametrize("cap", [True, False])
@pytest.mark.parametrize(
    "shape", [(5, 16, 20), (5, 40, 300), (5, 700, 500), (5, 20, 3900), (80, 100, 220)]
)
def test_frames_of_many_sizes(
    ours: Qwen3VLProcessor, uncapped: Qwen3VLProcessor, theirs: Any, shape: Any, cap: bool
) -> None:
    frames = [_picture(*shape[1:], seed) for seed in range(shape[0])]
    reference = theirs(
        text=[VIDEO],
        videos=[frames],
        do_sample_frames=False,
        cap_pixels_per_frame=cap,
        return_tensors="pt",
    )
    processor = ours if cap else uncapped
    _assert_equal(processor(VIDEO, videos=[frames], do_sample_frames=False), reference)


@pytest.mark.parametrize("sampling", [{}, {"fps": 5}, {"fps": 0.1}, {"num_frames": 7}], ids=str)
def test_a_video_file(ours: Qwen3VLProcessor, theirs: Any, sampling: Any, tmp_path: Path) -> None:
    data = video_file(count=34, rate=12)
    (tmp_path / "a.mp4").write_bytes(data)
    videos, metadata = _file_for_reference(data, theirs, **sampling)
    reference = theirs(
        text=[f"{WORDS}{VIDEO}x"],
        videos=videos,
        video_metadata=metadata,
        do_sample_frames=False,
        cap_pixels_per_frame=True,
        return_tensors="pt",
    )
    prepared = ours(f"{WORDS}{VIDEO}x", videos=tmp_path / "a.mp4", **sampling)
    _assert_equal(prepared, reference)


def test_videos_and_pictures_of_several_texts(ours: Qwen3VLProcessor, theirs: Any) -> None:
    texts = [f"{PICTURE}{VIDEO}", "none", f"{VIDEO} then {PICTURE}{PICTURE}"]
    pictures = [[_picture(64, 64, 1)], [], [_picture(64, 64, 2), _picture(50, 200, 3)]]
    videos = [[video_frames(9)], [], [video_frames(40)]]
    reference = theirs(
        text=list(texts),
        images=pictures,
        videos=[videos[0][0], videos[2][0]],
        padding=True,
        cap_pixels_per_frame=True,
        return_tensors="pt",
    )
    _assert_equal(ours(texts, pictures, videos, padding=True), reference)


TOOLS = [{"type": "function", "function": {"name": "look", "description": "<é> & 'x'"}}]


def _conversation() -> list[dict[str, Any]]:
    picture = {"type": "image", "image": _picture(64, 96, 1)}
    call = {"type": "function", "function": {"name": "look", "arguments": {"where": "ü<"}}}
    return [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [picture, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {
            "role": "tool",
            "content": [
                {"type": "text", "text": "seen:"},
                {"type": "image", "image": _picture(120, 40, 2)},
            ],
        },
        {"role": "tool", "content": "nothing"},
        {"role": "user", "content": [{"type": "video", "video": video_frames(30)}, picture]},
    ]


@pytest.mark.parametrize("vision_id", [False, True])
@pytest.mark.parametrize("tools", [None, TOOLS], ids=["no tools", "tools"])
def test_a_conversation_with_everything(
    ours: Qwen3VLProcessor, theirs: Any, tools: Any, vision_id: bool
) -> None:
    options = {"tools": tools, "add_generation_prompt": True, "add_vision_id": vision_id}
    prompt = ours.apply_chat_template(_conversation(), **options)
    assert prompt == theirs.apply_chat_template(_conversation(), **options)
    reference = theirs.apply_chat_template(
        _conversation(),
        **options,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"cap_pixels_per_frame": True},
    )
    _assert_equal(
        ours.apply_chat_template(_conversation(), **options, tokenize=True, return_dict=True),
        reference,
    )


def test_a_batch_of_conversations(ours: Qwen3VLProcessor, theirs: Any) -> None:
    batch = [_conversation()[:2], _conversation()[:2] + _conversation()[2:5]]
    assert ours.apply_chat_template(batch) == theirs.apply_chat_template(batch)
    reference = theirs.apply_chat_template(
        batch,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left"},
    )
    prepared = ours.apply_chat_template(
        batch, tokenize=True, return_dict=True, padding=True, padding_side="left"
    )
    _assert_equal(prepared, reference)


def test_the_defaults_of_the_call_are_the_same(theirs: Any) -> None:
    own = inspect.signature(Qwen3VLProcessor.apply_chat_template).parameters
    reference = inspect.signature(type(theirs).apply_chat_template).parameters
    shared = (set(own) & set(reference)) - {"self", "return_tensors"}
    assert {"tools", "add_generation_prompt", "tokenize", "return_dict"} <= shared
    for name in shared:
        assert own[name].default == reference[name].default, name


def test_decoding(ours: Qwen3VLProcessor, theirs: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, len(ours.tokenizer), (40, 12), generator=generator)
    for skip in (False, True):
        expected = theirs.batch_decode(ids, skip_special_tokens=skip)
        assert ours.batch_decode(ids, skip_special_tokens=skip) == expected
        assert ours.decode(ids[0], skip_special_tokens=skip) == expected[0]


def test_what_we_save_they_can_load(ours: Qwen3VLProcessor, theirs: Any, tmp_path: Path) -> None:
    ours.save_pretrained(tmp_path)
    reference = type(theirs).from_pretrained(tmp_path)
    pictures = [_picture(64, 96)]
    _assert_equal(
        ours(PICTURE, pictures), reference(text=[PICTURE], images=pictures, return_tensors="pt")
    )
    assert reference.chat_template == ours.chat_template
    assert reference.video_processor.cap_pixels_per_frame is True


def test_what_they_save_we_can_load(ours: Qwen3VLProcessor, theirs: Any, tmp_path: Path) -> None:
    theirs.save_pretrained(tmp_path)
    again = Qwen3VLProcessor.from_pretrained(tmp_path)
    assert again.image_processor == ours.image_processor
    assert again.video_processor == ours.video_processor
    assert again.chat_template == ours.chat_template
    assert again.tokenizer.encode(WORDS) == ours.tokenizer.encode(WORDS)


# Differences on purpose.


def test_different_the_cap_per_frame_is_on_unless_the_checkpoint_says_no(
    ours: Qwen3VLProcessor, theirs: Any
) -> None:
    # transformers announced this default and still warns; qwen-vl-utils has always capped.
    assert theirs.video_processor.cap_pixels_per_frame is None
    assert ours.video_processor.cap_pixels_per_frame is True


def test_different_a_photo_in_memory_is_turned_upright_too(
    ours: Qwen3VLProcessor, theirs: Any
) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    _picture(64, 128).save(buffer, "PNG", exif=exif)
    photo = Image.open(buffer)
    photo.load()
    assert theirs(text=[PICTURE], images=[photo])["image_grid_thw"].tolist() == [[1, 4, 8]]
    assert ours(PICTURE, photo).image_grid_thw.tolist() == [[1, 8, 4]]


def test_different_sixteen_bits_are_scaled_not_cut(ours: Qwen3VLProcessor, theirs: Any) -> None:
    deep = Image.fromarray(np.full((64, 64), 257 * 100, np.uint16))
    assert ours(PICTURE, deep).pixel_values.mean().item() == pytest.approx(100 / 127.5 - 1)
    reference = theirs(text=[PICTURE], images=[deep], return_tensors="pt")
    assert reference.pixel_values.mean().item() == pytest.approx(1.0)


def test_different_arrays_with_transparency_round_like_pictures(
    ours: Qwen3VLProcessor, theirs: Any
) -> None:
    picture = _cut_out(_picture(70, 90))
    ours_array = ours(PICTURE, np.asarray(picture)).pixel_values
    assert torch.equal(ours_array, ours(PICTURE, picture).pixel_values)
    reference = theirs(text=[PICTURE], images=[np.array(picture)], return_tensors="pt")
    assert (ours_array - reference.pixel_values).abs().max() <= 3.5 / 127.5  # three grey levels


def test_different_a_single_frame_is_a_video(ours: Qwen3VLProcessor, theirs: Any) -> None:
    assert ours(VIDEO, videos=[video_frames(1)]).video_grid_thw.tolist() == [[1, 4, 6]]
    with pytest.raises(ValueError, match="temporal_factor"):
        theirs(text=[VIDEO], videos=[video_frames(1)], cap_pixels_per_frame=True)


def test_different_frames_are_never_used_twice(ours: Qwen3VLProcessor) -> None:
    video = VideoInput(video_frames(3), num_frames=8)
    assert ours.video_processor.measure(video).indices == (0, 1, 2)


def test_different_fps_and_do_sample_frames_contradict(ours: Qwen3VLProcessor) -> None:
    with pytest.raises(VideoError, match="do_sample_frames"):
        ours(VIDEO, videos=[video_frames(3)], fps=1, do_sample_frames=False)
