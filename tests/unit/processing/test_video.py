"""Which frames of a video are used, how large, and at what time."""

from __future__ import annotations

import dataclasses
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qwen3_vl.errors import ConfigError, VideoError
from qwen3_vl.processing.video import (
    VideoInput,
    VideoLimits,
    VideoProcessor,
    smart_resize_video,
)
from tests.support.tiny_processor import image_settings, video_settings
from tests.support.tiny_videos import video_file, video_frames

OFFICIAL = VideoProcessor()
UNCAPPED = VideoProcessor(cap_pixels_per_frame=False)
TINY = VideoProcessor.from_dict(video_settings())


@given(st.integers(1, 5000), st.floats(0.5, 240), st.floats(0.1, 60))
def test_chosen_frames_rise_from_the_first_to_the_last(count: int, rate: float, fps: float) -> None:
    indices = OFFICIAL.frame_indices(count, rate, fps=fps)
    assert indices[0] == 0
    assert indices[-1] == count - 1 or len(indices) == 1
    assert indices == sorted(set(indices))
    assert min(count, 4) <= len(indices) <= 768


@pytest.mark.parametrize(
    ("count", "rate", "choice", "expected"),
    [
        (30, 10.0, {}, [0, 6, 12, 17, 23, 29]),  # 2 a second, 3 seconds
        (30, 10.0, {"fps": 1}, [0, 10, 19, 29]),  # at least 4
        (30, 10.0, {"num_frames": 3}, [0, 14, 29]),  # 14.5 rounds half to even
        (3, 10.0, {"num_frames": 9}, [0, 1, 2]),  # at most all
        (3, 10.0, {}, [0, 1, 2]),
        (1, 10.0, {}, [0]),
        (5, 10.0, {"do_sample_frames": False}, [0, 1, 2, 3, 4]),
    ],
)
def test_known_choices(
    count: int, rate: float, choice: dict[str, float], expected: list[int]
) -> None:
    assert OFFICIAL.frame_indices(count, rate, **choice) == expected  # type: ignore[arg-type]


def test_long_videos_stop_at_max_frames() -> None:
    assert len(OFFICIAL.frame_indices(100_000, 10.0)) == 768
    assert len(OFFICIAL.frame_indices(100_000, 10.0, num_frames=1000)) == 1000


def test_the_settings_choose_when_the_call_does_not() -> None:
    fixed = VideoProcessor(fps=None, num_frames=5)
    assert len(fixed.frame_indices(30, 10.0)) == 5
    assert len(fixed.frame_indices(30, 10.0, fps=2)) == 6
    assert len(VideoProcessor(fps=None).frame_indices(30, 10.0)) == 30
    assert len(VideoProcessor(do_sample_frames=False).frame_indices(30, 10.0)) == 30


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"fps": 1, "num_frames": 2}, "exclude each other"),
        ({"fps": 0}, "fps must be"),
        ({"fps": "x"}, "fps must be a number above 0, not 'x'"),
        ({"fps": float("nan")}, "fps must be"),
        ({"num_frames": 0}, "num_frames must be"),
        ({"num_frames": 2.5}, "num_frames must be"),
        ({"fps": 1, "do_sample_frames": False}, "leave do_sample_frames on"),
    ],
)
def test_wrong_choices_are_refused(choice: dict[str, float], text: str) -> None:
    with pytest.raises(VideoError, match=text):
        OFFICIAL.frame_indices(30, 10.0, **choice)  # type: ignore[arg-type]


def test_the_cap_bounds_the_tokens_of_a_frame() -> None:
    assert OFFICIAL.grid(4, 1080, 1920) == (2, 40, 72)  # 720 tokens of at most 768
    assert UNCAPPED.grid(4, 1080, 1920) == (2, 68, 120)  # nearly native
    assert OFFICIAL.grid(768, 1080, 1920) == UNCAPPED.grid(768, 1080, 1920)


def test_the_cap_leaves_each_frame_a_little_more_than_the_minimum() -> None:
    # 80 frames share 256 tokens; each still gets 1.05 x the minimum, and so a third column.
    assert TINY.frame_size(80, 100, 220) == (32, 96)


def test_the_limits_of_a_call_hold_for_all_frames_together() -> None:
    time, height, width = OFFICIAL.grid(8, 1080, 1920, max_pixels=8 * 100 * 1024)
    assert time == 4
    assert height * width // 4 <= 100


def test_frames_that_are_narrow_or_small() -> None:
    settings = {"temporal_factor": 2, "factor": 32, "min_pixels": 4096, "max_pixels": 10**7}
    assert smart_resize_video(4, 1, 100, **settings) == (32, 3200)
    assert smart_resize_video(4, 10, 20, **settings) == (32, 64)
    with pytest.raises(VideoError, match="too narrow"):
        smart_resize_video(4, 32, 6500, **settings)


def test_pixels_grids_and_times_of_a_file() -> None:
    pixels, grids, (plan,) = TINY([video_file()])
    assert grids.tolist() == [[3, 4, 6]]
    assert pixels.shape == (72, 1536)
    assert plan.indices == (0, 6, 12, 17, 23, 29)
    assert plan.timestamps == pytest.approx((0.3, 1.45, 2.6))
    brightness = pixels.view(3, -1).mean(1)
    assert brightness[0] < brightness[1] < brightness[2]


def test_the_last_frame_fills_an_odd_pair() -> None:
    frames = video_frames(3)
    odd, grids, (plan,) = TINY([VideoInput(frames, do_sample_frames=False)])
    even, _, _ = TINY([VideoInput([*frames, frames[-1]], do_sample_frames=False)])
    assert grids.tolist() == [[2, 4, 6]]
    assert torch.equal(odd, even)
    assert plan.timestamps == pytest.approx((0.5 / 24, 2 / 24))


def test_a_single_frame_is_a_video() -> None:
    pixels, grids, (plan,) = TINY([video_frames(1)])
    assert grids.tolist() == [[1, 4, 6]]
    assert plan.timestamps == (0.0,)
    frames = pixels.view(24, 3, 2, 256)
    assert torch.equal(frames[:, :, 0], frames[:, :, 1])
    assert TINY.grid(1, 300, 300) == TINY.grid(2, 300, 300) == (1, 18, 18)


def test_frames_with_their_own_rate_are_timed_by_it() -> None:
    video = VideoInput(video_frames(8), frame_rate=2, do_sample_frames=False)
    assert TINY.measure(video).timestamps == (0.25, 1.25, 2.25, 3.25)


def test_a_video_of_one_picture_is_that_picture_each_time() -> None:
    frame = np.full((64, 64, 3), 255, np.uint8)
    pixels, _, _ = TINY([[frame] * 4])
    assert (pixels == 1).all()


def test_measuring_equals_preparing() -> None:
    data = video_file(count=20)
    video = VideoInput(data, num_frames=5, max_pixels=5 * 4096)
    _, grids, (plan,) = TINY([video])
    assert TINY.measure(video) == plan
    assert grids.tolist() == [list(plan.grid)]


def test_full_size_frames_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import qwen3_vl.processing.video as module

    seen: list[weakref.ref[torch.Tensor]] = []
    alive = []
    original = module.resize

    def watched(frame: torch.Tensor, height: int, width: int) -> torch.Tensor:
        seen.append(weakref.ref(frame))
        alive.append(sum(ref() is not None for ref in seen))
        return original(frame, height, width)

    monkeypatch.setattr(module, "resize", watched)
    TINY([VideoInput(video_file(), num_frames=20, max_pixels=20 * 2048)])
    assert len(seen) == 20
    assert max(alive) <= 2


def test_no_videos_are_refused() -> None:
    with pytest.raises(VideoError, match="no videos"):
        TINY([])


def test_without_resize_the_sides_must_fit() -> None:
    exact = VideoProcessor.from_dict(video_settings() | {"do_resize": False})
    assert exact([video_frames(4)])[1].tolist() == [[2, 4, 6]]
    with pytest.raises(VideoError, match="multiple of 32"):
        exact([np.zeros((4, 33, 64, 3), np.uint8)])


def test_settings_come_from_any_of_three_files(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(image_settings()))
    assert VideoProcessor.from_folder(tmp_path).pixels.max_pixels == 64 * 1024
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(video_settings()))
    assert VideoProcessor.from_folder(tmp_path) == TINY
    nested = {"video_processor": video_settings() | {"fps": 4, "cap_pixels_per_frame": False}}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    loaded = VideoProcessor.from_folder(tmp_path)
    assert (loaded.fps, loaded.cap_pixels_per_frame) == (4, False)


@pytest.mark.parametrize("processor", [TINY, VideoProcessor(fps=None, num_frames=9)])
def test_settings_are_written_back(processor: VideoProcessor) -> None:
    assert VideoProcessor.from_dict(json.loads(json.dumps(processor.to_dict()))) == processor


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"frames": 5}, "unknown setting 'frames'"),
        ({"num_frames": 5}, "exclude each other"),
        ({"min_frames": 900}, "min_frames"),
        ({"max_video_tokens": 0}, "max_video_tokens"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, int], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        VideoProcessor.from_dict(video_settings() | changes)


def test_limits_reach_the_loader() -> None:
    strict = TINY.with_limits(VideoLimits(max_frames=2))
    assert TINY.with_limits(None) is TINY
    assert dataclasses.replace(strict, limits=TINY.limits) == TINY
    with pytest.raises(VideoError, match="limit of 2"):
        strict([video_frames(3)])
