"""Who takes part in a comparison: engines, the formats that they compute in, and what they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.comparison.environments import (
    LLAMA_CPP,
    LLAMA_CPP_AVX2,
    LLAMA_CPP_AVX512,
    OPENVINO,
    TORCHAO,
    TRANSFORMERS,
    Environment,
    OurOwn,
)

FASTEST = "weight_int4|head_int4(promising=256)|vision_int8|kv_int8|kernel_fusion"
"""The recipe that is compared unless another one is given."""
PEERS = "benchmarks.peers"
OURS = "qwen3_vl"
BF16 = "qwen3_vl-bf16"
EXACT_WEIGHTS = "weight_bf16|kv_bf16|kernel_fusion"
"""That of our second contender: the very weights of the checkpoint."""
AVX2, AVX512 = "avx2", "avx512bf16"


@dataclass(frozen=True)
class Held:
    """How engines are held to what a smaller machine has."""

    torch: Mapping[str, str]
    """Variables for PyTorch."""
    llama: Environment


FREE = Held({}, LLAMA_CPP)
HOLDS: Mapping[str, Held] = {
    AVX2: Held({"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}, LLAMA_CPP_AVX2),
    AVX512: Held(
        {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
        LLAMA_CPP_AVX512,
    ),
}
"""By the name of our variant that takes part."""


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
    """All that could take part; `isa` is one of those that they can be held to."""
    held = HOLDS.get(isa, FREE)
    own = {"QWEN3_VL_CPU": isa, **held.torch} if isa else {}
    no_way = f"nothing holds it to {isa} on a machine with more" if isa else ""

    def llama_cpp(text: str, vision: str) -> Contender:
        name = f"llama.cpp-{text.lower()}"
        return Contender(
            name, f"{PEERS}.llama_cpp", {"text": text, "vision": vision}, held.llama, 3.5
        )

    def transformers(name: str, dtype: str, gigabytes: float, asked_for: bool = False) -> Contender:
        settings = {"dtype": dtype}
        return Contender(
            name,
            f"{PEERS}.transformers",
            settings,
            TRANSFORMERS,
            gigabytes,
            held.torch,
            asked_for=asked_for,
        )

    def torchao(numbers: str) -> Contender:
        settings = {"dtype": "bfloat16", "numbers": numbers}
        module = f"{PEERS}.torchao"
        return Contender(f"torchao-{numbers}", module, settings, TORCHAO, 6.0, held.torch)

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
