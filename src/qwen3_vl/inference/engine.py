"""Runs requests on a model: one at a time, over the plain loop."""

from __future__ import annotations

from collections.abc import Iterator

from qwen3_vl.errors import ContextLengthError, InputError
from qwen3_vl.inference.request import Output, Request
from qwen3_vl.inference.stopping import StopScanner
from qwen3_vl.models.generation import Decoding
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.vision import Pictures
from qwen3_vl.processing.processor import Qwen3VLProcessor


class Engine:
    """Turns requests into streams of text."""

    def __init__(
        self,
        model: Qwen3VLForConditionalGeneration,
        processor: Qwen3VLProcessor,
        max_context: int | None = None,
    ) -> None:
        """`max_context` limits prompt and answer together, below what the model was made for."""
        _check_fit(model, processor)
        self.model = model
        self.processor = processor
        self.max_context = max_context

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
        self._check_room(ids.shape[1], request.settings.max_new_tokens)
        return Decoding(self.model, ids, mask, pictures, request.settings), ids.shape[1]

    def _check_room(self, prompt: int, answer: int) -> None:
        if self.max_context is not None and prompt + answer > self.max_context:
            raise ContextLengthError(
                f"a prompt of {prompt} tokens and {answer} new ones are more than the limit of "
                f"{self.max_context} that was set; lower max_new_tokens, shorten the text, use "
                "fewer or smaller pictures, or raise memory.max_context"
            )


def _check_fit(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor) -> None:
    """The processor of another checkpoint makes ids and patches that mean something else here."""
    config, vision = model.config, model.config.vision_config
    pixels = processor.image_processor.pixels
    for what, wanted, given in (
        ("image token id", config.image_token_id, processor.image_token_id),
        ("video token id", config.video_token_id, processor.video_token_id),
        ("patch size", vision.patch_size, pixels.patch_size),
        ("merge size", vision.spatial_merge_size, pixels.merge_size),
        ("temporal patch size", vision.temporal_patch_size, pixels.temporal_patch_size),
    ):
        if wanted != given:
            raise InputError(
                f"the {what} of the model is {wanted}, of the processor {given}; "
                "load both from the same checkpoint"
            )
    tokens, vocabulary = len(processor.tokenizer), config.text_config.vocab_size
    if tokens > vocabulary:
        raise InputError(
            f"the tokenizer has {tokens} tokens, the model's vocabulary {vocabulary}; "
            "load both from the same checkpoint"
        )
