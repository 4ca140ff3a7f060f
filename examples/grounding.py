"""Ask where something is, and draw the box. Qwen3-VL counts in thousandths of the picture."""

# %%
from importlib.resources import files

from PIL import Image

from qwen3_vl import Qwen3VLInference
from qwen3_vl.processing.boxes import draw_boxes, read_boxes

picture = Image.open(str(files("qwen3_vl") / "assets" / "samples" / "find.png"))
vlm = Qwen3VLInference("embedded")

# %%
answer = vlm.generate_response("find the green ring. answer with bbox_2d.", images=[picture])
print(answer)

# %%
for box in read_boxes(answer):
    left, top, right, bottom = box.pixels(picture.width, picture.height)
    print(f"pixels {left} … {right} across, {top} … {bottom} down")
draw_boxes(picture, read_boxes(answer)).save("grounding.png")
