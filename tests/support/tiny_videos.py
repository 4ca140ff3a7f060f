"""Small video files, written with PyAV: grey frames that brighten, a red square top left."""

from __future__ import annotations

import io
import struct
import tempfile
from pathlib import Path

import av
import numpy as np

HEIGHT, WIDTH = 64, 96
_QUARTER_TURN_CLOCKWISE = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)


def video_frames(count: int) -> list[np.ndarray]:
    """The frames that `video_file` encodes, each uint8 [height, width, 3]."""
    return [_frame(255 * place // max(count - 1, 1)) for place in range(count)]


def video_file(
    count: int = 30, container: str = "mp4", codec: str = "mpeg4", rate: int = 10
) -> bytes:
    """A video file of `count` frames at `rate` frames a second."""
    # Index before content, as on the web; FFmpeg reads its own file again to put it there.
    options = {"movflags": "faststart"} if container == "mp4" else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video"
        with av.open(str(path), "w", format=container, options=options) as output:
            stream = output.add_stream(codec, rate=rate)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for picture in video_frames(count):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(stream.encode())
        return path.read_bytes()


def sound_file() -> bytes:
    """One second of silence: a media file without a video stream."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="wav") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = np.zeros((1, 8000), np.int16)
        frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
        frame.rate = 8000
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return buffer.getvalue()


def turned(mp4: bytes) -> bytes:
    """The same mp4 with the mark that phones write: show it a quarter turn clockwise."""
    matrix = mp4.index(b"tkhd") + 44
    return mp4[:matrix] + _QUARTER_TURN_CLOCKWISE + mp4[matrix + 36 :]


def _frame(grey: int) -> np.ndarray:
    picture = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
    picture[: HEIGHT // 2, : WIDTH // 2] = (255, 0, 0)
    return picture
