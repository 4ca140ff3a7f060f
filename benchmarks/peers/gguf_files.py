"""The checkpoint as llama.cpp reads it: one GGUF file of the decoder, one of the vision tower."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

TEXT = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
VISION = {
    "pos_embed": "v.position_embd",
    "patch_embed.proj": "v.patch_embd",
    "merger.norm": "v.post_ln",
    "merger.linear_fc1": "mm.0",
    "merger.linear_fc2": "mm.2",
}
BLOCK = {
    "norm1": "ln1",
    "norm2": "ln2",
    "attn.qkv": "attn_qkv",
    "attn.proj": "attn_out",
    "mlp.linear_fc1": "ffn_up",
    "mlp.linear_fc2": "ffn_down",
}
MERGER = {"norm": "norm", "linear_fc1": "fc1", "linear_fc2": "fc2"}
JOINED = "spare300 spare301"
"""A merge that no text ever needs: a file without any is refused."""
Bits = np.ndarray
"""bfloat16, as unsigned integers of 16 bits."""


def write_text(checkpoint: Path, path: Path) -> None:
    """The decoder and the tokenizer, in bfloat16."""
    config = json.loads((checkpoint / "config.json").read_text())
    text, vision = config["text_config"], config["vision_config"]
    writer = gguf.GGUFWriter(None, "qwen3vl", use_temp_file=False)
    writer.add_name("random")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_context_length(text["max_position_embeddings"])
    writer.add_embedding_length(text["hidden_size"])
    writer.add_block_count(text["num_hidden_layers"])
    writer.add_feed_forward_length(text["intermediate_size"])
    writer.add_head_count(text["num_attention_heads"])
    writer.add_head_count_kv(text["num_key_value_heads"])
    writer.add_key_length(text["head_dim"])
    writer.add_value_length(text["head_dim"])
    writer.add_layer_norm_rms_eps(text["rms_norm_eps"])
    rope = text["rope_parameters"]
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_sections([*rope["mrope_section"], 0])
    writer.add_num_deepstack_layers(len(vision["deepstack_visual_indexes"]))
    _add_tokens(writer, checkpoint, config)
    for name, bits in tensors(checkpoint):
        if name.startswith("model.language_model."):
            _add(writer, _text_name(name.removeprefix("model.language_model.")), bits, "BF16")
    _write(writer, path)


def write_vision(checkpoint: Path, path: Path, numbers: str) -> None:
    """The vision tower and its mergers, matrices in the format `numbers`: BF16 or Q8_0."""
    config = json.loads((checkpoint / "config.json").read_text())
    text, vision = config["text_config"], config["vision_config"]
    pixels = json.loads((checkpoint / "preprocessor_config.json").read_text())
    writer = gguf.GGUFWriter(None, "clip", use_temp_file=False)
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(gguf.VisionProjectorType.QWEN3VL)
    writer.add_vision_projection_dim(text["hidden_size"])
    side = round(vision["num_position_embeddings"] ** 0.5) * vision["patch_size"]
    writer.add_vision_image_size(side)
    writer.add_vision_patch_size(vision["patch_size"])
    writer.add_vision_spatial_merge_size(vision["spatial_merge_size"])
    writer.add_vision_embedding_length(vision["hidden_size"])
    writer.add_vision_feed_forward_length(vision["intermediate_size"])
    writer.add_vision_block_count(vision["depth"])
    writer.add_vision_head_count(vision["num_heads"])
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_use_gelu(True)
    writer.add_vision_image_mean(pixels["image_mean"])
    writer.add_vision_image_std(pixels["image_std"])
    deep = vision["deepstack_visual_indexes"]
    writer.add_vision_is_deepstack_layers([layer in deep for layer in range(vision["depth"])])
    for name, bits in tensors(checkpoint):
        if name.startswith("model.visual."):
            made = _vision_name(name.removeprefix("model.visual."), deep)
            if bits.ndim == 5:  # a filter over two frames is stored as one for each
                _add(writer, made, bits[:, :, 0], "F16")
                _add(writer, f"{made}.1", bits[:, :, 1], "F16")
            else:
                _add(writer, made, bits, "F32" if "position" in made else numbers)
    _write(writer, path)


def tensors(checkpoint: Path) -> Iterator[tuple[str, Bits]]:
    """The names and bits of a checkpoint in bfloat16, mapped."""
    for path in sorted(checkpoint.glob("*.safetensors")):
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(size))
        header.pop("__metadata__", None)
        for name, about in header.items():
            if about["dtype"] != "BF16":
                raise ValueError(f"{name} is in {about['dtype']}; only bfloat16 is read here")
            start = 8 + size + about["data_offsets"][0]
            yield name, np.memmap(path, np.uint16, "r", start, tuple(about["shape"]))


def _add(writer: gguf.GGUFWriter, name: str, bits: Bits, numbers: str) -> None:
    """A tensor in this format; vectors are always in float32."""
    if bits.ndim == 1:
        numbers = "F32"
    if numbers == "BF16":
        data = np.ascontiguousarray(bits).view(np.uint8)
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.BF16)
        return
    values = (bits.astype(np.uint32) << 16).view(np.float32)
    if numbers == "Q8_0":
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, values.astype({"F16": np.float16, "F32": np.float32}[numbers]))


def _add_tokens(writer: gguf.GGUFWriter, checkpoint: Path, config: Mapping[str, Any]) -> None:
    known = json.loads((checkpoint / "tokenizer.json").read_text())
    size = config["text_config"]["vocab_size"]
    texts = {index: text for text, index in known["model"]["vocab"].items()}
    kinds = dict.fromkeys(texts, gguf.TokenType.NORMAL)
    for token in known["added_tokens"]:
        texts[token["id"]] = token["content"]
        special = token["special"]
        kinds[token["id"]] = gguf.TokenType.CONTROL if special else gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([texts.get(index, f"[PAD{index}]") for index in range(size)])
    writer.add_token_types([kinds.get(index, gguf.TokenType.UNUSED) for index in range(size)])
    writer.add_token_merges([JOINED])
    end = {text: index for index, text in texts.items()}
    writer.add_eos_token_id(end["<|im_end|>"])
    writer.add_pad_token_id(end["<|endoftext|>"])
    writer.add_add_bos_token(False)


def _text_name(name: str) -> str:
    path, _, kind = name.rpartition(".")
    found = re.fullmatch(r"layers\.(\d+)\.(.+)", path)
    if found:
        return f"blk.{found[1]}.{TEXT[found[2]]}.{kind}"
    return f"{TEXT[path]}.{kind}"


def _vision_name(name: str, deep: list[int]) -> str:
    path, _, kind = name.rpartition(".")
    if found := re.fullmatch(r"blocks\.(\d+)\.(.+)", path):
        return f"v.blk.{found[1]}.{BLOCK[found[2]]}.{kind}"
    if found := re.fullmatch(r"deepstack_merger_list\.(\d+)\.(.+)", path):
        return f"v.deepstack.{deep[int(found[1])]}.{MERGER[found[2]]}.{kind}"
    return f"{VISION[path]}.{kind}"


def _write(writer: gguf.GGUFWriter, path: Path) -> None:
    """The file appears when it is whole."""
    made = path.with_suffix(".partial")
    writer.write_header_to_file(made)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    made.rename(path)
