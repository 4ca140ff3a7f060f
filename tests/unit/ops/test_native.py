"""How compiled kernels are found, chosen and forced, and that variants share no code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qwen3_vl.ops import native

BUILD = Path(__file__).parents[3] / "build"
VARIANTS = [variant.name for variant in native.available_variants()]

needs_kernels = pytest.mark.skipif(not VARIANTS, reason="no kernels are compiled here")


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, where nothing is chosen yet."""
    clean = {name: value for name, value in os.environ.items() if name != native.FORCED_BY}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@needs_kernels
def test_the_fastest_is_chosen(monkeypatch):
    monkeypatch.delenv(native.FORCED_BY, raising=False)
    assert native.variant.__wrapped__().name == VARIANTS[0]
    assert VARIANTS[-1] == "scalar"


@needs_kernels
@pytest.mark.parametrize("name", VARIANTS)
def test_each_can_be_forced(monkeypatch, name):
    monkeypatch.setenv(native.FORCED_BY, name)
    assert native.variant.__wrapped__().name == name


@needs_kernels
@pytest.mark.parametrize("name", ["avx1024", "AVX2", "neon" if "avx2" in VARIANTS else "avx2"])
def test_one_that_cannot_be_used_is_an_error_that_lists_what_can(monkeypatch, name):
    monkeypatch.setenv(native.FORCED_BY, name)
    with pytest.raises(native.DeviceError) as caught:
        native.variant.__wrapped__()
    message = str(caught.value)
    assert f"{native.FORCED_BY}={name}" in message
    assert all(possible in message for possible in VARIANTS)


@needs_kernels
def test_the_environment_reaches_the_op():
    result = python(
        "import torch; from qwen3_vl.ops import native; from qwen3_vl.ops.rms_norm import rms_norm;"
        "rms_norm(torch.ones(2, 3), torch.ones(3), 1e-6); print(native.report())",
        QWEN3_VL_CPU="scalar",
    )
    assert result.stdout.startswith("CPU kernels: scalar (this machine runs "), result.stderr
    assert not result.stderr


HIDDEN = "import sys; sys.modules['qwen3_vl._native'] = None;"


def test_without_the_extension_torch_computes_and_this_is_said_once():
    result = python(
        HIDDEN + "import torch; from qwen3_vl.ops import native;"
        "from qwen3_vl.ops.rms_norm import meaning, rms_norm;"
        "x, w = torch.randn(2, 3), torch.randn(3);"
        "assert all(torch.equal(rms_norm(x, w, 1e-6), meaning(x, w, 1e-6)) for _ in range(3));"
        "print(native.report(), native.available_variants())"
    )
    assert result.stdout == "CPU kernels: none compiled, torch computes []\n", result.stderr
    assert result.stderr.count("no compiled kernels") == 1


def test_without_the_extension_nothing_can_be_forced():
    code = HIDDEN + "from qwen3_vl.ops import native; native.variant()"
    result = python(code, QWEN3_VL_CPU="avx2")
    assert "DeviceError: QWEN3_VL_CPU=avx2 asks for compiled kernels" in result.stderr


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
@needs_kernels
def test_variants_share_no_function():
    """The linker keeps one copy of a shared function, and it may need the wrong processor."""
    objects = [*BUILD.glob("*/CMakeFiles/variant_*.dir/**/*.o")]
    if not objects:
        pytest.skip(f"the objects of the build are not under {BUILD}: install with `make`")
    for path in objects:
        variant = re.search(r"variant_(\w+)\.dir", str(path)).group(1)
        own = f"N8qwen3_vl{len(variant)}{variant}"
        for kind, symbol in defined_symbols(path):
            assert own in symbol, f"{path.name} ({variant}) gives the linker {symbol}"
            assert kind not in "uvwUVW", f"{path.name} ({variant}) has a weak {symbol}"


def defined_symbols(path: Path) -> list[tuple[str, str]]:
    """Give kind and name of each symbol that other object files can see."""
    listed = subprocess.run(
        ["nm", "--extern-only", "--defined-only", path], capture_output=True, text=True, check=True
    ).stdout
    symbols = re.findall(r"^[0-9a-f]* +(\w) (\S+)$", listed, flags=re.MULTILINE)
    assert symbols, f"nm shows nothing in {path}: the test proves nothing"
    return symbols
