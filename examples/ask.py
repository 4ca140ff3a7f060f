"""Ask about a picture. Any folder or hub id of a Qwen3-VL model can stand for "embedded"."""

# %%
from importlib.resources import files

from qwen3_vl import Qwen3VLInference

picture = str(files("qwen3_vl") / "assets" / "samples" / "count.png")
vlm = Qwen3VLInference("embedded")

# %% One question
print(vlm.generate_response("count the blue crosses.", images=[picture]))

# %% A conversation: what was said before is part of the question
messages = [
    {
        "role": "user",
        "content": [
            {"type": "image", "image": picture},
            {"type": "text", "text": "count the blue crosses."},
        ],
    },
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "how many pink stars are there?"},
]
for piece in vlm.chat(messages):
    print(piece.text, end="")
print(f"   ({piece.prompt_tokens} prompt tokens, {piece.answer_tokens} answer tokens)")
