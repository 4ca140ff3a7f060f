"""A complete, tiny processor folder: real file names and layout, a vocabulary of a few hundred."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

import qwen3_vl.processing

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PLAIN_ADDED_TOKENS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CORPUS = (
    "Describe this picture. What is in the video? The seconds of the user and the assistant.",
    "system user assistant Picture Video seconds name arguments function tools naïve 你好 😀",
)


def template_path() -> Path:
    """The chat template that the package ships."""
    package = Path(qwen3_vl.processing.__file__).parents[1]
    return package / "assets" / "embedded" / "chat_template.jinja"


def tiny_tokenizer() -> Tokenizer:
    """A byte-level tokenizer built like Qwen's: same normaliser, word pattern, special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in PLAIN_ADDED_TOKENS])
    return tokenizer


def image_settings() -> dict[str, Any]:
    """Like the official preprocessor_config.json, with smaller limits so that tests are quick."""
    return {
        "size": {"shortest_edge": 4 * 32 * 32, "longest_edge": 64 * 32 * 32},
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "Qwen3VLProcessor",
        "image_processor_type": "Qwen2VLImageProcessorFast",
    }


def video_settings() -> dict[str, Any]:
    """Like the official video_preprocessor_config.json, with a smaller limit."""
    return image_settings() | {
        "size": {"shortest_edge": 4 * 32 * 32, "longest_edge": 256 * 32 * 32},
        "image_processor_type": None,
        "video_processor_type": "Qwen3VLVideoProcessor",
    }


def tokenizer_settings() -> dict[str, Any]:
    return {
        "tokenizer_class": "Qwen2Tokenizer",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 262144,
    }


def write_processor_folder(folder: Path) -> Path:
    """Write all files of a processor, as a checkpoint from the hub has them."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    for name, settings in (
        ("tokenizer_config.json", tokenizer_settings()),
        ("preprocessor_config.json", image_settings()),
        ("video_preprocessor_config.json", video_settings()),
    ):
        (folder / name).write_text(json.dumps(settings), encoding="utf-8")
    (folder / "chat_template.jinja").write_bytes(template_path().read_bytes())
    return folder
