"""What the comparison is told, and what it tells: a table, a picture, a page of the docs."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from markdown import markdown
from rich.console import Console

from benchmarks.compare import arguments
from benchmarks.comparison.contenders import HOLDS, OURS, contenders
from benchmarks.comparison.measures import MEASURES
from benchmarks.comparison.page import LAYER_PRODUCTS, TARGETS, page, read
from benchmarks.comparison.report import chart, show, write
from benchmarks.comparison.results import Results

UNITS = ("prefill-512", "decode-128", "first-640x480")
LLAMA, OPENVINO = "llama.cpp-q4_0", "openvino-int4"


def figure(measure: str, engine: str, *seconds: float, group: int = 0, **more: Any) -> Any:
    empty = {"load": [], "memory": [], "tokens": None, "error": None}
    told = {"measure": measure, "engine": engine, "group": group, "seconds": list(seconds)}
    return told | empty | more


def memory(gigabytes: int) -> Mapping[str, int]:
    peak = gigabytes * 10**9
    return {"peak": peak, "rss": peak // 2, "pss": peak // 4, "anonymous": peak // 5}


def limits(measure: str, read: float, group: int = 0, int8: float = 1e12) -> Mapping[str, Any]:
    rounds = [{"read": read * share, "int8": int8, "float": 2e11} for share in (0.9, 1.0, 1.1)]
    return {"measure": measure, "group": group, "rounds": rounds}


def comparison(variant: str = "avx512vnni") -> dict[str, Any]:
    machine = {"cpu": "A CPU", "cores": 2, "memory": 24e9, "system": "An OS", "python": "3.11.1"}
    return {
        "date": "2026-01-02",
        "machine": machine | {"variant": variant},
        "settings": {"threads": 2, "rounds": 3, "recipe": "one|two", "isa": None},
        "asked": ["prefill-512", "decode-128", "start-1024x768"],
        "engines": {
            OURS: {"versions": {"qwen3-vl": "1.2"}, "weight_bytes": 800_000_000},
            LLAMA: {"versions": {"llama-cpp-python": "0.3"}, "weight_bytes": None},
            OPENVINO: {"error": "no wheel | for this machine"},
        },
        "limits": [
            limits("prefill-512", 5e10),
            limits("decode-128", 5e10),
            limits("decode-128", 4e10, group=1),
            limits("start-1024x768", 5e10, group=2),
        ],
        "figures": [
            figure("prefill-512", OURS, 1.0, 0.9, 5.0),
            figure("prefill-512", LLAMA, error="RuntimeError: no room"),
            figure("decode-128", OURS, 0.020, 0.021, 0.010),
            figure("decode-128", OURS, 0.040, 0.040, 0.040, group=1),
            figure("decode-128", LLAMA, 0.050, 0.060, 0.070, group=1),
            figure("start-1024x768", OURS, 3.0, group=2, memory=[memory(1)], load=[0.4]),
            figure("start-1024x768", LLAMA, 9.0, group=2, memory=[memory(4)]),
            figure("first-1024x768", OURS, 2.0, memory=[memory(1)]),
            figure("first-1024x768", LLAMA, 8.0, memory=[memory(4)]),
        ],
    }


def test_a_ratio_is_one_of_the_same_minutes() -> None:
    results = Results(comparison())
    assert results.relative("decode-128", LLAMA) == pytest.approx(60 / 40)
    assert results.ratio("decode-128", OURS, LLAMA) == pytest.approx(60 / 40)
    assert results.ratio("decode-128", LLAMA, OURS) == pytest.approx(40 / 60)
    assert results.ratio("prefill-512", OURS, LLAMA) is None


def test_shares_stand_beside_the_limits_of_those_minutes() -> None:
    results = Results(comparison())
    assert results.reading_share("decode-128") == pytest.approx(8e8 / 0.020 / 5e10)
    products = 512 * LAYER_PRODUCTS
    assert results.product_share("prefill-512", products) == pytest.approx(products / 1e12)
    assert results.reading_share("decode-2048") is None


def test_the_page_of_the_docs_is_made_of_the_figures_beside_it() -> None:
    figures = sorted(Path("benchmarks/performance").glob("*.json"))
    assert Path("docs/performance.md").read_text(encoding="utf-8") == page(read(figures))


def test_the_page_says_of_every_target_won_lost_or_why_not() -> None:
    made = page([Results(comparison())])
    rows = [line for line in made.splitlines() if line.startswith("| ")]
    for target in TARGETS:
        (row,) = (
            one
            for one in rows
            if one.startswith(f"| {target.text} | {target.against} | {target.wanted} |")
        )
        assert any(word in row for word in ("**won**", "| lost |", "not measured ("))
    told = {(row.split(" | ")[0].strip("| "), row.split(" | ")[1]): row for row in rows}
    assert "| 1.50 × | avx512vnni | **won** |" in told["decode, int4, context 128", LLAMA]
    assert "| 80 % | avx512vnni | lost |" in told["decode, int4, context 128", "the stream read"]
    assert "| 0.25 × | avx512vnni | **won** |" in told["peak memory up to that prompt", LLAMA]
    assert "no wheel \\| for this machine" in told["prefill 512", OPENVINO]
    assert "not asked for" in told["first token, 640×480, warm", OPENVINO]
    assert "no comparison with avx2 kernels" in told["decode, AVX2, context 128", LLAMA]
    for text in ("A CPU", "2026-01-02", "llama-cpp-python 0.3", "one|two", "RuntimeError: no room"):
        assert text in made
    html = markdown(made, extensions=["tables"])
    assert html.count("<table>") == 3


def test_each_target_is_taken_from_the_comparison_with_its_kernels() -> None:
    narrow = comparison("avx2")
    narrow["figures"].append(figure("decode-128", LLAMA, 0.200, 0.200, group=1))
    made = page([Results(comparison()), Results(narrow)])
    assert "| decode, AVX2, context 128 | llama.cpp-q4_0 | at least 1.25 × | 1.50 × |" in made
    assert made.count("### With avx") == 2


def test_comparisons_made_alike_have_one_heading_and_each_its_figures() -> None:
    longer = comparison()
    longer["settings"]["rounds"] = 7
    made = page([Results(comparison()), Results(comparison("avx2")), Results(longer)])
    wide, narrow = made.split("### With ")[1:]
    assert wide.startswith("avx512vnni kernels")
    assert re.findall(r"Medians of (\d) rounds", wide) == ["3", "7"]
    assert wide.count("| llama-cpp-python 0.3 |") == 1
    assert narrow.startswith("avx2 kernels")
    assert re.findall(r"Medians of (\d) rounds", narrow) == ["3"]


def test_tiles_count_as_avx512_and_more() -> None:
    made = page([Results(comparison("amx"))])
    assert f"context 128 | {LLAMA} | at least 1.30 × | 1.50 × | amx | **won** |" in made
    both = page([Results(comparison("amx")), Results(comparison())])
    assert both.count(f"context 128 | {LLAMA} | at least 1.30 × | 1.50 × |") == 2


def test_the_table_the_file_and_the_picture_tell_the_same(tmp_path: Path) -> None:
    told, out = comparison(), io.StringIO()
    show(told, Console(file=out, width=140))
    text = out.getvalue()
    assert "a step after 128 tokens" in text
    assert "60.0 " in text
    assert "1.50" in text
    assert "openvino-int4" in text
    assert "no wheel | for this machine" in text
    write(told, tmp_path / "told.json")
    assert read([tmp_path / "told.json"]) == [Results(json.loads(json.dumps(told)))]
    chart(tmp_path / "told.png")(told)
    assert (tmp_path / "told.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_is_told_in_its_own_unit() -> None:
    told = {(one.told(1.234), one.unit) for one in (MEASURES[name] for name in UNITS)}
    assert told == {("415", "tok/s"), ("1,234.0", "ms"), ("1.23", "s")}


def test_all_but_the_largest_take_part_and_ours_is_first() -> None:
    given = arguments([])
    assert [one.name for one in given.engines] == [
        name for name in contenders() if name != "transformers-fp32"
    ]
    assert given.measures == list(MEASURES.values())
    given = arguments(["--engines", LLAMA, "--measures", "encode", "decode-128", "--rounds", "7"])
    assert [one.name for one in given.engines] == [OURS, LLAMA]
    assert [one.do for one in given.measures] == ["decode", "encode", "encode", "encode"]
    assert given.rounds == 7


def test_the_short_form_installs_nothing() -> None:
    given = arguments(["--short"])
    assert [one.name for one in given.engines] == [OURS, "transformers-bf16"]
    assert len(given.measures) == 3


@pytest.mark.parametrize("isa", HOLDS)
def test_everyone_is_held_to_a_smaller_machine_or_refused(isa: str) -> None:
    every = contenders(isa=isa)
    assert every[OURS].variables["QWEN3_VL_CPU"] == isa
    assert every["transformers-bf16"].variables["ONEDNN_MAX_CPU_ISA"].startswith("AVX")
    assert every[LLAMA].python != contenders()[LLAMA].python
    assert isa in every[OPENVINO].refused
    assert not contenders()[OPENVINO].refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--engines", "nobody"], "no engine nobody; there are qwen3_vl, "),
        (["--measures", "taste"], "no measure taste; there are prefill-128, "),
        (["--rounds", "-1"], "must be at least 1"),
        (["--threads", "0"], "must be at least 1"),
        (["--png", "told.svg"], "must end in .png"),
        (["--isa", "sse"], "invalid choice"),
    ],
)
def test_wrong_arguments_say_what_is_right(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        arguments(words)
    assert said in capsys.readouterr().err
