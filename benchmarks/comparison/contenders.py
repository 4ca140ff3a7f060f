"""Who takes part in a comparison: engines, the formats that they compute in, and what they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.comparison.environments import (
    LLAMA_CPP,
    LLAMA_CPP_AVX2,
    OPENVINO,
    TORCHAO,
    TRANSFORMERS,
    Environment,
    OurOwn,
)

FASTEST = "weight_int4|head_int4|vision_int8|kv_int8|kernel_fusion"
"""The recipe that is compared unless another one is given."""
PEERS = "benchmarks.peers"
OURS = "qwen3_vl"
BF16 = "qwen3_vl-bf16"
EXACT_WEIGHTS = "weight_bf16|kv_bf16|kernel_fusion"
"""That of our second contender: the very weights of the checkpoint."""
AVX2 = "avx2"
TORCH_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


@dataclass(frozen=True)
class Contender:
    """An engine in one format."""

    name: str
    module: str
    """Where its worker is."""
    settings: Mapping[str, str]
    python: Environment | OurOwn
    gigabytes: float
    """What it may take in memory."""
    variables: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""
    """Why it cannot take part."""
    asked_for: bool = False
    """It takes part only if it is named."""


def contenders(recipe: str = FASTEST, isa: str = "") -> dict[str, Contender]:
    """All that could take part; `isa` avx2 holds them to that."""
    narrow = isa == AVX2
    own = {"QWEN3_VL_CPU": AVX2, **TORCH_AVX2} if narrow else {}
    torch = TORCH_AVX2 if narrow else {}
    no_way = "nothing holds it to AVX2 on a machine with AVX-512" if narrow else ""
    llama = LLAMA_CPP_AVX2 if narrow else LLAMA_CPP

    def llama_cpp(text: str, vision: str) -> Contender:
        name = f"llama.cpp-{text.lower()}"
        return Contender(name, f"{PEERS}.llama_cpp", {"text": text, "vision": vision}, llama, 3.5)

    def transformers(name: str, dtype: str, gigabytes: float, asked_for: bool = False) -> Contender:
        settings = {"dtype": dtype}
        return Contender(
            name,
            f"{PEERS}.transformers",
            settings,
            TRANSFORMERS,
            gigabytes,
            torch,
            asked_for=asked_for,
        )

    def torchao(numbers: str) -> Contender:
        settings = {"dtype": "bfloat16", "numbers": numbers}
        return Contender(f"torchao-{numbers}", f"{PEERS}.torchao", settings, TORCHAO, 6.0, torch)

    every = (
        Contender(OURS, f"{PEERS}.qwen3_vl", {"recipe": recipe}, OurOwn(), 3.0, own),
        Contender(BF16, f"{PEERS}.qwen3_vl", {"recipe": EXACT_WEIGHTS}, OurOwn(), 9.5, own),
        transformers("transformers-bf16", "bfloat16", 6.0),
        transformers("transformers-fp32", "float32", 13.0, asked_for=True),
        llama_cpp("Q4_0", "BF16"),
        llama_cpp("Q4_K_M", "BF16"),
        llama_cpp("Q8_0", "Q8_0"),
        Contender("openvino-int4", f"{PEERS}.openvino", {}, OPENVINO, 5.0, refused=no_way),
        torchao("int8"),
        torchao("int4"),
    )
    return {one.name: one for one in every}
