"""A model folder with all its files: a random model, and the embedded model's processor."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.loading import embedded_folder
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration


def with_embedded_tokens(config: Qwen3VLConfig) -> Qwen3VLConfig:
    """The same shape, but with the tokens of the embedded model and their ids."""
    embedded = json.loads((embedded_folder() / "config.json").read_text())
    tokens = {key: value for key, value in embedded.items() if key.endswith("_token_id")}
    size = embedded["text_config"]["vocab_size"]
    return config.replace(text_config=replace(config.text_config, vocab_size=size), **tokens)


def write_checkpoint(folder: Path, model: Qwen3VLForConditionalGeneration) -> Path:
    """Save the model and a processor for its patch size; pictures stay small."""
    shutil.copytree(embedded_folder(), folder)
    vision = model.config.vision_config
    block = vision.patch_size * vision.spatial_merge_size
    for file in ("preprocessor_config.json", "video_preprocessor_config.json"):
        settings = json.loads((folder / file).read_text())
        settings["patch_size"] = vision.patch_size
        settings["size"] = {"shortest_edge": 4 * block**2, "longest_edge": 1024 * block**2}
        (folder / file).write_text(json.dumps(settings))
    model.save_pretrained(folder)
    return folder
