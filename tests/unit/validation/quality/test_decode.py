"""The watched loop is the plain loop: for every technique the same tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from qwen3_vl.errors import InputError
from qwen3_vl.models.cache import DenseCache
from qwen3_vl.models.generation import EVICT_EVERY
from qwen3_vl.plugins import techniques
from qwen3_vl.testing import Bench
from qwen3_vl.validation.quality.decode import answer, follow
from tests.support.self_labelled import world
from tests.support.techniques import small

STEPS = EVICT_EVERY + 4


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def inputs(bench: Bench, number: int) -> dict[str, Any]:
    given = vars(bench.prompts[number])
    return {name: tensor for name, tensor in given.items() if tensor is not None}


@pytest.mark.parametrize("name", techniques())
def test_the_tokens_are_those_of_the_plain_loop(bench: Bench, tmp_path: Path, name: str) -> None:
    model = bench.load(small(name, tmp_path))
    for number in (2, 5):
        prompt = inputs(bench, number)
        chosen = answer(model, prompt, STEPS)
        whole = model.generate(**prompt, max_new_tokens=STEPS, do_sample=False)[0]
        assert list(chosen.tokens) == whole[prompt["input_ids"].shape[1] :].tolist()
        assert chosen.logits.argmax(dim=-1).tolist() == list(chosen.tokens)
        led = follow(model, prompt, chosen.tokens)
        assert led.tokens == chosen.tokens
        assert torch.equal(led.logits, chosen.logits)


def test_an_answer_ends_where_the_checkpoint_says(bench: Bench) -> None:
    model, prompt = bench.load(), inputs(bench, 3)
    tokens = answer(model, prompt, 8).tokens
    model.generation_config = model.generation_config.change({"eos_token_id": (tokens[4],)})
    ended = answer(model, prompt, 8).tokens
    assert ended == tokens[: tokens.index(tokens[4]) + 1]
    assert follow(model, prompt, tokens).tokens == tokens


def test_the_cache_is_measured_before_and_after_eviction(bench: Bench) -> None:
    prompt = inputs(bench, 4)
    plain = follow(bench.load(), prompt, range(4))
    cache = DenseCache(bench.config.text_config, 1)
    with torch.inference_mode():
        bench.load()(**prompt, past_key_values=cache)
    model = world().with_recipe("sliding_window(window=8, sinks=0)")
    windowed = follow(bench.load().with_seams(model.seams), prompt, range(4))
    assert plain.peak_cache == plain.final_cache == 2 * cache.nbytes  # its room has doubled
    assert windowed.peak_cache == cache.nbytes  # of the prompt, before it was thinned
    assert windowed.final_cache < windowed.peak_cache


def test_nothing_to_follow_and_broken_weights_are_told(bench: Bench) -> None:
    model = bench.load()
    with pytest.raises(InputError, match="no token to follow"):
        follow(model, inputs(bench, 0), ())
    with torch.no_grad():
        model.model.language_model.norm.weight.mul_(torch.nan)
    with pytest.raises(InputError, match="highest logit is nan"):
        answer(model, inputs(bench, 0), 4)
