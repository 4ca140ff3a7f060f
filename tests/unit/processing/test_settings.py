"""Config files are read strictly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qwen3_vl.errors import CheckpointError, ConfigError
from qwen3_vl.processing.settings import read_json, read_processor_part, refuse_unknown


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "no.json") is None


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe{}"])
def test_a_broken_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


def test_a_folder_in_the_place_of_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(CheckpointError, match=r"cannot read .*a\.json"):
        read_json(tmp_path / "a.json")


def test_a_file_that_is_nested_too_deeply_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"a\.json is nested too deeply"):
        read_json(tmp_path / "a.json")


def test_the_nested_part_wins_then_the_first_file(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text('{"from": "b"}')
    assert read_processor_part(tmp_path, "part", ("a.json", "b.json")) == {"from": "b"}
    (tmp_path / "a.json").write_text('{"from": "a"}')
    assert read_processor_part(tmp_path, "part", ("a.json", "b.json")) == {"from": "a"}
    (tmp_path / "processor_config.json").write_text(json.dumps({"part": {"from": "nested"}}))
    assert read_processor_part(tmp_path, "part", ("a.json",)) == {"from": "nested"}
    with pytest.raises(CheckpointError, match=r"other.*a\.json"):
        read_processor_part(tmp_path / "empty", "other", ("a.json",))


def test_unknown_keys_and_unsupported_values_are_refused() -> None:
    refuse_unknown({"known": 1, "resample": 3, "processor_class": "x"}, {"known"}, "here")
    with pytest.raises(ConfigError, match="here: unknown setting 'knwon'; known are known"):
        refuse_unknown({"knwon": 1}, {"known"}, "here")
    with pytest.raises(ConfigError, match="do_center_crop = True"):
        refuse_unknown({"do_center_crop": True}, {"known"}, "here")
    with pytest.raises(ConfigError, match="resample = 2 is not supported; remove it or use 3"):
        refuse_unknown({"resample": 2}, {"known"}, "here")
