"""lora: adapters as PEFT writes and reads them, added up, trainable, and refused if they differ."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

from qwen3_vl.errors import CheckpointError, ConfigError, Incompatible, InputError
from qwen3_vl.models.adapters import factors_of
from qwen3_vl.models.linears import linears
from qwen3_vl.models.lora_files import Factors, LoraFiles, fresh_factors, write_lora
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration, Qwen3VLModel
from qwen3_vl.optimization.compute.lora import Lora
from qwen3_vl.optimization.precision.weight_int8 import WeightInt8
from qwen3_vl.plan import Plan
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.testing import Bench, tiny_config
from tests.support.bounds import check_logits
from tests.support.tiny_models import CONFIGS, random_model, tiny_inputs

PARTS = ("self_attn.q_proj", "mlp.down_proj", "visual.blocks.1.attn.qkv", "merger.linear_fc2")


def modules() -> dict[str, nn.Linear]:
    """The modules of the tiny model that the adapters of these tests add to."""
    model = Qwen3VLForConditionalGeneration.skeleton(tiny_config())
    found = linears(model)
    return {path: one for path, one in found.items() if any(part in path for part in PARTS)}


def adapter(seed: int = 0, rank: int = 3, scale: float = 0.7) -> dict[str, Factors]:
    generator = torch.Generator().manual_seed(seed)

    def matrix(rows: int, columns: int) -> Tensor:
        return 0.2 * torch.randn(rows, columns, generator=generator)

    return {
        path: Factors(matrix(rank, one.in_features), matrix(one.out_features, rank), scale)
        for path, one in modules().items()
    }


def small(folder: Path) -> dict[str, Any]:
    """Settings with which it has something to do on short prompts."""
    write_lora(folder, adapter())
    return {"folder": str(folder)}


def merged(bench: Bench, *adapters: dict[str, Factors]) -> Qwen3VLForConditionalGeneration:
    """The model with `W + scale · B·A` for weights."""
    model = bench.load()
    with torch.no_grad():
        for one in adapters:
            for path, factors in one.items():
                weight = model.get_parameter(f"{path}.weight")
                weight += factors.scale * factors.b @ factors.a
    return model


def test_the_logits_are_those_of_the_merged_weights(bench: Bench, tmp_path: Path) -> None:
    write_lora(tmp_path, adapter())
    actual = bench.logits(bench.load(Lora(str(tmp_path))))
    check_logits(actual, bench.logits(merged(bench, adapter())), bench.config)
    plain = bench.logits(bench.load())
    assert (actual - plain).square().mean() > 0.01
    assert torch.equal(bench.logits(bench.load(Lora(str(tmp_path), scale=0.0))), plain)


def test_several_add_up_in_any_order(bench: Bench, tmp_path: Path) -> None:
    write_lora(tmp_path / "one", adapter(1))
    write_lora(tmp_path / "other", adapter(2, rank=5, scale=0.4))
    one, other = (Lora(str(tmp_path / name)) for name in ("one", "other"))
    both = bench.logits(bench.load(one, other))
    expected = bench.logits(merged(bench, adapter(1), adapter(2, rank=5, scale=0.4)))
    check_logits(both, expected, bench.config)
    check_logits(both, bench.logits(bench.load(other, one)), bench.config)


def test_half_of_it_twice_is_all_of_it(bench: Bench, tmp_path: Path) -> None:
    write_lora(tmp_path, adapter())
    half = Lora(str(tmp_path), scale=0.5)
    whole = bench.logits(bench.load(Lora(str(tmp_path))))
    check_logits(bench.logits(bench.load(half, half)), whole, bench.config)


@pytest.mark.usefixtures("torch_alone")
def test_beside_rounded_weights_it_stays_whole(bench: Bench, tmp_path: Path) -> None:
    """QLoRA: the additions are to what the rounded weights give."""
    write_lora(tmp_path, adapter())
    model = bench.load(WeightInt8(), Lora(str(tmp_path)))
    bench.load(WeightInt8()).save_pretrained(tmp_path / "rounded")
    rounded = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path / "rounded")
    with torch.no_grad():
        for path, factors in adapter().items():
            rounded.get_parameter(f"{path}.weight").add_(factors.scale * factors.b @ factors.a)
    check_logits(bench.logits(model), bench.logits(rounded), bench.config)


def test_the_additions_are_small_and_are_not_saved_with_the_model(
    bench: Bench, tmp_path: Path
) -> None:
    write_lora(tmp_path / "adapter", adapter(rank=2))
    model, plain = bench.load(Lora(str(tmp_path / "adapter"))), bench.load()
    more = sum(one.numel() for one in model.parameters()) - sum(
        one.numel() for one in plain.parameters()
    )
    assert more == sum(2 * (one.in_features + one.out_features) for one in modules().values())
    model.save_pretrained(tmp_path / "saved")
    again = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path / "saved")
    assert torch.equal(bench.logits(again), bench.logits(plain))


def test_the_model_without_its_head_takes_what_it_has(bench: Bench, tmp_path: Path) -> None:
    write_lora(tmp_path, adapter())
    seams = compile_recipe([Lora(str(tmp_path))], bench.config).seams
    whole = bench.load(Lora(str(tmp_path))).model
    bare = Qwen3VLModel.from_pretrained(bench.folder, seams=seams)
    ids = bench.prompts[0].input_ids
    assert torch.equal(bare(ids).last_hidden_state, whole(ids).last_hidden_state)


def test_it_is_trained_saved_and_read_again(bench: Bench, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    start = {
        path: fresh_factors(4, one.in_features, one.out_features, generator)
        for path, one in modules().items()
    }
    write_lora(tmp_path / "start", start)
    step = Lora(str(tmp_path / "start"))
    model = bench.load(step)
    assert torch.equal(bench.logits(model), bench.logits(bench.load())), "at first it adds nothing"
    own = {name: one for name, one in model.named_parameters() if "lora_" in name}
    before = {name: one.clone() for name, one in model.named_parameters() if name not in own}
    optimizer = torch.optim.SGD(own.values(), lr=0.5)
    ids = bench.prompts[2].input_ids
    losses = []
    for _ in range(3):
        loss = model(ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
    assert all(torch.equal(model.get_parameter(name), old) for name, old in before.items())
    write_lora(tmp_path / "trained", factors_of(model, tmp_path / "start"))
    again = bench.load(Lora(str(tmp_path / "trained")))
    assert torch.equal(bench.logits(again), bench.logits(model))


def theirs(folder: Path) -> Any:
    from transformers import Qwen3VLForConditionalGeneration as Theirs

    return Theirs.from_pretrained(folder, dtype=torch.float32).eval()


# PEFT asks a model of transformers for a name that this is about to drop.
pefts_warning = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


@pefts_warning
@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {"r": 4, "lora_alpha": 6},
        {"r": 4, "lora_alpha": 6, "use_rslora": True},
        {
            "r": 4,
            "lora_alpha": 6,
            "rank_pattern": {"layers.1.self_attn.q_proj": 2, "down_proj": 3},
            "alpha_pattern": {"layers.1.self_attn.q_proj": 5, "down_proj": 7},
        },
    ],
    ids=["plain", "rank-stabilised", "patterns"],
)
def test_we_compute_what_peft_has_saved(options: dict, tmp_path: Path) -> None:
    ours = random_model(CONFIGS["dense_tied"])
    ours.save_pretrained(tmp_path / "model")
    config = peft.LoraConfig(target_modules=["q_proj", "down_proj", "qkv", "linear_fc2"], **options)
    reference = peft.get_peft_model(theirs(tmp_path / "model"), config).eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in reference.named_parameters():
        if "lora_B" in name:
            parameter.normal_(0, 0.2, generator=generator)
    reference.save_pretrained(tmp_path / "adapter")
    plan = compile_recipe([Lora(str(tmp_path / "adapter"))], ours.config)
    check_same(ours.with_seams(plan.seams), ours, reference)


@pefts_warning
@torch.no_grad()
def test_peft_computes_what_we_have_saved(tmp_path: Path) -> None:
    ours = random_model(tiny_config())
    ours.save_pretrained(tmp_path / "model")
    mixed = adapter(1) | {
        path: factors for path, factors in adapter(2, rank=5, scale=1.5).items() if "q_proj" in path
    }
    write_lora(tmp_path / "adapter", mixed)
    reference = peft.PeftModel.from_pretrained(theirs(tmp_path / "model"), tmp_path / "adapter")
    plan = compile_recipe([Lora(str(tmp_path / "adapter"))], ours.config)
    check_same(ours.with_seams(plan.seams), ours, reference.eval())


def check_same(
    actual: Qwen3VLForConditionalGeneration, plain: Qwen3VLForConditionalGeneration, reference: Any
) -> None:
    inputs = tiny_inputs(plain.config, (9,))
    expected = reference(**inputs).logits[0]
    check_logits(actual(**inputs).logits[0], expected, plain.config)
    assert (plain(**inputs).logits[0] - expected).abs().max() > 0.1, "the adapter adds nothing"


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def other_model(folder: Path) -> None:
    narrow = {path: Factors(one.a[:, :8], one.b, 1.0) for path, one in adapter().items()}
    write_lora(folder, narrow)


def no_such_module(folder: Path) -> None:
    (first, *_) = adapter().values()
    write_lora(folder, {"model.language_model.layers.9.self_attn.q_proj": first})


@pytest.mark.parametrize(
    ("change", "error", "cause"),
    [
        (lambda f: edit(f, use_dora=True), CheckpointError, "use_dora=True, which is more than"),
        (lambda f: edit(f, bias="all"), CheckpointError, "bias='all'"),
        (lambda f: edit(f, modules_to_save=["lm_head"]), CheckpointError, "modules_to_save"),
        (lambda f: edit(f, init_lora_weights="pissa"), CheckpointError, "init_lora_weights"),
        (lambda f: edit(f, invented_kind=3), CheckpointError, "invented_kind=3"),
        (lambda f: edit(f, peft_type="IA3"), CheckpointError, "kind IA3, not LORA"),
        (lambda f: edit(f, alpha_pattern={".*": "much"}), CheckpointError, "alpha of .* is 'much'"),
        (lambda f: edit(f, alpha_pattern={"(": 1}), CheckpointError, "not a regular expression"),
        (lambda f: edit(f, alpha_pattern=["q"]), CheckpointError, "it must be a table"),
        (lambda f: edit(f, alpha_pattern={".*": 10**400}), CheckpointError, "it must be a number"),
        (lambda f: edit(f, alpha_pattern={".*": math.nan}), CheckpointError, "alpha of .* is nan"),
        (lambda f: (f / "adapter_config.json").unlink(), CheckpointError, "as PEFT saves it"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), CheckpointError, "is missing"),
        (cut, CheckpointError, "cut short or broken"),
        (other_model, Incompatible, r"of \[8, 64\] inputs and .* has \[96, 64\]"),
        (no_such_module, Incompatible, "layers.9.self_attn.q_proj, which is no linear module"),
    ],
    ids=[
        "dora", "bias", "more modules", "pissa", "unknown", "other kind", "alpha", "no pattern",
        "no table", "huge alpha", "nan alpha", "no config", "no weights", "cut",
        "other model", "no module",
    ],
)  # fmt: skip
def test_what_is_no_plain_adapter_of_this_model_is_refused(
    change: Callable[[Path], object], error: type[Exception], cause: str, tmp_path: Path
) -> None:
    write_lora(tmp_path, adapter())
    change(tmp_path)
    with pytest.raises(error, match=cause):
        Lora(str(tmp_path)).apply(Plan(tiny_config()))


def test_ways_to_begin_training_that_leave_the_model_alone_are_read(tmp_path: Path) -> None:
    write_lora(tmp_path, adapter(scale=2.0))
    edit(tmp_path, init_lora_weights="gaussian", target_modules="all-linear", lora_dropout=0.1)
    assert set(LoraFiles.open(tmp_path).scales.values()) == {2.0}


def test_factors_of_other_kinds_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    write_lora(tmp_path, adapter())
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(iter(tensors))
    for broken, cause in (
        (tensors | {"base_model.model.lm_head.weight": torch.ones(2)}, "no factor of a linear"),
        ({key: one for key, one in tensors.items() if key != name}, "do not fit together"),
        ({}, "holds nothing"),
        (tensors | {name: tensors[name].to(torch.int8)}, f"{name} is I8 .* F32, BF16, F16, F64"),
        (tensors | {name: tensors[name].half()}, "do not fit together"),
        (tensors | {name: tensors[name][0].clone()}, r"of shape \[\d+\]; a factor is a matrix"),
        (tensors | {name: tensors[name].unsqueeze(2)}, r"a factor is a matrix"),
        (tensors | {name: tensors[name][:0]}, r"of shape \[0, \d+\]; a factor is a matrix"),
    ):
        save_file(broken, file)
        with pytest.raises(CheckpointError, match=cause):
            LoraFiles.open(tmp_path)


@pytest.mark.parametrize("scale", [math.inf, math.nan])
def test_a_scale_is_finite(scale: float) -> None:
    with pytest.raises(ConfigError, match="finite"):
        Lora("somewhere", scale)


def test_a_folder_must_be_given() -> None:
    with pytest.raises(ConfigError, match="lora: folder must be given"):
        compile_recipe("lora", tiny_config())


def test_the_factors_are_found_however_the_folder_is_named(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lora(tmp_path / "one", adapter())
    monkeypatch.chdir(tmp_path)
    model = bench.load(Lora("one"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("one", Path("x/../one"), tmp_path / "one", "~/one"):
        assert factors_of(model, folder).keys() == adapter().keys()
    with pytest.raises(InputError, match="no adapter from two; it has adapters from: one"):
        factors_of(model, "two")


def test_a_home_that_nobody_knows_is_a_folder_that_is_not_there() -> None:
    with pytest.raises(CheckpointError, match="~nobody-at-all/adapter has no adapter_config"):
        compile_recipe('lora(folder="~nobody-at-all/adapter")', tiny_config())
