"""The reference is imported, or the way to install it is told."""

from __future__ import annotations

import sys

import pytest

from qwen3_vl.errors import DependencyError
from qwen3_vl.validation.reference import import_transformers


@pytest.mark.parametrize("missing", ["torchvision", "transformers"])
def test_a_missing_package_is_told_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(DependencyError, match=rf"{missing}.*qwen3-vl\[bench\].*--no-deps"):
        import_transformers()
