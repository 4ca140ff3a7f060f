"""A model's name to a folder on this machine: a local folder, or a download from the hub."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qwen3_vl.errors import CheckpointError, InputError

# Never pickles, code or other frameworks' files.
_SETTINGS = ["*.json", "*.jinja"]
_WEIGHTS = ["*.safetensors"]
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_CHUNK = 1 << 24


@dataclass(frozen=True)
class HubOptions:
    """How to look a model up; the defaults are the hub's own."""

    revision: str | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    token: str | None = None


def resolve(name: str | Path, options: HubOptions = HubOptions(), *, weights: bool = True) -> Path:
    """The folder of a model that is given by its folder or its hub id.

    Without `weights` only configs, tokenizer and templates are downloaded.
    A download shows its progress, keeps the files that an earlier one completed, and is checked
    against the hub's checksums. `HF_HUB_OFFLINE=1` or `local_files_only` looks in the cache alone.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise InputError(f"a model is given by its folder or its hub id, not by {name!r}")
    if not str(name):
        raise CheckpointError(
            "the model's name is empty; give a folder, or a hub id like Qwen/Qwen3-VL-2B-Instruct"
        )
    folder = expanded(name)
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(str(name)):
        raise CheckpointError(
            f"there is no folder {str(name)!r}, and it is no hub id either; "
            "a hub id looks like Qwen/Qwen3-VL-2B-Instruct"
        )
    return _download(str(name), options, _SETTINGS + _WEIGHTS if weights else _SETTINGS)


def expanded(path: str | Path) -> Path:
    """A path with ~ in it; where nobody knows whose home is meant, it is kept as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (pathlib's raises a RuntimeError there)


def _download(name: str, options: HubOptions, wanted: list[str]) -> Path:
    # Imported here: it takes a third of a second that a local folder need not pay.
    from huggingface_hub import snapshot_download

    with _explained(name, options):
        held = _cached(name, options)
        folder = snapshot_download(
            name,
            revision=options.revision,
            cache_dir=options.cache_dir,
            local_files_only=options.local_files_only,
            token=options.token,
            allow_patterns=wanted,
        )
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    # If one is new, all are checked: an earlier run may have broken off before it did so.
    if any(str(path.resolve()) not in held for path in files):
        _verify(name, Path(folder), files, options)
    return Path(folder)


@contextmanager
def _explained(name: str, options: HubOptions) -> Iterator[None]:
    """Turn the hub's errors into ours, each with what to do."""
    from huggingface_hub import errors
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

    try:
        yield
    except errors.HFValidationError as error:
        raise CheckpointError(
            f"there is no folder {name!r}, and it is no hub id: {_first_line(error)}"
        ) from None
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"there is no folder {name!r}, and the hub has no such model, or it is private: check "
            "the name, or log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{name} has no revision {options.revision!r} on the hub") from error
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{name} is not in the local cache and the hub could not be asked: connect once to "
            "download it, or give the folder of a local copy"
        ) from error
    except (HTTPError, OSError) as error:  # HTTPError: what the hub's HTTP library raises
        raise CheckpointError(
            f"the download of {name} failed: {_first_line(error)}; "
            "run again, complete files are kept"
        ) from error


def _first_line(error: Exception) -> str:
    """What happened, without the advice that other libraries add below."""
    return str(error).strip().partition("\n")[0]


def _cached(name: str, options: HubOptions) -> frozenset[str]:
    """The files that an earlier download left in the cache, for any revision."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    root = Path(options.cache_dir or constants.HF_HUB_CACHE)
    snapshots = root / repo_folder_name(repo_id=name, repo_type="model") / "snapshots"
    return frozenset(str(path.resolve()) for path in snapshots.glob("*/**/*") if path.is_file())


def _verify(name: str, folder: Path, files: list[Path], options: HubOptions) -> None:
    """Compare files with the hub's checksums; remove one that differs."""
    from huggingface_hub import HfApi

    with _explained(name, options):
        api = HfApi(token=options.token)
        info = api.model_info(name, revision=folder.name, files_metadata=True)
    sums = {file.rfilename: file.lfs.sha256 for file in info.siblings or () if file.lfs}
    for path in files:
        expected = sums.get(path.relative_to(folder).as_posix())
        if expected is not None and _sha256(path) != expected:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise CheckpointError(
                f"{path.name} of {name} does not have the hub's checksum, and was removed; "
                "run again to download it anew"
            )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
