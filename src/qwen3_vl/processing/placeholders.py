"""Writes as many placeholder tokens into a prompt as its pictures and videos will fill."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qwen3_vl.errors import InputError
from qwen3_vl.processing.image import Grid
from qwen3_vl.processing.video import VideoPlan

IMAGE_PAD = "<|image_pad|>"
VIDEO_PAD = "<|video_pad|>"
VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"


def check_counts(
    texts: Sequence[str], token: str, name: str, total: int, per_text: Sequence[int] | None
) -> None:
    """Every placeholder needs its picture or video, and the other way round."""
    found = [text.count(token) for text in texts]
    if per_text is None:
        if sum(found) != total:
            raise _miscounted("the prompt", sum(found), token, total, name)
        return
    if len(per_text) != len(texts):
        raise InputError(f"{len(per_text)} lists of {name} were given for {len(texts)} texts")
    for place, (marks, given) in enumerate(zip(found, per_text, strict=True)):
        if marks != given:
            raise _miscounted(f"text {place}", marks, token, given, name)


def _miscounted(where: str, marks: int, token: str, given: int, name: str) -> InputError:
    return InputError(
        f"{where} has {marks} {token} for {given} {name}; there must be one for each. The token is "
        "reserved, and text is not escaped: if your words hold it, take it out"
    )


def expand(
    texts: Sequence[str], images: Sequence[Grid], videos: Sequence[VideoPlan], merge_size: int
) -> list[str]:
    """Repeat each placeholder once per token; a video becomes a row of frames with their times."""
    pictures = iter(images)
    films = iter(videos)

    def replacement(match: re.Match[str]) -> str:
        if match.group() == IMAGE_PAD:
            return IMAGE_PAD * tokens_per_frame(next(pictures), merge_size)
        return _video_text(next(films), merge_size)

    pattern = re.compile(f"{re.escape(IMAGE_PAD)}|{re.escape(VIDEO_PAD)}")
    return [pattern.sub(replacement, text) for text in texts]


def tokens_per_frame(grid: Grid, merge_size: int) -> int:
    """Tokens of one temporal patch: its patches, merged `merge_size` by `merge_size`."""
    return grid[1] * grid[2] // merge_size**2


def _video_text(plan: VideoPlan, merge_size: int) -> str:
    # The template's own start and end stay around this, as transformers keeps them since 5.10.
    frame = VISION_START + VIDEO_PAD * tokens_per_frame(plan.grid, merge_size) + VISION_END
    return "".join(f"<{seconds:.1f} seconds>{frame}" for seconds in plan.timestamps)
