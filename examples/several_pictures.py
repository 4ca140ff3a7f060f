"""Ask about several pictures at once: the question can call them image 1, image 2 and so on."""

# %%
from importlib.resources import files

from PIL import Image

from qwen3_vl import Qwen3VLInference

samples = files("qwen3_vl") / "assets" / "samples"
vlm = Qwen3VLInference("embedded")

# %% Paths, URLs, bytes, arrays and Pillow's images can stand side by side
first, second = (str(samples / f"several_{number}.png") for number in (1, 2))
pictures = [first, Image.open(second)]
print(vlm.generate_response("in which image is the yellow square?", images=pictures))

# %% The order decides
pictures.reverse()
print(vlm.generate_response("in which image is the yellow square?", images=pictures))
