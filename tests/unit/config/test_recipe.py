"""The grammar of recipes: what is written is read back, and what is wrong is pointed at."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_vl.config.recipe import Step, parse
from qwen3_vl.errors import ConfigError

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)
WORDS = st.sampled_from(["true", "True", "null", "NULL", "deep/file.json", "-3", "1e5", "", "a|b)"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | WORDS
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3).map(tuple)
STEPS = st.builds(Step, NAMES, st.dictionaries(NAMES, VALUES, max_size=3))


@given(st.lists(STEPS, max_size=3).map(tuple))
def test_what_is_written_is_read_back(steps: tuple[Step, ...]) -> None:
    again = parse("|".join(map(str, steps)))
    assert again == steps
    # 1 == 1.0 == True in Python; the text keeps them apart.
    assert [repr(step) for step in again] == [repr(step) for step in steps]


@given(st.text(alphabet='ab(=,)[]|"\\ 1.e-t\n', max_size=12))
def test_any_text_is_a_recipe_or_a_config_error(text: str) -> None:
    try:
        steps = parse(text)
    except ConfigError:
        return
    assert parse("|".join(map(str, steps))) == steps


def test_every_kind_of_value() -> None:
    text = (
        ' a | b ( i = -3, f=2.5e3, t=true, f2=false, n=null, w=x/y-1.json, s="q \\" | )", l=[1,x] )'
    )
    assert parse(text) == (
        Step("a"),
        Step(
            "b",
            {
                "i": -3,
                "f": 2500.0,
                "t": True,
                "f2": False,
                "n": None,
                "w": "x/y-1.json",
                "s": 'q " | )',
                "l": (1, "x"),
            },
        ),
    )


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_nothing_is_the_plain_model(text: str) -> None:
    assert parse(text) == ()


def test_empty_brackets_are_no_settings() -> None:
    assert parse("a()") == (Step("a"),)
    assert parse("a(x=[])") == (Step("a", {"x": ()}),)


def test_a_step_can_stand_in_a_set() -> None:
    assert len({Step("a", {"x": 1}), Step("a", {"x": 1}), Step("a", {"x": 2})}) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("|", "the name of a technique must stand at the start, not '|'"),
        ("a|", "the name of a technique must stand after 'a|', but it ends there"),
        ("a||b", "the name of a technique must stand after 'a|', not '|b'"),
        ("a b", "'|' and another step, or the end, must stand after 'a ', not 'b'"),
        ("int-8", "must stand after 'int', not '-8'"),
        ("a(b)", "'=' must stand after 'a(b', not ')'"),
        ("a(b=)", "must stand after 'a(b=', not ')'"),
        ("a(b=1", "',' or ')' must stand after 'a(b=1', but it ends there"),
        ("a(b=1,)", "the name of a setting must stand after 'a(b=1,', not ')'"),
        ("a(b=12x)", "',' or ')' must stand after 'a(b=12', not 'x)'"),
        ("a(b=[[1]])", "must stand after 'a(b=[', not '[1]])'"),
        ("a(b='x')", 'a word or a "text"'),
        ('a(b="x)', "must stand after 'a(b=', not '\"x)'"),
        ('a(b="\\q")', '"\\q" in the recipe cannot be read'),
        ("a(b=007)", "007 in the recipe cannot be read"),
        ("a(b=1e999)", "a(b=inf) cannot stand in a recipe"),
        ("a(b=True)", 'True in the recipe: write true, or "True" for the text'),
        ("a(b=1, b=2)", "gives a its b twice"),
    ],
)
def test_an_error_points_at_the_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a b", {}),
        ("", {}),
        ("a", {"b-c": 1}),
        ("a", {"b": math.inf}),
        ("a", {"b": math.nan}),
        ("a", {"b": {"c": 1}}),
        ("a", {"b": (1, (2,))}),
    ],
)
def test_what_cannot_be_written_is_not_a_step(name: str, settings: dict) -> None:
    with pytest.raises(ConfigError):
        Step(name, settings)
