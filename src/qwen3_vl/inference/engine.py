"""Runs requests on a model: one at a time, over the plain loop."""

from __future__ import annotations

from collections.abc import Iterator

from qwen3_vl.inference.request import Output, Request
from qwen3_vl.inference.stopping import StopScanner
from qwen3_vl.models.generation import Decoding
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.vision import Pictures
from qwen3_vl.processing.processor import Qwen3VLProcessor


class Engine:
    """Turns requests into streams of text."""

    def __init__(self, model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor) -> None:
        self.model = model
        self.processor = processor

    def stream(self, request: Request) -> Iterator[Output]:
        """The answer, piece by piece as its text becomes final."""
        decoding, prompt_tokens = self._start(request)
        settings = request.settings
        text = self.processor.tokenizer.stream()
        scanner = StopScanner(settings.stop)
        count = 0
        for (token,) in decoding.steps():
            if token is None or token in settings.eos_token_id:
                yield Output(
                    scanner.push(text.flush()) + scanner.flush(), prompt_tokens, count, "stop"
                )
                return
            count += 1
            ready = scanner.push(text.push(token))
            if scanner.stopped:
                yield Output(ready, prompt_tokens, count, "stop")
                return
            yield Output(ready, prompt_tokens, count)
        yield Output(scanner.push(text.flush()) + scanner.flush(), prompt_tokens, count, "length")

    def _start(self, request: Request) -> tuple[Decoding, int]:
        inputs = self.processor.prepare([request.messages], tools=request.tools)
        inputs = inputs.to(self.model.device)
        pictures = Pictures(
            inputs.get("pixel_values"),
            inputs.get("pixel_values_videos"),
            inputs.get("image_grid_thw"),
            inputs.get("video_grid_thw"),
        )
        ids = inputs["input_ids"]
        mask = inputs["attention_mask"]
        return Decoding(self.model, ids, mask, pictures, request.settings), ids.shape[1]
