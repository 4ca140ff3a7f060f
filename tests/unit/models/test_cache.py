"""A cache changes nothing: in steps, in chunks or in a batch, the numbers of one pass come out.

What differs is the order in which a matrix product adds, which depends on its number of rows: a
sum of n products drifts by `eps · sqrt(n)`, and the decoder adds two such sums in each layer.
"""

from __future__ import annotations

import pytest
import torch

from qwen3_vl.errors import InputError
from qwen3_vl.models.cache import DenseCache, NoCache
from tests.support.tiny_models import CONFIGS, Image, Video, tiny_inputs, tiny_model

every_model = pytest.mark.parametrize("name", CONFIGS)
TEXT = CONFIGS["dense_tied"].text_config
DRIFT = torch.finfo(torch.float32).eps * TEXT.intermediate_size**0.5
LIMIT = 2 * TEXT.num_hidden_layers * DRIFT


def check_same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=LIMIT * expected.abs().max().item())


def in_pieces(model, ids: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    cache = DenseCache(TEXT, len(ids))
    pieces = ids.split(sizes, dim=1)
    return torch.cat([model(piece, past_key_values=cache).logits for piece in pieces], dim=1)


@torch.no_grad()
@every_model
@pytest.mark.parametrize("sizes", [[1] * 24, [8, 8, 8], [20, 1, 3]], ids=["1", "8", "uneven"])
def test_text_in_steps_or_chunks_equals_one_pass(name, sizes):
    model = tiny_model(name)
    ids = tiny_inputs(model.config, [24])["input_ids"]
    check_same(in_pieces(model, ids, sizes), model(ids).logits)


@torch.no_grad()
@every_model
def test_decoding_after_pictures_goes_on_where_they_end(name):
    model = tiny_model(name)
    inputs = tiny_inputs(model.config, [3, Image(4, 6), 2, Video(2, 4, 4), 8])
    whole = model(**inputs).logits
    ids, types = inputs.pop("input_ids"), inputs.pop("mm_token_type_ids")
    del inputs["attention_mask"]
    cut = ids.shape[1] - 7
    cache = DenseCache(TEXT, 1)
    first = model(
        ids[:, :cut], mm_token_type_ids=types[:, :cut], past_key_values=cache, **inputs
    ).logits
    steps = [
        model(ids[:, [place]], past_key_values=cache).logits for place in range(cut, ids.shape[1])
    ]
    check_same(torch.cat((first, *steps), dim=1), whole)
    assert cache.get_seq_length() == ids.shape[1]
    assert cache.positions[0] < ids.shape[1]


@torch.no_grad()
def test_a_second_picture_may_come_in_a_later_call():
    model = tiny_model("dense_tied")
    inputs = tiny_inputs(model.config, [3, Image(4, 6), 2, Image(2, 8), 3])
    whole = model(**inputs).logits
    # The first picture has 6 tokens between its marks, and 24 patches.
    cut = 3 + 8 + 1
    cache = DenseCache(TEXT, 1)
    parts = [
        model(
            inputs["input_ids"][:, place],
            past_key_values=cache,
            pixel_values=inputs["pixel_values"][patches],
            image_grid_thw=inputs["image_grid_thw"][[picture]],
        ).logits
        for picture, (place, patches) in enumerate(
            [(slice(cut), slice(24)), (slice(cut, None), slice(24, None))]
        )
    ]
    check_same(torch.cat(parts, dim=1), whole)


@torch.no_grad()
@every_model
@pytest.mark.parametrize("pad", ["left", "right"])
def test_a_sequence_in_a_batch_equals_the_same_alone(name, pad):
    model = tiny_model(name)
    rows = [[9], [2, Image(4, 4), 3], [1], [4, Video(2, 2, 4), 1, Image(2, 2)]]
    together = tiny_inputs(model.config, *rows, pad=pad)
    logits = model(**together).logits
    mask = together["attention_mask"].bool()
    assert (logits[~mask] == 0).all()
    pixels, grids = together["pixel_values"].split([16, 4]), together["image_grid_thw"].split(1)
    images = {1: (pixels[0], grids[0]), 3: (pixels[1], grids[1])}
    for row in range(len(rows)):
        alone = {"input_ids": together["input_ids"][row, mask[row]].unsqueeze(0)}
        if row in images:
            alone["pixel_values"], alone["image_grid_thw"] = images[row]
        if row == 3:
            alone |= {key: together[key] for key in ("pixel_values_videos", "video_grid_thw")}
        check_same(logits[row, mask[row]], model(**alone).logits[0])


@torch.no_grad()
def test_rows_may_grow_at_different_speeds():
    model = tiny_model("dense_tied")
    ids = tiny_inputs(model.config, [9], [9])["input_ids"]
    cache = DenseCache(TEXT, 2)
    model(ids[:, :4], torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]), past_key_values=cache)
    assert cache.lengths == [4, 2]
    model(ids[:, 4:6], torch.tensor([[0, 0], [1, 1]]), past_key_values=cache)
    assert cache.lengths == [4, 4]
    last = model(ids[:, 6:], past_key_values=cache).logits
    first = torch.cat((ids[:1, :4], ids[:1, 6:]), dim=1)
    second = torch.cat((ids[1:, :2], ids[1:, 4:]), dim=1)
    whole = model(torch.cat((first, second))).logits
    check_same(last, whole[:, 4:])


def test_a_row_without_tokens_is_no_one_elses_business():
    model = tiny_model("dense_tied")
    ids = tiny_inputs(model.config, [5], [5])["input_ids"]
    with_empty = model(ids, torch.tensor([[0] * 5, [1] * 5])).logits
    assert (with_empty[0] == 0).all()
    check_same(with_empty[1], model(ids[1:]).logits[0])


def test_a_cache_for_another_batch_is_refused():
    model = tiny_model("dense_tied")
    cache = DenseCache(TEXT, 2)
    with pytest.raises(InputError, match="the cache holds 2 sequences, the batch has 1"):
        model(torch.tensor([[1, 2]]), past_key_values=cache)


def test_a_growing_store_keeps_what_it_holds():
    cache, generator = DenseCache(TEXT, 1), torch.Generator().manual_seed(0)
    sizes = [3, 1, 1, 5, 1, 20, 1]
    total = sum(sizes)
    q, k, v = (
        torch.randn(total, heads, 16, generator=generator)
        for heads in (TEXT.num_attention_heads, TEXT.num_key_value_heads, TEXT.num_key_value_heads)
    )
    pieces = zip(*(x.split(sizes) for x in (q, k, v)), strict=True)
    out = []
    for piece in pieces:
        out.append(cache.view([len(piece[0])]).attend(0, *piece))
        cache.advance([len(piece[0])], [0])
    check_same(torch.cat(out), NoCache([total]).attend(0, q, k, v))


@torch.no_grad()
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_cache_that_a_broken_pass_left_half_filled_is_refused(error):
    model = tiny_model("dense_tied")
    cache = DenseCache(TEXT, 1)
    ids = torch.tensor([[1, 2, 3]])
    model(ids, past_key_values=cache)

    def interrupt(*_: object) -> None:
        raise error

    handle = model.model.language_model.layers[2].register_forward_pre_hook(interrupt)
    with pytest.raises(error):
        model(ids, past_key_values=cache)
    handle.remove()
    with pytest.raises(InputError, match=r"broken off, .* begin again with a new cache"):
        model(ids, past_key_values=cache)


@torch.no_grad()
def test_a_call_that_is_refused_at_the_door_leaves_the_cache_usable():
    model = tiny_model("dense_tied")
    cache = DenseCache(TEXT, 1)
    with pytest.raises(InputError):
        model(torch.tensor([[-1]]), past_key_values=cache)
    model(torch.tensor([[1]]), past_key_values=cache)
    assert cache.lengths == [1]
