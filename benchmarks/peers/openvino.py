"""OpenVINO GenAI: the pipeline that its users have, over a model that optimum-intel exports."""

from __future__ import annotations

import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai

from benchmarks.peers.worker import Engine, letters, serve, timed
from qwen3_vl.validation.reference import import_torchvision

EXPORT = "export openvino --task image-text-to-text --weight-format int4 --sym --group-size 128"
PROMPT = (
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{}<|im_end|>\n"
    "<|im_start|>assistant\n"
)
A_FIRST_LETTER = ord("!")
"""What the first id of the vocabulary stands for."""


class OpenVino(Engine):
    """Matrices of the decoder in 4 bits, of the vision tower in 8, as optimum-intel chooses.

    The pipeline computes whole answers and tells itself how long their parts took.
    """

    packages = ("openvino", "openvino-genai")

    def prepare(self, checkpoint: Path, folder: Path) -> None:
        made, partial = folder / "int4", folder / "int4.partial"
        if made.is_dir():
            return
        shutil.rmtree(partial, ignore_errors=True)
        import_torchvision()
        sys.argv = ["optimum-cli", *EXPORT.split(), "--model", str(checkpoint), str(partial)]
        import_module("optimum.commands.optimum_cli").main()
        partial.rename(made)

    def load(self, checkpoint: Path, folder: Path, threads: int, vision: bool) -> None:  # noqa: ARG002
        self._pipeline = openvino_genai.VLMPipeline(
            folder / "int4", "CPU", INFERENCE_NUM_THREADS=threads
        )

    def prefill(self, tokens: int, seed: int) -> float:
        return self._answer(_text(tokens, seed)).get_ttft().mean / 1000

    def decode(self, context: int, steps: int, room: int) -> float:  # noqa: ARG002
        """The pipeline takes the context again each time, which is not counted."""
        return self._answer(_text(context), steps + 1).get_tpot().mean / 1000

    def encode(self, picture: np.ndarray) -> float:
        """With pixels and a few words made ready: the tower's blocks are not told apart from it.

        What the pipeline calls vision encoding ends before them.
        """
        told = self._answer(PROMPT.format(""), 1, picture)
        return told.get_prepare_embeddings_duration().mean / 1000

    def first(self, picture: np.ndarray, question: str) -> tuple[float, int]:
        seconds, told = timed(lambda: self._answer(PROMPT.format(question), 1, picture))
        return seconds, told.get_num_input_tokens()

    def _answer(self, text: str, tokens: int = 1, shown: np.ndarray | None = None) -> Any:
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = tokens
        config.ignore_eos = True
        config.do_sample = False
        config.apply_chat_template = False
        images = [] if shown is None else [openvino.Tensor(shown[None])]
        return self._pipeline.generate(text, images=images, generation_config=config).perf_metrics


def _text(tokens: int, seed: int = 0) -> str:
    return "".join(chr(A_FIRST_LETTER + index) for index in letters(tokens, seed))


if __name__ == "__main__":
    serve(OpenVino)
