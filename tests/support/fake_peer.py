"""A worker without an engine: it knows beforehand how long everything takes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from benchmarks.peers.worker import Engine, serve


class Fake(Engine):
    """`seconds` in the settings; `fails` names what it cannot do, `ends` what ends it."""

    packages = ("numpy",)

    def prepare(self, checkpoint: Path, folder: Path) -> None:
        (folder / "prepared").write_text(str(checkpoint))
        self._do("prepare")

    def load(self, checkpoint: Path, folder: Path, threads: int, vision: bool) -> None:
        print(f"a library that prints: {checkpoint} {threads} {vision}")
        assert (folder / "prepared").read_text() == str(checkpoint)
        self._do("load")

    def prefill(self, tokens: int, seed: int) -> float:
        return self._do("prefill") * tokens + seed

    def decode(self, context: int, steps: int, room: int) -> float:
        assert room > steps
        return self._do("decode") + context / 1e9

    def encode(self, picture: np.ndarray) -> float:
        return self._do("encode") * picture.shape[0]

    def first(self, picture: np.ndarray, question: str) -> tuple[float, int]:
        return self._do("first"), len(question) + picture.size // 3 // 1024

    def _do(self, what: str) -> float:
        if self.settings.get("ends") == what:
            os._exit(3)
        if self.settings.get("fails") == what:
            raise ValueError(f"no {what} today")
        return float(self.settings["seconds"])


if __name__ == "__main__":
    serve(Fake)
