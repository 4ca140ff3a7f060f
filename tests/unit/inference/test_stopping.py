from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_vl.inference.stopping import StopScanner

_TEXT = st.text("ab#", max_size=30)


@given(_TEXT, st.lists(st.text("ab#", min_size=1, max_size=4), max_size=3), st.data())
def test_the_answer_is_the_text_before_the_first_stop_however_it_is_cut(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    scanner = StopScanner(stops)
    answer, rest = "", text
    while rest and not scanner.stopped:
        size = data.draw(st.integers(1, len(rest)))
        answer += scanner.push(rest[:size])
        rest = rest[size:]
        assert not any(stop in answer for stop in stops)
    answer += scanner.flush()
    # The first stop to be complete ends the answer; of those complete together, the leftmost.
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(s) for s in stops)]
    if not ends:
        assert (answer, scanner.stopped) == (text, False)
    else:
        assert scanner.stopped
        assert text.startswith(answer)
        assert any(text[len(answer) :].startswith(stop) for stop in stops)


def test_text_is_held_back_only_while_it_could_become_a_stop() -> None:
    scanner = StopScanner(["</end>"])
    assert scanner.push("one </en") == "one "
    assert scanner.push("try> ") == "</entry> "
    assert scanner.push("</end> more") == ""
    assert scanner.stopped
    assert scanner.flush() == ""


@pytest.mark.parametrize("text", ["", "plain", "<"])
def test_without_stops_nothing_is_held_back(text: str) -> None:
    assert StopScanner([]).push(text) == text
