"""The plain loop that turns a prompt into an answer: the meaning of every faster engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from qwen3_vl.config.generation import GenerationConfig
from qwen3_vl.errors import ContextLengthError, InputError
from qwen3_vl.models.cache import DenseCache
from qwen3_vl.models.packed import PackedScores
from qwen3_vl.models.packing import Packing
from qwen3_vl.models.vision import Pictures
from qwen3_vl.ops.head import Head
from qwen3_vl.ops.largest import largest
from qwen3_vl.ops.sampling import Filters, draw, penalise

if TYPE_CHECKING:
    from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration

EVICT_EVERY = 32
"""Steps between two evictions: each moves what stays, so it should not be done for one token."""


class Decoding:
    """One batch of prompts and how to answer it; each call of `steps` has a state of its own."""

    def __init__(
        self,
        model: Qwen3VLForConditionalGeneration,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        pictures: Pictures,
        settings: GenerationConfig,
    ) -> None:
        self._model = model
        self._settings = settings
        self._pictures = pictures
        self._packing = Packing.of(input_ids, attention_mask)
        self._input_ids = input_ids
        prompts = self._packing.rows(self._packing.flatten(input_ids))
        self._prompts = [prompt.unique() for prompt in prompts]
        """The ids of each prompt, each once."""
        _check_room(model, self._packing, settings)

    def steps(self) -> Iterator[list[int | None]]:
        """The next token of each answer, step by step; None where an answer has ended."""
        dice = [Random(self._settings.seed) for _ in self._prompts]  # noqa: S311 - no secret
        answers: list[list[int]] = [[] for _ in self._prompts]
        walk = Walk(self._model, self._input_ids, self._packing, self._pictures)
        open_rows = list(range(len(self._prompts)))
        for _ in range(self._settings.max_new_tokens):
            with torch.inference_mode():
                chosen: list[int | None] = [None] * len(self._prompts)
                for row, scores in zip(open_rows, walk.score(), strict=True):
                    scores = self._penalised(scores, self._prompts[row], answers[row])
                    chosen[row] = token = self._choose(scores, dice[row])
                    answers[row].append(token)
            yield chosen
            open_rows = [row for row in open_rows if chosen[row] not in self._settings.eos_token_id]
            if not open_rows:
                return
            walk.take([chosen[row] if row in open_rows else None for row in range(len(chosen))])

    def _penalised(self, logits: Tensor, prompt: Tensor, answer: list[int]) -> Tensor:
        return penalise(
            logits,
            prompt,
            answer,
            repetition=self._settings.repetition_penalty,
            presence=self._settings.presence_penalty,
            frequency=self._settings.frequency_penalty,
        )

    def _choose(self, logits: Tensor, dice: Random) -> int:
        settings = self._settings
        if settings.do_sample:
            filters = Filters(settings.top_k, settings.temperature, settings.top_p, settings.min_p)
            # Never 0, where what has no odds lies.
            token = draw(logits, filters, 1 - dice.random())
        else:
            token = int(largest(logits.unsqueeze(0), 1))
        if not isfinite(logit := float(logits[token])):
            raise InputError(
                f"no token can be chosen: the highest logit is {logit}; are the weights "
                "whole, is repetition_penalty near 1? In float16 numbers overflow: try bfloat16"
            )
        return token


class Walk:
    """A batch on its way through the model: it tells what could come next, then takes what does.

    Whoever walks does so within `torch.inference_mode`.
    """

    def __init__(
        self,
        model: Qwen3VLForConditionalGeneration,
        input_ids: Tensor,
        packing: Packing,
        pictures: Pictures,
    ) -> None:
        self.cache = DenseCache(model.config.text_config, len(input_ids), model.seams)
        self.peak_cache = 0
        """Bytes: the most that an eviction found. Between two of them the cache only grows."""
        self._core = model.model
        self._score = Scorer(model.lm_head)
        self._prompt: tuple[Tensor, Packing, Pictures] | None = input_ids, packing, pictures
        self._latest: list[list[int]] = []
        self._steps = 0

    def score(self) -> Tensor:
        """The logits of the next token, in float32, of each row that goes on."""
        if self._prompt is not None:
            hidden = _ends(self._core.run(*self._prompt, cache=self.cache), self._prompt[1])
        else:
            hidden = self._core.step(self._latest, self.cache, self._score)
        if self._steps % EVICT_EVERY == 0:  # after the prompt, then now and then
            self.peak_cache = max(self.peak_cache, self.cache.nbytes)
            self.cache.evict()
        self._steps += 1
        return self._score(hidden).float()

    def take(self, tokens: Sequence[int | None]) -> None:
        """One token for each row, None for one that has ended."""
        self._latest = [[] if token is None else [token] for token in tokens]
        self._prompt = None  # its pictures are large


class Scorer:
    """The head; it does not compute twice what was scored before the last layer was through."""

    def __init__(self, head: nn.Module) -> None:
        self._head = head
        self._latest: tuple[Tensor, Tensor] | None = None

    def __call__(self, hidden: Tensor) -> Tensor:
        """The logits of these hidden states."""
        if self._latest is None or self._latest[0] is not hidden:
            self._latest = hidden, self._head(hidden)
        return self._latest[1]

    @property
    def call(self) -> Head | None:
        """The call that scores, if the head is packed."""
        return self._head.scoring() if isinstance(self._head, PackedScores) else None

    def note(self, hidden: Tensor, logits: Tensor) -> None:
        """Take what the call gave."""
        self._latest = hidden, logits


def _ends(hidden: Tensor, packing: Packing) -> Tensor:
    """The state of each row's last token."""
    return hidden[torch.tensor(packing.lengths, device=hidden.device).cumsum(0) - 1]


def _check_room(
    model: Qwen3VLForConditionalGeneration, packing: Packing, settings: GenerationConfig
) -> None:
    context = model.config.text_config.max_position_embeddings
    longest = max(packing.lengths)
    if min(packing.lengths) == 0:
        raise InputError("a prompt is empty")
    if longest + settings.max_new_tokens > context:
        raise ContextLengthError(
            f"a prompt of {longest} tokens and {settings.max_new_tokens} new ones do not fit the "
            f"context of {context}; lower max_new_tokens, shorten the text, or use fewer or "
            "smaller pictures"
        )
