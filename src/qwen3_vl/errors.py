"""Every error that this package raises on purpose.

    Qwen3VLError
    ├── ConfigError           a config file or a setting is wrong          (ValueError)
    │   └── Incompatible          techniques, model and device do not fit
    ├── PluginError           a technique breaks the contract              (TypeError)
    ├── CheckpointError       a model folder or a weight file is wrong     (OSError)
    ├── DeviceError           this machine cannot do what was asked for    (RuntimeError)
    ├── TrainingError         a training does not get anywhere             (RuntimeError)
    ├── DependencyError       an optional package is not installed         (ImportError)
    └── InputError            what was asked of the model is wrong         (ValueError)
        ├── ImageError            a picture cannot be used
        ├── VideoError            a video cannot be used
        ├── ChatError             messages do not form a conversation
        └── ContextLengthError    the prompt does not fit the context

Each message says what was wrong, what is allowed, and what to change.
"""

from __future__ import annotations


class Qwen3VLError(Exception):
    """The base of all errors of this package."""


class ConfigError(Qwen3VLError, ValueError):
    """A config file or a setting is wrong."""


class Incompatible(ConfigError):  # noqa: N818
    """Two techniques, or a technique and this model or device, cannot go together."""


class PluginError(Qwen3VLError, TypeError):
    """A technique does not keep the contract that all techniques keep."""


class CheckpointError(Qwen3VLError, OSError):
    """A model folder or a weight file is missing, broken, or contradicts its config."""


class DeviceError(Qwen3VLError, RuntimeError):
    """This machine cannot do what was asked for."""


class TrainingError(Qwen3VLError, RuntimeError):
    """A training does not get anywhere."""


class DependencyError(Qwen3VLError, ImportError):
    """An optional package that this feature needs is not installed."""


class InputError(Qwen3VLError, ValueError):
    """What was asked of the model is wrong."""


class ImageError(InputError):
    """A picture cannot be read, or breaks a limit."""


class VideoError(InputError):
    """A video cannot be read, or breaks a limit."""


class ChatError(InputError):
    """Messages do not form a conversation that the chat template can render."""


class ContextLengthError(InputError):
    """The prompt and the answer do not fit the model's context."""
