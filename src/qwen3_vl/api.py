"""Ask a model about text, pictures and videos, in one line.

vlm = Qwen3VLInference("Qwen/Qwen3-VL-2B-Instruct")
print(vlm.generate_response("What is on the table?", images=["kitchen.jpg"]))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from qwen3_vl.config.generation import GenerationConfig, GenerationOptions
from qwen3_vl.config.model import PRESETS, Qwen3VLConfig
from qwen3_vl.config.runtime import UnifiedConfig
from qwen3_vl.config.validation import check
from qwen3_vl.errors import InputError
from qwen3_vl.hardware.probe import probe
from qwen3_vl.hardware.specs import machine_specs
from qwen3_vl.hub import HubOptions, resolve
from qwen3_vl.inference.engine import Engine
from qwen3_vl.inference.request import Messages, Output, Request
from qwen3_vl.models.pretrained import Dtype, wanted_device, wanted_dtype
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.ops import native
from qwen3_vl.plan import Optimization
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
        if isinstance(model, (str, Path)):
            if processor is not None:
                raise InputError("a model given by name brings its own processor; drop one of them")
            model, processor = _load(model, "", "auto", "cpu", HubOptions())
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
        device_map: str | torch.device = "cpu",
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        token: str | None = None,
    ) -> Qwen3VLInference:
        """Load by folder, hub id or `embedded`, with a say in format, place and download.

        `recipe` names techniques, such as `weight_int8|sliding_window(window=2048)`; none is the
        plain, exact model. It is checked before a weight is read.
        """
        options = HubOptions(revision, cache_dir, local_files_only, token)
        return cls(*_load(name_or_folder, recipe, dtype, device_map, options))

    @classmethod
    def from_config(cls, name_or_folder: str | Path, config: UnifiedConfig) -> Qwen3VLInference:
        """Load as a config says, once it is checked against this machine and this model.

        Threads and kernels are those of the whole process.

        Raises:
            ConfigError: what is set contradicts itself, the machine or the model; all at once.
        """
        machine = machine_specs(probe())
        shape = find_config(str(name_or_folder))
        plan = compile_recipe(config.optimization.recipe, shape, wanted_device(config.gpu.device))
        check(config, machine, shape, plan.footprint(config.optimization.dtype))
        torch.set_num_threads(config.threads_on(machine))
        if config.cpu.kernels is not None:
            native.force(config.cpu.kernels)
        vlm = cls.from_pretrained(
            name_or_folder,
            recipe=plan.steps,
            dtype=config.optimization.dtype,
            device_map=plan.device,
        )
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


def find_config(name: str) -> Qwen3VLConfig:
    """The shape of a model by folder, hub id, `embedded`, or preset."""
    if name in PRESETS:
        return Qwen3VLConfig.preset(name)
    folder = embedded_folder() if name == EMBEDDED else resolve(name, weights=False)
    return Qwen3VLConfig.from_pretrained(folder)


def _load(
    name: str | Path,
    recipe: str | Sequence[Optimization],
    dtype: Dtype,
    device_map: str | torch.device,
    options: HubOptions,
) -> tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor]:
    wanted_dtype(dtype)  # checked before a download
    device = wanted_device(device_map)
    if str(name) == EMBEDDED:
        folder = embedded_folder()
        config = Qwen3VLConfig.from_pretrained(folder)
        seams = compile_recipe(recipe, config, device).seams
        model = _embedded(config, folder, seams, dtype, device)
    else:
        folder = resolve(name, options)
        config = Qwen3VLConfig.from_pretrained(folder)
        seams = compile_recipe(recipe, config, device).seams
        model = Qwen3VLForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, device_map=device, seams=seams
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
