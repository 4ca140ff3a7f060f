"""Imports transformers as the reference: with torchvision, by which it reads pictures."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

import torch

from qwen3_vl.errors import DependencyError

_OPERATOR = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_transformers() -> ModuleType:
    """The package transformers; without torchvision it would import, but read no picture."""
    try:
        import_torchvision()
        return import_module("transformers")
    except (ImportError, RuntimeError) as error:
        cause = str(error).strip().partition("\n")[0]
        raise DependencyError(
            f"parity is measured against transformers, which needs torchvision too: {cause}; "
            'run pip install "qwen3-vl[bench]" && pip install --no-deps torchvision'
        ) from error


def import_torchvision() -> None:
    """Import torchvision, also where its compiled part is for another build of torch.

    So it is on many machines without a GPU. What transformers needs is resizing, which is plain
    Python. The compiled operators are never called, but importing torchvision describes two of
    them to torch, so those two have to exist.
    """
    try:
        import_module("torchvision")
    except RuntimeError:  # operator torchvision::nms does not exist
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms" + _OPERATOR)
        library.define("qnms" + _OPERATOR)
        import_module("torchvision")
