"""Ask about a picture. Any folder or hub id of a Qwen3-VL model can stand for "embedded"."""

# %%
from importlib.resources import files

from qwen3_vl import Qwen3VLInference

picture = str(files("qwen3_vl") / "assets" / "samples" / "count.png")
vlm = Qwen3VLInference("embedded")

# %% One question
print(vlm.generate_response("how many blue rings are there?", images=[picture]))

# %% A conversation: what was said before is part of the question
messages = [
    {
        "role": "user",
        "content": [
            {"type": "image", "image": picture},
            {"type": "text", "text": "how many blue rings are there?"},
        ],
    },
    {"role": "assistant", "content": "5"},
    {"role": "user", "content": "how many blue circles are there?"},
]
for piece in vlm.chat(messages):
    print(piece.text, end="")
print(f"   ({piece.prompt_tokens} prompt tokens, {piece.answer_tokens} answer tokens)")
