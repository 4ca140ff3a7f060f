"""Reads the JSON files of a checkpoint folder, and refuses keys that nobody would honour."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from qwen3_vl.config.reading import read_object
from qwen3_vl.errors import CheckpointError, ConfigError

# Keys that other tools write and that change nothing here, with the values that change nothing.
# `None` as the collection means: any value.
_INERT: Mapping[str, Collection[Any] | None] = {
    "resample": (3,),  # Pillow's number for bicubic, the only filter there is here
    "do_convert_rgb": (True, None),
    "do_center_crop": (False, None),
    "do_pad": (False, None),
    "pad_size": (None,),
    "data_format": ("channels_first", None),
    "input_data_format": (None,),
    "device": (None, "cpu"),
    "image_seq_length": (None,),
    "video_metadata": (None,),
    "return_tensors": None,
    "return_metadata": None,
    "crop_size": None,
    "default_to_square": None,
    "disable_grouping": None,
    "max_image_size": None,
    "image_processor_type": None,
    "video_processor_type": None,
    "feature_extractor_type": None,
    "processor_class": None,
}


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is no such file."""
    return read_object(path) if path.exists() else None


def read_processor_part(folder: Path, part: str, files: tuple[str, ...]) -> dict[str, Any]:
    """The settings of one processor: `part` of processor_config.json, else the first of `files`."""
    nested = (read_json(folder / "processor_config.json") or {}).get(part)
    if isinstance(nested, dict):
        return nested
    for name in files:
        settings = read_json(folder / name)
        if settings is not None:
            return settings
    raise CheckpointError(
        f"{folder} has no settings of the {part.replace('_', ' ')}: expected one of "
        f"processor_config.json, {', '.join(files)}. Is the checkpoint download complete?"
    )


def refuse_unknown(settings: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise ConfigError for a key that is neither honoured nor known to be without effect."""
    for key, value in settings.items():
        if key in known:
            continue
        if key not in _INERT:
            allowed = ", ".join(sorted(known))
            raise ConfigError(f"{where}: unknown setting {key!r}; known are {allowed}")
        allowed_values = _INERT[key]
        if allowed_values is not None and value not in allowed_values:
            raise ConfigError(
                f"{where}: {key} = {value!r} is not supported; remove it or use "
                + " or ".join(repr(allowed) for allowed in allowed_values)
            )
