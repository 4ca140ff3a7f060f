"""This package, with a recipe."""

from __future__ import annotations

from pathlib import Path

import qwen3_vl  # noqa: F401 - before torch, whose threads then spin shortly

# isort: split
import numpy as np
import torch
from PIL import Image

from benchmarks.peers.worker import NotOffered, SteppingEngine, serve
from qwen3_vl import Qwen3VLInference
from qwen3_vl.api import user_message
from qwen3_vl.models.generation import Scorer, Walk
from qwen3_vl.models.packed import PackedLinear
from qwen3_vl.models.packing import Packing
from qwen3_vl.models.vision import Pictures
from qwen3_vl.ops import native
from qwen3_vl.ops.largest import largest

Pixels = tuple[torch.Tensor, torch.Tensor]


class Own(SteppingEngine):
    """`recipe` in the settings, over weights in bfloat16."""

    packages = ("qwen3-vl", "torch")
    _walk: Walk

    def prepare(self, checkpoint: Path, folder: Path) -> None:  # noqa: ARG002
        """Weights are packed by the first who loads them."""
        self._read(checkpoint)

    def load(self, checkpoint: Path, folder: Path, threads: int, vision: bool) -> None:  # noqa: ARG002
        torch.set_num_threads(threads)
        self._vlm = self._read(checkpoint)
        self._model = self._vlm.engine.model

    def begin(self, tokens: int) -> None:  # noqa: ARG002 - its cache grows
        self.__dict__.pop("_walk", None)

    @torch.inference_mode()
    def prompt(self, ids: list[int]) -> None:
        given = torch.tensor([ids])
        self._walk = Walk(self._model, given, Packing.of(given, None), Pictures())
        self._best = int(largest(self._walk.score(), 1))

    @torch.inference_mode()
    def step(self) -> None:
        self._walk.take([self._best])
        self._best = int(largest(self._walk.score(), 1))

    @torch.inference_mode()
    def draft(self, count: int) -> None:
        score = Scorer(self._model.lm_head)
        hidden = self._model.model.step([[self._best] * count], self._walk.cache, score)
        self._best = int(largest(score(hidden), 1)[-1])

    def pixels(self, picture: np.ndarray) -> Pixels:
        return self._vlm.engine.processor.image_processor([Image.fromarray(picture)])

    @torch.inference_mode()
    def see(self, pixels: Pixels) -> None:
        self._model.model.get_image_features(*pixels)

    def look(self, picture: np.ndarray, question: str) -> int:
        messages = user_message(question, [Image.fromarray(picture)])
        *_, last = self._vlm.chat(messages, max_new_tokens=1)
        return last.prompt_tokens

    def weight_bytes(self) -> int:
        """All of the decoder, and of the head what it reads; of the embeddings one row."""
        language, head = self._model.model.language_model, self._model.lm_head
        layers = sum(one.nbytes for one in language.layers.state_dict().values())
        if isinstance(head, PackedLinear):
            return layers + head.matrix.read_bytes
        return layers + language.embed_tokens.weight.nbytes  # that or one as large

    def _read(self, checkpoint: Path) -> Qwen3VLInference:
        vlm = Qwen3VLInference.from_pretrained(
            checkpoint, recipe=self.settings["recipe"], dtype="bfloat16", device_map="cpu"
        )
        packed = any(isinstance(one, PackedLinear) for one in vlm.engine.model.modules())
        if packed and native.variant() is None:
            raise NotOffered(
                "packed weights need compiled kernels, which this installation lacks: install it "
                "again where a C++ compiler is, or compare another --recipe"
            )
        return vlm


if __name__ == "__main__":
    serve(Own)
