"""An engine under test answers requests: a line of JSON in, a line of JSON out.

It runs in the engine's own Python, so this file needs the standard library and numpy alone. What is
asked of all engines and how it is timed stands here; each file beside this one holds one engine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np

QUESTION = "Describe this picture in one sentence."
LETTERS = 26
Result = TypeVar("Result")
FIRST_LETTER = 64
"""The id of "a" in a vocabulary that begins with the printable bytes."""


class NotOffered(Exception):  # noqa: N818 - an answer, not an error
    """The engine has no way to do this."""


class Engine(ABC):
    """Answers one question at a time, greedily, on the CPU; times what it does."""

    packages: tuple[str, ...]
    """Whose versions are reported."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.settings = settings

    @abstractmethod
    def prepare(self, checkpoint: Path, folder: Path) -> None:
        """Convert the checkpoint into `folder`, where it is not there yet."""

    @abstractmethod
    def load(self, checkpoint: Path, folder: Path, threads: int, vision: bool) -> None:
        """Be ready to compute."""

    @abstractmethod
    def prefill(self, tokens: int, seed: int) -> float:
        """Seconds until a prompt is scored that differs from those of other seeds."""

    @abstractmethod
    def decode(self, context: int, steps: int, room: int) -> float:
        """Seconds for one of some steps after so many tokens; all steps ever asked fit `room`."""

    def verify(self, context: int, count: int, steps: int, room: int) -> float:  # noqa: ARG002
        """Seconds to take so many drafted tokens in one pass."""
        raise NotOffered("no way to verify drafts is measured")

    @abstractmethod
    def encode(self, picture: np.ndarray) -> float:
        """Seconds of the vision tower for a picture [height, width, 3]."""

    @abstractmethod
    def first(self, picture: np.ndarray, question: str) -> tuple[float, int]:
        """Seconds from a picture and a question to the first token, and the prompt's tokens."""

    def weight_bytes(self) -> int | None:
        """What one step reads of weights, where that is known."""
        return None


class SteppingEngine(Engine):
    """One that can be led step by step. A call ends when its result can be read."""

    _held: int | None = None

    @abstractmethod
    def begin(self, tokens: int) -> None:
        """Drop what was before, and make room for a sequence of so many tokens."""

    @abstractmethod
    def prompt(self, ids: list[int]) -> None:
        """Take a prompt and score what could follow."""

    @abstractmethod
    def step(self) -> None:
        """Take the best token and score what could follow."""

    def draft(self, count: int) -> None:  # noqa: ARG002
        """Take so many tokens at once and score what could follow each."""
        raise NotOffered("no way to verify drafts is measured")

    @abstractmethod
    def pixels(self, picture: np.ndarray) -> Any:
        """What the vision tower reads of a picture."""

    @abstractmethod
    def see(self, pixels: Any) -> None:
        """Run the vision tower alone."""

    @abstractmethod
    def look(self, picture: np.ndarray, question: str) -> int:
        """Take a picture and a question up to the first token; how long the prompt is."""

    def prefill(self, tokens: int, seed: int) -> float:
        self._held = None
        self.begin(tokens + 1)
        return timed(lambda: self.prompt(letters(tokens, seed)))[0]

    def decode(self, context: int, steps: int, room: int) -> float:
        """A later call goes on where the last one ended.

        A first step does not count: it takes several times as long where a machine's host has
        laid memory aside in the meantime, and OpenVINO reads its context anew before it decodes.
        """
        self._hold(context, room)
        self.step()
        return timed(lambda: [self.step() for _ in range(steps)])[0] / steps

    def verify(self, context: int, count: int, steps: int, room: int) -> float:
        self._hold(context, room)
        self.step()
        return timed(lambda: [self.draft(count) for _ in range(steps)])[0] / steps

    def encode(self, picture: np.ndarray) -> float:
        pixels = self.pixels(picture)
        return timed(lambda: self.see(pixels))[0]

    def first(self, picture: np.ndarray, question: str) -> tuple[float, int]:
        self._held = None
        return timed(lambda: self.look(picture, question))

    def _hold(self, context: int, room: int) -> None:
        if self._held != context:
            self.begin(context + room)
            self.prompt(letters(context))
            self._held = context


def letters(tokens: int, seed: int = 0) -> list[int]:
    """Ids of letters, the same in all engines; with another seed no prefix is the same."""
    return [FIRST_LETTER + (seed + index * 7) % LETTERS for index in range(tokens)]


def picture(width: int, height: int, seed: int) -> np.ndarray:
    """A picture of noise, the same for all engines."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """How many seconds it takes, and what it gives."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def serve(kind: type[Engine]) -> None:
    """Answer requests until there are no more."""
    options = argparse.ArgumentParser()
    options.add_argument("--settings", type=json.loads, default={})
    engine = kind(options.parse_args().settings)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not get between the replies
    answer(engine, sys.stdin, replies)


def answer(engine: Engine, requests: TextIO, replies: TextIO) -> None:
    """Each request in turn; one that fails is told, and does not end the worker."""
    for line in requests:
        request = json.loads(line)
        work = _work(engine)[request.pop("do")]
        try:
            reply = {"result": work(**request)}
        except NotOffered as told:
            reply = {"error": str(told)}
        except Exception as error:  # noqa: BLE001 - a library may raise anything
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _work(engine: Engine) -> dict[str, Callable[..., dict[str, Any]]]:
    """What can be asked."""

    def prepare(checkpoint: str, folder: str) -> dict[str, Any]:
        Path(folder).mkdir(parents=True, exist_ok=True)
        engine.prepare(Path(checkpoint), Path(folder))
        return {}

    def load(checkpoint: str, folder: str, threads: int, vision: bool) -> dict[str, Any]:
        ready = timed(lambda: engine.load(Path(checkpoint), Path(folder), threads, vision))
        versions = {name: version(name) for name in engine.packages}
        return {
            "seconds": ready[0],
            "versions": versions,
            "weight_bytes": engine.weight_bytes(),
        }

    def encode(width: int, height: int, seed: int) -> dict[str, Any]:
        return {"seconds": engine.encode(picture(width, height, seed))}

    def first(width: int, height: int, seed: int) -> dict[str, Any]:
        seconds, tokens = engine.first(picture(width, height, seed), QUESTION)
        return {"seconds": seconds, "tokens": tokens}

    return {
        "prepare": prepare,
        "load": load,
        "prefill": lambda **asked: {"seconds": engine.prefill(**asked)},
        "decode": lambda **asked: {"seconds": engine.decode(**asked)},
        "verify": lambda **asked: {"seconds": engine.verify(**asked)},
        "encode": encode,
        "first": first,
    }
