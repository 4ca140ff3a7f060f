from __future__ import annotations

from qwen3_vl.cli.run import _media, harmless


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert harmless("red \x1b[31m\x07\x9b2J\r") == "red \ufffd[31m\ufffd\ufffd2J\ufffd"


def test_other_text_is_untouched() -> None:
    text = "naïve 你好 😀\n\ttab"
    assert harmless(text) == text


def test_a_home_that_nobody_knows_stays_as_it_is_written() -> None:
    assert _media(["~nobody-at-all/a.png", "https://a/~b.png"]) == [
        "~nobody-at-all/a.png",
        "https://a/~b.png",
    ]
