"""Where tokens and patches are: three-axis positions, rotary angles, learned patch positions.

A text token has the same position on all three axes (time, height, width). The tokens of a
picture share one time, and spread over height and width from there; the text that follows goes on
after the largest position so far. Hence the position of a token is not its place in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from qwen3_vl.config.model import Qwen3VLConfig, TextConfig, VisionConfig
from qwen3_vl.errors import InputError
from qwen3_vl.ops.rotation import Angles, Rotation

Grid = tuple[int, int, int]
"""Time steps, rows and columns of patches of one picture or video."""


class PositionCounter:
    """Walks over the tokens of a batch and hands out positions; takes each picture's grid once."""

    def __init__(
        self, config: Qwen3VLConfig, images: Sequence[Grid], videos: Sequence[Grid]
    ) -> None:
        self._merge = config.vision_config.spatial_merge_size
        frames = [(1, rows, columns) for steps, rows, columns in videos for _ in range(steps)]
        self._grids: dict[int, Iterator[Grid]] = {
            config.image_token_id: iter(images),
            config.video_token_id: iter(frames),
        }
        self._names = {config.image_token_id: "images", config.video_token_id: "video frames"}

    def positions(self, ids: Sequence[int], start: int = 0) -> tuple[Tensor, int]:
        """The positions [3, tokens] of one sequence, and the position of the token after it."""
        pieces: list[Tensor] = []
        done, position = 0, start
        while done < len(ids):
            if ids[done] in self._grids:
                piece, position = self._picture(ids, done, position)
            else:
                end = done + 1
                while end < len(ids) and ids[end] not in self._grids:
                    end += 1
                piece = torch.arange(position, position + end - done).expand(3, -1)
                position += end - done
            pieces.append(piece)
            done += piece.shape[1]
        return torch.cat(pieces, dim=1) if pieces else torch.zeros(3, 0, dtype=torch.long), position

    def _picture(self, ids: Sequence[int], at: int, position: int) -> tuple[Tensor, int]:
        token = ids[at]
        grid = next(self._grids[token], None)
        if grid is None:
            raise InputError(
                f"the text has placeholders for more {self._names[token]} than were given"
            )
        steps, rows, columns = grid[0], grid[1] // self._merge, grid[2] // self._merge
        count = steps * rows * columns
        if len(ids) < at + count or any(i != token for i in ids[at : at + count]):
            raise InputError(
                f"a grid of {steps}×{rows}×{columns} tokens needs {count} placeholders in a row; "
                "let the processor expand them, or do not cut the prompt inside a picture"
            )
        axes = torch.meshgrid(
            torch.arange(steps), torch.arange(rows), torch.arange(columns), indexing="ij"
        )
        return torch.stack(axes).reshape(3, -1) + position, position + max(rows, columns)

    def finish(self) -> None:
        """Check that every picture found its place in the text."""
        for token, rest in self._grids.items():
            left = len(list(rest))
            if left:
                raise InputError(
                    f"{left} more {self._names[token]} were given than the text has placeholders"
                )


class Qwen3VLRotaryEmbedding:
    """Interleaved multimodal RoPE: the frequencies take turns between time, height and width."""

    def __init__(self, config: TextConfig) -> None:
        pairs = range(config.head_dim // 2)
        axes = [0 for _ in pairs]
        for axis in (1, 2):
            for pair in pairs[axis : 3 * config.mrope_section[axis] : 3]:
                axes[pair] = axis
        # On the processor also where the model is only a skeleton.
        processor = torch.device("cpu")
        self.rotation = Rotation(
            torch.tensor(axes, device=processor),
            inverse_frequencies(config.head_dim, config.rope_theta, processor),
        )

    def __call__(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The cosines and sines [tokens, head_dim] at these positions [3, tokens]."""
        return self.angles(positions, dtype).pair

    def angles(self, positions: Tensor, dtype: torch.dtype) -> Angles:
        """The same in the form that will be asked for."""
        return Angles(self.rotation, positions, dtype)


def inverse_frequencies(dim: int, theta: float, device: torch.device) -> Tensor:
    """The angle per position of each of the `dim // 2` rotated pairs."""
    exponents = torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim
    return 1.0 / theta**exponents


def apply_rotary_pos_emb(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1
) -> tuple[Tensor, Tensor]:
    """Rotate queries and keys; `unsqueeze_dim` is where the heads are."""
    return rotate(q, cos, sin, unsqueeze_dim), rotate(k, cos, sin, unsqueeze_dim)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> Tensor:
    """Rotate the pairs of `x`: each number of its first half with that of the second half."""
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return x * cos.unsqueeze(unsqueeze_dim) + turned * sin.unsqueeze(unsqueeze_dim)


def patch_coordinates(grid: Grid, merge: int, device: torch.device) -> Tensor:
    """The row and column [patches, 2] of each patch of one frame, merge block by merge block."""
    _, rows, columns = grid
    row = torch.arange(rows, device=device).view(rows // merge, merge, 1, 1).permute(0, 2, 1, 3)
    column = torch.arange(columns, device=device).view(1, columns // merge, 1, merge)
    shape = (rows // merge, columns // merge, merge, merge)
    return torch.stack((row.expand(shape).flatten(), column.expand(shape).flatten()), dim=-1)


def patch_rotary(coordinates: Tensor, config: VisionConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines [patches, head_dim]: half of the pairs turn with the row, half with the
    column.
    """
    pairs = config.hidden_size // config.num_heads // 2
    frequencies = inverse_frequencies(pairs, config.rope_theta, coordinates.device)
    angles = (coordinates.unsqueeze(-1).float() * frequencies).flatten(1)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def learned_positions(table: Tensor, grid: Grid, coordinates: Tensor) -> Tensor:
    """Resample the square table of learned positions to this grid, corner on corner, bilinear."""
    side = round(table.shape[0] ** 0.5)
    _, rows, columns = grid
    extent = torch.tensor([max(rows - 1, 1), max(columns - 1, 1)], device=coordinates.device)
    place = coordinates.float() * (side - 1) / extent
    low = place.floor().long()
    high = (low + 1).clamp(max=side - 1)
    share = place - low
    result = torch.zeros(len(coordinates), table.shape[1], device=table.device)
    for row, row_share in ((low[:, 0], 1 - share[:, 0]), (high[:, 0], share[:, 0])):
        for column, column_share in ((low[:, 1], 1 - share[:, 1]), (high[:, 1], share[:, 1])):
            weight = (row_share * column_share).unsqueeze(-1)
            result = result + table[row * side + column] * weight
    return result.to(table.dtype)
