"""`qwen3-vl config` as a person uses it."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

from tests.support.commands import Command

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture
def config(qwen3_vl: Command) -> Command:
    """Runs a config command in this process."""
    return partial(qwen3_vl, "config")


def test_show_tells_each_value_and_its_origin(
    config: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "my.json"
    file.write_text('{"cpu": {"threads": 2}, "memory": {"max_bytes": "6 GB"}}')
    monkeypatch.setenv("QWEN3_VL__GENERATION__SEED", "7")
    chosen = ("--preset", "balanced", "--file", str(file), "--set", "gpu.device=cpu")
    done = config("show", *chosen)
    assert done.returncode == 0, done.stderr
    assert "balanced gives up: exact weights" in done.stderr
    assert "max_context = 32768  # preset balanced" in done.stdout
    assert f"threads = 2  # {file}" in done.stdout
    assert "max_bytes = 6000000000  #" in done.stdout
    assert "seed = 7  # QWEN3_VL__GENERATION__SEED" in done.stdout
    assert 'device = "cpu"  # override' in done.stdout
    assert '# dtype = "auto"  # default' in done.stdout
    shown = json.loads(config("show", *chosen, "--format", "json").stdout)
    assert shown["cpu"]["threads"] == {"value": 2, "origin": str(file)}
    assert "  threads: 2  #" in config("show", *chosen, "--format", "yaml").stdout


def test_what_show_prints_validates(config: Command, tmp_path: Path) -> None:
    file = tmp_path / "again.yaml"
    file.write_text(config("show", "--preset", "aggressive", "--format", "yaml").stdout)
    done = config("validate", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert "is right" in done.stdout


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ('{"cpu": {"threads": 0}}', "cpu.threads is 0"),
        ('{"cpu": {"thread": 1}}', "did you mean cpu.threads"),
        ('{"optimization": {"recipe": "a(b"}}', "'=' must stand after 'a(b'"),
        ('{"memory": {"max_context": 9}}', "leaves no room for a prompt"),
        ("{", "is not valid JSON"),
    ],
)
def test_validate_tells_what_is_wrong(
    config: Command, tmp_path: Path, content: str, cause: str
) -> None:
    file = tmp_path / "my.json"
    file.write_text(content)
    done = config("validate", str(file))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert cause in " ".join(done.stderr.split())
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("show", "--preset", "turbo"), "there is no preset 'turbo'"),
        (("show", "--set", "cpu.threads"), "section.field=value"),
        (("validate", "none.toml"), "none.toml cannot be read"),
    ],
)
def test_an_error_is_told(config: Command, arguments: tuple[str, ...], cause: str) -> None:
    done = config(*arguments)
    assert done.returncode == 2
    assert cause in " ".join(done.stderr.split())


def test_auto_follows_from_this_machine(config: Command) -> None:
    done = config("show", "--preset", "auto")
    assert done.returncode == 0, done.stderr
    assert re.search(r"max_context = [0-9]+  # preset auto", done.stdout)


def test_schema_is_json_schema(config: Command) -> None:
    schema = json.loads(config("schema").stdout)
    assert schema["properties"].keys() == {
        "memory",
        "cpu",
        "gpu",
        "power",
        "optimization",
        "generation",
    }
    assert schema["additionalProperties"] is False


def test_every_command_explains_itself(config: Command) -> None:
    for command in ("show", "validate", "schema"):
        assert "Usage" in config(command, "--help").stdout


EXAMPLES = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_in_the_docs_run(example: str) -> None:
    exec(example, {})
