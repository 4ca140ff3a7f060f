"""Opens the bytes of a picture or a video: a path, bytes, a file object, a data: or http(s) URL."""

from __future__ import annotations

import base64
import binascii
import io
import os
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from qwen3_vl.errors import InputError

_CHUNK = 1 << 16


@runtime_checkable
class Readable(Protocol):
    """A file object opened in binary mode, or anything that reads like one."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, none at the end."""
        ...


Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Readable


class SourceLimits(Protocol):
    """What a source may cost and where it may come from; `ImageLimits` and `VideoLimits` fit."""

    @property
    def max_bytes(self) -> int:
        """The largest source that is read."""
        ...

    @property
    def allow_files(self) -> bool:
        """Whether paths of this machine may be opened."""
        ...

    @property
    def allow_remote(self) -> bool:
        """Whether http(s) URLs may be opened."""
        ...

    @property
    def timeout_seconds(self) -> float:
        """How long one download may take."""
        ...


def open_source(source: Source, limits: SourceLimits, error: type[InputError]) -> BinaryIO:
    """Open `source` for reading from its start, or raise `error`. The caller closes the result."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_bytes(bytes(source), limits, error)
    if isinstance(source, str):
        return _from_text(source, limits, error)
    if isinstance(source, os.PathLike):
        return _from_file(Path(source), limits, error)
    if isinstance(source, Readable):
        return _from_stream(source, limits, error)
    raise error(
        f"cannot read from a {type(source).__name__}; give a path, bytes, a file opened in binary "
        "mode, a data: URL or an http(s) URL"
    )


def describe(source: object) -> str:
    """A short name of a source for error messages, never its whole content."""
    if isinstance(source, (str, os.PathLike)):
        text = str(source)
        return repr(text if len(text) <= 80 else text[:77] + "...")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"{len(source)} bytes"
    return f"a {type(source).__name__}"


def _from_text(text: str, limits: SourceLimits, error: type[InputError]) -> BinaryIO:
    if not text:
        raise error("an empty str names no file; give a path, a data: URL or an http(s) URL")
    scheme = text.split(":", 1)[0].lower() if ":" in text[:8] else ""
    if scheme == "data":
        return _from_data_url(text, limits, error)
    if scheme in ("http", "https"):
        return _from_web(text, limits, error)
    if scheme == "file":
        path = urllib.request.url2pathname(urllib.parse.urlsplit(text).path)
        return _from_file(Path(path), limits, error)
    return _from_file(Path(text), limits, error)


def _from_file(path: Path, limits: SourceLimits, error: type[InputError]) -> BinaryIO:
    if not limits.allow_files:
        raise error(
            f"reading {describe(path)} is switched off here (allow_files=False); send the content "
            "itself, for example as a data: URL"
        )
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise error(f"{describe(path)} is not a file")
        if size > limits.max_bytes:
            raise _too_large(f"{describe(path)} has {size} bytes", limits, error)
        return path.open("rb")
    except (OSError, ValueError) as problem:
        if isinstance(problem, InputError):
            raise
        raise error(f"cannot open {describe(path)}: {problem}") from problem


def _from_bytes(data: bytes, limits: SourceLimits, error: type[InputError]) -> BinaryIO:
    if len(data) > limits.max_bytes:
        raise _too_large("the data is larger", limits, error)
    return io.BytesIO(data)


def _from_stream(stream: Readable, limits: SourceLimits, error: type[InputError]) -> BinaryIO:
    data = stream.read(limits.max_bytes + 1)
    if not isinstance(data, bytes):
        raise error("the file object gives text; open it in binary mode: open(path, 'rb')")
    return _from_bytes(data, limits, error)


def _from_data_url(url: str, limits: SourceLimits, error: type[InputError]) -> BinaryIO:
    header, comma, payload = url.partition(",")
    if not comma or not header.lower().endswith(";base64"):
        raise error(
            f"{describe(url)} is not a base64 data URL; expected data:<type>;base64,<content>"
        )
    if len(payload) // 4 * 3 > limits.max_bytes + 3:
        raise _too_large("the data: URL is larger", limits, error)
    try:
        return _from_bytes(base64.b64decode(payload, validate=True), limits, error)
    except (binascii.Error, ValueError) as problem:
        if isinstance(problem, InputError):
            raise
        raise error(f"the data: URL does not hold valid base64: {problem}") from problem


def _from_web(url: str, limits: SourceLimits, error: type[InputError]) -> BinaryIO:
    if not limits.allow_remote:
        raise error(
            f"{describe(url)} would be downloaded, and downloads are off; set allow_remote=True in "
            "the limits, or download it yourself and give the path or the bytes"
        )
    deadline = time.monotonic() + limits.timeout_seconds
    # The scheme is http(s), and urllib follows no redirect to a file of this machine.
    request = urllib.request.Request(url, headers={"User-Agent": "qwen3-vl"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=limits.timeout_seconds) as response:  # noqa: S310
            data = bytearray()
            while chunk := response.read1(_CHUNK):
                data += chunk
                if len(data) > limits.max_bytes:
                    raise _too_large(f"{describe(url)} is larger", limits, error)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not complete after {limits.timeout_seconds} seconds")
    except (OSError, ValueError) as problem:
        if isinstance(problem, InputError):
            raise
        raise error(f"cannot download {describe(url)}: {problem}") from problem
    return io.BytesIO(bytes(data))


def _too_large(what: str, limits: SourceLimits, error: type[InputError]) -> InputError:
    return error(f"{what} than the limit of {limits.max_bytes} bytes; raise max_bytes to allow it")
