"""adaptive_depth: layers that are left out are not there, and who leaves early is remembered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.models.cache import DenseCache
from qwen3_vl.models.positions import rotate
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.optimization.compute.adaptive_depth import AdaptiveDepth
from qwen3_vl.plan import Plan
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.seams import Seams
from qwen3_vl.testing import Bench, Prompt, tiny_config

LAYERS = tiny_config().text_config.num_hidden_layers


def small(folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """Settings with which it has something to do on short prompts."""
    return {"threshold": 0.1}


def with_depth(bench: Bench, **settings: Any) -> Qwen3VLForConditionalGeneration:
    return bench.load(AdaptiveDepth(**settings))


def shallow(bench: Bench, *layers: int) -> Qwen3VLForConditionalGeneration:
    """A plain model that has these layers only."""
    full = bench.load()
    text = replace(bench.config.text_config, num_hidden_layers=len(layers))
    model = Qwen3VLForConditionalGeneration.random(bench.config.replace(text_config=text))
    decoder = model.model.language_model
    for number, layer in enumerate(layers):
        decoder.layers[number].load_state_dict(full.model.language_model.layers[layer].state_dict())
    rest = {name: one for name, one in full.state_dict().items() if ".layers." not in name}
    model.load_state_dict(rest, strict=False)
    return model


@pytest.mark.parametrize("skip", [(3,), ()], ids=str)
def test_a_layer_that_is_skipped_might_as_well_not_be_there(bench: Bench, skip: tuple) -> None:
    kept = [layer for layer in range(LAYERS) if layer not in skip]
    model = with_depth(bench, skip=skip, threshold=1.0)
    expected = shallow(bench, *kept)
    assert torch.equal(bench.logits(model), bench.logits(expected))
    assert bench.tokens(model) == bench.tokens(expected)
    assert (bench.tokens(model) != bench.tokens(bench.load())) == bool(skip)


def test_a_skipped_layer_takes_no_room_in_the_cache(bench: Bench) -> None:
    prompt = bench.prompts[3]
    sizes = []
    for skip in ((), (3,)):
        model = with_depth(bench, skip=skip)
        cache = DenseCache(bench.config.text_config, 1, model.seams)
        model(**vars(prompt), past_key_values=cache)
        sizes.append(cache.nbytes)
    assert sizes[1] * LAYERS == sizes[0] * (LAYERS - 1)


@torch.inference_mode()
def test_when_all_leave_the_answer_is_that_of_the_layers_before(bench: Bench) -> None:
    """New tokens see keys and values of the first layers only, so the others have no influence."""
    model = with_depth(bench, threshold=0.0)
    short = shallow(bench, 0, 1, 2)
    for prompt, answer in zip(bench.prompts, bench.tokens(model, count=12), strict=True):
        whole = Prompt(torch.tensor([answer]), prompt.pixel_values, prompt.image_grid_thw)
        best = short(**vars(whole)).logits[0].argmax(dim=-1).tolist()
        first = prompt.input_ids.shape[1]
        assert answer[first + 1 :] == best[first:-1]


class Runs:
    """Counts how often each layer and the head have run."""

    def __init__(self, model: Qwen3VLForConditionalGeneration) -> None:
        self.layers = [0] * LAYERS
        self.heads = 0
        for number, layer in enumerate(model.model.language_model.layers):
            layer.register_forward_hook(lambda *_, number=number: self._count(number))
        model.lm_head.register_forward_hook(lambda *_: self._count(None))

    def _count(self, layer: int | None) -> None:
        if layer is None:
            self.heads += 1
        else:
            self.layers[layer] += 1


def test_the_surer_a_token_must_be_the_more_layers_run(bench: Bench) -> None:
    last: list[int] = []
    for threshold in (0.0, 0.05, 0.1, 1.0):
        model = with_depth(bench, threshold=threshold)
        runs = Runs(model)
        bench.tokens(model, count=20)
        prompts = len(bench.prompts)
        assert runs.layers[:3] == [20 * prompts] * 3
        stayed = runs.layers[3] - prompts  # each prompt itself runs through all layers
        # One score for each token; who was not sure at the exit is scored once more at the end.
        assert runs.heads == 20 * prompts + stayed
        last.append(stayed)
    assert last == sorted(last)
    assert last[0] == 0
    assert last[-1] == 19 * prompts
    assert last[0] < last[1] < last[-1], "some should leave and some stay"


@torch.inference_mode()
def test_who_leaves_is_remembered_in_the_layers_after(bench: Bench) -> None:
    model = with_depth(bench, threshold=0.0)
    decoder, last = model.model.language_model, model.model.language_model.layers[3]
    cache = DenseCache(bench.config.text_config, 1, model.seams)
    model(**vars(bench.prompts[0]), past_key_values=cache)
    seen: list[Tensor] = []
    decoder.layers[2].register_forward_hook(lambda *args: seen.append(args[2]))
    before = cache.positions[0]
    model.model.step([[7]], cache, model.lm_head)
    k, v = (rows[-1] for rows in cache._lines[3][0].store.read())
    x = last.input_layernorm(seen[0])
    heads = (1, bench.config.text_config.num_key_value_heads, -1)
    rotary = decoder.rotary.angles(torch.full((3, 1), before), x.dtype)
    expected = rotate(last.self_attn.k_norm(last.self_attn.k_proj(x).view(heads)), *rotary.pair)
    assert torch.equal(k, expected[0])
    assert torch.equal(v, last.self_attn.v_proj(x).view(heads)[0])
    assert len({len(line.store) for (line,) in cache._lines}) == 1


@pytest.mark.parametrize("threshold", [0.15, 0.3])
def test_in_a_batch_each_leaves_for_itself(bench: Bench, threshold: float) -> None:
    model = with_depth(bench, threshold=threshold)
    texts = [prompt.input_ids[0] for prompt in bench.prompts if prompt.pixel_values is None]
    longest = max(map(len, texts))
    ids = torch.stack([torch.nn.functional.pad(text, (longest - len(text), 0)) for text in texts])
    mask = torch.stack([torch.arange(longest) >= longest - len(text) for text in texts]).long()
    together = model.generate(ids, mask, max_new_tokens=20, do_sample=False)
    for row, text in zip(together, texts, strict=True):
        alone = model.generate(text.unsqueeze(0), max_new_tokens=20, do_sample=False)
        assert row[longest:].tolist() == alone[0, len(text) :].tolist()


def test_a_prompt_is_read_whole(bench: Bench) -> None:
    """Logits of a forward pass are those of the plain model: only new tokens leave."""
    model = bench.load().with_seams(Seams(depth=AdaptiveDepth(threshold=0.0)))
    assert torch.equal(bench.logits(model), bench.logits(bench.load()))


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"threshold": 1.1}, "from 0 to 1"),
        ({"exit_share": -0.1}, "from 0 to 1"),
        ({"skip": (3, 3)}, "each layer once"),
        ({"skip": (-1,)}, "counted from 0"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        AdaptiveDepth(**settings)


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"skip": (2,)}, r"layers that can be skipped are 3 to 3, not \[2\]"),
        ({"skip": (4,)}, r"not \[4\]"),
        ({"exit_share": 0.5}, "exit_share must be at least 3/4"),
    ],
    ids=str,
)
def test_what_deepstack_needs_runs(settings: dict[str, Any], cause: str) -> None:
    with pytest.raises(Incompatible, match=cause):
        AdaptiveDepth(**settings).apply(Plan(tiny_config()))


def test_two_do_not_go_together() -> None:
    with pytest.raises(Incompatible, match="one technique at most"):
        compile_recipe("adaptive_depth|adaptive_depth(skip=[3])", tiny_config())
