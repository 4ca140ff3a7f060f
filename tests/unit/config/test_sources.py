"""Settings from files, environment and texts: one object, one precedence, and known origins."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from qwen3_vl.config.machine import MachineSpecs
from qwen3_vl.config.origins import Settings, build, settings_from
from qwen3_vl.config.runtime import CPUConfig, UnifiedConfig
from qwen3_vl.config.sources import gather, read_environment, read_file, read_overrides
from qwen3_vl.config.writing import write
from qwen3_vl.errors import ConfigError, DependencyError
from qwen3_vl.testing import tiny_config

LAPTOP = Path(__file__).parents[3] / "configs" / "laptop.toml"

needs_toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 reads no TOML")

TOML = """
[cpu]
threads = 4
[memory]
max_bytes = "6 GB"
[generation]
stop = ["\\n", "end"]
"""
YAML = """
cpu:
  threads: 4
memory: {max_bytes: 6 GB}
gpu:
generation:
  stop: ["\\n", end]
"""
JSON = json.dumps(
    {
        "cpu": {"threads": 4},
        "memory": {"max_bytes": "6 GB"},
        "generation": {"stop": ["\n", "end"]},
    }
)


def written(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("name", "content"),
    [pytest.param("a.toml", TOML, marks=needs_toml), ("a.yaml", YAML), ("a.json", JSON)],
)
def test_every_format_says_the_same(tmp_path: Path, name: str, content: str) -> None:
    config = build(read_file(written(tmp_path, name, content)))
    assert config == UnifiedConfig.model_validate(
        {
            "cpu": {"threads": 4},
            "memory": {"max_bytes": 6 * 10**9},
            "generation": {"stop": ("\n", "end")},
        }
    )


@needs_toml
def test_the_example_is_right() -> None:
    config = build(read_file(LAPTOP))
    assert config.memory.max_bytes == 6 * 10**9
    assert config.generation == {"max_new_tokens": 1024, "do_sample": False}


def test_the_stronger_source_wins(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "a.json",
        '{"memory": {"max_context": 1, "max_bytes": 1}, "cpu": {"threads": 1}}',
    )
    environment = {
        "QWEN3_VL__CPU__THREADS": "2",
        "QWEN3_VL__MEMORY__MAX_BYTES": "2",
        "QWEN3_VL_CPU": "avx2",
        "HOME": "/root",
    }
    settings = gather("balanced", file, environment, ["cpu.threads=3"])
    assert {path: (one.value, one.origin) for path, one in settings.items()} == {
        "optimization.recipe": ("weight_int8|quantized_kv(bits=8)", "preset balanced"),
        "memory.max_context": (1, str(file)),
        "memory.max_bytes": (2, "QWEN3_VL__MEMORY__MAX_BYTES"),
        "cpu.threads": (3, "override"),
    }
    assert gather() == {}
    assert build({}) == UnifiedConfig()


@pytest.mark.parametrize(
    ("text", "section", "name", "value"),
    [
        ("cpu.threads=4", "cpu", "threads", 4),
        ("cpu.kernels = avx2", "cpu", "kernels", "avx2"),
        ("cpu.kernels=null", "cpu", "kernels", None),
        ("memory.max_bytes=1 kB", "memory", "max_bytes", 1000),
        ("gpu.device=cuda:1", "gpu", "device", "cuda:1"),
        ("optimization.recipe=a(b=1)|c", "optimization", "recipe", "a(b=1)|c"),
        ('optimization.recipe="a"', "optimization", "recipe", "a"),
        ("optimization.recipe=", "optimization", "recipe", ""),
    ],
)
def test_a_text_becomes_what_the_setting_takes(
    text: str, section: str, name: str, value: object
) -> None:
    assert getattr(getattr(build(read_overrides([text])), section), name) == value


def test_options_of_generation_as_texts() -> None:
    texts = ['generation.stop=["a"]', "generation.temperature=1", "generation.seed=null"]
    assert build(read_overrides(texts)).generation == {"stop": ("a",), "temperature": 1.0}


def test_tables_may_be_nested_flat_or_sections() -> None:
    flat = settings_from({"cpu.threads": 2}, "x")
    assert settings_from({"cpu": {"threads": 2}}, "x") == flat
    assert settings_from({"cpu": CPUConfig(threads=2)}, "x") == flat


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("cpu.threads=x", r"cpu\.threads is 'x' \(from override\): .*valid integer"),
        ("cpu.threads=-1", r"cpu\.threads is -1 \(from override\)"),
        ("cpu.thread=1", r"override: unknown key cpu\.thread; did you mean cpu\.threads\?"),
        ("cpu=1", "cpu is '1'; it is a section"),
        ("cpu.threads", "write section.field=value"),
        ("generation.top_p=7", r"generation \(from override\): top_p is 7\.0"),
        ("optimization.recipe=a|", r"optimization\.recipe \(from override\): recipe: the name"),
    ],
)
def test_an_error_tells_the_origin(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(read_overrides([override]))


def test_all_errors_are_told_at_once_each_with_its_origin() -> None:
    environment = read_environment({"QWEN3_VL__CPU__THREADS": "0"})
    both = environment | read_overrides(["memory.max_context=0"])
    with pytest.raises(ConfigError, match=r"max_context is 0 \(from override\).*; cpu\.threads is"):
        build(both)
    with pytest.raises(ConfigError, match=r"\(from QWEN3_VL__CPU__THREADS\)"):
        build(both)
    with pytest.raises(ConfigError, match="QWEN3_VL__CPU: cpu is '1'; it is a section"):
        read_environment({"QWEN3_VL__CPU": "1"})


def test_a_contradiction_names_all_who_take_part() -> None:
    weak = settings_from({"generation.temperature": 0.5}, "weak.json")
    with pytest.raises(ConfigError, match=r"\(from weak\.json, override\): do_sample=False makes"):
        build(weak | read_overrides(["generation.do_sample=false"]))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", r"a\.json is not valid JSON"),
        ("a.yaml", "a: [", r"a\.yaml is not valid YAML"),
        pytest.param("a.toml", "a =", r"a\.toml is not valid TOML", marks=needs_toml),
        ("a.json", '{"cpu": {"threads": 1}, "cpu.threads": 2}', r"gives cpu\.threads twice"),
        ("a.json", "[]", "holds list, not sections"),
        ("a.ini", "", r"ends in \.toml, \.yaml, \.yml, \.json"),
        ("a.json", '{"cpu": {"cores": 4}}', r"a\.json: unknown key cpu\.cores"),
        ("a.yaml", "1: 2", r"a\.yaml: unknown key 1"),
        ("a.yaml", "cpu: {threads: 2020-01-01}", "cpu.threads is '2020-01-01'"),
        ("a.yaml", "generation: {seed: 2020-01-01}", "seed is '2020-01-01'"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(read_file(written(tmp_path, name, content)))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json cannot be read: No such file"):
        read_file(tmp_path / "none.json")


def test_without_a_reader_the_way_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(DependencyError, match="pip install pyyaml, or write the settings as JSON"):
        read_file(written(tmp_path, "a.yaml", "{}"))
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    with pytest.raises(DependencyError, match=r"with 3\.10 write the same settings as JSON"):
        read_file(written(tmp_path, "a.toml", ""))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
SETTINGS = st.builds(
    lambda stop, threads, origin: settings_from(
        {"generation.stop": stop, "cpu.threads": threads}, origin
    ),
    st.lists(TEXTS),
    st.none() | st.integers(1, 99),
    TEXTS,
)


@given(SETTINGS)
def test_what_is_written_is_read_back(settings: Settings) -> None:
    assert build(settings_from(yaml.safe_load(write(settings, "yaml")), "x")) == build(settings)
    shown = json.loads(write(settings, "json"))["cpu"]["threads"]
    assert shown["value"] == settings["cpu.threads"].value
    assert shown["origin"] == settings["cpu.threads"].origin
    if sys.version_info >= (3, 11):
        import tomllib

        again = settings_from(tomllib.loads(write(settings, "toml")), "x")
        assert build(again) == build(settings)
        assert again.keys() <= settings.keys()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("a.toml", "[cpu]\nthreads = 1\nthreads = 2", "overwrite", marks=needs_toml),
        ("a.json", '{"cpu": {"threads": 1, "threads": 2}}', "threads is given twice; keep one"),
        ("a.json", '{"cpu": {}, "cpu": {"threads": 2}}', "cpu is given twice"),
        ("a.yaml", "cpu:\n  threads: 1\n  threads: 2", "threads is given twice"),
        ("a.json", '{"cpu":' * 50_000, "nested too deeply"),
        ("a.yaml", "[" * 5_000, "nested too deeply"),
        pytest.param("a.toml", "a = " + "[" * 5_000, "nested too deeply", marks=needs_toml),
        ("a.yaml", "cpu: &it\n  threads: *it", "from .*a.yaml is more than JSON can say: circular"),
        ("a.json", '{"optimization": {"recipe": "\\ud800"}}', "from .*a.json is more than JSON"),
    ],
)
def test_a_file_that_says_too_much_is_refused(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?i){message}"):
        build(read_file(written(tmp_path, name, content)))


@pytest.mark.parametrize("override", ["generation.stop=END", 'generation.stop=["END"]'])
def test_one_string_to_stop_at_may_stand_alone(override: str) -> None:
    assert build(read_overrides([override])).generation == {"stop": ("END",)}


@pytest.mark.parametrize("path", ["memory.max_bytes", "memory.max_context", "gpu.max_bytes"])
def test_no_limit_is_beyond_all_machines(path: str) -> None:
    with pytest.raises(ConfigError, match=f"{path} is 9.*less than"):
        build(read_overrides([f"{path}={'9' * 400}"]))


def test_the_automatic_preset_is_made_for_the_model() -> None:
    machine, model = MachineSpecs(4, 8 * 2**30), tiny_config()
    settings = gather(preset="auto", machine=machine, model=model)
    assert build(settings).memory.max_context == model.text_config.max_position_embeddings
