"""What forms a conversation, and which pictures and videos are in it."""

from __future__ import annotations

import pytest

from qwen3_vl.errors import ChatError
from qwen3_vl.processing.image import ImageInput
from qwen3_vl.processing.messages import check_messages, collect_media, plain_messages
from qwen3_vl.processing.video import VideoInput


def _user(*parts: object) -> dict[str, object]:
    return {"role": "user", "content": list(parts)}


def test_media_are_found_in_template_order_also_in_tool_messages() -> None:
    messages = [
        _user({"type": "image", "image": "1"}, {"type": "video", "video": "a"}),
        {"role": "assistant", "content": "hm"},
        {"role": "tool", "content": [{"type": "image", "url": "2"}, {"type": "text", "text": "t"}]},
        _user({"type": "video", "path": "b"}, {"type": "image", "path": "3"}),
    ]
    media = collect_media(messages)
    assert [image.source for image in media.images] == ["1", "2", "3"]
    assert [video.source for video in media.videos] == ["a", "b"]


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ({"type": "image", "image": "x"}, "x"),
        ({"type": "image", "image_url": {"url": "x"}}, "x"),
        ({"type": "image_url", "image_url": {"url": "x", "detail": "auto"}}, "x"),
        ({"type": "image_url", "image_url": "x"}, "x"),
        ({"type": "image", "base64": "QUJD"}, "data:;base64,QUJD"),
        ({"type": "image", "image": "x", "url": None}, "x"),
    ],
)
def test_ways_to_write_a_picture(part: dict[str, object], source: str) -> None:
    assert collect_media([_user(part)]).images == (ImageInput(source),)


def test_video_url_and_settings_of_a_part() -> None:
    parts = (
        {"type": "image", "image": "x", "min_pixels": 1, "max_pixels": 2},
        {"type": "video_url", "video_url": {"url": "v"}},
        {"type": "video", "video": ["a", "b"], "frame_rate": 2, "num_frames": 1},
    )
    media = collect_media([_user(*parts)])
    assert media.images == (ImageInput("x", 1, 2),)
    assert media.videos == (VideoInput("v"), VideoInput(["a", "b"], frame_rate=2, num_frames=1))


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ("hello", "messages must be a list"),
        ({"role": "user"}, "messages must be a list"),
        ([], "messages is empty"),
        (["hello"], r"messages\[0\] must be a dict, not str"),
        ([{"content": "x"}], r"messages\[0\] has role None; allowed are system"),
        ([_user(), {"role": "bot", "content": "x"}], r"messages\[1\] has role 'bot'"),
        ([_user(), {"role": "system", "content": "x"}], r"messages\[1\]: a system message"),
        ([{"role": "user"}], r"messages\[0\] has no content"),
        ([{"role": "assistant"}], r"messages\[0\] has no content"),
        ([{"role": "user", "content": 5}], r"messages\[0\]\.content must be"),
        ([_user("x")], r"messages\[0\]\.content\[0\] must be a dict whose type.*'x'"),
        ([_user({"text": "x"})], r"content\[0\] must be a dict whose type is one of text, image"),
        ([_user({"type": "sound"})], r"content\[0\] must be a dict.*'sound'"),
        ([_user({"type": "text", "text": "a"}, {"type": "text"})], r"content\[1\]\.text must be"),
        ([_user({"type": "text", "text": "a", "image": "b"})], r"content\[0\] has an unknown key"),
        ([_user({"type": "image", "image": "a", "size": 1})], "unknown key 'size'; allowed are"),
        (
            [{"role": "assistant", "content": [{"type": "image", "image": "x"}]}],
            r"content\[0\]: no image is possible in a message of role assistant",
        ),
    ],
)
def test_wrong_messages_name_the_place(messages: object, text: str) -> None:
    with pytest.raises(ChatError, match=text):
        check_messages(messages)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "image"}, r"content\[0\] needs its image under exactly one of .* it has none"),
        ({"type": "image", "image": "a", "url": "b"}, "it has image, url"),
        ({"type": "image_url", "image_url": {}}, "must hold a url"),
        ({"type": "image_url", "image_url": {"url": "a", "format": "b"}}, "must hold a url"),
        ({"type": "image_url", "image_url": {"url": "a", "detail": "low"}}, "detail = 'low'"),
    ],
)
def test_media_without_one_clear_source_are_refused(part: dict[str, object], text: str) -> None:
    with pytest.raises(ChatError, match=text):
        collect_media([_user(part)])


def test_the_template_sees_plain_values_only() -> None:
    picture = object()
    call = {"function": {"name": "f", "arguments": {"x": (1, 2)}}}
    messages = [
        _user({"type": "image", "image": picture}, {"type": "text", "text": "hi"}),
        {"role": "assistant", "content": None, "tool_calls": [call], "name": None},
    ]
    assert plain_messages(messages) == [
        _user({"type": "image"}, {"type": "text", "text": "hi"}),
        {
            "role": "assistant",
            "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1, 2]}}}],
        },
    ]


def test_values_that_are_not_json_are_named() -> None:
    message = {"role": "user", "content": "x", "extra": [{"when": object()}]}
    with pytest.raises(ChatError, match=r"messages\[0\]\.extra\[0\]\.when must hold JSON"):
        plain_messages([message])


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_has_one_name_in_the_template(name: str) -> None:
    message = {"role": "assistant", "content": "x", name: "because"}
    assert plain_messages([message])[0]["reasoning_content"] == "because"
