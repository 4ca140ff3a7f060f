"""Weights on disk: safetensors, one file or many, read by mmap and written without half states."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from qwen3_vl.config.reading import read_object
from qwen3_vl.errors import CheckpointError
from qwen3_vl.models.prepared import Prepared
from qwen3_vl.models.stored import StoredModule

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
WEIGHT_FILES = re.compile(
    rf"{re.escape(_SINGLE)}|{re.escape(_INDEX)}|model-\d{{5}}-of-\d{{5}}\.safetensors"
)
"""The names that `write_weights` gives to its files."""
_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


class Source(Protocol):
    """Where the tensors of a model come from."""

    @property
    def origin(self) -> str:
        """What it is called in errors."""
        ...

    @property
    def names(self) -> frozenset[str]:
        """All tensors that are there."""
        ...

    def take(self, name: str, *shapes: tuple[int, ...]) -> Tensor:
        """One tensor, in one of these shapes."""
        ...

    def dtype(self, name: str) -> torch.dtype:
        """That of a tensor."""
        ...

    def prepared(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """What was made of tensors before, or what `make` makes now."""
        ...


class Checkpoint:
    """The tensors of a model folder, by name; nothing is read before it is taken."""

    def __init__(self, folder: Path, made: Prepared | None = None) -> None:
        """What `made` holds, or is to hold, was made of these tensors."""
        self.folder = folder
        self._made = made
        self._files: dict[str, Any] = {}
        self._where = self._find()

    @property
    def origin(self) -> str:
        """The folder."""
        return str(self.folder)

    @property
    def names(self) -> frozenset[str]:
        """All tensors of the checkpoint."""
        return frozenset(self._where)

    def take(self, name: str, *shapes: tuple[int, ...]) -> Tensor:
        """One tensor, checked for its shape and dtype; its memory is the mapped file."""
        if name not in self._where:
            raise CheckpointError(
                f"{self.folder} has no tensor {name}, which config.json asks for; "
                "are config.json and the weights of the same model?"
            )
        file = self._where[name]
        try:
            tensor = self._files[file].get_tensor(name)
        except SafetensorError as error:
            raise CheckpointError(
                f"{self.folder / file} does not hold {name}, which the index promises: {error}"
            ) from error
        if tuple(tensor.shape) not in shapes:
            raise CheckpointError(
                f"{name} in {file} has shape {list(tensor.shape)} but config.json makes it "
                f"{list(shapes[0])}; are config.json and the weights of the same model?"
            )
        if tensor.dtype not in _FLOATS:
            raise CheckpointError(
                f"{name} in {file} is {tensor.dtype}; this loader reads float32, bfloat16 and "
                "float16: get the unquantised checkpoint"
            )
        return tensor

    def dtype(self, name: str) -> torch.dtype:
        """That of a tensor, which is not read for it."""
        if name not in self._where:
            return self.take(name).dtype  # which tells what is wrong
        shape = self._files[self._where[name]].get_slice(name).get_shape()
        return self.take(name, tuple(shape)).dtype

    def prepared(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """From the file of what was made before, if there is one."""
        return make() if self._made is None else self._made.take(name, make)

    def _find(self) -> dict[str, str]:
        if (self.folder / _INDEX).is_file():
            where = read_object(self.folder / _INDEX).get("weight_map")
            if not isinstance(where, dict) or not all(isinstance(f, str) for f in where.values()):
                raise CheckpointError(
                    f"{self.folder / _INDEX} has no weight_map from tensors to files; "
                    "download it again"
                )
            for file in sorted(set(where.values())):
                self._open(file)
            return where
        if (self.folder / _SINGLE).is_file():
            return dict.fromkeys(self._open(_SINGLE).keys(), _SINGLE)
        raise CheckpointError(
            f"{self.folder} has neither {_SINGLE} nor {_INDEX}"
            + ("; convert the .bin files to safetensors" if any(self.folder.glob("*.bin")) else "")
        )

    def _open(self, file: str) -> Any:
        path = self.folder / file
        try:
            self._files[file] = safe_open(path, framework="pt")
        except FileNotFoundError:
            raise CheckpointError(
                f"{path} is missing; the download is not complete, run it again"
            ) from None
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} ({path.stat().st_size:,} bytes) is cut short or broken: {error}; "
                "download it again"
            ) from error
        return self._files[file]


class Loaded:
    """The tensors of a model that is loaded already, to be read by another one."""

    origin = "the loaded model"

    def __init__(self, model: nn.Module) -> None:
        self._tensors = stored_tensors(model)
        self._made = {
            f"{path}.{name}": tensor
            for path, module in model.named_modules()
            if isinstance(module, StoredModule)
            for name, tensor in module.made().items()
        }

    @property
    def names(self) -> frozenset[str]:
        """All tensors of the model."""
        return frozenset(self._tensors)

    def take(self, name: str, *shapes: tuple[int, ...]) -> Tensor:  # noqa: ARG002
        """The model's own tensor, whose shape follows from the same config; not a copy."""
        return self._tensors[name].detach()

    def dtype(self, name: str) -> torch.dtype:
        """That of the model's own tensor."""
        return self._tensors[name].dtype

    def prepared(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """The model's own, if it has it in this form."""
        return self._made[name] if name in self._made else make()


class Reader:
    """The tensors below one module, converted to the wanted dtype and device as they are read."""

    def __init__(
        self, source: Source, prefix: str, dtype: torch.dtype | None, device: torch.device
    ) -> None:
        self._source = source
        self._prefix = prefix
        self._dtype = dtype
        self._device = device
        self.taken: set[str] = set()

    def take(self, name: str, *shapes: tuple[int, ...]) -> Tensor:
        """One tensor of this module."""
        full = self._prefix + name
        self.taken.add(full)
        return self._source.take(full, *shapes).to(self._device, self._dtype)

    def dtype(self, name: str) -> torch.dtype:
        """That in which `take` gives it."""
        self.taken.add(self._prefix + name)
        return self._dtype or self._source.dtype(self._prefix + name)

    def prepared(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """What was made of this module's tensors before, or is made now."""
        return self._source.prepared(self._prefix + name, make).to(self._device)

    def place(self, tensor: Tensor) -> Tensor:
        """A tensor from elsewhere, on the wanted device."""
        return tensor.to(self._device)


def load_module(
    module: nn.Module,
    source: Source,
    prefix: str,
    dtype: torch.dtype | None,
    device: torch.device,
) -> set[str]:
    """Fill one module's own parameters, not its children's; tell which tensors it took."""
    reader = Reader(source, prefix, dtype, device)
    if isinstance(module, StoredModule):
        module.read(reader)
    else:
        for name, parameter in list(module.named_parameters(recurse=False)):
            tensor = reader.take(name, tuple(parameter.shape))
            module.register_parameter(name, nn.Parameter(tensor))
    return reader.taken


def stored_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All tensors of a model under their checkpoint names, in their checkpoint form."""
    tensors: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        own = module.stored() if isinstance(module, StoredModule) else _own_parameters(module)
        tensors |= {f"{path}.{name}": tensor for name, tensor in own.items()}
    return tensors


def _own_parameters(module: nn.Module) -> Mapping[str, Tensor]:
    return dict(module.named_parameters(recurse=False))


def write_weights(tensors: Mapping[str, Tensor], folder: Path, max_shard_bytes: int) -> None:
    """Write tensors as one file, or as shards with an index."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > max_shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor.detach().cpu().contiguous()
        size += tensor.nbytes
    if len(shards) == 1:
        _save(shards[0], folder / _SINGLE)
        return
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _save(shard, folder / file)
        where |= dict.fromkeys(shard, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / _INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    path.touch()
    mode = path.stat().st_mode  # as the user's umask has it; save_file would make it private
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(mode)


@contextmanager
def replacing(folder: Path, stale: re.Pattern[str]) -> Iterator[Path]:
    """A new folder to write into, whose files move to `folder` when all are written.

    Files there whose whole name is `stale` and that were not written anew are then removed. If the
    writing fails, `folder` is as it was.

    Raises:
        CheckpointError: the disk is full, or `folder` cannot be written to.
    """
    try:
        with _moving(folder, stale) as fresh:
            yield fresh
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} cannot be written: {error}; it must be a folder, new or yours to write to, "
            "on a disk with room for the weights"
        ) from error


@contextmanager
def _moving(folder: Path, stale: re.Pattern[str]) -> Iterator[Path]:
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        yield fresh
        written = {path.name for path in fresh.iterdir()}
        for path in sorted(fresh.iterdir()):
            path.replace(folder / path.name)
        for path in folder.iterdir():
            if stale.fullmatch(path.name) and path.name not in written:
                path.unlink()
    finally:
        shutil.rmtree(fresh)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
