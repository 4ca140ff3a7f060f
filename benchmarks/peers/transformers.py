"""The transformers library, with the fewest steps around its model: no streamer, no sampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.peers.worker import SteppingEngine, serve
from qwen3_vl.validation.reference import import_transformers

transformers = import_transformers()


class Transformers(SteppingEngine):
    """`dtype` in the settings."""

    packages = ("transformers", "torch")
    _scores: torch.Tensor

    def prepare(self, checkpoint: Path, folder: Path) -> None:
        """It reads the checkpoint as it is."""

    def load(self, checkpoint: Path, folder: Path, threads: int, vision: bool) -> None:  # noqa: ARG002
        torch.set_num_threads(threads)
        self._model = transformers.Qwen3VLForConditionalGeneration.from_pretrained(
            checkpoint, dtype=getattr(torch, self.settings["dtype"])
        ).eval()
        self._processor = transformers.AutoProcessor.from_pretrained(checkpoint) if vision else None

    def begin(self, tokens: int) -> None:  # noqa: ARG002 - its cache grows
        self._cache = transformers.DynamicCache(config=self._model.config)

    def prompt(self, ids: list[int]) -> None:
        self._run(input_ids=torch.tensor([ids]))

    def step(self) -> None:
        self._run(input_ids=self._scores.argmax().view(1, 1))

    @torch.inference_mode()
    def draft(self, count: int) -> None:
        ids = self._scores.argmax().view(1, 1).expand(1, count)
        out = self._model(input_ids=ids, past_key_values=self._cache, use_cache=True)
        self._scores = out.logits[0, -1]

    def pixels(self, picture: np.ndarray) -> Any:
        return self._processor.image_processor(
            images=[Image.fromarray(picture)], return_tensors="pt"
        )

    @torch.inference_mode()
    def see(self, pixels: Any) -> None:
        values = pixels["pixel_values"].to(self._model.dtype)
        self._model.model.visual(values, grid_thw=pixels["image_grid_thw"])

    def look(self, picture: np.ndarray, question: str) -> int:
        content = [
            {"type": "image", "image": Image.fromarray(picture)},
            {"type": "text", "text": question},
        ]
        inputs = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        self.begin(0)
        self._run(**inputs)
        return inputs["input_ids"].shape[1]

    @torch.inference_mode()
    def _run(self, **inputs: torch.Tensor) -> None:
        out = self._model(**inputs, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._scores = out.logits[0, -1]


if __name__ == "__main__":
    serve(Transformers)
