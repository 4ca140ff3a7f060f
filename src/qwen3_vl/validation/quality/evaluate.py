"""The same questions to two models: what each answers, and how far apart they are, token by token.

One is the model with a recipe; the other is the one that it is compared with, as a rule the plain
model. Who makes the questions does not matter here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.validation.quality.decode import Trace, answer, follow
from qwen3_vl.validation.quality.item import Item, Kind

ROOM = 16
"""Tokens beyond twice those of the right answer that a model may use; then it is stopped."""


@dataclass(frozen=True)
class Answered:
    """What one model made of an item, and at which price."""

    text: str | None
    """Its greedy answer; None where only likelihood is judged."""
    score: float | None
    """Of that answer, from 0 to 1; None where only likelihood is judged."""
    nll: float | None
    """How surprising the right answer is, in nats a token; None where an answer is judged."""
    seconds: float
    """For prompt and answer. Both models are led along the same tokens, so they can be compared."""
    peak_cache: int
    """Bytes: the most that the cache took on that way."""
    final_cache: int
    """Bytes of the cache at its end."""
    weights: int
    """Bytes."""

    @property
    def worth(self) -> float:
        """What counts, more being better: the score, or how likely the right answer is."""
        return self.score if self.score is not None else -(self.nll or 0.0)


@dataclass(frozen=True)
class Record:
    """One item, answered by both models.

    They are compared along the answer of the model compared with, or where only likelihood is
    judged along the right answer.
    """

    task: str
    kind: Kind
    model: Answered
    against: Answered
    kl: tuple[float, ...]
    """KL(against ‖ model) of the next token, in nats, at each token of that answer."""
    agreement: float
    """At which share of these tokens both find the same token likeliest."""
    first_divergence: int | None
    """The first token at which the two greedy answers differ; None if they are equal."""

    @property
    def mean_kl(self) -> float:
        """Over the tokens of the answer."""
        return sum(self.kl) / len(self.kl)

    @property
    def gain(self) -> float:
        """How much better than the model compared with: in score, or in nats a token."""
        return self.model.worth - self.against.worth


def evaluate(
    model: Qwen3VLForConditionalGeneration,
    against: Qwen3VLForConditionalGeneration,
    processor: Qwen3VLProcessor,
    items: Iterable[Item],
) -> Iterator[Record]:
    """Put each item to both models; the records come as they are made.

    `model.with_seams(plan.seams)` is a model with another recipe that shares the weights.
    """
    for (record,) in evaluate_all([model], against, processor, items):
        yield record


def evaluate_all(
    models: Sequence[Qwen3VLForConditionalGeneration],
    against: Qwen3VLForConditionalGeneration,
    processor: Qwen3VLProcessor,
    items: Iterable[Item],
) -> Iterator[list[Record]]:
    """Put each item to several models, and once to the one that they are compared with."""
    for item in items:
        inputs = processor.prepare([item.prompt]).to(against.device)
        question = _Question(item, inputs, processor, against)
        judge = _judge_likelihood if item.kind == "likelihood" else _judge_answer
        yield [judge(model, question) for model in models]


@dataclass(frozen=True)
class _Question:
    """An item, and how the model compared with goes through it."""

    item: Item
    inputs: Mapping[str, Any]
    processor: Qwen3VLProcessor
    against: Qwen3VLForConditionalGeneration

    @property
    def limit(self) -> int:
        """The most tokens of an answer."""
        return 2 * len(self.right) + ROOM

    @cached_property
    def right(self) -> list[int]:
        """The tokens of the right answer."""
        return self.processor.tokenizer.encode(self.item.answer)

    @cached_property
    def theirs(self) -> Trace:
        """Its own answer, or where only likelihood is judged its way along the right one."""
        if self.item.kind == "likelihood":
            return follow(self.against, self.inputs, self.right)
        return answer(self.against, self.inputs, self.limit)


def weight_bytes(model: Qwen3VLForConditionalGeneration) -> int:
    """The memory of all weights in the form in which they work."""
    return sum(one.nbytes for one in (*model.parameters(), *model.buffers()))


def _judge_answer(model: Qwen3VLForConditionalGeneration, question: _Question) -> Record:
    item, theirs = question.item, question.theirs
    ours = follow(model, question.inputs, theirs.tokens)
    differs = (ours.logits.argmax(dim=-1) != theirs.logits.argmax(dim=-1)).nonzero().flatten()
    first = int(differs[0]) if len(differs) else None
    # As long as it agrees it has given its own greedy answer already.
    own = theirs.tokens
    if first is not None:
        own = answer(model, question.inputs, question.limit).tokens

    def answered(
        tokens: tuple[int, ...], trace: Trace, by: Qwen3VLForConditionalGeneration
    ) -> Answered:
        text = question.processor.decode(_said(tokens, by), skip_special_tokens=True)
        return _answered(trace, by, text=text, score=item.score(text))

    return Record(
        item.task,
        item.kind,
        answered(own, ours, model),
        answered(theirs.tokens, theirs, question.against),
        divergences(theirs.logits, ours.logits),
        1 - len(differs) / len(theirs.tokens),
        first,
    )


def _judge_likelihood(model: Qwen3VLForConditionalGeneration, question: _Question) -> Record:
    theirs, ours = question.theirs, follow(model, question.inputs, question.right)
    same = ours.logits.argmax(dim=-1) == theirs.logits.argmax(dim=-1)
    return Record(
        question.item.task,
        question.item.kind,
        _answered(ours, model, nll=surprise(ours)),
        _answered(theirs, question.against, nll=surprise(theirs)),
        divergences(theirs.logits, ours.logits),
        float(same.double().mean()),
        None,
    )


def _answered(
    trace: Trace,
    model: Qwen3VLForConditionalGeneration,
    *,
    text: str | None = None,
    score: float | None = None,
    nll: float | None = None,
) -> Answered:
    price = (trace.seconds, trace.peak_cache, trace.final_cache, weight_bytes(model))
    return Answered(text, score, nll, *price)


def _said(tokens: tuple[int, ...], model: Qwen3VLForConditionalGeneration) -> tuple[int, ...]:
    """The answer without the token that ends it."""
    ended = tokens[-1] in model.generation_config.eos_token_id
    return tokens[:-1] if ended else tokens


def divergences(against: Tensor, model: Tensor) -> tuple[float, ...]:
    """KL(against ‖ model) in nats for each row of logits [tokens, vocabulary]."""
    p, q = (logits.double().log_softmax(dim=-1) for logits in (against, model))
    # Below zero there is nothing but rounding.
    return tuple((p.exp() * (p - q)).sum(dim=-1).clamp(min=0).tolist())


def surprise(trace: Trace) -> float:
    """The mean negative log-likelihood, in nats, of the tokens that were followed."""
    tokens = torch.tensor(trace.tokens, device=trace.logits.device).unsqueeze(1)
    return -float(trace.logits.double().log_softmax(dim=-1).gather(1, tokens).mean())
