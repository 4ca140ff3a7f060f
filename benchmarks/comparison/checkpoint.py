"""A model of random weights in the exact shape of Qwen3-VL-2B: no engine is faster for sense.

Its tokenizer has the official vocabulary's size and special tokens, but makes each byte a token, so
that a text has as many tokens as letters in every engine.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.loading import cache_folder, embedded_folder
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.processing.chat import find_template
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.processing.tokenizer import Tokenizer as OwnTokenizer

PLAIN_TOKENS = 151_643
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""From id 151643 on; the others that the official vocabulary has are never used here."""


def random_checkpoint(folder: Path | None = None) -> Path:
    """The folder of the checkpoint, made if it is not there: 4.3 GB."""
    folder = folder or cache_folder() / "comparison" / "qwen3-vl-2b-random"
    if not (folder / "config.json").is_file():
        template = find_template(embedded_folder())
        Qwen3VLProcessor(tokenizer(), chat_template=template).save_pretrained(folder)
        config = Qwen3VLConfig.preset("2b-instruct")
        model = Qwen3VLForConditionalGeneration.random(config, dtype=torch.bfloat16)
        model.save_pretrained(folder)  # last, as a whole: a folder with config.json is complete
    return folder


def tokenizer(plain: int = PLAIN_TOKENS) -> OwnTokenizer:
    """A token for each byte, and tokens that no text has up to `plain`."""
    texts = sorted(pre_tokenizers.ByteLevel.alphabet())
    texts += [f"spare{index}" for index in range(len(texts), plain)]
    vocabulary = {text: index for index, text in enumerate(texts)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL_TOKENS])
    return OwnTokenizer(made, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
