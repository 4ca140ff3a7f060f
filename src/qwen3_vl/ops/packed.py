"""Weights in 4, 8 or 16 bits as kernels read them (csrc/cpu/layout.h).

A matrix [outputs, inputs] becomes bytes [panels, bytes]: sixteen outputs to a panel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Bits = Literal[4, 8, 16]
"""Of a weight: 16 are bfloat16."""

ROWS = 16
"""Outputs of a panel."""
BLOCK = 128
"""Inputs are filled up with zeros to a multiple of this."""
GROUP = 32
"""Inputs that share a scale."""
ALIGNMENT = 64
"""Kernels read whole lines of so many bytes."""
_AT_ONCE = 8 * ROWS
"""Outputs that are rounded together: so few that the work stays in the processor's cache."""
_TAIL = 4 * ROWS
"""Bytes of a panel's row scales."""
_TOP_SCALE = 127
_ZERO = {4: 8, 8: 128}
_REACHES = torch.linspace(6.4, 8.8, 9).tolist()
"""What a group's largest weight becomes at best lies between these."""
_NEAR = range(-2, 3)
"""Group scales that are tried around the one wanted."""


def panel_bytes(inputs: int, bits: Bits) -> int:
    """The bytes of a panel."""
    blocks = -(-inputs // BLOCK)
    codes = blocks * BLOCK * ROWS * bits // 8
    if bits == 16:
        return codes
    return codes + (blocks * ALIGNMENT if bits == 4 else 0) + _TAIL


def empty(outputs: int, inputs: int, bits: Bits) -> Tensor:
    """Room for a matrix."""
    return torch.empty(-(-outputs // ROWS), panel_bytes(inputs, bits), dtype=torch.uint8)


def pack(weight: Tensor, bits: Bits) -> Tensor:
    """Round a matrix and lay it out."""
    return torch.cat([_pack(part, bits) for part in weight.split(_AT_ONCE)])


def _pack(weight: Tensor, bits: Bits) -> Tensor:
    if bits == 16:
        return _lay_out_bf16(weight.bfloat16())
    if bits == 8:
        codes, row_scales = round_int8(weight.float())
        return _join(_lay_out(codes, quads=1), row_scales)
    codes, group_scales, row_scales = round_int4(weight.float())
    return _join(_lay_out_int4(codes, group_scales), row_scales)


def unpack(packed: Tensor, outputs: int, inputs: int, bits: Bits) -> Tensor:
    """The matrix in float32 that packed bytes stand for."""
    blocks = -(-inputs // BLOCK)
    if bits == 16:
        pairs = packed.view(torch.int32).reshape(len(packed), -1, ROWS).transpose(1, 2)
        weight = pairs.contiguous().view(torch.bfloat16).reshape(-1, blocks * BLOCK)
        return weight[:outputs, :inputs].float()
    body, tail = packed[:, :-_TAIL], packed[:, -_TAIL:]
    row_scales = tail.contiguous().view(torch.float32).reshape(-1, 1)
    if bits == 8:
        codes = body.reshape(len(packed), -1, ROWS, 4).transpose(1, 2)
        weight = (codes.reshape(-1, blocks * BLOCK).float() - _ZERO[8]) * row_scales
    else:
        lines = body.reshape(len(packed), blocks, -1, ALIGNMENT)
        nibbles = lines[:, :, :-1].reshape(len(packed), blocks, -1, ROWS, 4)
        codes = torch.stack((nibbles & 15, nibbles >> 4), dim=-2)  # [panel, block, line, row, 2, 4]
        codes = codes.permute(0, 3, 1, 2, 4, 5).reshape(-1, blocks * BLOCK)
        scales = lines[:, :, -1].reshape(len(packed), blocks, BLOCK // GROUP, ROWS)
        scales = scales.permute(0, 3, 1, 2).reshape(-1, blocks * BLOCK // GROUP)
        scales = scales.repeat_interleave(GROUP, dim=1).float()
        weight = (codes.float() - _ZERO[4]) * scales * row_scales
    return weight[:outputs, :inputs]


def in_halves(packed: Tensor) -> Tensor:
    """Int4 weights with the upper two bits of each code apart from the lower two.

    They take as many bytes. All upper halves come first, with the scales: by these kernels see
    which rows are worth a second look.
    """
    halves = torch.empty_like(packed)
    for panels, upper, lower in _together(packed, halves):
        lines = panels[:, :-_TAIL].unflatten(1, (-1, BLOCK // 8 + 1, ALIGNMENT))
        first, second = lines[:, :, :-1].unflatten(2, (-1, 2)).unbind(3)
        quads = first & 15, first >> 4, second & 15, second >> 4
        codes = _side_by_side([one >> 2 for one in quads])
        upper[:, :-_TAIL] = torch.cat((codes, lines[:, :, -1:]), dim=2).flatten(1)
        upper[:, -_TAIL:] = panels[:, -_TAIL:]
        lower[:] = _side_by_side([one & 3 for one in quads]).flatten(1)
    return halves


def rejoined(halves: Tensor) -> Tensor:
    """What `in_halves` was given."""
    packed = torch.empty_like(halves)
    for panels, upper, lower in _together(packed, halves):
        lines = upper[:, :-_TAIL].unflatten(1, (-1, BLOCK // 16 + 1, ALIGNMENT))
        high, low = lines[:, :, :-1], lower.unflatten(1, (-1, BLOCK // 16, ALIGNMENT))
        quads = [(high >> bit & 3) << 2 | low >> bit & 3 for bit in (0, 2, 4, 6)]
        pairs = torch.stack((quads[0] | quads[1] << 4, quads[2] | quads[3] << 4), dim=3)
        codes = torch.cat((pairs.flatten(2, 3), lines[:, :, -1:]), dim=2)
        panels[:, :-_TAIL], panels[:, -_TAIL:] = codes.flatten(1), upper[:, -_TAIL:]
    return packed


def known_by_upper(packed: Tensor) -> Tensor:
    """Int4 weights whose codes are the middle of what their upper two bits leave open."""
    known = packed.clone()
    lines = known[:, :-_TAIL].unflatten(1, (-1, BLOCK // 8 + 1, ALIGNMENT))[:, :, :-1]
    lines &= 0xCC
    lines |= 0x22
    return known


def lower_bytes(halves: Tensor) -> int:
    """Of all lower halves together."""
    blocks = (halves.shape[1] - _TAIL) // (ALIGNMENT * (BLOCK // 8 + 1))
    return len(halves) * blocks * ALIGNMENT * BLOCK // 16


def _together(packed: Tensor, halves: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The same panels, upper halves and lower halves, some at a time."""
    panels, flat = len(packed), halves.view(-1)
    upper, lower = flat.split([len(flat) - lower_bytes(halves), lower_bytes(halves)])
    parts = packed, upper.view(panels, -1), lower.view(panels, -1)
    return zip(*(one.split(_AT_ONCE) for one in parts), strict=True)


def _side_by_side(quads: Sequence[Tensor]) -> Tensor:
    """Four codes of two bits in each byte, the first lowest."""
    return quads[0] | quads[1] << 2 | quads[2] << 4 | quads[3] << 6


def round_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes 1 … 255 and a scale for each row: the largest of a row becomes 1 or 255."""
    scales = weight.abs().amax(dim=1, keepdim=True) / _TOP_SCALE
    codes = (weight / scales.clamp(min=torch.finfo(torch.float32).tiny)).round() + _ZERO[8]
    return codes.to(torch.uint8), scales


def round_int4(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes 0 … 15, scales 1 … 127 of groups, scales of rows.

    For each group the step with the smallest squared error is looked for, first a free one, from
    which the row's scale follows; then among the steps that are there, so that codes are rounded
    with the very scale that they get.
    """
    outputs, inputs = weight.shape
    groups = F.pad(weight, (0, -inputs % BLOCK)).reshape(outputs, -1, GROUP)
    reach = groups.abs().amax(dim=2)
    free = _best(groups, [reach / top for top in _REACHES])
    row_scales = free.amax(dim=1, keepdim=True) / _TOP_SCALE
    wanted = (free / row_scales.clamp(min=torch.finfo(torch.float32).tiny)).round()
    near = [(wanted + step).clamp(1, _TOP_SCALE) * row_scales for step in _NEAR]
    steps = _best(groups, near)
    scales = (steps / row_scales.clamp(min=torch.finfo(torch.float32).tiny)).round()
    return _codes(groups, steps).reshape(outputs, -1), scales.clamp(1).to(torch.uint8), row_scales


def _best(groups: Tensor, steps: list[Tensor]) -> Tensor:
    """Of several steps for each group that with the smallest squared error."""
    best, least = steps[0], torch.full_like(steps[0], float("inf"))
    for step in steps:
        restored = (_codes(groups, step).float() - _ZERO[4]) * step.unsqueeze(2)
        error = (restored - groups).square().sum(dim=2)
        best = torch.where(error < least, step, best)
        least = torch.minimum(error, least)
    return best


def _codes(groups: Tensor, steps: Tensor) -> Tensor:
    steps = steps.clamp(min=torch.finfo(torch.float32).tiny).unsqueeze(2)
    return ((groups / steps).round() + _ZERO[4]).clamp(0, 15).to(torch.uint8)


def _lay_out(codes: Tensor, quads: int) -> Tensor:
    """[outputs, inputs] → [panels, blocks, lines, rows, quads of a line, 4]."""
    fill = _ZERO[8] if quads == 1 else _ZERO[4]
    outputs, inputs = codes.shape
    full = F.pad(codes, (0, -inputs % BLOCK, 0, -outputs % ROWS), value=fill)
    split = full.reshape(-1, ROWS, full.shape[1] // BLOCK, BLOCK // (4 * quads), quads, 4)
    return split.permute(0, 2, 3, 1, 4, 5)


def _lay_out_int4(codes: Tensor, scales: Tensor) -> Tensor:
    lines = _lay_out(codes, quads=2)
    nibbles = lines[..., 0, :] | lines[..., 1, :] << 4
    panels, blocks = nibbles.shape[:2]
    full = F.pad(scales, (0, 0, 0, -len(scales) % ROWS), value=1)
    split = full.reshape(panels, ROWS, blocks, BLOCK // GROUP).permute(0, 2, 3, 1)
    parts = (nibbles.reshape(panels, blocks, -1), split.reshape(panels, blocks, -1))
    return torch.cat(parts, dim=2)


def _lay_out_bf16(weight: Tensor) -> Tensor:
    outputs, inputs = weight.shape
    pairs = F.pad(weight, (0, -inputs % BLOCK, 0, -outputs % ROWS)).view(torch.int32)
    lines = pairs.reshape(-1, ROWS, pairs.shape[1]).transpose(1, 2)
    return lines.contiguous().view(torch.uint8).flatten(1)


def _join(codes: Tensor, row_scales: Tensor) -> Tensor:
    full = F.pad(row_scales.reshape(-1), (0, -len(row_scales) % ROWS))
    tail = full.reshape(-1, ROWS).contiguous().view(torch.uint8)
    return torch.cat((codes.reshape(len(tail), -1), tail), dim=1)
