"""The transformers library with the decoder's matrices quantised by torchao, without compiling."""

from __future__ import annotations

from pathlib import Path

from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

from benchmarks.peers.transformers import Transformers
from benchmarks.peers.worker import serve


class TorchAO(Transformers):
    """`numbers` in the settings: int8 weights and activations, or int4 weights.

    For the latter on a CPU torchao has nothing but a prototype.
    """

    packages = ("torchao", "transformers", "torch")

    def load(self, checkpoint: Path, folder: Path, threads: int, vision: bool) -> None:
        super().load(checkpoint, folder, threads, vision)
        kinds = {
            "int8": Int8DynamicActivationInt8WeightConfig(),
            "int4": PrototypeInt4WeightOnlyConfig(set_inductor_config=False),
        }
        quantize_(self._model.model.language_model, kinds[self.settings["numbers"]])


if __name__ == "__main__":
    serve(TorchAO)
