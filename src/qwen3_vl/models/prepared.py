"""Weights in the form that kernels read, in a file: made once, and mapped from then on.

The file is a safetensors file of bytes, whose tensors begin at multiples of 64, as kernels want
them. It is written through the mapping that the model then uses, so nothing is in memory twice.
One that is there is read ahead in the order in which its tensors will work: the vision tower does
while the disk brings the decoder.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import mmap
import os
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from qwen3_vl.errors import CheckpointError

VERSION = "1"
"""Rises when the layout changes, or how weights are rounded."""
_LINE = 64
_UNKNOWN = "0" * 64
_STEP = 2**24
_LARGE_PAGE = 2**21
_READ_NOW = 22  # MADV_POPULATE_READ, which Python does not name: from Linux 5.14 on
_MODE = 0o644

Shapes = Mapping[str, tuple[int, ...]]
"""The tensors of a file, by name."""


class Prepared:
    """The tensors of a file, each made when it is taken first if the file is new."""

    def __init__(self, header: _Header, data: Tensor, show: Callable[[int, int], object]) -> None:
        self._header = header
        self._data = data
        self._show = show
        self._missing = set(header.places) if header.checksum == _UNKNOWN else set[str]()
        self._done = 0
        self._own_writes = 0

    def take(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """The tensor of this name, mapped; `make` makes what is not there yet."""
        if name not in self._header.places:
            return make()
        start, end, shape = self._header.places[name]
        tensor = self._data[start:end].view(shape)
        if name in self._missing:
            tensor.copy_(make())
            self._own_writes += 1
            self._missing.remove(name)
            self._done += end - start
            self._show(self._done, len(self._data))
        return tensor

    def rest(self, prefix: str) -> None:
        """Give back the memory of the tensors whose names begin so, until they are used again.

        What they hold is read from the file then, if the system has not kept it; so nothing is
        given back when somebody has written to them.
        """
        if sys.platform != "linux" or not self._untouched():  # others take this advice otherwise
            return
        for name, (start, end, _) in self._header.places.items():
            if name.startswith(prefix):
                base = self._data.data_ptr()
                first = -(-(base + start) // mmap.PAGESIZE) * mmap.PAGESIZE
                last = (base + end) // mmap.PAGESIZE * mmap.PAGESIZE
                if first < last:
                    _advise(first, last - first, mmap.MADV_DONTNEED)

    def _untouched(self) -> bool:
        """Whether nobody has written to the tensors: torch counts it, but not in inference mode."""
        return not self._data.is_inference() and self._data._version == self._own_writes


def _advise(address: int, size: int, advice: int) -> None:
    """Tell Linux how memory will be used; an advice that it does not know changes nothing."""
    ctypes.CDLL(None).madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), advice)


@contextlib.contextmanager
def prepared(
    path: Path, shapes: Shapes, show: Callable[[int, int], object] = lambda *_: None
) -> Iterator[Prepared]:
    """The file at `path`; if there is none, it appears when all its tensors have been taken.

    `show` is told how many bytes of how many are made.

    Raises:
        CheckpointError: the file is broken or holds other tensors, or cannot be written.
    """
    if path.is_file():
        header, data = _opened(path, shapes)
        threading.Thread(target=_read_ahead, args=(path, header.size), daemon=True).start()
        yield Prepared(header, data, show)
        return
    header = _Header.of(shapes)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    fresh = Path(name)
    try:
        try:
            os.write(handle, header.written())
            _reserve(handle, header.size)
        except OSError as error:
            raise _unwritable(path, error) from error
        finally:
            os.close(handle)
        data = _mapped(fresh, header, shared=True)
        made = Prepared(header, data, show)
        yield made
        if not made._missing:
            header.checksum = _checksum(data)
            with fresh.open("r+b") as file:
                file.write(header.written())
            fresh.chmod(_MODE)
            fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _read_ahead(path: Path, size: int) -> None:
    """Have the system read a file into its own cache: the process takes no memory for it.

    It waits for the disk, so it has a thread. What it misses is read when it is used.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    # A file that somebody shortens meanwhile cannot be mapped: that is a ValueError.
    with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
        for start in range(0, size, _STEP):
            if sys.platform == "linux":
                _read_in_large_pages(file.fileno(), start, min(_STEP, size - start))
            os.posix_fadvise(file.fileno(), start, _STEP, os.POSIX_FADV_WILLNEED)


def _read_in_large_pages(handle: int, start: int, size: int) -> None:
    """Read a part of a file as the cache will keep it: in large pages where the system can.

    Only one who uses a mapping for which they were asked gets them, so it looks at each once.
    """
    with mmap.mmap(handle, size, flags=mmap.MAP_PRIVATE, offset=start) as part:
        begin = ctypes.c_char.from_buffer(part)  # held: the mapping cannot be closed before
        address = ctypes.addressof(begin)
        _advise(address, size, mmap.MADV_HUGEPAGE)
        for page in range(0, size, _LARGE_PAGE):
            _advise(address + page, mmap.PAGESIZE, _READ_NOW)
        del begin


def _reserve(handle: int, size: int) -> None:
    """A full disk is told now, and not by a signal when the mapping is written to."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.truncate(handle, size)


def check(path: Path) -> None:
    """Read the whole file, and refuse it if a bit of it has changed."""
    header = _Header.read(path)
    if _checksum(_mapped(path, header, shared=False)) != header.checksum:
        raise CheckpointError(f"{path} has changed since it was written; delete it")


class _Header:
    """What stands before the data: names, shapes and places, padded with spaces."""

    def __init__(self, places: Mapping[str, tuple[int, int, tuple[int, ...]]]) -> None:
        self.places = places
        self.checksum = _UNKNOWN

    @classmethod
    def of(cls, shapes: Shapes) -> _Header:
        places: dict[str, tuple[int, int, tuple[int, ...]]] = {}
        end = 0
        for name, shape in shapes.items():
            start, end = end, end + torch.Size(shape).numel()
            if end % _LINE:
                raise CheckpointError(f"{name} does not fill whole lines of {_LINE} bytes")
            places[name] = start, end, tuple(shape)
        return cls(places)

    @classmethod
    def read(cls, path: Path) -> _Header:
        with path.open("rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            if size > path.stat().st_size:
                raise ValueError("it is cut short or no such file")
            told = json.loads(file.read(size))
        metadata = told.pop("__metadata__")
        header = cls(
            {name: (*one["data_offsets"], tuple(one["shape"])) for name, one in told.items()}
        )
        header.checksum = metadata["sha256"]
        return header

    @property
    def begin(self) -> int:
        """Where the data begins."""
        return len(self.written())

    @property
    def bytes(self) -> int:
        """Of the data."""
        return max((end for _, end, _ in self.places.values()), default=0)

    @property
    def size(self) -> int:
        """Of the file."""
        return self.begin + self.bytes

    def written(self) -> bytes:
        told = {
            name: {"dtype": "U8", "shape": list(shape), "data_offsets": [start, end]}
            for name, (start, end, shape) in self.places.items()
        }
        metadata = {"format": "pt", "version": VERSION, "sha256": self.checksum}
        text = json.dumps({"__metadata__": metadata, **told}).encode()
        text += b" " * (-(8 + len(text)) % _LINE)
        return struct.pack("<Q", len(text)) + text


def _opened(path: Path, shapes: Shapes) -> tuple[_Header, Tensor]:
    try:
        header = _Header.read(path)
        held = {name: shape for name, (_, _, shape) in header.places.items()}
        if path.stat().st_size != header.size or held != dict(shapes):
            raise ValueError("it is cut short, or of another model or recipe")
        return header, _mapped(path, header, shared=False)
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise CheckpointError(
            f"{path} cannot be used: {error}; delete it, and it is made anew"
        ) from error


def _mapped(path: Path, header: _Header, *, shared: bool) -> Tensor:
    whole = torch.from_file(str(path), shared=shared, size=header.size, dtype=torch.uint8)
    if sys.platform == "linux":  # so fewer addresses must be looked up: a token is faster by 2 %
        _advise(whole.data_ptr(), header.size, mmap.MADV_HUGEPAGE)
    return whole[header.begin :]


def _checksum(data: Tensor) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(data), _STEP):
        digest.update(data[start : start + _STEP].numpy().data)
    return digest.hexdigest()


def _unwritable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be written: {error}; packed weights need a folder that is yours, on a disk "
        "with room for them"
    )
