"""Videos from files and from lists of frames, and everything that may be wrong with them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from qwen3_vl.errors import DependencyError, VideoError
from qwen3_vl.processing.video_loading import VideoFile, VideoLimits, open_video
from tests.support.tiny_videos import HEIGHT, WIDTH, sound_file, turned, video_file, video_frames

FILE = video_file()


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp4", "mpeg4"), ("matroska", "mpeg4"), ("webm", "libvpx"), ("avi", "mpeg4")],
)
def test_containers(container: str, codec: str) -> None:
    data = video_file(count=12, container=container, codec=codec)
    with open_video(data) as video:
        assert (video.frame_count, video.frame_rate) == (12, 10.0)
        assert (video.height, video.width) == (HEIGHT, WIDTH)
        frames = list(video.frames([0, 5, 11]))
    for frame, original in zip(frames, (0, 5, 11), strict=True):
        expected = torch.from_numpy(video_frames(12)[original]).permute(2, 0, 1)
        assert (frame[:, 40:] - expected[:, 40:].float()).abs().mean() < 8


def test_every_source_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(FILE)
    for source in (path, str(path), path.as_uri(), FILE, io.BytesIO(FILE)):
        with open_video(source) as video:
            assert video.frame_count == 30
            assert next(video.frames([29])).shape == (3, HEIGHT, WIDTH)


def test_a_file_can_be_read_twice_and_is_closed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(FILE)
    with open_video(path) as video:
        assert torch.equal(next(video.frames([3])), next(video.frames([3])))
        assert isinstance(video, VideoFile)
        stream = video._stream
    assert stream.closed


def test_only_the_wanted_frames_are_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    import qwen3_vl.processing.video_loading as module

    converted = []
    original = module._upright
    monkeypatch.setattr(module, "_upright", lambda f: converted.append(f) or original(f))
    with open_video(FILE) as video:
        assert len(list(video.frames([0, 10, 20]))) == 3
    assert len(converted) == 1 + 3  # the first frame gives the size


def test_a_phone_video_is_turned_upright() -> None:
    with open_video(turned(FILE)) as video:
        assert (video.height, video.width) == (WIDTH, HEIGHT)
        red = next(video.frames([0]))[0]
    assert red[10, -10] > 200  # top left in the file, top right when shown
    assert max(red[10, 10], red[-10, -10], red[-10, 10]) < 50


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "cannot read 0 bytes as a video"),
        (b"hello" * 99, "cannot read 495 bytes as a video"),
        (sound_file(), "no video stream"),
        (b"#EXTM3U\n#EXTINF:5,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n", "cannot read"),
        (b"ffconcat version 1.0\nfile '/etc/hostname'\n", "cannot read"),
    ],
)
def test_what_is_no_video_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(VideoError, match=text), open_video(data):
        pass


def test_a_playlist_cannot_open_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import av

    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.mp4").write_bytes(FILE)
    playlist = b"ffconcat version 1.0\nfile 'secret.mp4'\n"
    with av.open(io.BytesIO(playlist)) as container:  # what FFmpeg does if it is allowed to
        assert next(container.decode(video=0)).width == WIDTH
    with pytest.raises(VideoError, match="cannot read"), open_video(playlist):
        pass


def test_a_title_that_is_not_utf8_does_no_harm() -> None:
    data = FILE.replace(b"Lavf", b"L\xe4vf")
    assert data != FILE
    with open_video(data) as video:
        assert video.frame_count == 30


def test_a_truncated_file_is_refused() -> None:
    cut = FILE[: len(FILE) * 6 // 10]
    with (
        pytest.raises(VideoError, match=r"announces 30 frames, but ends after|cannot read"),
        open_video(cut) as video,
    ):
        list(video.frames([0, 15, 29]))


def test_a_frame_or_two_that_the_file_hides_is_the_last_one_again() -> None:
    with open_video(FILE) as video:
        assert isinstance(video, VideoFile)
        video.frame_count = 32
        last, beyond = video.frames([29, 31])
    assert torch.equal(last, beyond)


def test_without_pyav_the_extra_is_named_and_lists_still_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DependencyError, match=r'pip install "qwen3-vl\[video\]"'), open_video(FILE):
        pass
    with open_video(video_frames(3)) as video:
        assert video.frame_count == 3


def test_limits_of_a_file() -> None:
    for limits, text in (
        (VideoLimits(max_bytes=100), "limit of 100 bytes"),
        (VideoLimits(max_frames=29), "30 frames, more than the limit of 29"),
        (VideoLimits(max_pixels=1000), "limit of 1000 pixels"),
        (VideoLimits(allow_files=False), "allow_files=False"),
    ):
        source = FILE if limits.allow_files else "a.mp4"
        with pytest.raises(VideoError, match=text), open_video(source, limits):
            pass


def test_lists_and_arrays_are_videos_too(tmp_path: Path) -> None:
    frames = video_frames(4)
    files = []
    for place, frame in enumerate(frames):
        files.append(tmp_path / f"{place}.png")
        Image.fromarray(frame).save(files[-1])
    array = np.stack(frames)
    for source in (
        frames,
        tuple(Image.fromarray(frame) for frame in frames),
        files,
        array,
        torch.from_numpy(array).permute(0, 3, 1, 2),
    ):
        with open_video(source) as video:
            assert (video.frame_count, video.frame_rate) == (4, 24.0)
            got = list(video.frames([1, 3]))
        for frame, index in zip(got, (1, 3), strict=True):
            assert np.array_equal(frame.permute(1, 2, 0).numpy(), frames[index])


def test_the_rate_of_frames_can_be_given_but_not_of_a_file() -> None:
    with open_video(video_frames(4), frame_rate=2) as video:
        assert video.frame_rate == 2.0
    with pytest.raises(VideoError, match="says its own"), open_video(FILE, frame_rate=2):
        pass


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ([], "no frames"),
        (np.zeros((0, 4, 4, 3), np.uint8), "no frames"),
        (np.zeros((4, 4, 3), np.uint8), "four axes"),
        (np.zeros((2, 4, 4, 3), np.float32), "frame 0 of the video: .*uint8"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], "frame 1 is 5x4"),
        (["no/such.png"], "frame 0 of the video: cannot open"),
    ],
)
def test_wrong_lists_are_refused(source: object, text: str) -> None:
    with pytest.raises(VideoError, match=text), open_video(source) as video:  # type: ignore[arg-type]
        list(video.frames(range(video.frame_count)))


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan"), "x"])
def test_a_wrong_rate_is_refused(rate: float) -> None:
    with pytest.raises(VideoError, match="above 0"), open_video(video_frames(2), frame_rate=rate):
        pass


def test_limits_of_a_list() -> None:
    with (
        pytest.raises(VideoError, match="more than the limit of 3"),
        open_video(video_frames(4), VideoLimits(max_frames=3)),
    ):
        pass
    with (
        pytest.raises(VideoError, match=r"frame 0 .* limit of 10 pixels"),
        open_video(video_frames(4), VideoLimits(max_pixels=10)),
    ):
        pass
