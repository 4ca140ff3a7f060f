"""The import paths and names of older layouts, and where the real things are: one table.

A path becomes a module when it is imported; its names are fetched when they are used.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from operator import attrgetter
from types import ModuleType
from typing import Any

# A name, and the module that holds it; behind a colon what it is called there, if otherwise.
_MODELS = {
    "MoeLayer": "qwen3_vl.models.experts",
    "Quest": "qwen3_vl.optimization.kv_cache.quest",
    "Qwen3VLAttention": "qwen3_vl.models.text",
    "Qwen3VLConfig": "qwen3_vl.config.model",
    "Qwen3VLForConditionalGeneration": "qwen3_vl.models.qwen3_vl",
    "Qwen3VLModel": "qwen3_vl.models.qwen3_vl",
    "Qwen3VLPreTrainedModel": "qwen3_vl.models.pretrained",
    "Qwen3VLProcessor": "qwen3_vl.processing.processor",
    "Qwen3VLRotaryEmbedding": "qwen3_vl.models.positions",
}
_ATTENTION = {
    "AdaptiveAttention": "qwen3_vl.compat.attention",
    "AttentionMechanisms": "qwen3_vl.compat.attention",
    "BlockSparseAttention": "qwen3_vl.optimization.attention.block_sparse_attention",
    "FlashAttention2": "qwen3_vl.optimization.attention.flash_attention_2",
    "MemoryEfficientAttention": "qwen3_vl.optimization.attention.memory_efficient_attention",
    "OptimizedQwen3VLAttention": "qwen3_vl.compat.attention:AdaptiveAttention",
    "Qwen3VLAttention": "qwen3_vl.models.text",
    "Qwen3VLRotaryEmbedding": "qwen3_vl.models.positions",
    "apply_rotary_pos_emb": "qwen3_vl.models.positions",
    "repeat_kv": "qwen3_vl.models.text",
}
_KV_CACHE = {
    "HeavyHitter": "qwen3_vl.optimization.kv_cache.heavy_hitter",
    "KVCacheOptimizer": "qwen3_vl.compat.optimizers",
    "KVCachingOptimization": "qwen3_vl.compat.optimizers:KVCacheOptimizer",
    "QuantizedKV": "qwen3_vl.optimization.kv_cache.quantized_kv",
    "SlidingWindow": "qwen3_vl.optimization.kv_cache.sliding_window",
}
_CONFIG = {
    "CPUConfig": "qwen3_vl.config.runtime",
    "ConfigurableComponent": "qwen3_vl.config.component",
    "GPUConfig": "qwen3_vl.config.runtime",
    "MemoryConfig": "qwen3_vl.config.runtime",
    "OptimizationConfig": "qwen3_vl.config.runtime",
    "PowerManagementConfig": "qwen3_vl.config.runtime",
    "Qwen3VLConfig": "qwen3_vl.config.model",
    "UnifiedConfig": "qwen3_vl.config.runtime",
    "UnifiedConfigManager": "qwen3_vl.config.manager",
    "create_unified_config_manager": "qwen3_vl.config.manager",
    "get_default_config": "qwen3_vl.config.manager",
    "get_hardware_optimized_config": "qwen3_vl.config.manager",
}
_OPTIMIZATION = {
    "AdaptiveDepth": "qwen3_vl.optimization.compute.adaptive_depth",
    "BlockSparseAttention": "qwen3_vl.optimization.attention.block_sparse_attention",
    "CrossModalTokenMerging": "qwen3_vl.optimization.vision.cross_modal_token_merging",
    "FallbackManager": "qwen3_vl.compat.fallback",
    "FlashAttention2": "qwen3_vl.optimization.attention.flash_attention_2",
    "HeadInt4": "qwen3_vl.optimization.precision.head_int4",
    "HeadInt8": "qwen3_vl.optimization.precision.head_int8",
    "KernelFusion": "qwen3_vl.optimization.compute.kernel_fusion",
    "KvBf16": "qwen3_vl.optimization.kv_cache.kv_bf16",
    "KvInt8": "qwen3_vl.optimization.kv_cache.kv_int8",
    "Lora": "qwen3_vl.optimization.compute.lora",
    "MemoryEfficientAttention": "qwen3_vl.optimization.attention.memory_efficient_attention",
    "MoeLayer": "qwen3_vl.models.experts",
    "UnifiedArchitecture": "qwen3_vl.plan:Plan",
    "UnifiedOptimizationManager": "qwen3_vl.compat.optimizers",
    "UnifiedOptimizationOrchestrator": "qwen3_vl.compat.optimizers:UnifiedOptimizationManager",
    "VisionInt8": "qwen3_vl.optimization.vision.vision_int8",
    "WeightBf16": "qwen3_vl.optimization.precision.weight_bf16",
    "WeightInt4": "qwen3_vl.optimization.precision.weight_int4",
    "WeightInt8": "qwen3_vl.optimization.precision.weight_int8",
    **_KV_CACHE,
}
_INFERENCE = {
    "Qwen3VLInference": "qwen3_vl.api",
    "UnifiedInferencePipeline": "qwen3_vl.api:Qwen3VLInference",
    "generate_multimodal": "qwen3_vl.api:Qwen3VLInference.generate_multimodal",
    "generate_text": "qwen3_vl.api:Qwen3VLInference.generate_text",
}
_EVERYWHERE: Mapping[str, Mapping[str, str]] = {
    "attention": _ATTENTION,
    "components": {},
    "components.attention": _ATTENTION,
    "components.configuration": _CONFIG,
    "components.inference": _INFERENCE,
    "components.optimization": _OPTIMIZATION,
    "config.config_manager": _CONFIG,
    "config.unified_config": _CONFIG,
    "kv_cache": _KV_CACHE,
    "memory_management": _KV_CACHE,
    "memory_management.kv_cache_optimizer": _KV_CACHE,
}
# Below qwen3_vl there are real folders of these names.
_IN_A_CHECKOUT: Mapping[str, Mapping[str, str]] = {
    "cli": {},
    "cli.main": {"main": "qwen3_vl.cli.main"},
    "config": _CONFIG,
    "inference": _INFERENCE,
    "models": _MODELS,
    "optimization": _OPTIMIZATION,
}
MODULES: Mapping[str, Mapping[str, str]] = {
    **{f"qwen3_vl.{path}": names for path, names in _EVERYWHERE.items()},
    **{f"src.{path}": names for path, names in {**_EVERYWHERE, **_IN_A_CHECKOUT}.items()},
}
"""The older paths, each with its names and where they are now."""

TO_COME: Mapping[str, str] = {
    "AdaptiveBatchProcessing": "batches that grow and shrink with the load",
    "AdaptivePrecision": "more bits for the layers that need them",
    "AdaptiveSequencePacking": "sequences packed into batches of even work",
    "AdaptiveSparse": "products that skip small activations",
    "CrossLayerParameterRecycling": "layers that share weights",
    "DataPipelineOptimization": "inputs prepared while the model computes",
    "DistributedPipelineParallelism": "layers spread over several machines",
    "DynamicSparseAttention": "keys chosen for each query",
    "FasterRotaryEmbeddings": "a fused kernel for positions",
    "GeneralMemoryManager": "one budget for weights, cache and passes",
    "HierarchicalMemoryCompression": "older tokens kept in coarser forms",
    "KernelFusion": "several operations in one kernel",
    "LearnedActivationRouting": "a gate that chooses activations",
    "MemoryEfficientGradientAccumulation": "training in small steps of large batches",
    "MemoryManager": "one budget for weights, cache and passes",
    "MemoryOptimizationIntegrator": "memory pools, tiers and compression together",
    "MemoryPool": "one arena for the pages of all caches",
    "SparseMemoryManager": "pages for caches with gaps",
    "VisionLanguageMemoryManager": "separate budgets for pictures and text",
}
"""Documented names whose technique comes later, and what it will be."""

REPLACED: Mapping[str, str] = {
    "HardwareSpecificKernels": (
        "the kernels for this machine are chosen without asking; qwen3_vl.ops.native.report() "
        "tells which"
    ),
    "OrderOptimizer": (
        "techniques act in the order of the recipe, and qwen3_vl.recipes.compile_recipe refuses "
        "those that do not go together"
    ),
}
"""Documented names that do not come back, and why."""


def install(package: str) -> None:
    """Let the older paths below a package be imported; asking again changes nothing."""
    finder = _Finder(package)
    # Told by its text, because after a reload its class is another one.
    if repr(finder) not in map(repr, sys.meta_path):
        sys.meta_path.append(finder)


class _Finder(MetaPathFinder):
    """Answers for the paths of `MODULES` below one package, and for nothing else.

    As the last one it is asked only for what is not on disk.
    """

    def __init__(self, package: str) -> None:
        self._package = package

    def __repr__(self) -> str:
        return f"<the paths of older layouts below {self._package}>"

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        if not package.startswith(self._package):
            return None
        if fullname in MODULES:
            return ModuleSpec(fullname, _TableLoader(), origin=__name__, is_package=True)
        if package in MODULES:  # also by "from package import name", which then shows this text
            raise ImportError(_missing(package, name), name=fullname)
        if fullname.startswith("src.qwen3_vl") and find_spec(fullname.removeprefix("src.")):
            return ModuleSpec(fullname, _TwinLoader(), origin=__name__, is_package=True)
        return None


class _TableLoader(Loader):
    """Fills a module with what the table says of it."""

    def exec_module(self, module: ModuleType) -> None:
        path = module.__name__
        places = "\n".join(f"    {name}: {place}" for name, place in MODULES[path].items())
        module.__doc__ = f"An import path of older layouts. Its names are now here:\n\n{places}\n"
        names = _names(path)
        vars(module).update(__all__=names, __dir__=lambda: names, __getattr__=partial(_fetch, path))


class _TwinLoader(Loader):
    """Fills `src.qwen3_vl.x` with what `qwen3_vl.x` has, so that no class is there twice."""

    def exec_module(self, module: ModuleType) -> None:
        real = import_module(module.__name__.removeprefix("src."))
        module.__doc__ = real.__doc__
        vars(module).update(__dir__=partial(dir, real), __getattr__=partial(getattr, real))


def _fetch(path: str, name: str) -> Any:
    if name in MODULES[path]:
        home, _, known_as = MODULES[path][name].partition(":")
        return attrgetter(known_as or name)(import_module(home))
    if f"{path}.{name}" in MODULES:
        return import_module(f"{path}.{name}")
    raise AttributeError(_missing(path, name))


def _names(path: str) -> list[str]:
    """The names in a module, and the modules below it."""
    below = [one.rpartition(".") for one in MODULES]
    return sorted({*MODULES[path], *(name for package, _, name in below if package == path)})


def _missing(path: str, name: str) -> str:
    if name in TO_COME:
        return (
            f"{name} ({TO_COME[name]}) comes later; "
            "docs/api_reference.md lists what is there and what is to come"
        )
    if name in REPLACED:
        return f"{name} was not carried over: {REPLACED[name]}"
    return f"{path}, a path of older layouts, has no {name!r}; it has {', '.join(_names(path))}"
