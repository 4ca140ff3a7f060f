"""Run Qwen3-VL on the hardware you own.

Importing this package loads nothing: each name is fetched when it is used. It changes two things:
at the end of `sys.meta_path` stands a finder that answers for import paths of older layouts alone,
and torch's threads, if torch is not there yet, spin for less long.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from qwen3_vl.compat import install
from qwen3_vl.openmp import shorten_spin

if TYPE_CHECKING:
    from qwen3_vl.api import Qwen3VLInference
    from qwen3_vl.config.generation import GenerationConfig
    from qwen3_vl.config.model import Qwen3VLConfig
    from qwen3_vl.errors import Qwen3VLError
    from qwen3_vl.models.pretrained import Qwen3VLPreTrainedModel
    from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration, Qwen3VLModel
    from qwen3_vl.processing.processor import Qwen3VLProcessor

_HOMES = {
    "GenerationConfig": "qwen3_vl.config.generation",
    "Qwen3VLConfig": "qwen3_vl.config.model",
    "Qwen3VLError": "qwen3_vl.errors",
    "Qwen3VLForConditionalGeneration": "qwen3_vl.models.qwen3_vl",
    "Qwen3VLInference": "qwen3_vl.api",
    "Qwen3VLModel": "qwen3_vl.models.qwen3_vl",
    "Qwen3VLPreTrainedModel": "qwen3_vl.models.pretrained",
    "Qwen3VLProcessor": "qwen3_vl.processing.processor",
}

__all__ = [
    "GenerationConfig",
    "Qwen3VLConfig",
    "Qwen3VLError",
    "Qwen3VLForConditionalGeneration",
    "Qwen3VLInference",
    "Qwen3VLModel",
    "Qwen3VLPreTrainedModel",
    "Qwen3VLProcessor",
]

install(__name__)
shorten_spin()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("qwen3-vl")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"qwen3_vl has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
