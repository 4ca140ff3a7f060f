"""The call of the model: every argument does what it says, or is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from qwen3_vl.errors import ContextLengthError, InputError
from qwen3_vl.models.cache import DenseCache
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.recipes import compile_recipe
from tests.support.tiny_models import CONFIGS, Image, Video, tiny_inputs, tiny_model

ROWS = ([3, Image(4, 6), 2, Video(2, 4, 4), 4], [5], [2, Image(2, 2), 1])


@pytest.fixture(scope="module")
def model() -> Qwen3VLForConditionalGeneration:
    return tiny_model("dense_tied")


@pytest.fixture
def inputs(model) -> dict[str, Any]:
    return tiny_inputs(model.config, *ROWS)


def test_the_loss_is_the_mean_surprise_of_the_counted_tokens(model, inputs):
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    labels[0, :4] = -100
    out = model(**inputs, labels=labels)
    surprises = [
        -out.logits[row, column].log_softmax(dim=0)[labels[row, column + 1]]
        for row in range(3)
        for column in range(labels.shape[1] - 1)
        if labels[row, column + 1] != -100
    ]
    torch.testing.assert_close(out.loss, torch.stack(surprises).mean())
    assert model(**inputs).loss is None


def test_the_loss_reaches_every_weight(inputs):
    model = tiny_model("attention_bias")
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_a_label_on_padding_is_not_counted(model, inputs):
    labels = inputs["input_ids"].clone()
    other = labels.masked_fill(inputs["attention_mask"] == 0, 7)
    assert torch.equal(model(**inputs, labels=labels).loss, model(**inputs, labels=other).loss)


def test_the_side_of_the_padding_does_not_change_the_loss(model):
    right, left = (tiny_inputs(model.config, *ROWS, pad=pad) for pad in ("right", "left"))
    one, other = (model(**x, labels=x["input_ids"]).loss for x in (right, left))
    torch.testing.assert_close(one, other)


@torch.no_grad()
@pytest.mark.parametrize(("keep", "tokens"), [(0, 6 + 3), (4, 4 + 1), (2, 2 + 0)])
def test_the_head_sees_no_padding(model, keep, tokens):
    inputs, seen = tiny_inputs(model.config, [6], [3]), []
    handle = model.lm_head.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    model(**inputs, logits_to_keep=keep)
    handle.remove()
    assert seen == [tokens]


@torch.no_grad()
@pytest.mark.parametrize("keep", [1, 3, 1000])
def test_only_the_logits_asked_for(model, inputs, keep):
    every = model(**inputs).logits
    torch.testing.assert_close(model(**inputs, logits_to_keep=keep).logits, every[:, -keep:])


@torch.no_grad()
def test_hidden_states_begin_with_the_embeddings_and_end_with_the_final_norm(model, inputs):
    out = model(**inputs, output_hidden_states=True)
    states, ids = out.hidden_states, inputs["input_ids"]
    assert len(states) == model.config.text_config.num_hidden_layers + 1
    text = (inputs["attention_mask"] == 1) & (inputs["mm_token_type_ids"] == 0)
    embeddings = model.model.language_model.embed_tokens(ids)
    assert torch.equal(states[0][text], embeddings[text])
    assert not torch.isclose(states[0][~text], embeddings[~text]).all(dim=-1).any()
    assert torch.equal(model.lm_head(states[-1]), out.logits)
    assert model(**inputs).hidden_states is None


@torch.no_grad()
def test_the_core_gives_what_the_head_reads(model, inputs):
    core = model.model(**inputs)
    assert torch.equal(model.lm_head(core.last_hidden_state), model(**inputs).logits)
    assert (core.last_hidden_state[inputs["attention_mask"] == 0] == 0).all()


@torch.no_grad()
def test_positions_that_are_given_are_used(model, inputs):
    grids = {key: inputs[key] for key in ("image_grid_thw", "video_grid_thw")}
    positions, deltas = model.model.get_rope_index(
        inputs["input_ids"], **grids, attention_mask=inputs["attention_mask"]
    )
    expected = model(**inputs).logits
    assert torch.equal(model(**inputs, position_ids=positions).logits, expected)
    assert not torch.allclose(model(**inputs, position_ids=positions * 2).logits, expected)
    # The first row: an image of 2×3 tokens goes on 3 later, two frames of 2×2 tokens 2 each.
    assert deltas.flatten().tolist() == [(3 - 6) + 2 * (2 - 4), 0, 1 - 1]


@torch.no_grad()
def test_positions_of_text_may_have_one_axis(model):
    ids = tiny_inputs(model.config, [6])["input_ids"]
    positions = torch.arange(6).unsqueeze(0)
    assert torch.equal(model(ids, position_ids=positions).logits, model(ids).logits)


@torch.no_grad()
def test_a_text_goes_on_after_positions_that_were_given(model):
    ids = tiny_inputs(model.config, [7])["input_ids"]
    cache = DenseCache(model.config.text_config, 1)
    model(ids[:, :5], position_ids=torch.arange(40, 45).unsqueeze(0), past_key_values=cache)
    last = model(ids[:, 5:], past_key_values=cache).logits
    expected = model(ids, position_ids=torch.arange(40, 47).unsqueeze(0)).logits[:, 5:]
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_cache_given_is_filled_and_handed_back(model, inputs):
    cache = DenseCache(model.config.text_config, 3)
    out = model(**inputs, past_key_values=cache)
    assert out.past_key_values is cache
    assert cache.lengths == inputs["attention_mask"].sum(dim=1).tolist()
    assert torch.equal(out.logits, model(**inputs).logits)


@torch.no_grad()
def test_a_mask_over_the_cache_is_taken_as_transformers_users_grow_it(model):
    ids = tiny_inputs(model.config, [7])["input_ids"]
    cache = DenseCache(model.config.text_config, 1)
    model(ids[:, :5], torch.ones(1, 5), past_key_values=cache)
    last = model(ids[:, 5:], torch.ones(1, 7), past_key_values=cache).logits
    torch.testing.assert_close(last, model(ids).logits[:, 5:], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_calls_leave_nothing_behind(model, inputs):
    first = model(**inputs).logits
    model(**tiny_inputs(model.config, [9, Image(2, 4)], seed=1))
    assert torch.equal(model(**inputs).logits, first)


@torch.no_grad()
def test_another_picture_changes_what_follows_it_and_nothing_before(model, inputs):
    before = model(**inputs).logits
    inputs["pixel_values"] = inputs["pixel_values"].clone()
    inputs["pixel_values"][:24] += 1.0  # the first picture, which stands from token 4 on
    after = model(**inputs).logits
    changed = (after - before).abs().amax(dim=-1) > 1e-3
    start = inputs["attention_mask"][0].sum()
    assert not changed[0, :4].any()
    assert changed[0, 4:start].all()
    assert not changed[1:].any()


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_bfloat16_stays_near_float32(name):
    exact = tiny_model(name)
    inputs = tiny_inputs(exact.config, *ROWS)
    expected = exact(**inputs).logits
    logits = exact.to(torch.bfloat16)(**inputs).logits
    assert logits.dtype == torch.bfloat16
    mask = inputs["attention_mask"].bool()
    likeness = torch.cosine_similarity(logits[mask].float(), expected[mask])
    assert likeness.mean() > 0.99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mm_token_type_ids": torch.zeros(1, 13)}, "mm_token_type_ids disagree"),
        ({"image_grid_thw": None}, "image pixels and image_grid_thw belong together"),
        ({"pixel_values": None}, "image pixels and image_grid_thw belong together"),
        ({"pixel_values": None, "image_grid_thw": None}, "more images than were given"),
        ({"pixel_values": torch.zeros(20, 96)}, r"\[20, 96\] do not fit the grids"),
        ({"image_grid_thw": torch.tensor([[1, 4, 6], [1, 2, 2]])}, "1 more images were given"),
        ({"image_grid_thw": torch.tensor([1, 4, 6])}, r"a grid tensor is \[pictures, 3\]"),
        ({"pixel_values_videos": torch.zeros(4, 96)}, "video pixels and video_grid_thw belong"),
        ({"position_ids": torch.zeros(3, 13)}, r"\[3, batch, tokens\] = \[3, 1, 13\]"),
        ({"position_ids": torch.zeros(4, 1, 13)}, r"\[4, 1, 13\] must be"),
        ({"labels": torch.full((1, 13), -100)}, "labels count no token"),
        ({"labels": torch.full((1, 13), 320)}, "labels hold 320; .* from 0 to 319, or -100"),
        ({"labels": torch.full((1, 13), -1)}, "labels hold -1; .* from 0 to 319, or -100"),
        ({"labels": torch.zeros(1, 13)}, "labels is torch.float32; it must be torch.int64"),
        ({"labels": [[1]]}, "labels is a list; it must be a tensor"),
        ({"input_ids": [[1, 2]]}, "input_ids is a list; it must be a tensor"),
        ({"input_ids": None}, "input_ids is a NoneType; it must be a tensor"),
        ({"input_ids": torch.ones(1, 13)}, "input_ids is torch.float32; it must be torch.int64"),
        ({"input_ids": torch.ones(0, 13, dtype=torch.long)}, "hold no sequence"),
        ({"input_ids": torch.tensor(1)}, r"input_ids must be \[batch, tokens\], not \[\]"),
        ({"attention_mask": [[1] * 13]}, "attention_mask is a list; it must be a tensor"),
        ({"attention_mask": torch.full((1, 13), 2)}, "attention_mask must be 1 where"),
        ({"position_ids": [[1] * 13]}, "position_ids is a list; it must be a tensor"),
        ({"pixel_values": [1.0]}, "pixel_values is a list; it must be a tensor"),
        ({"image_grid_thw": [[1, 4, 6]]}, "image_grid_thw is a list; it must be a tensor"),
        ({"image_grid_thw": torch.ones(1, 3)}, "image_grid_thw is torch.float32; it must be"),
        ({"image_grid_thw": torch.tensor([[1, -4, 6]])}, r"image_grid_thw: grid \[1, -4, 6\]"),
        ({"image_grid_thw": torch.tensor([[0, 4, 6]])}, r"image_grid_thw: grid \[0, 4, 6\]"),
        ({"mm_token_type_ids": [[0]]}, "mm_token_type_ids is a list; it must be a tensor"),
        ({"past_key_values": ()}, "past_key_values is a tuple; it must be a DenseCache"),
        ({"labels": torch.zeros(1, 12, dtype=torch.long)}, "labels .* do not fit input_ids"),
        ({"labels": torch.zeros(1, 13, dtype=torch.long), "logits_to_keep": 1}, "need all logits"),
        ({"logits_to_keep": -1}, "logits_to_keep is -1"),
        ({"attention_mask": torch.ones(1, 14)}, "attention_mask .* does not fit"),
        ({"attention_mask": torch.zeros(1, 13)}, "the prompt is empty"),
    ],
)
def test_arguments_that_contradict_are_refused(model, change, message):
    inputs = tiny_inputs(model.config, [3, Image(4, 6), 2])
    with pytest.raises(InputError, match=message):
        model(**(inputs | change))


@pytest.mark.parametrize("token", [-1, 320])
def test_ids_outside_the_vocabulary_are_refused(model, token):
    with pytest.raises(InputError, match="the vocabulary from 0 to 319; was the text tokenised"):
        model(torch.tensor([[1, token]]))


def test_more_tokens_than_the_context_are_refused(model):
    cache = DenseCache(model.config.text_config, 1)
    with torch.no_grad():
        model(torch.ones(1, 500, dtype=torch.long), past_key_values=cache)
    with pytest.raises(ContextLengthError, match="513 tokens do not fit the context of 512"):
        model(torch.ones(1, 13, dtype=torch.long), past_key_values=cache)


@torch.no_grad()
def test_a_mask_that_hides_what_the_cache_holds_is_refused(model):
    cache = DenseCache(model.config.text_config, 1)
    model(torch.ones(1, 3, dtype=torch.long), past_key_values=cache)
    mask = torch.tensor([[1, 0, 1, 1]])
    with pytest.raises(InputError, match="none of them can be hidden; leave out the past columns"):
        model(torch.ones(1, 1, dtype=torch.long), mask, past_key_values=cache)


@pytest.mark.parametrize(
    "recipe",
    [
        "memory_efficient_attention",
        "block_sparse_attention",
        "quantized_kv(group=8)",
        "heavy_hitter",
    ],
)
@torch.no_grad()
def test_a_cache_for_other_seams_is_refused(model, recipe):
    ids, text = tiny_inputs(model.config, [7])["input_ids"], model.config.text_config
    other = model.with_seams(compile_recipe(recipe, model.config).seams)
    other(ids, past_key_values=DenseCache(text, 1, other.seams))
    for one, cache in ((other, DenseCache(text, 1)), (model, DenseCache(text, 1, other.seams))):
        with pytest.raises(InputError, match=r"otherwise; make it with .*, model\.seams\)"):
            one(ids, past_key_values=cache)
    rounded = model.with_seams(compile_recipe("weight_int8", model.config).seams)
    rounded(ids, past_key_values=DenseCache(text, 1))  # that is no matter of the cache


def test_direct_calls_check_their_tensors_too(model):
    with pytest.raises(InputError, match="image_grid_thw is a list"):
        model.model.get_image_features(torch.zeros(16, 96), [[1, 4, 4]])
    with pytest.raises(InputError, match="pixel_values is a list"):
        model.model.get_image_features([0.0], torch.tensor([[1, 4, 4]]))
    with pytest.raises(InputError, match="input_ids is a list"):
        model.model.get_rope_index([[1]])


@torch.inference_mode()
def test_steps_go_on_as_the_whole_text_would(model):
    """Some tokens of one sequence and one of another at a time, and one that has ended."""
    ids = torch.tensor([[3, 4, 5, 6, 7, 8], [9, 8, 7, 6, 5, 4]])
    whole = model.model(ids).last_hidden_state
    cache = DenseCache(model.config.text_config, 2)
    model.model(ids[:, :2], past_key_values=cache)
    first = model.model.step([[5, 6, 7], [7]], cache)
    torch.testing.assert_close(first, torch.cat((whole[0, 2:5], whole[1, 2:3])))
    second = model.model.step([[], [6]], cache)
    torch.testing.assert_close(second, whole[1, 3:4])
    assert cache.lengths == [5, 4]
    assert cache.positions == [5, 4]


@torch.inference_mode()
def test_a_step_is_text_behind_a_picture(model):
    inputs = tiny_inputs(model.config, [3, Image(4, 6), 2])
    del inputs["mm_token_type_ids"]
    longer = inputs | {
        "input_ids": torch.cat((inputs["input_ids"], torch.tensor([[4]])), dim=1),
        "attention_mask": torch.cat((inputs["attention_mask"], torch.tensor([[1]])), dim=1),
    }
    cache = DenseCache(model.config.text_config, 1)
    model(**inputs, past_key_values=cache)
    stepped = model.model.step([[4]], cache)
    whole = model.model(**longer).last_hidden_state[0, -1:]
    torch.testing.assert_close(stepped, whole)


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        ([[], []], InputError, "needs a token"),
        ([[1], [-1]], InputError, "run from -1 to 1"),
        ([[10**6], [1]], InputError, "run from 1 to 1000000"),
        ([[1]], InputError, "holds 2 sequences, the batch has 1"),
        ([[1] * 5000, [1]], ContextLengthError, "do not fit the context"),
    ],
)
def test_a_step_that_cannot_be_is_refused(model, tokens, error, message):
    cache = DenseCache(model.config.text_config, 2)
    with pytest.raises(error, match=message):
        model.model.step(tokens, cache)
    assert cache.lengths == [0, 0]
