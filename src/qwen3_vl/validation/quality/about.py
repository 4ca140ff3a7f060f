"""What was evaluated, how and where: enough to do it again, and to know what can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import torch

from qwen3_vl.hardware.probe import probe
from qwen3_vl.hardware.report import describe
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration


@dataclass(frozen=True)
class Wanted:
    """What a person asked to be measured."""

    model: str
    recipe: str
    against: str
    """The recipe of the model compared with; empty: the plain model."""
    suite: str
    """The version of the generator of the items."""
    tasks: tuple[str, ...]
    items: int
    """Of each task, numbered from 0: task and number are the seed of an item."""
    level: float = 1.0
    """How difficult they are; 1 is the suite's own."""
    split: Literal["test"] = "test"
    sabotage: str = ""
    """How the model with the recipe was broken on purpose; empty: it was not."""

    @property
    def title(self) -> str:
        """Model, recipe and what it is compared with."""
        judged = " + ".join(one for one in (self.recipe, self.sabotage) if one) or "plain"
        return f"{self.model}: {judged}, against {self.against or 'plain'}"


@dataclass(frozen=True)
class About:
    """That, and where it was done."""

    wanted: Wanted
    dtype: str
    device: str
    threads: int
    machine: str
    package: str
    """The version of qwen3_vl."""
    torch: str

    @classmethod
    def here(cls, wanted: Wanted, model: Qwen3VLForConditionalGeneration) -> About:
        """With this model, on this machine, now."""
        found = describe(probe(gpus=False))
        device = str(model.device)
        if model.device.type == "cuda":
            device += f" ({torch.cuda.get_device_name(model.device)})"
        return cls(
            wanted,
            str(model.dtype).removeprefix("torch."),
            device,
            torch.get_num_threads(),
            f"{found['system']}, {found['CPU']}",
            version("qwen3-vl"),
            torch.__version__,
        )
