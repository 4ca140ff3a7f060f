"""What is asked and what comes back: all state of a request lives in these records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from qwen3_vl.config.generation import GenerationConfig

Messages = Sequence[Mapping[str, Any]]
FinishReason = Literal["stop", "length"]
"""The model or a stop string ended the answer; or it reached `max_new_tokens`."""


@dataclass(frozen=True)
class Request:
    """A conversation to be continued."""

    messages: Messages
    settings: GenerationConfig = field(default_factory=GenerationConfig)
    tools: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Output:
    """A piece of an answer. The last one, and only that, has a finish reason."""

    text: str
    prompt_tokens: int
    answer_tokens: int
    """So far."""
    finish_reason: FinishReason | None = None
