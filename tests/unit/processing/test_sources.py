"""Where bytes may come from, and the limits on each way."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from qwen3_vl.errors import ImageError
from qwen3_vl.processing.image_loading import ImageLimits
from qwen3_vl.processing.sources import describe, open_source

SMALL = ImageLimits(max_bytes=10)
REMOTE = ImageLimits(max_bytes=10, allow_remote=True, timeout_seconds=0.5)


def _read(source: object, limits: ImageLimits = SMALL) -> bytes:
    with open_source(source, limits, ImageError) as stream:  # type: ignore[arg-type]
        return stream.read()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        body = {"/ok": b"content", "/large": b"x" * 1000}.get(self.path, b"")
        with suppress(ConnectionError):  # who asked may have had enough
            self.wfile.write(body)
            if self.path == "/slow":
                for _ in range(10):
                    self.wfile.write(b".")
                    self.wfile.flush()
                    time.sleep(0.1)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_local_way_gives_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a b.bin"
    path.write_bytes(b"content")
    data_url = "data:x/y;base64," + base64.b64encode(b"content").decode()
    for source in (
        path,
        str(path),
        path.as_uri(),
        b"content",
        bytearray(b"content"),
        memoryview(b"content"),
        io.BytesIO(b"content"),
        data_url,
    ):
        assert _read(source) == b"content"


def test_every_way_has_the_byte_limit(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 11)
    data_url = "data:;base64," + base64.b64encode(b"x" * 11).decode()
    for source in (path, b"x" * 11, io.BytesIO(b"x" * 11), data_url, data_url * 9):
        with pytest.raises(ImageError, match="limit of 10 bytes; raise max_bytes"):
            _read(source)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", "an empty str names no file; give a path"),
        ("no/such/file", "cannot open 'no/such/file'"),
        ("nul\0byte", "cannot open"),
        (".", "not a file"),
        ("data:image/png,plain", "base64"),
        ("data:image/png;base64,!!!", "valid base64"),
        ("data:image/png;base64", "base64 data URL"),
        (io.StringIO("text"), "binary mode"),
        (3, "cannot read from a int"),
        (None, "cannot read from a NoneType"),
    ],
)
def test_what_cannot_be_read_is_named(source: object, text: str) -> None:
    with pytest.raises(ImageError, match=text):
        _read(source)


def test_files_can_be_switched_off(tmp_path: Path) -> None:
    limits = ImageLimits(allow_files=False)
    for source in (tmp_path, "a.png", "file:///a.png"):
        with pytest.raises(ImageError, match="allow_files=False"):
            _read(source, limits)
    assert _read(b"bytes", limits) == b"bytes"


def test_downloads_are_off_unless_asked_for(address: str) -> None:
    with pytest.raises(ImageError, match="allow_remote=True"):
        _read(f"{address}/ok")
    assert _read(f"{address}/ok", REMOTE) == b"content"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/large", "limit of 10 bytes"),
        ("/missing", "404"),
        ("/moved", "cannot download"),
        ("/slow", "cannot download|limit"),
    ],
)
def test_downloads_that_fail(address: str, path: str, text: str) -> None:
    with pytest.raises(ImageError, match=text):
        _read(address + path, REMOTE)


def test_a_slow_download_ends_at_the_deadline(address: str) -> None:
    begin = time.monotonic()
    with pytest.raises(ImageError, match=r"not complete after 0\.3 seconds"):
        _read(f"{address}/slow", ImageLimits(allow_remote=True, timeout_seconds=0.3))
    assert time.monotonic() - begin < 0.9


def test_an_unreachable_host() -> None:
    with pytest.raises(ImageError, match="cannot download"):
        _read("http://127.0.0.1:1/", REMOTE)


def test_messages_stay_short() -> None:
    assert len(describe("data:" + "A" * 10_000)) < 90
    assert describe(b"123") == "3 bytes"
