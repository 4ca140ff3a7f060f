"""Qwen3-VL: vision tower, fusion and decoder, with the call that `transformers` users know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import add
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qwen3_vl.config.generation import GenerationConfig, GenerationOptions
from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.errors import ContextLengthError, InputError
from qwen3_vl.models.cache import DenseCache, NoCache
from qwen3_vl.models.fusion import fuse
from qwen3_vl.models.generation import Decoding
from qwen3_vl.models.inputs import check_arguments, check_labels, check_tensor, checked_grids
from qwen3_vl.models.packing import Packing
from qwen3_vl.models.positions import PositionCounter
from qwen3_vl.models.pretrained import Qwen3VLPreTrainedModel
from qwen3_vl.models.reduction import reduce
from qwen3_vl.models.text import TextModel
from qwen3_vl.models.vision import Pictures, VisionModel, VisualFeatures
from qwen3_vl.seams import PLAIN, CacheView, Scoring, Seams

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass
class ModelOutput:
    """What `Qwen3VLModel` gives for a batch."""

    last_hidden_state: Tensor
    """[batch, tokens, hidden]; zeros where the batch is padded"""
    packing: Packing
    past_key_values: DenseCache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    """The embeddings, what leaves each layer but the last, and the final norm."""


@dataclass
class CausalOutput:
    """What `Qwen3VLForConditionalGeneration` gives for a batch."""

    logits: Tensor
    """[batch, tokens, vocabulary]; zeros where the batch is padded"""
    loss: Tensor | None = None
    past_key_values: DenseCache | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class Qwen3VLModel(Qwen3VLPreTrainedModel):
    """Everything but the head: token ids and pictures in, hidden states out."""

    checkpoint_prefix = "model."

    def __init__(self, config: Qwen3VLConfig, seams: Seams = PLAIN) -> None:
        super().__init__(config, seams)
        self.visual = VisionModel(config.vision_config, seams)
        self.language_model = TextModel(config.text_config, seams.depth, seams.fusion)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: DenseCache | None = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> ModelOutput:
        """Run a padded batch [batch, tokens]; a `DenseCache` given as the past is carried on."""
        check_arguments(
            input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            pixel_values=pixel_values,
            pixel_values_videos=pixel_values_videos,
            image_grid_thw=image_grid_thw,
            video_grid_thw=video_grid_thw,
            mm_token_type_ids=mm_token_type_ids,
        )
        pictures = Pictures(pixel_values, pixel_values_videos, image_grid_thw, video_grid_thw)
        held = None if past_key_values is None else past_key_values.lengths
        packing = Packing.of(input_ids, attention_mask, held=held)
        self.check_token_types(input_ids, mm_token_type_ids)
        states: list[Tensor] = []
        hidden = self.run(
            input_ids,
            packing,
            pictures,
            position_ids,
            past_key_values,
            states.append if output_hidden_states else None,
        )
        return ModelOutput(
            packing.pad(hidden),
            packing,
            past_key_values,
            tuple(map(packing.pad, states)) if output_hidden_states else None,
        )

    def run(
        self,
        input_ids: Tensor,
        packing: Packing,
        pictures: Pictures,
        position_ids: Tensor | None = None,
        cache: DenseCache | None = None,
        watch: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """The hidden states [tokens, hidden] of the tokens that are not padding."""
        ids = packing.flatten(input_ids)
        if not len(ids):
            raise InputError("the prompt is empty")
        self._check_ids(*(int(bound) for bound in torch.aminmax(ids)))
        self._check_room(packing.lengths, cache)
        if cache is not None:
            cache.check_seams(self.seams)
        starts = cache.positions if cache else [0] * len(packing.lengths)
        if position_ids is None:
            images, videos = pictures.image_grid_thw, pictures.video_grid_thw
            positions, following = self._counted_positions(ids, packing, images, videos, starts)
        else:
            positions, following = self._given_positions(position_ids, packing, starts)
        positions, features = positions.to(ids.device), self._features(pictures)
        if features or watch:
            fused = fuse(ids, self.language_model.embed_tokens(ids), features)
            tokens = reduce(fused, positions, packing.lengths, self.seams.reduce)
            view = self._view(tokens.lengths, cache)
            show = (lambda x: watch(tokens.spread(x))) if watch else None
            hidden = self.language_model(tokens.fused, tokens.positions, view, show)
            hidden = tokens.spread(hidden)
        else:
            view = self._view(packing.lengths, cache)
            hidden = self.language_model.run_words(ids, positions, view)
        if cache is not None:
            cache.advance(packing.lengths, following)
        return hidden

    def step(
        self,
        tokens: Sequence[Sequence[int]],
        cache: DenseCache,
        head: Scoring | None = None,
    ) -> Tensor:
        """The hidden states [tokens, hidden] of a few more tokens of each sequence, or none.

        They are text, whatever their ids are. With the `head` tokens may leave before the last
        layer: for one token a sequence. It may score them on the way, and then knows the logits.
        """
        ids = [token for row in tokens for token in row]
        lengths = list(map(len, tokens))
        if not ids:
            raise InputError("a step needs a token for some sequence")
        self._check_ids(min(ids), max(ids))
        self._check_room(lengths, cache)
        cache.check_seams(self.seams)
        following = list(map(add, cache.positions, lengths))
        places = [at for span in map(range, cache.positions, following) for at in span]
        device = self.language_model.embed_tokens.weight.device
        words, positions = torch.tensor([ids, places], device=device)
        view = cache.view(lengths)
        hidden = self.language_model.run_words(words, positions.expand(3, -1), view, head)
        cache.advance(lengths, following)
        return hidden

    def get_rope_index(
        self,
        input_ids: Tensor,
        image_grid_thw: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Positions [3, batch, tokens], and how far each row's next position lies from its length.

        Padding gets position 0.
        """
        check_arguments(input_ids, attention_mask=attention_mask)
        packing = Packing.of(input_ids, attention_mask)
        ids, starts = packing.flatten(input_ids), [0] * len(input_ids)
        flat, following = self._counted_positions(
            ids, packing, image_grid_thw, video_grid_thw, starts
        )
        deltas = [after - length for after, length in zip(following, packing.lengths, strict=True)]
        positions = torch.stack([packing.pad(axis) for axis in flat.to(input_ids.device)])
        return positions, torch.tensor(deltas, device=input_ids.device).unsqueeze(1)

    def get_image_features(self, pixel_values: Tensor, image_grid_thw: Tensor) -> VisualFeatures:
        """Encode images, or videos: both take the same way."""
        merge = self.config.vision_config.spatial_merge_size
        grids = checked_grids("image_grid_thw", image_grid_thw, merge)
        check_tensor("pixel_values", pixel_values)
        patches = sum(steps * rows * columns for steps, rows, columns in grids)
        expected = (patches, self.config.vision_config.patch_dim)
        if tuple(pixel_values.shape) != expected:
            raise InputError(
                f"pixels of shape {list(pixel_values.shape)} do not fit the grids, which need "
                f"{list(expected)}; pass the pixels and grids of one processor call"
            )
        return self.visual(pixel_values, grids)

    def _view(self, lengths: Sequence[int], cache: DenseCache | None) -> CacheView:
        return NoCache(lengths, self.seams) if cache is None else cache.view(lengths)

    def _features(self, pictures: Pictures) -> dict[int, VisualFeatures]:
        given = {
            self.config.image_token_id: (pictures.pixel_values, pictures.image_grid_thw),
            self.config.video_token_id: (pictures.pixel_values_videos, pictures.video_grid_thw),
        }
        return {
            token: self.get_image_features(pixels, grid)
            for token, (pixels, grid) in given.items()
            if pixels is not None and grid is not None
        }

    def _counted_positions(
        self,
        ids: Tensor,
        packing: Packing,
        images: Tensor | None,
        videos: Tensor | None,
        starts: list[int],
    ) -> tuple[Tensor, list[int]]:
        merge = self.config.vision_config.spatial_merge_size
        counter = PositionCounter(
            self.config,
            checked_grids("image_grid_thw", images, merge),
            checked_grids("video_grid_thw", videos, merge),
        )
        counted = [
            counter.positions(row.tolist(), start)
            for row, start in zip(packing.rows(ids), starts, strict=True)
        ]
        counter.finish()
        return torch.cat([row for row, _ in counted], dim=1), [after for _, after in counted]

    def _given_positions(
        self, position_ids: Tensor, packing: Packing, starts: list[int]
    ) -> tuple[Tensor, list[int]]:
        if position_ids.ndim == 2:
            position_ids = position_ids.expand(3, -1, -1)
        if position_ids.shape != (3, *packing.mask.shape):
            raise InputError(
                f"position_ids {list(position_ids.shape)} must be [3, batch, tokens] = "
                f"{[3, *packing.mask.shape]}"
            )
        positions = torch.stack([packing.flatten(axis) for axis in position_ids])
        rows = positions.split(list(packing.lengths), dim=1)
        return positions, [
            int(row.max()) + 1 if row.numel() else start
            for row, start in zip(rows, starts, strict=True)
        ]

    def _check_room(self, lengths: Sequence[int], cache: DenseCache | None) -> None:
        held = cache.lengths if cache else [0] * len(lengths)
        if len(held) != len(lengths):
            raise InputError(f"the cache holds {len(held)} sequences, the batch has {len(lengths)}")
        longest = max(old + new for old, new in zip(held, lengths, strict=True))
        context = self.config.text_config.max_position_embeddings
        if longest > context:
            raise ContextLengthError(
                f"{longest} tokens do not fit the context of {context}; "
                "shorten the text, or use fewer or smaller pictures"
            )

    def _check_ids(self, low: int, high: int) -> None:
        size = self.config.text_config.vocab_size
        if low < 0 or high >= size:
            raise InputError(
                f"token ids run from {low} to {high}, the vocabulary from 0 to {size - 1}; "
                "was the text tokenised with this model's tokenizer?"
            )

    def check_token_types(self, input_ids: Tensor, mm_token_type_ids: Tensor | None) -> None:
        """The ids already tell what is an image; types that say otherwise are a mistake."""
        if mm_token_type_ids is None:
            return
        image, video = self.config.image_token_id, self.config.video_token_id
        types = (input_ids == image).long() + 2 * (input_ids == video).long()
        if not torch.equal(types, mm_token_type_ids.to(types)):
            raise InputError("mm_token_type_ids disagree with the placeholders in input_ids")


class TiedHead(nn.Module):
    """A head without weights of its own: it scores against the input embeddings."""

    def __init__(self, embeddings: nn.Embedding) -> None:
        super().__init__()
        # In a tuple, so that torch does not count the embeddings as this module's own.
        self._embeddings = (embeddings,)

    @property
    def weight(self) -> Tensor:
        """The shared table [vocabulary, hidden]."""
        return self._embeddings[0].weight

    def forward(self, x: Tensor) -> Tensor:
        """Hidden states to logits."""
        return F.linear(x, self.weight)


class Qwen3VLForConditionalGeneration(Qwen3VLPreTrainedModel):
    """The whole model: token ids and pictures in, logits out."""

    def __init__(self, config: Qwen3VLConfig, seams: Seams = PLAIN) -> None:
        super().__init__(config, seams)
        self.model = Qwen3VLModel(config, seams)
        text = config.text_config
        table = self.model.language_model.embed_tokens if config.tie_word_embeddings else None
        if seams.head:
            self.lm_head = seams.head.head(table, text.hidden_size, text.vocab_size)
        elif table is not None:
            self.lm_head = TiedHead(table)
        else:
            self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: DenseCache | None = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        output_hidden_states: bool = False,
    ) -> CausalOutput:
        """Run a padded batch; with `labels` [batch, tokens] (-100: not counted) also the loss.

        Labels stand under the ids that they name; those on padding are not counted.

        `logits_to_keep` = n computes the logits of the last n columns alone; 0 means all.
        """
        if logits_to_keep < 0:
            raise InputError(f"logits_to_keep is {logits_to_keep}; it must be at least 0")
        if labels is not None and logits_to_keep:
            raise InputError("labels need all logits: leave logits_to_keep at 0")
        if labels is not None:
            check_arguments(input_ids, labels=labels)
            check_labels(labels, input_ids, self.config.text_config.vocab_size)
        out = self.model(
            input_ids,
            attention_mask,
            position_ids,
            past_key_values,
            pixel_values,
            pixel_values_videos,
            image_grid_thw,
            video_grid_thw,
            mm_token_type_ids,
            output_hidden_states,
        )
        packing = out.packing.last(logits_to_keep)
        logits = self.lm_head(packing.flatten(out.last_hidden_state[:, -logits_to_keep:]))
        loss = None if labels is None else _loss(logits, packing, labels)
        return CausalOutput(packing.pad(logits), loss, out.past_key_values, out.hidden_states)

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        *,
        generation_config: GenerationConfig | None = None,
        **options: Unpack[GenerationOptions],
    ) -> Tensor:
        """The prompt's ids and the answer's after them [batch, tokens + new], padded at the end.

        What `options` do not set is as `generation_config` says, by default the checkpoint's.
        """
        settings = (generation_config or self.generation_config).change(options)
        if settings.stop:
            raise InputError(
                "generate works on ids and knows no stop strings: use Qwen3VLInference"
            )
        check_arguments(
            input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            pixel_values_videos=pixel_values_videos,
            image_grid_thw=image_grid_thw,
            video_grid_thw=video_grid_thw,
            mm_token_type_ids=mm_token_type_ids,
        )
        self.model.check_token_types(input_ids, mm_token_type_ids)
        pictures = Pictures(pixel_values, pixel_values_videos, image_grid_thw, video_grid_thw)
        decoding = Decoding(self, input_ids, attention_mask, pictures, settings)
        pad = settings.pad_token_id
        if pad is None:
            pad = settings.eos_token_id[0] if settings.eos_token_id else 0
        columns = [[pad if t is None else t for t in step] for step in decoding.steps()]
        answers = torch.tensor(columns, dtype=input_ids.dtype, device=input_ids.device).T
        return torch.cat((input_ids, answers), dim=1)


def _loss(logits: Tensor, packing: Packing, labels: Tensor) -> Tensor:
    """The mean surprise of `logits` [tokens, vocabulary] at the counted labels that follow."""
    rows = packing.rows(packing.flatten(labels))
    following = torch.cat([F.pad(row, (0, 1), value=-100)[1:] for row in rows]).long()
    counted = following != -100
    if not counted.any():
        raise InputError("labels count no token: leave some after a row's first that are not -100")
    return F.cross_entropy(logits[counted].float(), following[counted])
