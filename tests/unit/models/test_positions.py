"""Where tokens and patches are: counted by hand, resampled by torch, rotated by the formula."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from qwen3_vl.errors import InputError
from qwen3_vl.models.positions import (
    PositionCounter,
    Qwen3VLRotaryEmbedding,
    apply_rotary_pos_emb,
    learned_positions,
    patch_coordinates,
    patch_rotary,
)
from tests.support.tiny_models import CONFIGS

CONFIG = CONFIGS["dense_tied"]
IMAGE, VIDEO = CONFIG.image_token_id, CONFIG.video_token_id
CPU = torch.device("cpu")


def count(ids, images=(), videos=(), start=0):
    counter = PositionCounter(CONFIG, images, videos)
    positions, after = counter.positions(ids, start)
    counter.finish()
    return positions.tolist(), after


def test_text_counts_on_all_three_axes():
    assert count([5, 6, 7]) == ([[0, 1, 2]] * 3, 3)
    assert count([5, 6, 7], start=10) == ([[10, 11, 12]] * 3, 13)
    assert count([]) == ([[], [], []], 0)


def test_an_image_stands_at_one_time_and_the_text_goes_on_after_its_longer_side():
    ids = [1, 2, *[IMAGE] * 6, 3]
    time, row, column = count(ids, images=[(1, 4, 6)])[0]
    assert time == [0, 1, 2, 2, 2, 2, 2, 2, 5]
    assert row == [0, 1, 2, 2, 2, 3, 3, 3, 5]
    assert column == [0, 1, 2, 3, 4, 2, 3, 4, 5]


def test_images_take_their_grids_in_the_order_of_the_text():
    ids = [IMAGE, 9, *[IMAGE] * 2, 9, IMAGE]
    (_, row, column), after = count(ids, images=[(1, 2, 2), (1, 4, 2), (1, 2, 2)], start=7)
    assert row == [7, 8, 9, 10, 11, 12]
    assert column == [7, 8, 9, 9, 11, 12]
    assert after == 13


def test_two_images_without_text_between_them():
    (_, row, column), after = count([IMAGE] * 3, images=[(1, 2, 4), (1, 2, 2)])
    assert (row, column, after) == ([0, 0, 2], [0, 1, 2], 3)


def test_each_frame_of_a_video_is_a_picture_of_its_own():
    ids = [1, VIDEO, VIDEO, 2, VIDEO, VIDEO, 3]
    (time, row, column), after = count(ids, videos=[(2, 2, 4)])
    assert time == [0, 1, 1, 3, 4, 4, 6]
    assert row == time
    assert column == [0, 1, 2, 3, 4, 5, 6]
    assert after == 7


def test_one_counter_walks_over_all_rows_of_a_batch():
    counter = PositionCounter(CONFIG, [(1, 2, 2), (1, 2, 4)], [])
    counter.positions([1, IMAGE])
    positions, after = counter.positions([IMAGE, IMAGE, 2])
    counter.finish()
    assert positions[2].tolist() == [0, 1, 2]
    assert after == 3


@pytest.mark.parametrize(
    ("ids", "images", "message"),
    [
        ([IMAGE], [], "placeholders for more images than were given"),
        ([VIDEO], [(1, 2, 2)], "placeholders for more video frames than were given"),
        ([1], [(1, 2, 2)], "1 more images were given than the text has placeholders"),
        ([IMAGE] * 2, [(1, 4, 4)], "1×2×2 tokens needs 4 placeholders in a row"),
        ([IMAGE, 1, IMAGE], [(1, 2, 4)], "needs 2 placeholders in a row"),
        ([IMAGE] * 5, [(1, 4, 4)], "placeholders for more images than were given"),
    ],
)
def test_placeholders_and_grids_must_agree(ids, images, message):
    with pytest.raises(InputError, match=message):
        count(ids, images=images)


def test_frequencies_take_turns_between_time_row_and_column():
    text = CONFIG.text_config
    time, row, column = 100.0, 10.0, 1.0
    positions = torch.tensor([[time], [row], [column]])
    cos, sin = Qwen3VLRotaryEmbedding(text)(positions, torch.float32)
    # Sections (4, 2, 2): T H W T H W T T, and the second half of the head repeats the first.
    turns = [time, row, column, time, row, column, time, time]
    angles = torch.tensor(
        [turn * text.rope_theta ** (-2 * i / text.head_dim) for i, turn in enumerate(turns)] * 2
    )
    torch.testing.assert_close(cos[0], angles.cos())
    torch.testing.assert_close(sin[0], angles.sin())


def test_a_rotation_keeps_lengths_and_depends_on_the_distance_alone():
    rotary = Qwen3VLRotaryEmbedding(CONFIG.text_config)
    q, k = torch.randn(2, 1, 3, 16, generator=torch.Generator().manual_seed(0))

    def score(q_at: int, k_at: int):
        cos, sin = rotary(torch.tensor([[q_at, k_at]] * 3), torch.float32)
        rotated_q, _ = apply_rotary_pos_emb(q, q, cos[:1], sin[:1])
        _, rotated_k = apply_rotary_pos_emb(k, k, cos[1:], sin[1:])
        torch.testing.assert_close(rotated_q.norm(dim=-1), q.norm(dim=-1))
        return (rotated_q * rotated_k).sum(dim=-1)

    torch.testing.assert_close(score(9, 4), score(25, 20))
    assert not torch.allclose(score(9, 4), score(9, 5))


def test_heads_may_stand_on_another_axis():
    rotary = Qwen3VLRotaryEmbedding(CONFIG.text_config)
    cos, sin = rotary(torch.arange(5).expand(3, -1), torch.float32)
    x = torch.randn(5, 2, 16, generator=torch.Generator().manual_seed(0))
    expected, _ = apply_rotary_pos_emb(x, x, cos, sin)
    turned = x.transpose(0, 1)
    actual, _ = apply_rotary_pos_emb(turned, turned, cos, sin, unsqueeze_dim=0)
    assert torch.equal(actual.transpose(0, 1), expected)


def test_patches_are_ordered_merge_block_by_merge_block():
    coordinates = patch_coordinates((1, 2, 4), 2, CPU).tolist()
    first_block = [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert coordinates == first_block + [[row, column + 2] for row, column in first_block]


@pytest.mark.parametrize("grid", [(1, 2, 2), (1, 4, 6), (3, 12, 12), (1, 2, 22), (1, 30, 14)])
@pytest.mark.parametrize("side", [6, 1])
def test_learned_positions_are_torchs_bilinear_resampling(grid, side):
    _, rows, columns = grid
    table = torch.randn(side**2, 8, generator=torch.Generator().manual_seed(0))
    coordinates = patch_coordinates(grid, 2, CPU)
    picture = table.T.view(1, 8, side, side)
    size = (rows, columns)
    resampled = F.interpolate(picture, size=size, mode="bilinear", align_corners=True)[0]
    expected = resampled[:, coordinates[:, 0], coordinates[:, 1]].T
    torch.testing.assert_close(learned_positions(table, grid, coordinates), expected)


def test_learned_positions_keep_the_dtype_and_give_the_table_itself_at_its_own_size():
    table = torch.randn(36, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    coordinates = patch_coordinates((1, 6, 6), 2, CPU)
    actual = learned_positions(table, (1, 6, 6), coordinates)
    assert torch.equal(actual, table[coordinates[:, 0] * 6 + coordinates[:, 1]])


def test_half_of_the_pairs_turn_by_row_and_half_by_column():
    vision = CONFIG.vision_config
    cos, _ = patch_rotary(torch.tensor([[3, 0], [0, 3], [3, 3]]), vision)
    by_row, by_column, both = cos.view(3, 2, 2, 4).unbind(0)  # [repeat, axis, pair]
    assert torch.equal(both[:, 0], by_row[:, 0])
    assert torch.equal(both[:, 1], by_column[:, 1])
    assert (by_row[:, 1] == 1).all()
    assert (by_column[:, 0] == 1).all()
    frequencies = vision.rope_theta ** -(torch.arange(4) / 4)
    torch.testing.assert_close(both[0, 0], (3 * frequencies).cos())
