"""A layer of the decoder, or a block of the vision tower, in one native call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

from torch import nn

from qwen3_vl.models.cache import attends_in_pages
from qwen3_vl.models.frames import attends_in_frames
from qwen3_vl.models.fused_block import FusedBlock
from qwen3_vl.models.fused_block import packed_parts as parts_of_block
from qwen3_vl.models.fused_decoder import FusedDecoder
from qwen3_vl.models.fused_layer import FusedLayer
from qwen3_vl.models.fused_layer import packed_parts as parts_of_layer
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.text import DecoderLayer, TextModel
from qwen3_vl.models.vision import VisionBlock
from qwen3_vl.ops.layers import Room
from qwen3_vl.plan import Exact, Guarantee, Plan
from qwen3_vl.seams import BlockRunner, DecoderRunner, LayerRunner


@dataclass(frozen=True)
class KernelFusion:
    """Decoder layers, and blocks of the vision tower, in a few native calls.

    Paper: the fusion of norms, products and attention is common craft; for attention over pages
        see arXiv:2309.06180
    Seam: fusion
    Gives: less time for each layer, most for single tokens; the stream between layers is float32
    Costs: nothing: the same products and the same rounding, in fewer calls; a number that lies
        between two codes may fall to the other one
    Avoid: nowhere; what cannot be fused runs as before, and `inspect plan` says why
    """

    guarantee: ClassVar[Guarantee] = Exact()

    def apply(self, plan: Plan) -> Plan:
        """Run each layer and block so, if its weights are packed."""
        return plan.answer(self, fusion=self)

    def runners(self, decoder: nn.Module) -> tuple[Sequence[LayerRunner], DecoderRunner]:
        """One for each layer, and one for all; they share where they work."""
        text, room = cast(TextModel, decoder), Room()
        each = [FusedLayer(cast(DecoderLayer, layer), room) for layer in text.layers]
        return each, FusedDecoder(each, text.rotary, text.norm, room)

    def block_runners(self, blocks: Sequence[nn.Module]) -> Sequence[BlockRunner]:
        """One for each block; they share where they work."""
        room = Room()
        return [FusedBlock(cast(VisionBlock, block), room) for block in blocks]

    def remarks(self, plan: Plan) -> Sequence[str]:
        """What stays apart in this plan, and what would join it."""
        model = Qwen3VLForConditionalGeneration.skeleton(plan.config, plan.seams).model
        layers = [parts_of_layer(cast(DecoderLayer, x)) for x in model.language_model.layers]
        blocks = [parts_of_block(cast(VisionBlock, x)) for x in model.visual.blocks]
        vision = plan.config.vision_config
        dim = vision.hidden_size // vision.num_heads
        told: list[str] = []
        if loose := layers.count(None):
            packed = "weights are not packed by weight_int4, weight_int8 or weight_bf16"
            why = f"some {packed}, have adapters, or are bfloat16 beside others in one product"
            told.append(f"{loose} of {len(layers)} layers run module by module: {why}")
        elif not attends_in_pages(plan.seams):
            why = (
                "the cache is not kv_int8, kv_bf16 or quest, or another technique decides about it"
            )
            told.append(f"attention of the decoder runs in torch: {why}")
        if loose := blocks.count(None):
            why = "not all of their weights are packed by vision_int8 and without"
            told.append(
                f"{loose} of {len(blocks)} blocks of the vision tower run module by module: "
                f"{why} adapters"
            )
        elif not attends_in_frames(plan.seams, dim):
            why = f"not vision_int8, or heads of {dim}, or another technique decides about it"
            told.append(f"attention of the vision tower runs in torch: {why}")
        return told
