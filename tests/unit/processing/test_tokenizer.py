"""Text to ids and back, whole and in a stream."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_vl.errors import CheckpointError, ConfigError, InputError
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.processing.tokenizer import Tokenizer, as_id_list, as_id_lists
from tests.support.tiny_processor import tiny_tokenizer

TINY = Tokenizer(tiny_tokenizer(), {})


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_decode_gives_the_normalised_text_back(text: str) -> None:
    import unicodedata

    assert TINY.decode(TINY.encode(text)) == unicodedata.normalize("NFC", text)


@settings(max_examples=300)
@given(st.lists(st.integers(0, len(TINY) + 5), max_size=30), st.booleans())
def test_stream_equals_decode_for_any_ids(ids: list[int], skip: bool) -> None:
    stream = TINY.stream(skip_special_tokens=skip)
    pieces = [stream.push(index) for index in ids]
    assert "".join(pieces) + stream.flush() == TINY.decode(ids, skip_special_tokens=skip)


def test_stream_holds_a_character_back_until_it_is_whole() -> None:
    ids = TINY.encode("é🦜")
    assert len(ids) > 2
    stream = TINY.stream()
    pieces = [stream.push(index) for index in ids]
    assert "".join(pieces) == "é🦜"
    assert all("\ufffd" not in piece for piece in pieces)
    assert "" in pieces


def test_stream_flush_marks_a_broken_character() -> None:
    stream = TINY.stream()
    assert stream.push(TINY.encode("🦜")[0]) == ""
    assert stream.flush() == "\ufffd"


def test_a_step_of_the_stream_costs_the_same_late_as_early() -> None:
    ids = TINY.encode("word 🦜 ") * 4000
    stream, times = TINY.stream(), []
    for start in range(0, len(ids), len(ids) // 4):
        begin = time.perf_counter()
        for index in ids[start : start + len(ids) // 4]:
            stream.push(index)
        times.append(time.perf_counter() - begin)
    assert times[3] < 5 * min(times[:3])


def test_special_tokens_in_text_are_recognised_and_none_is_added() -> None:
    ids = TINY.encode("<|im_start|>a<|im_end|>")
    assert ids == [TINY.token_to_id("<|im_start|>"), *TINY.encode("a"), TINY.eos_token_id]
    assert TINY.encode("") == []
    assert TINY.decode(ids, skip_special_tokens=True) == "a"
    assert TINY.decode(ids) == "<|im_start|>a<|im_end|>"


def test_plain_added_tokens_are_text() -> None:
    ids = TINY.encode("<tool_call>x")
    assert ids[0] == TINY.token_to_id("<tool_call>")
    assert TINY.decode(ids, skip_special_tokens=True) == "<tool_call>x"


def test_spare_ids_of_the_model_give_no_text() -> None:
    assert TINY.decode([len(TINY) + 1000, *TINY.encode("a")]) == "a"


@pytest.mark.parametrize("text", [b"bytes", None, 3, ["list"]])
def test_text_of_another_type_is_refused(text: object) -> None:
    with pytest.raises(InputError, match="must be a str"):
        TINY.encode(text)  # type: ignore[arg-type]


def test_a_lone_surrogate_is_refused_with_its_place() -> None:
    with pytest.raises(InputError, match="surrogate at character 2"):
        TINY.encode("ab\ud800")


def test_negative_ids_are_refused() -> None:
    with pytest.raises(InputError, match="-100"):
        TINY.decode([1, -100])


def test_an_id_beyond_every_vocabulary_is_refused() -> None:
    for number in (2**32, 2**70):
        with pytest.raises(InputError, match=f"token id {number} is larger than any vocabulary"):
            TINY.decode([number])


def test_a_missing_token_is_named() -> None:
    with pytest.raises(CheckpointError, match="<\\|nothing\\|>"):
        TINY.token_to_id("<|nothing|>")


def test_names_come_from_the_config(folder: Path) -> None:
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token_id == tokenizer.token_to_id("<|endoftext|>")
    assert tokenizer.special_tokens == {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}


def test_tokens_may_be_written_as_objects() -> None:
    config = {"eos_token": {"content": "<|endoftext|>"}, "bos_token": "<|im_start|>"}
    tokenizer = Tokenizer(tiny_tokenizer(), config)
    assert tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.special_tokens["bos_token"] == "<|im_start|>"


def test_the_config_file_is_optional(tmp_path: Path) -> None:
    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.from_folder(tmp_path).eos_token == "<|im_end|>"


def test_stored_truncation_and_padding_are_switched_off(tmp_path: Path) -> None:
    backend = tiny_tokenizer()
    backend.enable_truncation(2)
    backend.enable_padding(length=9)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer.decode(tokenizer.encode("quite long")) == "quite long"


def test_bad_files_are_checkpoint_errors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="missing"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"decoder": {"type": "WordPiece"}}')
    with pytest.raises(CheckpointError, match="byte-level"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"decoder": {"type": "ByteLevel"}}')
    with pytest.raises(CheckpointError, match="not a valid tokenizer"):
        Tokenizer.from_folder(tmp_path)


def test_a_wrong_padding_side_is_refused() -> None:
    with pytest.raises(ConfigError, match="padding_side"):
        Tokenizer(tiny_tokenizer(), {"padding_side": "middle"})


def test_files_can_be_read_again(tmp_path: Path) -> None:
    for name, content in TINY.files().items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    again = Tokenizer.from_folder(tmp_path)
    text = "<|im_start|>naïve 你好 <tool_call>"
    assert again.encode(text) == TINY.encode(text)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["eos_token"] == "<|im_end|>"


@pytest.mark.parametrize("ids", [[1, 2], (1, 2), np.array([1, 2]), torch.tensor([1, 2])])
def test_rows_of_ids_come_in_many_types(ids: object) -> None:
    assert as_id_list(ids) == [1, 2]
    assert as_id_lists([ids, ids]) == [[1, 2], [1, 2]]


def test_single_ids_and_tables_of_ids() -> None:
    assert as_id_list(7) == [7]
    assert as_id_list(torch.tensor(7)) == [7]
    assert as_id_lists(torch.tensor([[1], [2]])) == [[1], [2]]


@pytest.mark.parametrize("ids", [None, "a", [1.5], [[1, 2]], torch.tensor([1.5])])
def test_what_are_no_ids_is_told(processor: Qwen3VLProcessor, ids: object) -> None:
    with pytest.raises(InputError, match=r"token ids? (are|is a) whole number"):
        processor.decode(ids)


def test_a_single_id_is_a_row(processor: Qwen3VLProcessor) -> None:
    assert processor.batch_decode(5) == processor.batch_decode([[5]])
