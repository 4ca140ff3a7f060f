"""The transformers library with the decoder's matrices quantised by torchao, without compiling."""

from __future__ import annotations

from pathlib import Path

from torchao.quantization import (
    Int4WeightOnlyConfig,
    Int8DynamicActivationInt8WeightConfig,
    quantize_,
)

from benchmarks.peers.transformers import Transformers
from benchmarks.peers.worker import serve


class TorchAO(Transformers):
    """`numbers` in the settings: int8 weights and activations, or int4 weights."""

    packages = ("torchao", "transformers", "torch")

    def load(self, checkpoint: Path, folder: Path, threads: int, vision: bool) -> None:
        super().load(checkpoint, folder, threads, vision)
        config = (
            Int4WeightOnlyConfig(group_size=32, int4_packing_format="opaque")
            if self.settings["numbers"] == "int4"
            else Int8DynamicActivationInt8WeightConfig()
        )
        quantize_(self._model.model.language_model, config)


if __name__ == "__main__":
    serve(TorchAO)
