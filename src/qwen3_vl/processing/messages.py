"""Chat messages: checks them, finds their pictures and videos, and strips them to plain JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qwen3_vl.errors import ChatError
from qwen3_vl.processing.image import ImageInput
from qwen3_vl.processing.video import VideoInput

Message = Mapping[str, Any]
Conversation = Sequence[Message]

ROLES = ("system", "user", "assistant", "tool")

# For each kind of part: the keys its source may stand under, and the settings it may carry.
_SOURCE_KEYS = {
    "image": ("image", "url", "path", "image_url", "base64"),
    "video": ("video", "url", "path", "video_url"),
}
_SETTING_KEYS = {
    "image": ("min_pixels", "max_pixels"),
    "video": ("frame_rate", "fps", "num_frames", "do_sample_frames", "min_pixels", "max_pixels"),
}
_KINDS = {
    "text": "text",
    "image": "image",
    "image_url": "image",
    "video": "video",
    "video_url": "video",
}


@dataclass(frozen=True)
class Media:
    """The pictures and the videos of one conversation, each in the order of their placeholders."""

    images: tuple[ImageInput, ...] = ()
    videos: tuple[VideoInput, ...] = ()


def collect_media(messages: Conversation) -> Media:
    """Find every picture and video, in the order in which the template writes placeholders.

    A picture is `{"type": "image", "image"|"url"|"path"|"base64": ...}` or, as OpenAI writes it,
    `{"type": "image_url", "image_url": {"url": ...}}`; a video `{"type": "video", "video": ...}`.
    Parts of tool messages count too. A part may carry its own `min_pixels`, `max_pixels`, and a
    video also `fps`, `num_frames`, `do_sample_frames`, `frame_rate`.
    """
    images, videos = [], []
    for where, kind, part in _media_parts(messages):
        settings = {key: part[key] for key in _SETTING_KEYS[kind] if key in part}
        source = _source(part, kind, where)
        if kind == "image":
            images.append(ImageInput(source, **settings))
        else:
            videos.append(VideoInput(source, **settings))
    return Media(tuple(images), tuple(videos))


def plain_messages(messages: Conversation) -> list[dict[str, Any]]:
    """Checked messages as the template sees them: JSON values only, pictures as bare marks."""
    check_messages(messages)
    return [_plain_message(message, f"messages[{n}]") for n, message in enumerate(messages)]


def check_messages(messages: Conversation) -> None:
    """Raise ChatError, naming the place, for messages that do not form a conversation."""
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence):
        raise ChatError("messages must be a list of {'role': ..., 'content': ...}")
    if not messages:
        raise ChatError("messages is empty; give at least one message")
    for n, message in enumerate(messages):
        _check_message(message, n)


def _check_message(message: Message, n: int) -> None:
    where = f"messages[{n}]"
    if not isinstance(message, Mapping):
        raise ChatError(f"{where} must be a dict, not {type(message).__name__}")
    role = message.get("role")
    if role not in ROLES:
        raise ChatError(f"{where} has role {role!r}; allowed are {', '.join(ROLES)}")
    if role == "system" and n > 0:
        raise ChatError(f"{where}: a system message is only possible at the start")
    content = message.get("content")
    if content is None:
        if role == "assistant" and message.get("tool_calls"):
            return
        raise ChatError(f"{where} has no content; give a str or a list of parts")
    if isinstance(content, str):
        return
    if isinstance(content, (bytes, Mapping)) or not isinstance(content, Sequence):
        raise ChatError(
            f"{where}.content must be a str or a list of parts, not {type(content).__name__}"
        )
    for m, part in enumerate(content):
        kind = _check_part(part, f"{where}.content[{m}]")
        if kind != "text" and role not in ("user", "tool"):
            raise ChatError(
                f"{where}.content[{m}]: no {kind} is possible in a message of role {role}; "
                "put it into a user or a tool message"
            )


def _check_part(part: Any, where: str) -> str:
    if not isinstance(part, Mapping) or part.get("type") not in _KINDS:
        given = part.get("type") if isinstance(part, Mapping) else part
        raise ChatError(
            f"{where} must be a dict whose type is one of {', '.join(_KINDS)}, not {given!r:.80}"
        )
    kind = _KINDS[part["type"]]
    allowed = ("text",) if kind == "text" else _SOURCE_KEYS[kind] + _SETTING_KEYS[kind]
    for key in part:
        if key != "type" and key not in allowed:
            raise ChatError(f"{where} has an unknown key {key!r}; allowed are {', '.join(allowed)}")
    if kind == "text" and not isinstance(part.get("text"), str):
        raise ChatError(f"{where}.text must be a str, not {type(part.get('text')).__name__}")
    return kind


def _media_parts(messages: Conversation) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(place, kind, part) of each picture and video."""
    check_messages(messages)
    for n, message in enumerate(messages):
        content = message.get("content")
        if content is None or isinstance(content, str):
            continue
        for m, part in enumerate(content):
            if _KINDS[part["type"]] != "text":
                yield f"messages[{n}].content[{m}]", _KINDS[part["type"]], part


def _source(part: Mapping[str, Any], kind: str, where: str) -> Any:
    given = [key for key in _SOURCE_KEYS[kind] if part.get(key) is not None]
    if len(given) != 1:
        raise ChatError(
            f"{where} needs its {kind} under exactly one of {', '.join(_SOURCE_KEYS[kind])}; "
            f"it has {', '.join(given) or 'none'}"
        )
    value = part[given[0]]
    if given[0] == "base64":
        return f"data:;base64,{value}"
    if given[0] in ("image_url", "video_url") and isinstance(value, Mapping):
        return _openai_url(value, where)
    return value


def _openai_url(value: Mapping[str, Any], where: str) -> str:
    unknown = set(value) - {"url", "detail"}
    if unknown or not isinstance(value.get("url"), str):
        raise ChatError(f"{where} must hold a url (str) and nothing else, not {sorted(value)}")
    if value.get("detail") not in (None, "auto"):
        raise ChatError(
            f"{where}: detail = {value['detail']!r} is not supported; leave it out, and set the "
            "size with min_pixels and max_pixels"
        )
    return value["url"]


def _plain_message(message: Message, where: str) -> dict[str, Any]:
    plain = {
        key: plain_value(value, f"{where}.{key}")
        for key, value in message.items()
        if key != "content" and value is not None
    }
    content = message.get("content")
    if isinstance(content, str):
        plain["content"] = content
    elif content is not None:
        plain["content"] = [_plain_part(part) for part in content]
    reasoning = plain.get("reasoning_content", plain.get("reasoning", plain.get("thinking")))
    return plain if reasoning is None else plain | {"reasoning_content": reasoning}


def _plain_part(part: Mapping[str, Any]) -> dict[str, str]:
    kind = _KINDS[part["type"]]
    return {"type": kind, "text": part["text"]} if kind == "text" else {"type": kind}


def plain_value(value: Any, where: str) -> Any:
    """A copy made of JSON values only: no object with methods may reach the template."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain_value(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item, f"{where}[{n}]") for n, item in enumerate(value)]
    raise ChatError(f"{where} must hold JSON values, not a {type(value).__name__}")
