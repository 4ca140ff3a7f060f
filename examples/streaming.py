"""Print an answer while it is made, and see how fast it comes."""

# %%
import time
from importlib.resources import files

from qwen3_vl import Qwen3VLInference
from qwen3_vl.api import user_message

picture = str(files("qwen3_vl") / "assets" / "samples" / "find.png")
question = "find the green ring. answer with bbox_2d."
vlm = Qwen3VLInference("embedded")

# %% The text alone
for text in vlm.stream(question, images=[picture]):
    print(text, end="", flush=True)
print()

# %% With counts; sampled instead of always the likeliest token, the same again by its seed
started = time.perf_counter()
first = None
for piece in vlm.chat(user_message(question, [picture]), temperature=0.3, seed=1):
    first = first or time.perf_counter() - started
    print(piece.text, end="", flush=True)
seconds = time.perf_counter() - started
print(f"\n{piece.answer_tokens} tokens in {seconds:.2f} s, the first after {first:.2f} s")
