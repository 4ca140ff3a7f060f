"""Files of prepared weights: made once, mapped, and refused if they are not what they should be."""

from __future__ import annotations

import dataclasses
import mmap
import os
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from qwen3_vl.errors import CheckpointError
from qwen3_vl.models import prepared as prepared_files
from qwen3_vl.models.packed import PackedLinear
from qwen3_vl.models.prepared import Prepared, check, prepared
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.ops import packed
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.testing import Bench

SHAPES = {"one": (2, 64), "two": (3, 128)}
RECIPE = 'weight_int4|head_int8|weight_bf16(modules="visual", words=false)'


def fill(path: Path) -> None:
    with prepared(path, SHAPES) as file:
        for value, (name, shape) in enumerate(SHAPES.items()):
            file.take(name, lambda v=value, s=shape: torch.full(s, v, dtype=torch.uint8))


def never() -> torch.Tensor:
    raise AssertionError("it is there already")


def test_what_is_made_once_is_mapped_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.safetensors"
    shown: list[tuple[int, int]] = []
    with prepared(path, SHAPES, lambda *at: shown.append(at)) as file:
        one = file.take("one", lambda: torch.ones(2, 64, dtype=torch.uint8))
        assert not path.exists(), "not before all of it is there"
        file.take("two", lambda: torch.full((3, 128), 7, dtype=torch.uint8))
    assert shown == [(128, 512), (512, 512)]
    assert (one == 1).all()
    with prepared(path, SHAPES) as file:
        held = file.take("two", never)
    assert (held == 7).all()
    assert held.data_ptr() % 64 == 0
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    check(path)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system takes no such advice")
def test_a_file_that_is_there_is_read_ahead_from_its_begin_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, shapes, step = tmp_path / "file", {"one": (500, 64)}, mmap.PAGESIZE
    with prepared(path, shapes) as file:
        file.take("one", lambda: torch.ones(500, 64, dtype=torch.uint8))
    size = path.stat().st_size
    asked: list[tuple[int, int, int]] = []
    ended = threading.Event()

    def advise(handle: int, start: int, count: int, advice: int) -> None:
        if not os.path.samestat(os.fstat(handle), path.stat()):
            return  # an earlier file, which its thread still reads
        asked.append((start, count, advice))
        if start + count >= size:
            ended.set()

    monkeypatch.setattr(os, "posix_fadvise", advise)
    monkeypatch.setattr("qwen3_vl.models.prepared._STEP", step)
    with prepared(path, shapes) as file:
        file.take("one", never)
    assert ended.wait(timeout=30)
    assert asked == [(start, step, os.POSIX_FADV_WILLNEED) for start in range(0, size, step)]


@pytest.mark.skipif(sys.platform != "linux", reason="others have no large pages to ask for")
def test_each_large_page_of_a_file_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advice: list[tuple[int, int]] = []
    advise = prepared_files._advise

    def noted(address: int, size: int, what: int) -> None:
        advice.append((size, what))
        advise(address, size, what)

    monkeypatch.setattr(prepared_files, "_advise", noted)
    path, large = tmp_path / "file", prepared_files._LARGE_PAGE
    path.write_bytes(bytes(4 * large))
    with path.open("rb") as file:
        prepared_files._read_in_large_pages(file.fileno(), large, 3 * large - 1)
    look = (mmap.PAGESIZE, prepared_files._READ_NOW)
    assert advice == [(3 * large - 1, mmap.MADV_HUGEPAGE), look, look, look]


def test_it_is_a_safetensors_file(tmp_path: Path) -> None:
    fill(tmp_path / "file")
    with safe_open(tmp_path / "file", "pt") as file:
        assert set(file.keys()) == SHAPES.keys()
        assert (file.get_tensor("two") == 1).all()


def test_what_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with prepared(tmp_path / "file", SHAPES) as file:
            file.take("one", lambda: torch.ones(2, 64, dtype=torch.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_what_is_not_wanted_by_the_file_is_made_each_time(tmp_path: Path) -> None:
    fill(tmp_path / "file")
    with prepared(tmp_path / "file", SHAPES) as file:
        assert file.take("three", lambda: torch.zeros(1)).shape == (1,)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    fill(path)
    with pytest.raises(CheckpointError, match="another model or recipe"):
        prepared(path, SHAPES | {"three": (64,)}).__enter__()
    whole = path.read_bytes()
    for broken in (whole[:-1], b"", b"no safetensors", whole[:100]):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match="delete it, and it is made anew"):
            prepared(path, SHAPES).__enter__()


def test_a_changed_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "file"
    fill(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="has changed since it was written"):
        check(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match="cannot be written"):
        fill(tmp_path / "deep" / "file")


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep").touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        fill(tmp_path / "deep" / "file")


def load(bench: Bench, path: Path | None) -> Qwen3VLForConditionalGeneration:
    seams = compile_recipe(RECIPE, bench.config).seams
    return Qwen3VLForConditionalGeneration.from_pretrained(bench.folder, seams=seams, packed=path)


def test_a_model_is_the_same_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, path = Bench(tmp_path / "model"), tmp_path / "file"
    expected = bench.logits(load(bench, None))
    assert torch.equal(bench.logits(load(bench, path)), expected), "while it is made"
    monkeypatch.setattr(packed, "_pack", lambda *_: never())
    again = load(bench, path)
    assert torch.equal(bench.logits(again), expected), "and when it is there"
    assert again.lm_head.written.dtype == torch.float32  # type: ignore[union-attr]


def test_other_seams_take_what_is_packed_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path / "model")
    model = load(bench, None)
    monkeypatch.setattr(packed, "_pack", lambda *_: never())
    fused = compile_recipe("kernel_fusion", bench.config).seams.fusion
    other = model.with_seams(dataclasses.replace(model.seams, fusion=fused))
    pairs = [
        (one, same)
        for one, same in zip(model.modules(), other.modules(), strict=True)
        if isinstance(one, PackedLinear) and isinstance(same, PackedLinear)
    ]
    assert pairs
    assert all(one.packed.data_ptr() == same.packed.data_ptr() for one, same in pairs)


def in_memory(tensor: torch.Tensor) -> int:
    """Bytes of the mapping that a tensor lies in which are in memory."""
    at, inside = tensor.data_ptr(), False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if "-" in first and not first.endswith(":"):
            begin, end = (int(one, 16) for one in first.split("-"))
            inside = begin <= at < end
        elif inside and first == "Rss:":
            return int(line.split()[1]) * 1024
    raise AssertionError("it is not mapped")


LARGE = {"visual.one": (2**20,), "text.two": (2**20,)}


@pytest.fixture(params=["while it is made", "when it is there"])
def large(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Prepared, list[torch.Tensor]]:
    """A file of two tensors of a megabyte, both in memory."""

    def opened() -> tuple[Prepared, list[torch.Tensor]]:
        with prepared(tmp_path / "file", LARGE) as file:
            sevens = torch.full((2**20,), 7, dtype=torch.uint8)
            return file, [file.take(name, lambda: sevens) for name in LARGE]

    file, tensors = opened()
    if request.param == "when it is there":
        file, tensors = opened()
    assert all((one == 7).all() for one in tensors)
    return file, tensors


linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems keep the memory")


@linux
def test_what_rests_is_out_of_memory_and_comes_back(
    large: tuple[Prepared, list[torch.Tensor]],
) -> None:
    file, (one, two) = large
    whole = in_memory(one)
    assert whole >= 2 * 2**20
    file.rest("visual.")
    # But for the pages at both ends, which it shares with others.
    assert in_memory(one) <= whole - 2**20 + 2 * mmap.PAGESIZE
    assert (one == 7).all()
    assert (two == 7).all()
    assert in_memory(one) >= 2 * 2**20


@linux
def test_what_somebody_has_written_to_stays(
    large: tuple[Prepared, list[torch.Tensor]],
) -> None:
    file, (one, two) = large
    one[0] = 8
    file.rest("visual.")
    assert one[0] == 8
    assert (two == 7).all()


@linux
def test_what_torch_does_not_watch_stays(tmp_path: Path) -> None:
    with torch.inference_mode():
        for _ in ("while it is made", "when it is there"):
            with prepared(tmp_path / "file", LARGE) as file:
                one = file.take("visual.one", lambda: torch.zeros(2**20, dtype=torch.uint8))
                file.take("text.two", lambda: torch.zeros(2**20, dtype=torch.uint8))
            one += 1
            file.rest("visual.")
            assert one.min() > 0


def test_the_tower_rests_when_it_has_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, path = Bench(tmp_path / "model"), tmp_path / "file"
    load(bench, path)
    model = load(bench, path)
    rested: list[str] = []
    monkeypatch.setattr(Prepared, "rest", lambda _, prefix: rested.append(prefix))
    bench.logits(model)
    assert set(rested) == {"model.visual."}
    assert any(name.startswith(rested[0]) for name in model.to_pack())
