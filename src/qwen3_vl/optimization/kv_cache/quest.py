"""A new token reads only those pages of the cache in which it could find most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.models.cache import attends_in_pages
from qwen3_vl.models.paged import PagedStore
from qwen3_vl.ops.pages import PageBits, fits
from qwen3_vl.plan import Bounded, Guarantee, Plan


@dataclass(frozen=True)
class Quest:
    """Query-aware pages.

    Paper: Quest, arXiv:2406.10774: pages are chosen by the least and the most of each dimension of
        their keys; here by all query heads that share a key head together, and in every layer
    Seam: kv_format
    Gives: time at long contexts: for each key head a new token reads `pages` pages of 32 tokens,
        and a sixteenth of the others. Nothing is lost for later tokens: each chooses anew
    Costs: what lies in other pages is not seen; rounding errors as with kv_int8 or kv_bf16; a
        sixteenth more memory, or with 16 bits a thirtieth. Prompts see all, but for the last few
        tokens of one whose end comes by itself
    Avoid: for contexts of less than twice `pages` pages
    """

    guarantee: ClassVar[Guarantee] = Bounded(0.05)

    pages: int = 64
    """So many does a new token see: the first, the last, and others."""
    bits: PageBits = 8
    """Of keys and values, 8 or 16, as in kv_int8 and kv_bf16."""

    def __post_init__(self) -> None:
        if self.pages < 3:
            raise ConfigError(f"pages must be at least 3, not {self.pages}")
        if self.bits not in (8, 16):
            raise ConfigError(f"bits must be 8 or 16, not {self.bits}")

    def apply(self, plan: Plan) -> Plan:
        """Store the cache of every layer so."""
        if plan.device.type != "cpu":
            raise Incompatible(f"quest: its pages are for the CPU, not for {plan.device}")
        if not fits(dim := plan.config.text_config.head_dim):
            raise Incompatible(
                f"quest: heads have {dim} dimensions; pages are chosen for multiples of 32 up to "
                "256; use kv_int8"
            )
        return plan.answer(self, kv_format=self)

    def store(self) -> PagedStore:
        """An empty store."""
        return PagedStore(self.bits, self.pages)

    def remarks(self, plan: Plan) -> Sequence[str]:
        """Whether another technique attends instead."""
        if attends_in_pages(plan.seams):
            return ()
        return ("every token sees all pages: another technique decides how to attend",)
