"""Ask about a video: a file, or frames that you have already."""

# %%
from importlib.resources import files

from qwen3_vl import Qwen3VLInference

samples = files("qwen3_vl") / "assets" / "samples"
frames = [str(samples / f"video_{number}.png") for number in range(1, 5)]
vlm = Qwen3VLInference("embedded")


# %% Of a file {"type": "video", "video": "clip.mp4", "fps": 2} takes two frames a second
def ask(question: str) -> str:
    """The answer to a question about frames that are half a second apart."""
    video = {"type": "video", "video": frames, "frame_rate": 2, "do_sample_frames": False}
    content = [video, {"type": "text", "text": question}]
    return "".join(piece.text for piece in vlm.chat([{"role": "user", "content": content}]))


# %%
for question in ("what appears first?", "what appears last?", "how many things appear?"):
    print(question, ask(question))
