"""Ask a model about text, pictures and videos, in one line.

vlm = Qwen3VLInference("Qwen/Qwen3-VL-2B-Instruct")
print(vlm.generate_response("What is on the table?", images=["kitchen.jpg"]))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from qwen3_vl.config.generation import GenerationConfig, GenerationOptions
from qwen3_vl.config.origins import build, settings_from
from qwen3_vl.config.runtime import UnifiedConfig
from qwen3_vl.errors import ConfigError, DeviceError, InputError
from qwen3_vl.hardware.routing import OPEN, Route, Threads
from qwen3_vl.hub import HubOptions
from qwen3_vl.inference.engine import Engine
from qwen3_vl.inference.request import Messages, Output, Request
from qwen3_vl.loading import place
from qwen3_vl.models.pretrained import Dtype, wanted_dtype
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.ops import native
from qwen3_vl.plan import Optimization
from qwen3_vl.processing.processor import Qwen3VLProcessor

if TYPE_CHECKING:
    from typing_extensions import Unpack


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
            placed = place(model, "", OPEN, HubOptions())
            model, processor = placed.read()
            self.route = _threads_as_they_are(placed.route)
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
        packed: str | Path | None = None,
    ) -> Qwen3VLInference:
        """Load by folder, hub id or `embedded`, with a say in format, place and download.

        `recipe` names techniques, such as `weight_int8|sliding_window(window=2048)`; none is the
        plain, exact model. It is checked before a weight is read. What is `auto` follows from the
        machine, and `route` tells why. Weights that the recipe packs lie in the file `packed`, by
        default in the cache folder: they are packed once and mapped from then on.

        Raises:
            DeviceError: the wanted device cannot serve; another one is never taken instead.
            ConfigError: the model does not fit in memory.
        """
        options = HubOptions(revision, cache_dir, local_files_only, token)
        placed = place(name_or_folder, recipe, _settings(dtype, device_map), options)
        vlm = cls(*placed.read(None if packed is None else Path(packed)))
        vlm.route = _threads_as_they_are(placed.route)
        return vlm

    @classmethod
    def from_config(cls, name_or_folder: str | Path, config: UnifiedConfig) -> Qwen3VLInference:
        """Load as a config says, once it is checked against this machine and this model.

        Threads and kernels are those of the whole process.

        Raises:
            DeviceError: the wanted device cannot serve; another one is never taken instead.
            ConfigError: what is set contradicts itself, the machine or the model; all at once.
        """
        placed = place(name_or_folder, config.optimization.recipe, config, HubOptions())
        torch.set_num_threads(placed.route.threads.count)
        if config.cpu.kernels is not None:
            native.force(config.cpu.kernels)
        vlm = cls(*placed.read())
        vlm.route = placed.route
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


def _threads_as_they_are(decision: Route) -> Route:
    """The threads are the whole process's; who asks for a model alone does not change them."""
    threads = Threads(torch.get_num_threads(), "as torch has it; from_config sets how many")
    return replace(decision, threads=threads)
