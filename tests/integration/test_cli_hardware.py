"""`qwen3-vl inspect hardware` as a person uses it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qwen3_vl.cli.main import main
from qwen3_vl.hardware.cpu import read_cpu
from qwen3_vl.hardware.routing import arithmetic
from qwen3_vl.ops import native

Hardware = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hardware:
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["qwen3-vl", "inspect", "hardware", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), *capsys.readouterr()

    return run


def test_it_tells_the_machine_the_kernels_and_the_decision(hardware: Hardware) -> None:
    code, out, err = hardware()
    assert code == 0, err
    for what in ("instruction sets", "memory", "disk", "CPU kernels", "dtype", "threads"):
        assert what in out
    assert native.report().partition(": ")[2] in out
    assert "2,127,532,032 parameters, stored as bfloat16" in out
    assert "not measured" in out


def test_it_measures_where_it_is_told_to(hardware: Hardware, tmp_path: Path) -> None:
    code, out, err = hardware("--measure", "--path", str(tmp_path))
    assert code == 0, err
    assert "GB/s" in out
    assert "MB/s" in out
    assert list(tmp_path.iterdir()) == []


def test_json_holds_the_records(hardware: Hardware) -> None:
    code, out, err = hardware("--json", "-m", "embedded")
    assert code == 0, err
    told = json.loads(out)
    assert told["machine"]["memory"]["total"] > 0
    assert told["route"]["device"]["wanted"] == "auto"
    assert told["route"]["device"]["why"]
    # The embedded model's files are in float16, in which few processors compute.
    able = arithmetic(read_cpu(), "float16") is not None
    assert told["route"]["dtype"]["used"] == ("float16" if able else "float32")
    assert told["route"]["threads"]["count"] >= 1
    assert told["kernels"] == native.report()


def test_an_unknown_model_is_told_in_one_sentence(hardware: Hardware) -> None:
    code, out, err = hardware("-m", "no-such-preset")
    assert code == 2
    assert out == ""
    assert "no-such-preset" in err
