"""Write the files of the embedded model, and the pictures that the demo asks it about.

Run it again after a change of the shape or the tokenizer; the results are committed. Weights are
taken from the folder of a trained model, if one is given:

    python scripts/make_embedded.py [--weights FOLDER]
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.training.playground import SIZES
from qwen3_vl.validation.quality.suite import TASKS, make_item

ASSETS = Path(__file__).parents[1] / "src" / "qwen3_vl" / "assets"
SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
NOT_SPECIAL = [
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
]
SAMPLES = {
    "count": ("count", 26),
    "read": ("ocr", 5),
    "where": ("relation", 3),
    "find": ("grounding", 0),
    "table": ("table", 1),
    "several": ("several_images", 3),
    "video": ("video", 9),
}
"""Of the test: the model has not seen them when it learned. It answers these right."""
# Words can become one token; digits, capitals and signs never join, so each can be told apart.
PIECES = Regex(r" ?[a-z]+|[\s\S]")
ITEMS = 200
"""Of each task, to learn words from."""


def tokenizer(size: int) -> Tokenizer:
    """Bytes, the tokens of the chat format, and as many words of the playground as have room."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(PIECES, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    added = len(SPECIAL) + len(NOT_SPECIAL)
    trainer = trainers.BpeTrainer(
        vocab_size=size - added,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(texts(), trainer)
    made.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    made.add_tokens([AddedToken(text, special=False) for text in NOT_SPECIAL])
    return made


def texts() -> Iterator[str]:
    """Every word of the playground and of the chat format, each as often as any other."""
    words = {"system", "user", "assistant"}
    for task in TASKS:
        for index in range(ITEMS):
            for message in make_item(task, index, split="train").conversation:
                content = message["content"]
                parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
                for part in parts:
                    words |= set(re.findall(r" ?[a-z]+", part.get("text", "")))
    yield from sorted(words)


def samples() -> list[dict[str, Any]]:
    """Draw the pictures; give the messages about each, with the right answer."""
    folder = ASSETS / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    asked: list[dict[str, Any]] = []
    for name, (task, index) in SAMPLES.items():
        item = make_item(task, index)
        content = [dict(part) for part in item.turns[0].content]
        frames = content[0].get("video")
        pictures = frames or [part["image"] for part in content[:-1]]
        files = [f"{name}_{number + 1}.png" for number in range(len(pictures))]
        if len(pictures) == 1:
            files = [f"{name}.png"]
        for file, picture in zip(files, pictures, strict=True):
            picture.save(folder / file, optimize=True)
        if frames:
            content[0]["video"] = files
        else:
            content[:-1] = [{"type": "image", "image": file} for file in files]
        asked.append({"content": content, "answer": item.answer, "kind": item.kind})
    return asked


def half(trained: Path) -> None:
    """Write the weights of a trained model in 16 bits, which are enough for a small one."""
    tensors = load_file(trained / "model.safetensors")
    tensors = {name: one.to(torch.float16) for name, one in tensors.items()}
    save_file(tensors, ASSETS / "embedded" / "model.safetensors", {"format": "pt"})


def main() -> None:
    """Write all files."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--weights", type=Path, metavar="FOLDER", help="of a trained model")
    given = options.parse_args()
    size = SIZES["tiny"]
    tokens = tokenizer(size.text.vocab_size)
    pixels = {
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    # All in one size, in which the smallest things and letters of the test cover about a patch.
    image = pixels | {
        "size": {"shortest_edge": 384 * 384, "longest_edge": 384 * 384},
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
    }
    # Of a video so many pixels in all that six frames have 192 × 192 each.
    video = pixels | {
        "size": {"shortest_edge": 6 * 192 * 192, "longest_edge": 16 * 256 * 256},
        "video_processor_type": "Qwen3VLVideoProcessor",
        "processor_class": "Qwen3VLProcessor",
    }
    token_names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    ends = [tokens.token_to_id("<|im_end|>"), tokens.token_to_id("<|endoftext|>")]
    contents = {
        "generation_config.json": {"eos_token_id": ends, "pad_token_id": ends[1]},
        "tokenizer_config.json": token_names,
        "preprocessor_config.json": image,
        "video_preprocessor_config.json": video,
    }
    folder = ASSETS / "embedded"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    tokens.save(str(folder / "tokenizer.json"))
    config = size.config(Qwen3VLProcessor.from_pretrained(folder))
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    (ASSETS / "samples" / "questions.json").write_text(json.dumps(samples(), indent=2) + "\n")
    if given.weights is not None:
        half(given.weights)


if __name__ == "__main__":
    main()
