"""`qwen3-vl inspect recipe`: what a recipe is, step by step, and what the whole promises."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields

import pytest

from qwen3_vl.cli.main import main
from qwen3_vl.plan import Exact, Neutral
from qwen3_vl.plugins import Technique, techniques

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def inspect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `qwen3-vl inspect recipe`; gives its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["qwen3-vl", "inspect", "recipe", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), *capsys.readouterr()

    return run


def rows(stdout: str) -> list[tuple[str, str]]:
    """The rows of the table; a line that goes on stands in a row without a name."""
    lines = (line.split("│") for line in stdout.splitlines() if line.startswith("│"))
    return [(name.strip(), text.strip()) for _, name, text, _ in lines]


def test_steps_are_told_in_order_with_all_settings(inspect: Command) -> None:
    code, out, err = inspect("weight_int8|sliding_window(window=2048)")
    assert code == 0, err
    table = rows(out)
    assert [text for name, text in table if name == "technique"] == [
        "weight_int8",
        "sliding_window",
    ]
    assert ("settings", "window=2048 (given)") in table
    assert ("", "sinks=4") in table
    assert ("settings", r'modules="\\.(self_attn|attn|mlp)\\."') in table
    assert ("seam", "retain: which cached tokens stay?") in table
    assert ("promise", "bounded: logits change by at most 5% of their size") in table
    assert {"gives", "costs"} <= {name for name, _ in table}


@pytest.mark.parametrize(
    ("recipe", "whole"),
    [
        ("", "exact: the same answers"),
        ("flash_attention_2", "exact: the same answers"),
        (
            "sliding_window(window=1000000)|quantized_kv(residual=1000000)",
            "exact: the same answers",
        ),
        ("sliding_window(window=1000000, sinks=9)", "exact: the same answers"),
        ("sliding_window", "not exact: answers may be changed by sliding_window"),
        ("sliding_window(window=999999)", "not exact: answers may be changed by sliding_window"),
        ("weight_int8|flash_attention_2", "not exact: answers may be changed by weight_int8"),
        (
            "weight_int8|sliding_window(window=9)|sliding_window(window=1000000)",
            "not exact: answers may be changed by weight_int8, sliding_window",
        ),
    ],
)
def test_the_whole_is_exact_only_if_every_step_is(
    inspect: Command, recipe: str, whole: str
) -> None:
    code, out, err = inspect(recipe)
    assert code == 0, err
    assert out.splitlines()[-1] == f"the whole: {whole}"


@pytest.mark.parametrize("technique", techniques().values(), ids=lambda one: one.name)
def test_every_technique_keeps_answers_where_it_promises_to(
    inspect: Command, technique: Technique
) -> None:
    guarantee = technique.guarantee
    settings = guarantee.settings if isinstance(guarantee, Neutral) else {}
    needed = {one.name for one in fields(technique.kind) if one.default is MISSING}
    if needed - settings.keys():
        pytest.skip(f"{technique.name} needs {needed}")
    given = ", ".join(f"{key}={json.dumps(value)}" for key, value in settings.items())
    code, out, err = inspect(f"{technique.name}({given})")
    assert code == 0, err
    assert ("the whole: exact" in out) == isinstance(guarantee, Exact | Neutral)


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("sliding_windw",), "did you mean sliding_window?"),
        (("sliding_window(windw=3)",), "did you mean window?"),
        (("sliding_window(window=0)",), "window must be at least 1"),
        (("sliding_window|",), "the name of a technique must stand after"),
        (("flash_attention_2|memory_efficient_attention",), "one technique at most"),
        (("weight_int8", "-m", "no-such-preset"), "no-such-preset"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(
    inspect: Command, arguments: tuple[str, ...], cause: str
) -> None:
    code, out, err = inspect(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert cause in err
    assert err.count("\n") == 1


def test_it_is_checked_for_the_model_that_is_named(inspect: Command) -> None:
    recipe = "quantized_kv(group=128)"  # heads of 2b-instruct have 128 numbers, of embedded 64
    assert inspect(recipe)[0] == 0
    code, _, err = inspect(recipe, "-m", "embedded")
    assert code == 2
    assert "groups of 128" in err
