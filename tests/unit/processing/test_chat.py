"""The chat template: where it is found, what it renders, what it refuses."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from qwen3_vl.errors import ChatError, CheckpointError, InputError
from qwen3_vl.processing.chat import ChatTemplate, find_template
from tests.support.tiny_processor import template_path

SHIPPED = ChatTemplate(template_path().read_text(encoding="utf-8"))
IMAGE = {"type": "image", "image": "x"}
VIDEO = {"type": "video", "video": "x"}
PAD = "<|vision_start|><|image_pad|><|vision_end|>"
FILM = "<|vision_start|><|video_pad|><|vision_end|>"


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


def _render(source: str, **options: object) -> str:
    return ChatTemplate(source).render([_user("hi")], **options)  # type: ignore[arg-type]


def test_a_plain_conversation_has_no_default_system_prompt() -> None:
    messages = [_user(" hi\n"), {"role": "assistant", "content": [_text("yo"), _text("!")]}]
    assert SHIPPED.render(messages) == (
        "<|im_start|>user\n hi\n<|im_end|>\n<|im_start|>assistant\nyo!<|im_end|>\n"
    )
    assert SHIPPED.render([_user("hi")], add_generation_prompt=True).endswith(
        "<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_system_message() -> None:
    for content in ("be brief", [_text("be "), _text("brief")]):
        messages = [{"role": "system", "content": content}, _user("hi")]
        assert SHIPPED.render(messages).startswith("<|im_start|>system\nbe brief<|im_end|>\n")


def test_pictures_and_videos_are_numbered_across_messages() -> None:
    messages = [
        _user([IMAGE, _text(" and "), VIDEO]),
        {"role": "assistant", "content": "ok"},
        {"role": "tool", "content": [IMAGE, _text("from a tool")]},
        _user([VIDEO, IMAGE]),
    ]
    assert SHIPPED.render(messages, add_vision_id=True) == (
        f"<|im_start|>user\nPicture 1: {PAD} and Video 1: {FILM}<|im_end|>\n"
        "<|im_start|>assistant\nok<|im_end|>\n"
        f"<|im_start|>user\n<tool_response>\nPicture 2: {PAD}from a tool\n</tool_response>"
        "<|im_end|>\n"
        f"<|im_start|>user\nVideo 2: {FILM}Picture 3: {PAD}<|im_end|>\n"
    )
    assert f"{PAD} and {FILM}<|im_end|>" in SHIPPED.render(messages)


def test_tools_stand_in_the_system_block() -> None:
    tools = [{"type": "function", "function": {"name": "näme", "description": "<&'>"}}]
    prompt = SHIPPED.render([{"role": "system", "content": "S"}, _user("hi")], tools=tools)
    assert prompt.startswith("<|im_start|>system\nS\n\n# Tools\n\nThese functions")
    line = '{"type": "function", "function": {"name": "näme", "description": "<&\'>"}}'
    assert f"<tools>\n{line}\n</tools>\n\nA call" in prompt
    assert "</tool_call><|im_end|>\n<|im_start|>user\nhi" in prompt
    assert SHIPPED.render([_user("hi")], tools=tools).startswith("<|im_start|>system\n# Tools\n\n")


def test_tool_calls_and_their_answers() -> None:
    calls = [
        {"type": "function", "function": {"name": "f", "arguments": {"x": "ü"}}},
        {"name": "g", "arguments": '{"y":1}'},
    ]
    messages = [
        {"role": "assistant", "content": "let me see", "tool_calls": calls},
        {"role": "tool", "content": "1", "tool_call_id": "a"},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": None, "tool_calls": calls[:1]},
    ]
    first = '<tool_call>\n{"name": "f", "arguments": {"x": "ü"}}\n</tool_call>'
    assert SHIPPED.render(messages) == (
        f"<|im_start|>assistant\nlet me see\n{first}\n"
        '<tool_call>\n{"name": "g", "arguments": {"y":1}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n"
        "</tool_response><|im_end|>\n"
        f"<|im_start|>assistant\n{first}<|im_end|>\n"
    )


def test_tools_must_be_schemas() -> None:
    with pytest.raises(ChatError, match=r"tools\[0\] must be a JSON schema"):
        SHIPPED.render([_user("hi")], tools=[print])  # type: ignore[list-item]


def test_tools_must_be_a_list() -> None:
    for tools, kind in ((5, "int"), ("search", "str"), ({"type": "function"}, "dict")):
        with pytest.raises(ChatError, match=f"tools must be a list of JSON schemas, not a {kind}"):
            SHIPPED.render([_user("hi")], tools=tools)  # type: ignore[arg-type]


def test_a_template_that_cannot_ask_for_an_answer_is_a_fault_of_the_checkpoint() -> None:
    with pytest.raises(CheckpointError, match="does not use 'add_generation_prompt', so it cannot"):
        _render("{{ messages }}", add_generation_prompt=True)
    assert _render("x") == "x"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_template_can_be_copied_and_pickled(copied: Callable[[object], ChatTemplate]) -> None:
    again = copied(SHIPPED)
    assert again.source == SHIPPED.source
    assert again.render([_user("hi")]) == SHIPPED.render([_user("hi")])


def test_variables_must_be_used_by_the_template() -> None:
    assert _render("{{ documents | length }}{{ mood }}", variables={"documents": [1], "mood": "m"})
    with pytest.raises(ChatError, match="does not use 'mood'"):
        _render("x", variables={"mood": "m"})
    with pytest.raises(ChatError, match="does not use 'tools'"):
        _render("x", tools=[{}])
    with pytest.raises(ChatError, match="does not use 'add_vision_id'"):
        _render("x", add_vision_id=True)
    for name in ("messages", "tools", "add_generation_prompt"):
        with pytest.raises(ChatError, match="has its own argument"):
            _render("{{ messages }}", variables={name: 1})
    with pytest.raises(ChatError, match=r"template_variables\.mood must hold JSON"):
        _render("{{ mood }}", variables={"mood": object()})


def test_special_tokens_are_variables() -> None:
    assert _render("{{ eos_token }}!", special_tokens={"eos_token": "E"}) == "E!"


def test_the_filters_and_functions_that_templates_expect() -> None:
    assert _render("{{ {'b': '<é>', 'a': 1} | tojson }}") == '{"b": "<é>", "a": 1}'
    assert _render("{{ [1] | tojson(indent=1) }}") == "[\n 1\n]"
    assert len(_render("{{ strftime_now('%Y-%m-%d') }}")) == 10
    loop = "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"
    assert _render(loop) == "01"
    assert _render("a{% generation %}b{{ messages[0].content }}{% endgeneration %}c") == "abhic"
    assert _render("  {% if true %}\nx\n  {% endif %}\ny") == "x\ny"


def test_errors_of_the_template_are_chat_errors() -> None:
    with pytest.raises(ChatError, match="refuses these messages: no way"):
        _render("{{ raise_exception('no way') }}")
    with pytest.raises(ChatError, match="failed on these messages"):
        _render("{{ 1 / 0 }}")
    with pytest.raises(CheckpointError, match="not valid: line 2"):
        ChatTemplate("x\n{% if %}")


@pytest.mark.parametrize(
    "attack",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__subclasses__() }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(attack: str) -> None:
    with pytest.raises(ChatError):
        _render("{{ (" + attack.strip("{} ") + ") | string }}")


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(InputError, match="surrogate"):
        SHIPPED.render([_user("\ud800")])


def test_where_a_template_is_found(tmp_path: Path) -> None:
    def write(name: str, template: object) -> None:
        (tmp_path / name).write_text(json.dumps({"chat_template": template}))

    assert find_template(tmp_path) is None
    write("tokenizer_config.json", [{"name": "default", "template": "5"}])
    assert find_template(tmp_path) == "5"
    write("preprocessor_config.json", "4")
    assert find_template(tmp_path) == "4"
    (tmp_path / "chat_template.jinja").write_text("3")
    assert find_template(tmp_path) == "3"
    write("chat_template.json", "2")
    assert find_template(tmp_path) == "2"
    write("processor_config.json", {"default": "1", "other": "x"})
    assert find_template(tmp_path) == "1"


@pytest.mark.parametrize(
    ("template", "text"), [({"other": "x"}, "named 'default'"), (5, "must be text")]
)
def test_a_template_field_of_another_kind(tmp_path: Path, template: object, text: str) -> None:
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    with pytest.raises(CheckpointError, match=text):
        find_template(tmp_path)
