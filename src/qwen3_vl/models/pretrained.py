"""Loading and saving: a skeleton without memory is built, then each module reads itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, get_args

import torch
from torch import nn

from qwen3_vl.config.generation import GenerationConfig
from qwen3_vl.config.model import Qwen3VLConfig, RopeStyle
from qwen3_vl.errors import CheckpointError, ConfigError, DeviceError
from qwen3_vl.hub import HubOptions, resolve
from qwen3_vl.models.adapters import add_adapters
from qwen3_vl.models.checkpoint import (
    WEIGHT_FILES,
    Checkpoint,
    Loaded,
    Source,
    load_module,
    replacing,
    stored_tensors,
    write_weights,
)
from qwen3_vl.models.linears import swap_linears
from qwen3_vl.models.prepared import Prepared, Shapes, prepared
from qwen3_vl.models.stored import StoredModule
from qwen3_vl.seams import PLAIN, Seams

if TYPE_CHECKING:
    from typing_extensions import Self

_HEAD, _TABLE = "lm_head.weight", "embed_tokens.weight"
_TOWER = "visual"

Dtype = torch.dtype | str
"""A torch dtype, or auto, float32, bfloat16, float16."""


class Qwen3VLPreTrainedModel(nn.Module):
    """What all models of the family share: a config, and the way from and to disk."""

    checkpoint_prefix: ClassVar[str] = ""
    """Where this class's modules lie in the checkpoint of the whole model."""

    def __init__(self, config: Qwen3VLConfig, seams: Seams = PLAIN) -> None:
        super().__init__()
        self.config = config
        self.seams = seams
        self.generation_config = GenerationConfig()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The format of the weights."""
        return next(self.parameters()).dtype

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path,
        *,
        dtype: Dtype = "auto",
        device_map: str | torch.device = "cpu",
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        token: str | None = None,
        seams: Seams = PLAIN,
        packed: Path | None = None,
        packing: Callable[[int, int], object] = lambda *_: None,
    ) -> Self:
        """Load a model from a folder or from the hub.

        `dtype="auto"` keeps the checkpoint's own format, whose files are then mapped and not
        copied. `device_map` is one device; `auto` is the GPU if torch can use one, else the CPU.
        `seams` are the answers of a recipe: `compile_recipe("…", config).seams`. Weights that it
        packs lie in the file `packed` from then on, and are mapped from there; while it is made
        `packing` is told how many bytes of how many are done.
        """
        wanted, device = wanted_dtype(dtype), wanted_device(device_map)
        options = HubOptions(revision, cache_dir, local_files_only, token)
        folder = resolve(name_or_folder, options)
        config = Qwen3VLConfig.from_pretrained(folder)
        model = cls.skeleton(config, seams)
        shapes = model.to_pack()
        with prepared(packed, shapes, packing) if packed and shapes else nullcontext() as made:
            model._read(Checkpoint(folder, made), wanted, device)
            if made is not None:
                model._let_rest(made)
        model.generation_config = GenerationConfig.from_pretrained(folder, config)
        return model.eval()

    @classmethod
    def skeleton(cls, config: Qwen3VLConfig, seams: Seams = PLAIN) -> Self:
        """The modules alone: no weights, no memory, whatever the size."""
        with torch.device("meta"):
            model = cls(config, seams)
            swap_linears(model, seams.linear)
            add_adapters(model, seams.adapter, cls.checkpoint_prefix)
        return model

    def to_pack(self) -> Shapes:
        """The tensors that a recipe makes of weights, by the names they have in a packed file."""
        return {
            f"{self.checkpoint_prefix}{path}.{name}": tuple(tensor.shape)
            for path, module in self.named_modules()
            if isinstance(module, StoredModule)
            for name, tensor in module.made().items()
        }

    @classmethod
    def random(
        cls, config: Qwen3VLConfig, seed: int = 0, dtype: torch.dtype = torch.float32
    ) -> Self:
        """An untrained model whose weights follow from the seed."""
        model = cls.skeleton(config).to_empty(device="cpu").to(dtype)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim == 1:
                    parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                else:
                    spread = config.text_config.initializer_range
                    parameter.normal_(0.0, spread, generator=generator)
        return model.eval()

    def with_seams(self, seams: Seams) -> Self:
        """A model of the same weights that answers these seams instead of its own.

        What keeps its form is shared with this one, not copied; weights that were rounded stay so.
        """
        model = self.skeleton(self.config, seams)
        model._read(Loaded(self), self.dtype, self.device)
        model.generation_config = self.generation_config
        return model.train(self.training)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        max_shard_bytes: int = 5 * 10**9,
        rope: RopeStyle = "rope_parameters",
    ) -> None:
        """Write a folder that this package and `transformers` load; a failure leaves no trace.

        `rope="rope_scaling"` writes config.json for transformers 4.
        """
        if type(max_shard_bytes) is not int or max_shard_bytes < 1:
            raise ConfigError(
                f"max_shard_bytes is {max_shard_bytes!r}; it must be a whole number of at least 1"
            )
        if rope not in get_args(RopeStyle):
            raise ConfigError(f"rope is {rope!r}; it can be {' or '.join(get_args(RopeStyle))}")
        with replacing(Path(folder), stale=WEIGHT_FILES) as fresh:
            config = json.dumps(self.config.to_dict(rope), indent=2)
            (fresh / "config.json").write_text(config + "\n", encoding="utf-8")
            generation = json.dumps(self.generation_config.to_dict(), indent=2)
            (fresh / "generation_config.json").write_text(generation + "\n", encoding="utf-8")
            write_weights(stored_tensors(self), fresh, max_shard_bytes)

    def _read(self, source: Source, dtype: torch.dtype | None, device: torch.device) -> None:
        prefix = self.checkpoint_prefix
        if not any(name.startswith(prefix) for name in source.names):
            prefix = ""  # saved from this very class, not from the whole model
        taken: set[str] = set()
        for path, module in self.named_modules():
            if path:
                taken |= load_module(module, source, f"{prefix}{path}.", dtype, device)
        self._check_all_taken(source, taken, prefix)

    def _let_rest(self, made: Prepared) -> None:
        """The tower's weights wait outside of memory when it has seen all pictures of a prompt."""
        for path, module in self.named_modules():
            if path.rpartition(".")[-1] == _TOWER:
                module.register_forward_hook(_resting(made, f"{self.checkpoint_prefix}{path}."))

    def _check_all_taken(self, source: Source, taken: set[str], prefix: str) -> None:
        """A tensor that nobody wants shows that config.json is not of this checkpoint."""
        left = {name for name in source.names - taken if name.startswith(prefix)}
        if self.config.tie_word_embeddings and _HEAD in left:
            self._check_head(source, next(name for name in taken if name.endswith(_TABLE)))
            left.remove(_HEAD)
        if left:
            some = ", ".join(sorted(left)[:3])
            raise CheckpointError(
                f"{source.origin} has {len(left)} tensors that config.json has no place for, "
                f"such as {some}; are config.json and the weights of the same model?"
            )

    def _check_head(self, source: Source, table: str) -> None:
        """Some tools write the head of a tied model too; it must be the embeddings once more."""
        text = self.config.text_config
        shape = (text.vocab_size, text.hidden_size)
        head, embeddings = (source.take(name, shape) for name in (_HEAD, table))
        if not torch.equal(head, embeddings.to(head.dtype)):
            raise CheckpointError(
                f"{source.origin} has a {_HEAD} that differs from {table}, but config.json "
                "ties them; set tie_word_embeddings to false there, or get the config.json of "
                "these weights"
            )


def _resting(made: Prepared, prefix: str) -> Callable[..., None]:
    # A function, because copies of a model take it as it is, and no object with the file in it.
    return lambda *_: made.rest(prefix)


def wanted_dtype(dtype: Dtype) -> torch.dtype | None:
    """The torch dtype of a name; None for `auto`."""
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype == "auto":
        return None
    if isinstance(dtype, str):
        if dtype not in names:
            raise ConfigError(f"dtype is {dtype!r}; it can be auto, {', '.join(names)}")
        return names[dtype]
    if dtype not in names.values():
        raise ConfigError(f"dtype is {dtype}; it can be auto, {', '.join(names)}")
    return dtype


def wanted_device(device_map: str | torch.device) -> torch.device:
    """The torch device of a name, checked for being there."""
    if device_map == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(device_map)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise DeviceError(
            f"device_map is {device_map!r}, which torch cannot use here: {error}; "
            "use 'auto', 'cpu', or a device such as 'cuda:0'"
        ) from error
    return device
