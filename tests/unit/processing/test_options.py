"""How the settings of a call meet those of a single picture or video."""

from __future__ import annotations

from qwen3_vl.processing.image import ImageInput
from qwen3_vl.processing.options import MediaOptions
from qwen3_vl.processing.video import VideoInput

OPTIONS = MediaOptions(min_pixels=1, max_pixels=2, fps=3.0, video_min_pixels=4, video_max_pixels=5)


def test_a_bare_source_takes_all_settings_of_the_call() -> None:
    assert OPTIONS.image("x") == ImageInput("x", 1, 2)
    assert OPTIONS.video("x") == VideoInput("x", fps=3.0, min_pixels=4, max_pixels=5)


def test_settings_of_a_single_picture_win_one_by_one() -> None:
    assert OPTIONS.image(ImageInput("x", max_pixels=9)) == ImageInput("x", 1, 9)
    assert OPTIONS.video(VideoInput("x", min_pixels=9)).min_pixels == 9


def test_the_sampling_of_a_single_video_wins_as_a_whole() -> None:
    for own in (VideoInput("x", num_frames=9), VideoInput("x", do_sample_frames=False)):
        video = OPTIONS.video(own)
        assert (video.fps, video.num_frames) == (None, own.num_frames)
        assert video.do_sample_frames == own.do_sample_frames


def test_no_options_change_nothing() -> None:
    video = VideoInput("x", frame_rate=2, fps=1)
    assert MediaOptions().video(video) == video
    assert MediaOptions().image(ImageInput("x", 3)) == ImageInput("x", 3)
