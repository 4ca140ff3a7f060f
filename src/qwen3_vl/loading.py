"""From a name and a recipe to a model in memory: found, placed, checked, and only then read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from qwen3_vl.config.footprint import OFFICIAL, stored_dtype
from qwen3_vl.config.model import PRESETS, Qwen3VLConfig
from qwen3_vl.config.runtime import UnifiedConfig
from qwen3_vl.config.validation import check, context_of
from qwen3_vl.hardware.probe import probe
from qwen3_vl.hardware.routing import OPEN, Needs, Route, route
from qwen3_vl.hardware.specs import machine_specs
from qwen3_vl.hub import HubOptions, resolve
from qwen3_vl.models.prepared import VERSION
from qwen3_vl.models.pretrained import wanted_dtype
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.plan import Optimization, Plan
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.recipes import compile_recipe

_WORTH_A_FILE = 64 * 2**20
"""Fewer bytes are packed sooner than a file is looked for."""
_HEAD_BYTES = 2**20
ModelAndProcessor = tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor]

EMBEDDED = "embedded"
"""The name of the small model that ships inside the package."""


@dataclass(frozen=True)
class ModelFiles:
    """What is known of a model before its weights are read."""

    config: Qwen3VLConfig
    stored: str
    """The dtype of its files, as `stored_dtype` finds it."""

    def needs(self, plan: Plan, config: UnifiedConfig = OPEN) -> Needs:
        """What it needs with this plan."""
        context = context_of(config)
        dtypes = ("float32", "bfloat16", "float16")
        sizes = {dtype: plan.footprint(dtype).with_context(context) for dtype in dtypes}
        return Needs(self.stored, sizes)


@dataclass(frozen=True)
class Placed:
    """A model that fits where it is going: what is left to do is to read it."""

    folder: Path
    plan: Plan
    route: Route

    def read(self, packed: Path | None = None) -> ModelAndProcessor:
        """The model with its weights, and its processor.

        Weights that the recipe packs are mapped from the file `packed`; if it is not there it is
        made, with a bar on a terminal. Without a name it is one in the cache folder, where there is
        much to pack.
        """
        file = packed or self.packed_file()
        with _bar(file) as packing:
            model = Qwen3VLForConditionalGeneration.from_pretrained(
                self.folder,
                dtype=self.route.dtype.used,
                device_map=self.plan.device,
                seams=self.plan.seams,
                packed=file,
                packing=packing,
            )
        return model, Qwen3VLProcessor.from_pretrained(self.folder)

    def packed_file(self) -> Path | None:
        """Where weights that are packed for this model and recipe lie; None if there is no file.

        The name follows from the checkpoint's files, the format and what is packed.
        """
        skeleton = Qwen3VLForConditionalGeneration.skeleton(self.plan.config, self.plan.seams)
        shapes = skeleton.to_pack()
        size = sum(torch.Size(shape).numel() for shape in shapes.values())
        if size < _WORTH_A_FILE or os.name == "nt":  # which renames no file that is mapped
            return None
        found = sha256(f"{VERSION} {self.route.dtype.used} {sorted(shapes)}".encode())
        for path in sorted(self.folder.glob("*.safetensors")):
            status = path.stat()
            found.update(f"{path.name} {status.st_size} {status.st_mtime_ns}".encode())
            with path.open("rb") as file:
                found.update(file.read(_HEAD_BYTES))
        return cache_folder() / "packed" / f"{found.hexdigest()[:32]}.safetensors"


def find_model(name: str | Path, options: HubOptions | None = None) -> ModelFiles:
    """The shape and format of a model by folder, hub id, `embedded`, or preset."""
    if str(name) in PRESETS:
        return ModelFiles(Qwen3VLConfig.preset(str(name)), OFFICIAL)
    folder = _resolve(name, options or HubOptions(), weights=False)
    return ModelFiles(Qwen3VLConfig.from_pretrained(folder), stored_dtype(folder))


def find_config(name: str) -> Qwen3VLConfig:
    """The shape of a model by folder, hub id, `embedded`, or preset."""
    return find_model(name).config


def place(
    name: str | Path,
    recipe: str | Sequence[Optimization],
    config: UnifiedConfig,
    options: HubOptions,
) -> Placed:
    """Find a model, decide where it goes, and check that recipe and limits allow it.

    First by what config.json tells, so that what cannot be is refused before a download.
    """
    model = find_model(name, options)
    plan, decision = _decide(model, recipe, config)
    folder = _resolve(name, options)
    stored = stored_dtype(folder)
    if stored != model.stored:
        plan, decision = _decide(replace(model, stored=stored), recipe, config)
    return Placed(folder, plan, decision)


def cache_folder() -> Path:
    """Where files lie that can be made again: in `QWEN3_VL_CACHE`, else in the user's cache."""
    if given := os.environ.get("QWEN3_VL_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qwen3_vl"


@contextmanager
def _bar(file: Path | None) -> Iterator[Callable[[int, int], object]]:
    """A bar on a terminal, from the first thing that is done."""
    console = Console(stderr=True)
    columns = (TextColumn("packing weights"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task: list[TaskID] = []

        def show(done: int, of: int) -> None:
            if not task:
                console.print(f"packing weights, once for this model and recipe, into {file}")
                task.append(bars.add_task("", total=of))
            bars.update(task[0], completed=done)

        yield show


def embedded_folder() -> Path:
    """Where the files of the embedded model are."""
    return Path(str(files("qwen3_vl") / "assets" / "embedded"))


def _resolve(name: str | Path, options: HubOptions, *, weights: bool = True) -> Path:
    return embedded_folder() if str(name) == EMBEDDED else resolve(name, options, weights=weights)


def _decide(
    model: ModelFiles, recipe: str | Sequence[Optimization], config: UnifiedConfig
) -> tuple[Plan, Route]:
    machine = probe(gpus=config.gpu.device != "cpu")
    plan = compile_recipe(recipe, model.config)  # for its size; it is the same on any device
    decision = route(machine, model.needs(plan, config), config)
    device = decision.device.used
    dtype = decision.dtype.used
    plan = compile_recipe(plan.steps, model.config, device, wanted_dtype(dtype))
    # A system that does not tell how much memory it has is not judged by that.
    specs = None if machine.memory.usable is None else machine_specs(machine, device)
    check(config, specs, model.config, plan.footprint(dtype), device)
    return plan, decision
