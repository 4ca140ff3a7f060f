"""Ask a model about text, pictures and videos, in one line.

vlm = Qwen3VLInference("Qwen/Qwen3-VL-2B-Instruct")
print(vlm.generate_response("What is on the table?", images=["kitchen.jpg"]))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from qwen3_vl.config.footprint import OFFICIAL, stored_dtype
from qwen3_vl.config.generation import GenerationConfig, GenerationOptions
from qwen3_vl.config.model import PRESETS, Qwen3VLConfig
from qwen3_vl.config.origins import build, settings_from
from qwen3_vl.config.runtime import UnifiedConfig
from qwen3_vl.config.validation import check, context_of
from qwen3_vl.errors import ConfigError, DeviceError, InputError
from qwen3_vl.hardware.probe import probe
from qwen3_vl.hardware.routing import OPEN, Needs, Route, Threads, route
from qwen3_vl.hardware.specs import machine_specs
from qwen3_vl.hub import HubOptions, resolve
from qwen3_vl.inference.engine import Engine
from qwen3_vl.inference.request import Messages, Output, Request
from qwen3_vl.models.pretrained import Dtype, wanted_dtype
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.ops import native
from qwen3_vl.plan import Optimization, Plan
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.seams import Seams

if TYPE_CHECKING:
    from typing_extensions import Unpack

EMBEDDED = "embedded"
"""The name of the small model that ships inside the package."""


class Qwen3VLInference:
    """A model and its processor, ready to answer."""

    def __init__(
        self,
        model: Qwen3VLForConditionalGeneration | str | Path,
        processor: Qwen3VLProcessor | None = None,
    ) -> None:
        """`model` is a folder, a hub id, `embedded`, or a loaded model with its processor."""
        self.route: Route | None = None
        """Where and how it runs, and why; None where a loaded model was given."""
        if isinstance(model, (str, Path)):
            if processor is not None:
                raise InputError("a model given by name brings its own processor; drop one of them")
            model, processor, self.route = _load(model, "", OPEN, HubOptions())
        elif processor is None:
            raise InputError("a loaded model needs its processor: pass processor=… as well")
        self.engine = Engine(model, processor)
        self.settings: GenerationConfig = model.generation_config
        """What a call does not set."""

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path,
        *,
        recipe: str | Sequence[Optimization] = "",
        dtype: Dtype = "auto",
        device_map: str | torch.device = "auto",
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        token: str | None = None,
    ) -> Qwen3VLInference:
        """Load by folder, hub id or `embedded`, with a say in format, place and download.

        `recipe` names techniques, such as `weight_int8|sliding_window(window=2048)`; none is the
        plain, exact model. It is checked before a weight is read. What is `auto` follows from the
        machine, and `route` tells why.

        Raises:
            DeviceError: the wanted device cannot serve; another one is never taken instead.
            ConfigError: the model does not fit in memory.
        """
        options = HubOptions(revision, cache_dir, local_files_only, token)
        config = _settings(dtype, device_map)
        model, processor, decision = _load(name_or_folder, recipe, config, options)
        vlm = cls(model, processor)
        vlm.route = decision
        return vlm

    @classmethod
    def from_config(cls, name_or_folder: str | Path, config: UnifiedConfig) -> Qwen3VLInference:
        """Load as a config says, once it is checked against this machine and this model.

        Threads and kernels are those of the whole process.

        Raises:
            DeviceError: the wanted device cannot serve; another one is never taken instead.
            ConfigError: what is set contradicts itself, the machine or the model; all at once.
        """
        recipe = config.optimization.recipe
        folder, plan, decision = _decide(name_or_folder, recipe, config, HubOptions())
        torch.set_num_threads(decision.threads.count)
        if config.cpu.kernels is not None:
            native.force(config.cpu.kernels)
        vlm = cls(*_read(name_or_folder, folder, plan, decision))
        vlm.route = decision
        vlm.settings = vlm.settings.change(config.generation)
        vlm.engine.max_context = config.memory.max_context
        return vlm

    def generate_response(
        self,
        text: str,
        images: Sequence[Any] | None = None,
        videos: Sequence[Any] | None = None,
        **options: Unpack[GenerationOptions],
    ) -> str:
        """The answer to a question about any number of pictures and videos."""
        return "".join(self.stream(text, images, videos, **options))

    def stream(
        self,
        text: str,
        images: Sequence[Any] | None = None,
        videos: Sequence[Any] | None = None,
        **options: Unpack[GenerationOptions],
    ) -> Iterator[str]:
        """The same answer, piece by piece while it is made."""
        messages = user_message(text, images, videos)
        return (piece.text for piece in self.chat(messages, **options) if piece.text)

    def generate_text(self, text: str, **options: Unpack[GenerationOptions]) -> str:
        """The answer to a question without pictures."""
        return self.generate_response(text, **options)

    def generate_multimodal(
        self,
        text: str,
        images: Sequence[Any] | None = None,
        videos: Sequence[Any] | None = None,
        **options: Unpack[GenerationOptions],
    ) -> str:
        """The answer to a question about pictures or videos, of which there must be some."""
        if not images and not videos:
            raise InputError("generate_multimodal needs images or videos; or use generate_text")
        return self.generate_response(text, images, videos, **options)

    def chat(
        self,
        messages: Messages,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **options: Unpack[GenerationOptions],
    ) -> Iterator[Output]:
        """Continue a whole conversation; the pieces also tell token counts and why it ended."""
        return self.engine.stream(Request(messages, self.settings.change(options), tools))


def user_message(
    text: str, images: Sequence[Any] | None = None, videos: Sequence[Any] | None = None
) -> list[dict[str, Any]]:
    """A conversation of one question, its pictures before its text."""
    for name, given in (("images", images), ("videos", videos)):
        if given is not None and not isinstance(given, (list, tuple)):
            raise InputError(f"{name} must be a list, not {type(given).__name__}: {name}=[…]")
    content: list[dict[str, Any]] = [{"type": "image", "image": image} for image in images or ()]
    content += [{"type": "video", "video": video} for video in videos or ()]
    return [{"role": "user", "content": [*content, {"type": "text", "text": text}]}]


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


def find_model(name: str | Path, options: HubOptions | None = None) -> ModelFiles:
    """The shape and format of a model by folder, hub id, `embedded`, or preset."""
    if str(name) in PRESETS:
        return ModelFiles(Qwen3VLConfig.preset(str(name)), OFFICIAL)
    if str(name) == EMBEDDED:
        return ModelFiles(Qwen3VLConfig.from_pretrained(embedded_folder()), "float32")
    folder = resolve(name, options or HubOptions(), weights=False)
    return ModelFiles(Qwen3VLConfig.from_pretrained(folder), stored_dtype(folder))


def find_config(name: str) -> Qwen3VLConfig:
    """The shape of a model by folder, hub id, `embedded`, or preset."""
    return find_model(name).config


def _settings(dtype: Dtype, device_map: str | torch.device) -> UnifiedConfig:
    """The config of these arguments."""
    wanted = wanted_dtype(dtype)
    name = "auto" if wanted is None else str(wanted).removeprefix("torch.")
    given = {"optimization.dtype": name, "gpu.device": str(device_map)}
    try:
        return build(settings_from(given, "an argument"))
    except ConfigError:
        raise DeviceError(
            f"device_map is {str(device_map)!r}; it can be auto, cpu, cuda, or cuda:1 and so on; "
            "for another device of torch, load a Qwen3VLForConditionalGeneration there and pass it "
            "with its processor"
        ) from None


def _load(
    name: str | Path,
    recipe: str | Sequence[Optimization],
    config: UnifiedConfig,
    options: HubOptions,
) -> tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor, Route]:
    """Decide and read; the threads, which are the whole process's, stay as they are."""
    folder, plan, decision = _decide(name, recipe, config, options)
    threads = Threads(torch.get_num_threads(), "as torch has it; from_config sets how many")
    return *_read(name, folder, plan, decision), replace(decision, threads=threads)


def _decide(
    name: str | Path,
    recipe: str | Sequence[Optimization],
    config: UnifiedConfig,
    options: HubOptions,
) -> tuple[Path, Plan, Route]:
    """The folder with the weights, the plan for them, and where they go.

    First by what config.json tells, so that what cannot be is refused before a download.
    """
    model = find_model(name, options)
    plan, decision = _place(model, recipe, config)
    if str(name) == EMBEDDED:
        return embedded_folder(), plan, decision
    folder = resolve(name, options)
    stored = stored_dtype(folder)
    if stored != model.stored:
        plan, decision = _place(replace(model, stored=stored), recipe, config)
    return folder, plan, decision


def _place(
    model: ModelFiles, recipe: str | Sequence[Optimization], config: UnifiedConfig
) -> tuple[Plan, Route]:
    """Decide where a model goes, and check that the recipe and the limits allow it."""
    machine = probe(gpus=config.gpu.device != "cpu")
    plan = compile_recipe(recipe, model.config)  # for its size; it is the same on any device
    decision = route(machine, model.needs(plan, config), config)
    device = decision.device.used
    plan = compile_recipe(plan.steps, model.config, device)
    # A system that does not tell how much memory it has is not judged by that.
    specs = None if machine.memory.usable is None else machine_specs(machine, device)
    check(config, specs, model.config, plan.footprint(decision.dtype.used), device)
    return plan, decision


def _read(
    name: str | Path, folder: Path, plan: Plan, decision: Route
) -> tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor]:
    dtype = decision.dtype.used
    if str(name) == EMBEDDED:
        model = _embedded(plan.config, folder, plan.seams, dtype, plan.device)
    else:
        model = Qwen3VLForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, device_map=plan.device, seams=plan.seams
        )
    return model, Qwen3VLProcessor.from_pretrained(folder)


def _embedded(
    config: Qwen3VLConfig, folder: Path, seams: Seams, dtype: Dtype, device: torch.device
) -> Qwen3VLForConditionalGeneration:
    """The model inside the package. It is not trained yet: its weights follow from a seed."""
    plain = Qwen3VLForConditionalGeneration.random(config, seed=0)
    plain.generation_config = GenerationConfig.from_pretrained(folder, config)
    # Through a folder, because a technique meets the weights as they are read.
    with TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        plain.save_pretrained(temporary)
        return Qwen3VLForConditionalGeneration.from_pretrained(
            temporary, dtype=dtype, device_map=device, seams=seams
        )


def embedded_folder() -> Path:
    """Where the files of the embedded model are."""
    return Path(str(files("qwen3_vl") / "assets" / "embedded"))
