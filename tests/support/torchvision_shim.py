"""Lets torchvision be imported beside a torch build that its compiled part does not fit.

`transformers` needs torchvision's pure Python resize. The compiled operators are never called, but
importing torchvision gives a meaning to two of them, so those two have to exist.
"""

from __future__ import annotations

import importlib
import sys

import torch

_OPERATOR = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_torchvision() -> None:
    """Import torchvision, or fail with the way to install it."""
    try:
        importlib.import_module("torchvision")
    except ImportError as problem:
        raise AssertionError(
            "the parity tests need torchvision: pip install --no-deps torchvision"
        ) from problem
    except RuntimeError:  # its compiled part is for another build of torch
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms" + _OPERATOR)
        library.define("qnms" + _OPERATOR)
        importlib.import_module("torchvision")
