"""The tokenizer of the random checkpoint: a token for each letter, in every engine."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerFast

from benchmarks.comparison.checkpoint import SPECIAL_TOKENS, tokenizer
from benchmarks.peers.worker import letters
from qwen3_vl.config.model import Qwen3VLConfig


def test_special_tokens_have_the_official_ids() -> None:
    config, made = Qwen3VLConfig.preset("2b-instruct"), tokenizer()
    assert made.token_to_id("<|image_pad|>") == config.image_token_id
    assert made.token_to_id("<|video_pad|>") == config.video_token_id
    assert made.token_to_id("<|vision_start|>") == config.vision_start_token_id
    assert made.eos_token_id == config.text_config.eos_token_id
    assert len(made) <= config.text_config.vocab_size


def test_a_letter_is_a_token(tmp_path: Path) -> None:
    for name, content in tokenizer(300).files().items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    ours = tokenizer(300)
    assert ours.encode(ours.decode(letters(30, 4))) == letters(30, 4)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    text = f"{SPECIAL_TOKENS[1]}user\nWhat is this, 42?"
    assert theirs.encode(text) == ours.encode(text)
