"""One assignment holds for embeddings, positions, lengths and every DeepStack tap."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from qwen3_vl.models.cache import DenseCache
from qwen3_vl.models.fusion import Fused
from qwen3_vl.models.reduction import Tokens, reduce
from qwen3_vl.seams import Seams
from tests.support.tiny_models import CONFIGS, Image, Video, tiny_inputs, tiny_model

HIDDEN, TAPS = 4, 3


@dataclass
class By:
    """Groups by a rule, and notes what it was shown."""

    divisor: int

    def __post_init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []

    def groups(self, tokens: Tensor, text: Tensor) -> Tensor:
        self.seen.append((tokens, text))
        return torch.arange(len(tokens)).flip(0) // self.divisor  # any numbers will do


def fused(kinds: str, seed: int = 0) -> Fused:
    """Tokens of text `.` and of pictures `x`."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.tensor([place for place, kind in enumerate(kinds) if kind == "x"])
    taps = (torch.randn(len(places), HIDDEN, generator=generator) for _ in range(TAPS))
    return Fused(torch.randn(len(kinds), HIDDEN, generator=generator), places, tuple(taps))


def run(kinds: str, lengths: list[int], *steps: By) -> tuple[Fused, Tensor, Tokens]:
    start = fused(kinds)
    positions = torch.arange(3 * len(kinds)).view(3, -1)
    return start, positions, reduce(start, positions, lengths, steps)


@pytest.mark.parametrize(
    ("kinds", "lengths", "expected"),
    [
        ("..xxxx.", [7], ["0", "1", "23", "45", "6"]),
        ("xxxxx", [5], ["0", "12", "34"]),
        (".xxx.xx.", [8], ["0", "1", "23", "4", "56", "7"]),
        (".xxxxx.", [4, 3], ["0", "1", "23", "45", "6"]),  # one row ends with a picture
        ("x.x", [3], ["0", "1", "2"]),
    ],
)
def test_all_tensors_take_the_same_means(kinds, lengths, expected) -> None:
    start, positions, tokens = run(kinds, lengths, By(2))
    members = [[int(digit) for digit in group] for group in expected]
    means = torch.zeros(len(members), len(kinds))
    for row, group in enumerate(members):
        means[row, group] = 1 / len(group)
    torch.testing.assert_close(tokens.fused.embeddings, means @ start.embeddings)
    torch.testing.assert_close(tokens.positions.float(), positions.float() @ means.T)
    visual = [row for row, group in enumerate(members) if kinds[group[0]] == "x"]
    assert tokens.fused.places.tolist() == visual
    for tap, old in zip(tokens.fused.deepstack, start.deepstack, strict=True):
        torch.testing.assert_close(tap, means[visual][:, start.places] @ old)
    shown = [
        next(row for row, group in enumerate(members) if at in group) for at in range(len(kinds))
    ]
    assert tokens.spread(torch.arange(len(members))).tolist() == shown
    ends = torch.tensor(lengths).cumsum(0)
    assert torch.tensor(tokens.lengths).cumsum(0).tolist() == [
        sum(group[0] < end for group in members) for end in ends
    ]


def test_text_keeps_its_bits_and_its_place() -> None:
    start, positions, tokens = run(".xxxx..xx.", [10], By(3))
    text = torch.tensor([0, 5, 6, 9])
    at = tokens.target[text]
    assert torch.equal(tokens.fused.embeddings[at], start.embeddings[text])
    assert torch.equal(tokens.positions[:, at], positions[:, text].float())
    assert (at.diff() > 0).all()


def test_each_picture_is_shown_alone_with_the_text_of_its_sequence() -> None:
    step = By(1)
    start, _, _ = run(".xx.x..xxx", [5, 5], step)
    pictures = [(slice(1, 3), [0, 3]), (slice(4, 5), [0, 3]), (slice(7, 10), [5, 6])]
    for (tokens, text), (place, words) in zip(step.seen, pictures, strict=True):
        assert torch.equal(tokens, start.embeddings[place])
        assert torch.equal(text, start.embeddings[words])


def test_one_after_the_other_gives_the_mean_of_all_members() -> None:
    first, second = By(3), By(2)
    start, _, tokens = run("xxxxxxx", [7], first, second)
    assert len(second.seen[0][0]) == 3
    # 0 | 123 | 456, and then 0 | 123456
    expected = torch.stack((start.embeddings[0], start.embeddings[1:].mean(dim=0)))
    torch.testing.assert_close(tokens.fused.embeddings, expected)


def test_where_nothing_is_grouped_nothing_is_copied() -> None:
    start, positions, tokens = run("..xxx.", [6], By(1))
    assert tokens.fused is start
    assert tokens.positions is positions
    assert reduce(start, positions, [6], ()).fused is start
    text, _, same = run("...", [3], By(2))
    assert same.fused is text


@torch.inference_mode()
@pytest.mark.parametrize("name", CONFIGS)
def test_a_batch_gives_what_each_row_gives_alone(name: str) -> None:
    model = tiny_model(name).with_seams(Seams(reduce=(By(2),)))
    rows = [(5, Image(4, 6), 3), (2, Image(4, 4), 4, Image(2, 6), 1), (9,)]
    inputs = tiny_inputs(model.config, *rows)
    together = model(**inputs).logits
    patches = (24, 28, 0)
    pixels = inputs["pixel_values"].split(patches)
    grids = inputs["image_grid_thw"].split([1, 2, 0])
    for row, logits in enumerate(together):
        mask = inputs["attention_mask"][row].bool()
        media = {"pixel_values": pixels[row], "image_grid_thw": grids[row]} if patches[row] else {}
        alone = model(inputs["input_ids"][row, mask].unsqueeze(0), **media).logits[0]
        torch.testing.assert_close(logits[mask], alone, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_the_cache_is_shorter_and_the_text_goes_on_where_it_would() -> None:
    plain = tiny_model("dense_tied")
    inputs = tiny_inputs(plain.config, (4, Image(4, 8), 2, Video(2, 4, 4), 3))
    caches = []
    for model in (plain, plain.with_seams(Seams(reduce=(By(4),)))):
        caches.append(DenseCache(model.config.text_config, 1, model.seams))
        out = model(**inputs, past_key_values=caches[-1], output_hidden_states=True)
        assert {x.shape[1] for x in out.hidden_states} == {inputs["input_ids"].shape[1]}
    assert caches[0].positions == caches[1].positions
    assert caches[0].lengths == caches[1].lengths
    merged = 8 - 2 + 2 * (4 - 1)  # of a picture of 8 tokens and two frames of 4
    tokens = inputs["input_ids"].shape[1]
    assert caches[1].nbytes * tokens == caches[0].nbytes * (tokens - merged)
