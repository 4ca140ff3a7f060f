"""`qwen3-vl pack`, and that a large model is packed when it is loaded first."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from qwen3_vl import Qwen3VLInference, loading
from qwen3_vl.cli.main import app
from qwen3_vl.config.runtime import UnifiedConfig
from qwen3_vl.errors import CheckpointError, ConfigError
from qwen3_vl.hub import HubOptions

RECIPE = "weight_int4|head_int8"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QWEN3_VL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pack(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["pack", "embedded", *arguments], catch_exceptions=False)
    return done.stdout


def test_a_file_is_made_and_then_checked(tmp_path: Path) -> None:
    path = tmp_path / "packed"
    assert pack("--recipe", RECIPE, "-o", str(path)).startswith(f"packed into {path} (1.8 MB)")
    assert pack("--recipe", RECIPE, "-o", str(path)).startswith(f"intact: {path}")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="has changed"):
        pack("--recipe", RECIPE, "-o", str(path))


def test_nothing_to_pack_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="little or nothing to pack"):
        pack("--recipe", RECIPE)
    with pytest.raises(ConfigError, match="packs no weights"):
        pack("--recipe", "kv_int8", "-o", str(tmp_path / "packed"))


def test_the_first_load_packs_and_the_next_one_maps(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_WORTH_A_FILE", 1)
    first = Qwen3VLInference.from_pretrained("embedded", recipe=RECIPE)
    (file,) = (cache / "packed").iterdir()
    written = file.stat().st_mtime_ns
    again = Qwen3VLInference.from_pretrained("embedded", recipe=RECIPE)
    assert file.stat().st_mtime_ns == written
    asked = "repeat: 4H7K2M9Q"
    assert again.generate_text(asked) == first.generate_text(asked)
    Qwen3VLInference.from_pretrained("embedded", recipe="weight_int8")
    assert len(list((cache / "packed").iterdir())) == 2, "another recipe, another file"


def test_the_name_follows_from_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_WORTH_A_FILE", 1)
    for source in loading.embedded_folder().iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())

    def name() -> Path | None:
        placed = loading.place(tmp_path, RECIPE, UnifiedConfig(), HubOptions())
        return placed.packed_file()

    before = name()
    assert name() == before
    (tmp_path / "model.safetensors").touch()
    assert name() != before
