"""Weights on disk: every form that is read, every defect that is told, and writing in one piece."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from qwen3_vl.errors import CheckpointError, ConfigError
from qwen3_vl.models import checkpoint
from qwen3_vl.models.checkpoint import Checkpoint, write_weights
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from tests.support.tiny_models import tiny_model

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
EMBEDDINGS = "model.language_model.embed_tokens.weight"
SHARD_BYTES = 300_000


@pytest.fixture(scope="module")
def model() -> Qwen3VLForConditionalGeneration:
    return tiny_model("dense_untied")


@pytest.fixture
def single(model, tmp_path) -> Path:
    model.save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def sharded(model, tmp_path) -> Path:
    model.save_pretrained(tmp_path, max_shard_bytes=SHARD_BYTES)
    return tmp_path


def load(folder: Path, **options) -> Qwen3VLForConditionalGeneration:
    return Qwen3VLForConditionalGeneration.from_pretrained(folder, **options)


def check_equal(one: torch.nn.Module, other: torch.nn.Module) -> None:
    weights, expected = dict(one.named_parameters()), dict(other.named_parameters())
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def rewrite(folder: Path, **changes: torch.Tensor | None) -> None:
    """Change tensors of a single file; None takes one out. Dots are written as two underscores."""
    tensors = load_file(folder / SINGLE)
    for name, tensor in changes.items():
        tensors.pop(name.replace("__", "."), None)
        if tensor is not None:
            tensors[name.replace("__", ".")] = tensor
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_single_file(model, single):
    assert {path.name for path in single.iterdir()} == {
        "config.json",
        "generation_config.json",
        SINGLE,
    }
    check_equal(load(single), model)


def test_shards(model, sharded):
    shards = sorted(sharded.glob("model-*.safetensors"))
    assert len(shards) > 3
    assert shards[0].name == f"model-00001-of-{len(shards):05}.safetensors"
    for shard in shards:
        tensors = load_file(shard)
        assert len(tensors) == 1 or sum(t.nbytes for t in tensors.values()) <= SHARD_BYTES
    index = json.loads((sharded / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(p.nbytes for p in model.parameters())
    check_equal(load(sharded), model)


def test_the_files_are_as_readable_as_any_other_new_file(single):
    modes = {stat.S_IMODE(path.stat().st_mode) for path in single.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("wanted", ["float32", "bfloat16", "float16", "auto"])
def test_weights_are_rounded_once_to_the_wanted_dtype(model, tmp_path, stored, wanted):
    on_disk = Qwen3VLForConditionalGeneration.random(model.config, dtype=stored)
    on_disk.save_pretrained(tmp_path)
    dtype = stored if wanted == "auto" else getattr(torch, wanted)
    loaded = load(tmp_path, dtype=wanted)
    assert loaded.dtype == dtype
    check_equal(loaded, on_disk.to(dtype))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs the list of mapped files")
def test_weights_in_their_own_dtype_are_the_mapped_file_and_no_copy(single):
    loaded = load(single)
    ranges = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(single / SINGLE)):
            low, high = line.split()[0].split("-")
            ranges.append((int(low, 16), int(high, 16)))
    for name, parameter in loaded.named_parameters():
        place = parameter.data_ptr()
        assert any(low <= place < high for low, high in ranges), f"{name} is a copy"


def test_a_mapped_model_can_be_changed_without_changing_the_file(model, single):
    loaded = load(single)
    with torch.no_grad():
        loaded.model.language_model.norm.weight.zero_()
    check_equal(load(single), model)


def test_a_model_can_be_saved_over_the_files_it_was_loaded_from(model, single):
    load(single).save_pretrained(single)
    check_equal(load(single), model)


@pytest.mark.parametrize("size", [0, 5, 1000, 100_000])
def test_a_file_that_is_cut_short_is_told(single, size):
    whole = (single / SINGLE).read_bytes()
    (single / SINGLE).write_bytes(whole[:size])
    with pytest.raises(CheckpointError, match=rf"{size:,} bytes\) is cut short or broken"):
        load(single)


def test_a_shard_that_is_missing_is_named(sharded):
    shard = sorted(sharded.glob("model-*"))[1]
    shard.unlink()
    with pytest.raises(CheckpointError, match=rf"{shard.name} is missing; .* run it again"):
        load(sharded)


def test_a_tensor_that_the_index_promises_is_named(sharded):
    index = json.loads((sharded / INDEX).read_text())
    index["weight_map"][EMBEDDINGS] = max(sharded.glob("model-*")).name
    (sharded / INDEX).write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=rf"does not hold {EMBEDDINGS}"):
        load(sharded)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("{}", "no weight_map"),
        ('{"weight_map": []}', "no weight_map"),
        ('{"weight_map": {"a": [1]}}', "no weight_map"),
    ],
)
def test_a_broken_index_is_told(sharded, content, message):
    (sharded / INDEX).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load(sharded)


def test_a_tensor_of_another_shape_is_named(single):
    rewrite(single, lm_head__weight=torch.zeros(319, 64))
    with pytest.raises(CheckpointError, match=r"lm_head.weight .* \[319, 64\] but .* \[320, 64\]"):
        load(single)


def test_a_tensor_that_is_missing_is_named(single):
    rewrite(single, lm_head__weight=None)
    with pytest.raises(
        CheckpointError, match=r"no tensor lm_head\.weight, which config\.json asks"
    ):
        load(single)


def test_tensors_without_a_place_are_counted_and_named(single):
    rewrite(single, model__extra=torch.zeros(1), other__bias=torch.zeros(1))
    with pytest.raises(CheckpointError, match=r"2 tensors .* such as model\.extra, other\.bias"):
        load(single)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float64, torch.float8_e4m3fn], ids=str)
def test_quantised_weights_are_refused(single, dtype):
    rewrite(single, lm_head__weight=torch.zeros(320, 64).to(dtype))
    with pytest.raises(CheckpointError, match=rf"lm_head\.weight .* {dtype}; this loader reads"):
        load(single)


def test_pickles_are_not_read(single):
    (single / SINGLE).rename(single / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"neither .*; convert the \.bin files to safetensors"
    ):
        load(single)


def test_a_folder_without_weights_is_told(single):
    (single / SINGLE).unlink()
    with pytest.raises(CheckpointError, match=rf"has neither {SINGLE} nor {INDEX}$"):
        load(single)


@pytest.mark.parametrize("first", ["single", "sharded"])
def test_files_of_an_older_save_are_removed(model, tmp_path, first):
    sizes = [10**9, SHARD_BYTES] if first == "single" else [SHARD_BYTES, 10**9]
    (tmp_path / "notes.txt").write_text("mine")
    for size in sizes:
        model.save_pretrained(tmp_path, max_shard_bytes=size)
    names = {path.name for path in tmp_path.iterdir()}
    assert "notes.txt" in names
    assert (SINGLE in names) == (first == "sharded")
    assert (INDEX in names) == (first == "single")
    check_equal(load(tmp_path), model)


def test_files_that_a_save_does_not_write_are_left(model, tmp_path):
    others = ["model_backup", "model-lora", "model-1-of-2", "model-00001-of-00002-old", "mymodel"]
    for name in others:
        (tmp_path / f"{name}.safetensors").write_bytes(b"mine")
    model.save_pretrained(tmp_path)
    assert all((tmp_path / f"{name}.safetensors").read_bytes() == b"mine" for name in others)


def failing_at_shard(number: int, error: Exception):
    count = 0

    def save(*args, **options):
        nonlocal count
        count += 1
        if count == number:
            raise error
        save_file(*args, **options)

    return save


NO_SPACE = [OSError("no space left"), SafetensorError("no space left")]


@pytest.mark.parametrize("error", NO_SPACE, ids=repr)
def test_a_save_that_fails_leaves_the_folder_as_it_was(single, monkeypatch, error):
    before = listing(single)
    monkeypatch.setattr(checkpoint, "save_file", failing_at_shard(3, error))
    with pytest.raises(CheckpointError, match="cannot be written: no space left"):
        tiny_model("dense_untied", seed=1).save_pretrained(single, max_shard_bytes=SHARD_BYTES)
    assert listing(single) == before


@pytest.mark.parametrize("error", NO_SPACE, ids=repr)
def test_a_save_that_fails_leaves_no_new_folder(model, tmp_path, monkeypatch, error):
    monkeypatch.setattr(checkpoint, "save_file", failing_at_shard(1, error))
    with pytest.raises(CheckpointError, match="cannot be written: no space left"):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_is_no_folder_to_save_to(model, tmp_path):
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CheckpointError, match=r"cannot be written: .* must be a folder"):
            model.save_pretrained(target)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("size", [0, -1, 5e9, "5GB", True, None])
def test_a_shard_size_is_a_whole_number(model, tmp_path, size):
    with pytest.raises(ConfigError, match=r"max_shard_bytes is .* whole number of at least 1"):
        model.save_pretrained(tmp_path / "new", max_shard_bytes=size)
    assert not (tmp_path / "new").exists()


def test_a_form_of_config_that_does_not_exist_is_refused(model, tmp_path):
    with pytest.raises(ConfigError, match="rope is 'yarn'; it can be rope_parameters or rope_sc"):
        model.save_pretrained(tmp_path / "new", rope="yarn")


def test_nothing_is_read_before_it_is_taken(tmp_path):
    write_weights({"a": torch.ones(2, 3), "b": torch.zeros(4)}, tmp_path, 10**9)
    tensors = Checkpoint(tmp_path)
    assert tensors.names == {"a", "b"}
    assert torch.equal(tensors.take("a", (2, 3)), torch.ones(2, 3))
    assert torch.equal(tensors.take("b", (2, 2), (4,)), torch.zeros(4))
    with pytest.raises(CheckpointError, match=r"\[4\] but config\.json makes it \[5\]"):
        tensors.take("b", (5,))
