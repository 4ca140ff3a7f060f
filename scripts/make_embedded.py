"""Write the files of the embedded model and the sample picture: everything but weights.

Run it again after a change of the shape or the tokenizer; the results are committed.
"""

import json
from pathlib import Path

from PIL import Image, ImageDraw
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from qwen3_vl.config.model import Qwen3VLConfig, TextConfig, VisionConfig

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


def tokenizer() -> Tokenizer:
    """Bytes, and the tokens of the chat format."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    made.add_tokens([AddedToken(text, special=False) for text in NOT_SPECIAL])
    return made


def config(tokens: Tokenizer) -> Qwen3VLConfig:
    """The shape: everything that the large models have, small."""
    return Qwen3VLConfig(
        text_config=TextConfig(
            vocab_size=288,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            mrope_section=(12, 10, 10),
            max_position_embeddings=8192,
            eos_token_id=tokens.token_to_id("<|im_end|>"),
            pad_token_id=tokens.token_to_id("<|endoftext|>"),
        ),
        vision_config=VisionConfig(
            depth=6,
            hidden_size=192,
            intermediate_size=512,
            num_heads=4,
            out_hidden_size=256,
            num_position_embeddings=256,
            deepstack_visual_indexes=(1, 2, 3),
        ),
        image_token_id=tokens.token_to_id("<|image_pad|>"),
        video_token_id=tokens.token_to_id("<|video_pad|>"),
        vision_start_token_id=tokens.token_to_id("<|vision_start|>"),
        vision_end_token_id=tokens.token_to_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def picture() -> Image.Image:
    """Four shapes on a light ground."""
    image = Image.new("RGB", (320, 224), "#f4f1ea")
    draw = ImageDraw.Draw(image)
    draw.ellipse((24, 32, 112, 120), fill="#d1495b")
    draw.rectangle((136, 96, 216, 176), fill="#00798c")
    draw.polygon([(264, 24), (308, 112), (220, 112)], fill="#edae49")
    draw.ellipse((40, 152, 88, 200), fill="#30638e")
    return image


def main() -> None:
    """Write all files."""
    tokens = tokenizer()
    pixels = {
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    image = pixels | {
        "size": {"shortest_edge": 65536, "longest_edge": 1048576},
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
    }
    video = pixels | {
        "size": {"shortest_edge": 4096, "longest_edge": 25165824},
        "video_processor_type": "Qwen3VLVideoProcessor",
        "processor_class": "Qwen3VLProcessor",
    }
    token_names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    ends = [tokens.token_to_id("<|im_end|>"), tokens.token_to_id("<|endoftext|>")]
    contents = {
        "config.json": config(tokens).to_dict(),
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
    picture().save(ASSETS / "shapes.png", optimize=True)


if __name__ == "__main__":
    main()
