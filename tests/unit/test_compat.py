"""The documented names: every import of the API reference, every older path, and what they do."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

import qwen3_vl
from qwen3_vl.compat import MODULES, REPLACED, TO_COME
from qwen3_vl.compat.attention import AdaptiveAttention, AttentionMechanisms
from qwen3_vl.compat.fallback import FallbackManager
from qwen3_vl.compat.optimizers import KVCacheOptimizer, UnifiedOptimizationManager
from qwen3_vl.config.manager import create_unified_config_manager
from qwen3_vl.config.model import TextConfig
from qwen3_vl.config.runtime import OptimizationConfig, UnifiedConfig
from qwen3_vl.errors import ConfigError, Incompatible, InputError
from qwen3_vl.hardware.fallback import Candidate
from qwen3_vl.hardware.routing import Needs, route
from qwen3_vl.models.cache import DenseCache, NoCache
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.optimization.attention.block_sparse_attention import BlockSparseAttention
from qwen3_vl.optimization.attention.flash_attention_2 import FlashAttention2
from qwen3_vl.optimization.attention.memory_efficient_attention import MemoryEfficientAttention
from qwen3_vl.optimization.kv_cache.heavy_hitter import HeavyHitter
from qwen3_vl.optimization.kv_cache.quantized_kv import QuantizedKV
from qwen3_vl.optimization.kv_cache.sliding_window import SlidingWindow
from qwen3_vl.plugins import techniques
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.seams import PLAIN, Seams
from qwen3_vl.testing import Bench, tiny_config
from tests.support.techniques import small

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api_reference.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
DOCUMENTED = [(path, name) for path, names in MODULES.items() for name in names]


def imports(code: str) -> list[tuple[str, str]]:
    """The modules that are imported, and the names from them; empty for a module itself."""
    found: list[tuple[str, str]] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            found += [(node.module or "", one.name) for one in node.names]
        elif isinstance(node, ast.Import):
            found += [(one.name, "") for one in node.names]
    return found


def named(section: str) -> dict[str, str]:
    """The table in a part of the page: what stands in its first two columns."""
    part = PAGE.partition(section)[2]
    table = part[part.index("| name") :].partition("\n\n")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))


# The page ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "name"), sorted({one for code in EXAMPLES for one in imports(code)}), ids=str
)
def test_every_import_of_the_page_resolves(module: str, name: str) -> None:
    found = importlib.import_module(module)
    assert not name or getattr(found, name) is not None


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_of_the_page_runs(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (64, 48), "teal").save(tmp_path / "kitchen.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLES[number], f"example {number}", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("name", qwen3_vl.__all__)
def test_the_page_imports_all_public_names(name: str) -> None:
    assert any(("qwen3_vl", name) in imports(code) for code in EXAMPLES)


@pytest.mark.parametrize("name", techniques())
def test_the_page_imports_all_techniques(name: str) -> None:
    wanted = (techniques()[name].kind.__module__, techniques()[name].kind.__name__)
    assert any(wanted in imports(code) for code in EXAMPLES)


def test_the_page_tells_what_is_to_come_and_what_is_not() -> None:
    assert named("## To come") == TO_COME
    assert named("These do not come back") == REPLACED


@pytest.mark.parametrize("path", [one for one in MODULES if one.startswith("qwen3_vl.")])
def test_the_page_tells_every_older_path(path: str) -> None:
    assert f"`{path}`" in PAGE or not MODULES[path]


# The table --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def checkout() -> None:
    importlib.import_module("src")


@pytest.mark.parametrize(("path", "name"), DOCUMENTED)
def test_every_name_leads_to_the_real_thing(path: str, name: str) -> None:
    home, _, known_as = MODULES[path][name].partition(":")
    real: Any = importlib.import_module(home)
    for part in (known_as or name).split("."):
        real = getattr(real, part)
    assert getattr(importlib.import_module(path), name) is real
    assert home.startswith("qwen3_vl.")
    assert home not in MODULES


@pytest.mark.parametrize("name", techniques())
def test_every_technique_is_in_the_table(name: str) -> None:
    kind = techniques()[name].kind
    places = [getattr(importlib.import_module(p), n) for p, n in DOCUMENTED if n == kind.__name__]
    assert places
    assert all(place is kind for place in places)


@pytest.mark.parametrize("path", MODULES)
def test_an_older_path_is_a_module_that_tells_where_things_are(path: str) -> None:
    module = importlib.import_module(path)
    assert isinstance(module, ModuleType)
    assert module is sys.modules[path]
    assert MODULES[path].keys() <= set(dir(module)) == set(module.__all__)
    for name, place in MODULES[path].items():
        assert f"{name}: {place}" in (module.__doc__ or "")
    assert not hasattr(module, "__wrapped__")


def test_only_what_is_not_on_disk_is_answered() -> None:
    for path in MODULES:
        package, _, rest = path.partition(".")
        on_disk = (ROOT / "src" / "qwen3_vl" / rest.replace(".", "/")).with_suffix(".py").exists()
        assert package == "src" or not on_disk
    assert importlib.import_module("qwen3_vl.config").__file__
    assert find_spec("qwen3_vl.attentions") is None
    assert find_spec("qwen3_vl.config.nothing") is None
    assert find_spec("src.nothing") is None


def test_a_star_import_brings_all_names() -> None:
    names: dict[str, Any] = {}
    exec("from qwen3_vl.attention import *", names)
    assert names["FlashAttention2"] is FlashAttention2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("AdaptivePrecision", r"more bits .* comes later; docs/api_reference\.md lists"),
        ("OrderOptimizer", "was not carried over: techniques act in the order of the recipe"),
        (
            "FlashAttention3",
            "has no 'FlashAttention3'; it has AdaptiveAttention, .*FlashAttention2",
        ),
    ],
)
def test_a_name_that_is_not_there_says_why(name: str, message: str) -> None:
    with pytest.raises(ImportError, match=message):
        exec(f"from qwen3_vl.components.attention import {name}")
    module = importlib.import_module("qwen3_vl.components.attention")
    with pytest.raises(AttributeError, match=message):
        getattr(module, name)
    assert not hasattr(module, name)


@pytest.mark.parametrize("path", ["qwen3_vl.components", "src.components"])
def test_a_folder_of_older_paths_tells_what_is_in_it(path: str) -> None:
    with pytest.raises(ImportError, match="it has attention, configuration, inference, opt"):
        importlib.import_module(f"{path}.memory")
    assert importlib.import_module(path).attention is sys.modules[f"{path}.attention"]


def test_below_src_nothing_is_there_twice() -> None:
    twin = importlib.import_module("src.qwen3_vl.models.text")
    real = importlib.import_module("qwen3_vl.models.text")
    assert twin.Qwen3VLAttention is real.Qwen3VLAttention
    assert dir(twin) == dir(real)
    assert importlib.import_module("src.qwen3_vl").Qwen3VLModel is qwen3_vl.Qwen3VLModel
    assert importlib.import_module("src.qwen3_vl.attention").FlashAttention2 is FlashAttention2


def test_a_fresh_process_at_the_root_of_a_checkout_finds_the_older_paths() -> None:
    code = """
        import sys
        from src.attention import FlashAttention2
        from src.qwen3_vl.config.model import Qwen3VLConfig
        import qwen3_vl.optimization.attention.flash_attention_2 as real
        print(FlashAttention2 is real.FlashAttention2, Qwen3VLConfig.__module__)
        print(len([one for one in sys.meta_path if "older layouts" in repr(one)]))
    """
    assert run(code) == ["True", "qwen3_vl.config.model", "2"]


def test_another_project_named_src_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    code = """
        import sys
        sys.path.insert(0, "")
        import qwen3_vl, src
        try:
            import src.attention
        except ModuleNotFoundError as error:
            print(error.name)
    """
    assert run(code, tmp_path) == ["src.attention"]


def test_importing_the_package_adds_one_finder_and_loads_nothing() -> None:
    code = """
        import sys, importlib
        before = list(sys.meta_path)
        import qwen3_vl
        assert sys.meta_path[:-1] == before
        importlib.reload(qwen3_vl)
        importlib.reload(qwen3_vl.compat)
        importlib.reload(qwen3_vl)
        for name in [name for name in sys.modules if name.startswith("qwen3_vl")]:
            del sys.modules[name]
        import qwen3_vl
        print(len(sys.meta_path) - len(before))
        import qwen3_vl.components.attention, qwen3_vl.components.optimization
        print("torch" in sys.modules, "PIL" in sys.modules)
        from qwen3_vl.components.configuration import UnifiedConfig
        print("torch" in sys.modules)
    """
    assert run(code) == ["1", "False", "False", "False"]


def run(code: str, folder: Path = ROOT) -> list[str]:
    """The words that a new process prints which works in this folder."""
    lines = "\n".join(line[8:] for line in code.splitlines())
    command = [sys.executable, "-W", "error", "-c", lines]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


# Techniques on a loaded model -------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(Path(tmp_path_factory.mktemp("bench")))


@torch.inference_mode()
def cache_bytes(model: Qwen3VLForConditionalGeneration, tokens: int) -> int:
    """What the cache takes after a prompt."""
    cache = DenseCache(model.config.text_config, 1, model.seams)
    ids = torch.randint(0, 300, (1, tokens), generator=torch.Generator().manual_seed(0))
    model(ids, past_key_values=cache)
    cache.evict()
    return cache.nbytes


CONFIGS = {
    "text": "sliding_window(window=12)",
    "techniques": [SlidingWindow(window=12)],
    "config": UnifiedConfig(optimization=OptimizationConfig(recipe="sliding_window(window=12)")),
    "switches": {"use_sliding_window": True, "window_size": 12, "use_kv_quantization": False},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_cache_optimizer_bounds_the_cache(bench: Bench, name: str) -> None:
    model = bench.load()
    before, weights = bench.tokens(model), {k: v.clone() for k, v in model.state_dict().items()}
    optimized = KVCacheOptimizer(CONFIGS[name]).apply_optimizations(model)
    text = model.config.text_config
    token = 4 * 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim
    assert [cache_bytes(optimized, tokens) for tokens in (10, 16, 60)] == [
        10 * token,
        16 * token,
        16 * token,
    ]
    assert type(optimized) is type(model)
    answers = bench.tokens(optimized)
    assert answers == bench.tokens(bench.load(SlidingWindow(window=12)))
    assert answers != before
    # The model that was given stays what it was.
    assert model.seams == PLAIN
    assert cache_bytes(model, 60) == 60 * token
    assert bench.tokens(model) == before
    torch.testing.assert_close(dict(model.state_dict()), weights, rtol=0, atol=0)


def test_the_weights_are_shared(bench: Bench) -> None:
    model = bench.load()
    optimized = KVCacheOptimizer("quantized_kv").apply_optimizations(model)
    theirs = dict(optimized.named_parameters())
    for name, parameter in model.named_parameters():
        assert theirs[name].data_ptr() == parameter.data_ptr(), name
    assert optimized.generation_config == model.generation_config


def test_switches_are_the_techniques_they_name() -> None:
    old = {
        "use_sliding_window": True,
        "window_size": 100,
        "sink_size": 2,
        "use_kv_quantization": True,
        "quantization_bits": 4,
        "use_heavy_hitter": True,
        "heavy_hitter_size": 500,
    }
    steps = {HeavyHitter(keep=500), QuantizedKV(bits=4), SlidingWindow(window=100, sinks=2)}
    assert set(KVCacheOptimizer(old).steps) == steps
    assert KVCacheOptimizer({}).steps == KVCacheOptimizer("").steps == ()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_sliding_windows": True}, "old config: use_sliding_windows; did you mean use_slid"),
        ({"use_kv_quantization": 1}, "use_kv_quantization is 1; it must be true or false"),
        ({"window_size": 5}, "window_size needs use_sliding_window: true; set it, or drop both"),
        ({"use_kv_quantization": True, "quantization_bits": 3}, "quantized_kv: bits is 3"),
        ("sliding_windw", "did you mean sliding_window"),
        (17, "config is a int; it must be a UnifiedConfig, a recipe such as"),
        (["sliding_window"], "'sliding_window' is no technique; give one with its settings"),
        ([SlidingWindow], "SlidingWindow'> is no technique"),
        ("sliding_window|weight_int8", "weight_int8 is about the seam 'linear', not about the"),
        ({"use_flash_attention": True}, "flash_attention_2 is about the seam 'mixer', not about"),
        ([FlashAttention2()], "flash_attention_2 is about the seam 'mixer', not about the cache"),
        (create_unified_config_manager().get_config("balanced"), "UnifiedOptimizationManager"),
    ],
    ids=str,
)
def test_what_a_cache_optimizer_cannot_take_is_refused(config: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        KVCacheOptimizer(config)


def test_what_a_model_answers_already_holds(bench: Bench) -> None:
    model = bench.load(FlashAttention2(), SlidingWindow(window=12))
    optimized = KVCacheOptimizer("quantized_kv(residual=3)").apply_optimizations(model)
    whole = (FlashAttention2(), SlidingWindow(window=12), QuantizedKV(residual=3))
    assert optimized.seams == compile_recipe(whole, model.config).seams
    assert bench.tokens(optimized) == bench.tokens(bench.load(*whole))
    with pytest.raises(Incompatible, match="quantized_kv and the given model both decide the seam"):
        KVCacheOptimizer([QuantizedKV(bits=4)]).apply_optimizations(optimized)


def test_any_recipe_can_be_put_on_a_model(bench: Bench) -> None:
    model = bench.load()
    config = create_unified_config_manager().get_config("balanced")
    optimized = UnifiedOptimizationManager(config).apply_optimizations(model)
    loaded = Qwen3VLForConditionalGeneration.from_pretrained(
        bench.folder, seams=compile_recipe(config.optimization.recipe, model.config).seams
    )
    assert bench.tokens(optimized) == bench.tokens(loaded)
    torch.testing.assert_close(bench.logits(optimized), bench.logits(loaded), rtol=0, atol=0)
    switched = UnifiedOptimizationManager({"use_flash_attention": True})
    assert switched.apply_optimizations(model).seams == Seams(mixer=FlashAttention2())
    with pytest.raises(Incompatible, match="weight_int8 and the given model both store"):
        UnifiedOptimizationManager("weight_int8").apply_optimizations(optimized)


@pytest.mark.parametrize("name", techniques())
def test_a_loaded_model_takes_every_technique(bench: Bench, tmp_path: Path, name: str) -> None:
    step = small(name, tmp_path)
    optimized = UnifiedOptimizationManager([step]).apply_optimizations(bench.load())
    assert bench.tokens(optimized) == bench.tokens(bench.load(step))
    torch.testing.assert_close(
        bench.logits(optimized), bench.logits(bench.load(step)), rtol=0, atol=0
    )


def test_a_fallback_says_why() -> None:
    manager = FallbackManager()
    found = manager.route(needs=Needs(sizes={"bfloat16": 10**18}))
    assert found.device == route(manager.machine, Needs(sizes={"bfloat16": 10**18})).device
    assert found.device.used == "cpu"  # which reads again and again what no GPU can hold
    broken = Candidate("fast", "quick", obstacle="it is broken")
    chosen = manager.choose("auto", [broken, Candidate("slow", "always there")])
    assert chosen.used == "slow"
    assert "not fast, because it is broken" in str(chosen)


# Attention by itself ----------------------------------------------------------------------------

TECHNIQUES = {
    "standard": (),
    "flash": (FlashAttention2(),),
    "memory_efficient": (MemoryEfficientAttention(),),
    "block_sparse": (BlockSparseAttention(),),
    "auto": (FlashAttention2(),),  # on a CPU
}


def one_layer(bench: Bench, kind: str) -> tuple[AdaptiveAttention, Any]:
    """The layer by itself, and the one in the model with the same weights."""
    layer = bench.load(*TECHNIQUES[kind]).model.language_model.layers[1].self_attn
    alone = AdaptiveAttention(bench.config, attention_type=kind)
    alone.self_attn.load_state_dict(layer.state_dict())
    return alone, layer


@torch.no_grad()
@pytest.mark.parametrize("kind", TECHNIQUES)
def test_attention_by_itself_is_the_one_in_the_model(bench: Bench, kind: str) -> None:
    alone, layer = one_layer(bench, kind)
    x = torch.randn(2, 9, 64, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1] * 9, [0] * 3 + [1] * 6])
    seams = compile_recipe(TECHNIQUES[kind], bench.config).seams
    places = torch.cat((torch.arange(9), torch.arange(6))).expand(3, -1)
    flat, rotary = torch.cat((x[0], x[1, 3:])), alone.rotary.angles(places, x.dtype)
    expected = layer(flat, rotary, NoCache([9, 6], seams))
    actual = alone(x, attention_mask=mask)
    assert actual.shape == x.shape
    assert torch.equal(actual[mask.bool()], expected)
    assert not actual[1, :3].any()


@torch.no_grad()
def test_block_sparse_attention_leaves_out_what_is_light(bench: Bench) -> None:
    alone, layer = one_layer(bench, "block_sparse")
    x = torch.randn(1, 4500, 64, generator=torch.Generator().manual_seed(1))
    rotary = alone.rotary.angles(torch.arange(4500).expand(3, -1), x.dtype)
    sparse = compile_recipe([BlockSparseAttention()], bench.config).seams
    assert torch.equal(alone(x)[0], layer(x[0], rotary, NoCache([4500], sparse)))
    assert (alone(x)[0] - layer(x[0], rotary, NoCache([4500]))).abs().max() > 1e-2


def test_every_mechanism_is_tested() -> None:
    assert [one.value for one in AttentionMechanisms] == list(TECHNIQUES)


@torch.no_grad()
def test_positions_are_taken_as_they_are_given(bench: Bench) -> None:
    alone, layer = one_layer(bench, "flash")
    x = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(1))
    grid = torch.randint(0, 9, (3, 1, 5), generator=torch.Generator().manual_seed(2))
    expected = layer(x[0], alone.rotary.angles(grid[:, 0], x.dtype), NoCache([5]))
    assert torch.equal(alone(x, position_ids=grid)[0], expected)
    flat = torch.arange(5).unsqueeze(0)
    assert torch.equal(alone(x, position_ids=flat), alone(x))
    assert not torch.equal(alone(x, position_ids=3 * flat), alone(x))


@torch.no_grad()
def test_each_mechanism_computes_with_its_own_technique(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Seams] = []
    monkeypatch.setattr(
        "qwen3_vl.compat.attention.NoCache",
        lambda lengths, seams: seen.append(seams) or NoCache(lengths, seams),
    )
    for kind in TECHNIQUES:
        AdaptiveAttention(bench.config, kind)(torch.zeros(1, 3, 64))
    assert seen == [compile_recipe(steps, bench.config).seams for steps in TECHNIQUES.values()]


@pytest.mark.parametrize(
    ("capability", "dtype", "wanted"),
    [
        ((9, 0), torch.bfloat16, FlashAttention2()),
        ((9, 0), torch.float32, MemoryEfficientAttention()),  # the fused kernel has 16 bits only
        ((7, 5), torch.float16, MemoryEfficientAttention()),
    ],
)
def test_auto_takes_the_fused_kernel_where_a_gpu_has_one(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype, wanted: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    attention = AdaptiveAttention(tiny_config(), "auto")
    assert attention._seams(torch.device("cuda"), dtype).mixer == wanted


def test_a_layer_of_a_decoder_alone_can_be_trained() -> None:
    torch.manual_seed(0)
    text = tiny_config().text_config
    attention = AdaptiveAttention(text, AttentionMechanisms.MEMORY_EFFICIENT)
    out = attention(torch.randn(1, 4, text.hidden_size))
    assert torch.isfinite(out).all()
    out.square().sum().backward()
    assert all(weight.grad is not None for weight in attention.parameters())
    assert (
        AdaptiveAttention(
            TextConfig(hidden_size=128, num_attention_heads=2, num_key_value_heads=1)
        ).config.text_config.head_dim
        == 128
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_states": torch.zeros(2, 64)}, r"\[2, 64\] must be \[batch, tokens, 64\]"),
        ({"hidden_states": [[0.0]]}, "hidden_states is a list; it must be a tensor"),
        ({"position_ids": torch.zeros(4, dtype=torch.long)}, r"\[4\] must be \[batch, tokens\]"),
        ({"position_ids": [1]}, "position_ids is a list; it must be a tensor"),
        ({"attention_mask": torch.zeros(1, 3)}, "there is no token"),
        ({"attention_mask": torch.ones(1, 2)}, r"attention_mask \[1, 2\] does not fit"),
    ],
    ids=str,
)
def test_what_attention_cannot_take_is_refused(arguments: dict[str, Any], message: str) -> None:
    attention = AdaptiveAttention(tiny_config())
    with pytest.raises(InputError, match=message):
        attention(**{"hidden_states": torch.zeros(1, 3, 64), **arguments})


def test_an_unknown_mechanism_is_refused() -> None:
    with pytest.raises(ConfigError, match="'flsh'; it can be standard, flash, memory_efficient"):
        AdaptiveAttention(tiny_config(), "flsh")


def test_attention_needs_the_config_of_a_decoder() -> None:
    with pytest.raises(ConfigError, match="config is a VisionConfig; it must be a Qwen3VLConfig"):
        AdaptiveAttention(tiny_config().vision_config)  # type: ignore[arg-type]
