from __future__ import annotations

from qwen3_vl.cli.run import harmless


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert harmless("red \x1b[31m\x07\x9b2J\r") == "red \ufffd[31m\ufffd\ufffd2J\ufffd"


def test_other_text_is_untouched() -> None:
    text = "naïve 你好 😀\n\ttab"
    assert harmless(text) == text
