"""A plan: what a recipe makes of a model, decided before a weight is read.

A technique turns a plan into a plan. It answers seams; the law of each seam says whether two
answers go together, and nothing else can make two techniques conflict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Protocol

import torch

from qwen3_vl.config.footprint import BYTES, Footprint
from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.errors import ConfigError, Incompatible, PluginError
from qwen3_vl.models.linears import linears, matching
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.seams import PLAIN, Law, LinearRule, Seams, Select


@dataclass(frozen=True)
class Exact:
    """The same greedy tokens as without the technique."""


@dataclass(frozen=True)
class Neutral:
    """The same greedy tokens at these settings; at others the answer may change."""

    settings: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True)
class Bounded:
    """At its defaults the logits change by at most this share of their root mean square."""

    error: float


Guarantee = Exact | Neutral | Bounded


class Optimization(Protocol):
    """A technique: a frozen dataclass whose fields are its settings."""

    guarantee: ClassVar[Guarantee]

    def apply(self, plan: Plan) -> Plan:
        """The plan with this technique in it."""
        ...


@dataclass(frozen=True)
class Answer:
    """That a technique has answered a seam."""

    seam: str
    by: str


@dataclass(frozen=True)
class Plan:
    """A model's shape, where it will run, and the answers to all seams."""

    config: Qwen3VLConfig
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype | None = None
    """The format it will compute in; None: not decided."""
    seams: Seams = PLAIN
    steps: tuple[Optimization, ...] = ()
    """The techniques, in the order in which they were applied."""
    answers: tuple[Answer, ...] = ()

    def then(self, step: Optimization) -> Plan:
        """Apply a technique and note it.

        Raises:
            Incompatible: it does not go together with another one, the model or the device.
            PluginError: it breaks the contract.
        """
        require_technique(step)
        after = step.apply(self)
        if not isinstance(after, Plan) or after.answers == self.answers:
            raise PluginError(
                f"{name_of(step)} answers no seam; its apply must return plan.answer(self, …)"
            )
        return replace(after, steps=(*self.steps, step))

    def answer(self, by: Optimization, **values: Any) -> Plan:
        """The plan in which `by` answers these seams; the law of each seam is kept.

        Raises:
            Incompatible: another technique has answered, and both cannot hold.
        """
        seams, answers = self.seams, self.answers
        laws = {one.name: one.metadata["law"] for one in fields(Seams)}
        for seam, value in values.items():
            if seam not in laws:
                known = ", ".join(laws)
                raise PluginError(f"{name_of(by)}: there is no seam {seam!r}; there are: {known}")
            law = laws[seam]
            if law is Law.EXCLUSIVE:
                self._refuse_second(seam, name_of(by))
            else:
                value = (*getattr(seams, seam), value)
            if law is Law.PER_MODULE:
                self._refuse_overlap(value, name_of(by))
            if law is Law.INTERSECT:
                self._refuse_other_blocks(value, name_of(by))
            seams = replace(seams, **{seam: value})
            answers = (*answers, Answer(seam, name_of(by)))
        return replace(self, seams=seams, answers=answers)

    def footprint(self, dtype: str = "auto") -> Footprint:
        """Bytes of the weights, and of the cache per token at most: techniques may take less."""
        skeleton = Qwen3VLForConditionalGeneration.skeleton(self.config, self.seams)
        numbers = sum(parameter.numel() for parameter in skeleton.parameters())
        stored = sum(buffer.nbytes for buffer in skeleton.buffers())
        plain = Footprint.of(self.config, dtype)
        return Footprint(numbers * BYTES[dtype] + stored, plain.cache_per_token)

    def _refuse_second(self, seam: str, name: str) -> None:
        for answer in self.answers:
            if answer.seam == seam:
                raise Incompatible(
                    f"{name} and {answer.by} both decide the seam {seam!r}, "
                    "which takes one technique at most; drop one of them"
                )

    def _refuse_other_blocks(self, selects: tuple[Select, ...], name: str) -> None:
        sizes = sorted({select.block for select in selects})
        if len(sizes) > 1:
            raise Incompatible(
                f"{name} and another technique cut the keys into blocks of {sizes[0]} and of "
                f"{sizes[1]} tokens; give them the same block, or drop one"
            )

    def _refuse_overlap(self, rules: tuple[LinearRule, ...], name: str) -> None:
        model = Qwen3VLForConditionalGeneration.skeleton(self.config)
        taken: dict[str, str] = {}
        owners = [answer.by for answer in self.answers if answer.seam == "linear"]
        for owner, rule in zip([*owners, name], rules, strict=True):
            found = {path for path in linears(model) if matching(rule, path)}
            if not found:
                raise Incompatible(f"{name}: no linear module of this model fits {rule.pattern!r}")
            if both := taken.keys() & found:
                first = min(both)
                raise Incompatible(
                    f"{name} and {taken[first]} both store {first}; "
                    "give them patterns that do not overlap, or drop one"
                )
            taken |= dict.fromkeys(found, owner)


def remarks(step: Optimization, plan: Plan) -> Sequence[str]:
    """What a technique has to say about a whole plan, such as what it cannot do in it and why."""
    told = getattr(step, "remarks", None)
    return told(plan) if told else ()


def require_technique(step: object) -> None:
    """Refuse what is no technique, such as the name of one, or its class without settings."""
    if isinstance(step, type) or not callable(getattr(step, "apply", None)):
        raise ConfigError(
            f"{step!r} is no technique; give one with its settings, such as WeightInt8(), "
            'or the whole recipe as a text, such as "weight_int8"'
        )


def keeps_answers(step: Optimization) -> bool:
    """Whether a technique guarantees the same greedy tokens at the settings that it has."""
    guarantee = step.guarantee
    if isinstance(guarantee, Neutral):
        return all(getattr(step, key) == value for key, value in guarantee.settings.items())
    return isinstance(guarantee, Exact)


def name_of(step: Optimization) -> str:
    """A technique's name in recipes: that of its file."""
    return type(step).__module__.rpartition(".")[2]


def questions() -> dict[str, str]:
    """What each seam asks."""
    return {one.name: one.metadata["question"] for one in fields(Seams)}


def laws() -> dict[str, str]:
    """How two techniques on the same seam go together, for each seam."""
    return {one.name: one.metadata["law"].value for one in fields(Seams)}
