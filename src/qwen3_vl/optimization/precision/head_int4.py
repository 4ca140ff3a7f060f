"""The head in 4 bits: where words are many, it is read with every token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.models.packed import packed_head
from qwen3_vl.plan import Bounded, Guarantee, Plan


@dataclass(frozen=True)
class HeadInt4:
    """Words are scored in 4 bits.

    Paper: group-wise rounding as in GPTQ, arXiv:2210.17323, without its corrections; 4.25 bits a
        weight, as in weight_int4
    Seam: head
    Gives: half the time and bytes of head_int8, an eighth of a token's for the 2B model; with
        `promising` nearly half of that again
    Costs: rounding errors of logits, near those that weight_int4 makes before; none of the words
        that `refine` scores again, for 0.3 % of a token's time. With `promising` logits of
        unlikely words are rough, and where no word stands out the likeliest may be missed
    Avoid: without `refine` where probabilities of words matter, not only the likeliest; head_int8
        keeps those
    """

    promising: int = 0
    """All words are seen by the upper halves of their codes, which are half of the bytes, and in
    full only those of so many groups of 16, the most promising ones of a token: 256 are plenty
    for 150,000 words. The others' logits are rough. 0: every word is seen in full."""

    refine: int = 0
    """So many of the likeliest words are scored again by the model's own numbers; 64 are plenty.
    It takes a tied head, whose table is there."""

    guarantee: ClassVar[Guarantee] = Bounded(0.15)

    def __post_init__(self) -> None:
        for name in ("promising", "refine"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, not {getattr(self, name)}")

    def apply(self, plan: Plan) -> Plan:
        """Score so."""
        if self.refine and not plan.config.tie_word_embeddings:
            raise Incompatible(
                "head_int4: refine needs the head's own numbers, which stay only where they are "
                "those of the embeddings; this model's head is not tied: use refine=0, or head_int8"
            )
        if self.refine > plan.config.text_config.vocab_size:
            words = plan.config.text_config.vocab_size
            raise Incompatible(f"head_int4: refine={self.refine}, but there are {words} words")
        return plan.answer(self, head=self)

    def head(self, table: nn.Embedding | None, hidden: int, words: int) -> nn.Module:
        """The module that holds the packed weights."""
        return packed_head(
            table, hidden, words, bits=4, refine=self.refine, promising=self.promising
        )
