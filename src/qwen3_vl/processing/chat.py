"""The chat template of a checkpoint: finds it, and fills it with messages to make the prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from qwen3_vl.errors import ChatError, CheckpointError
from qwen3_vl.processing.messages import (
    Conversation,
    Media,
    collect_media,
    plain_messages,
    plain_value,
)
from qwen3_vl.processing.settings import read_json
from qwen3_vl.processing.tokenizer import check_text

__all__ = ["ChatTemplate", "Conversation", "Media", "collect_media", "find_template"]


class ChatTemplate:
    """A checkpoint's chat template, run in a sandbox: it is code that somebody else wrote."""

    def __init__(self, source: str):
        self.source = source
        environment = _environment()
        try:
            self._template = environment.from_string(source)
            self._variables = jinja2.meta.find_undeclared_variables(environment.parse(source))
        except jinja2.TemplateSyntaxError as problem:
            raise CheckpointError(
                f"the chat template is not valid: line {problem.lineno}: {problem.message}"
            ) from problem

    def __reduce__(self) -> tuple[type[ChatTemplate], tuple[str]]:
        """Copies and pickles compile the source anew: compiled templates cannot be copied."""
        return type(self), (self.source,)

    def render(
        self,
        messages: Conversation,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        add_vision_id: bool = False,
        variables: Mapping[str, Any] | None = None,
        special_tokens: Mapping[str, str] | None = None,
    ) -> str:
        """The prompt of one conversation. `variables` are further variables of the template."""
        if tools is not None and not isinstance(tools, (list, tuple)):
            raise ChatError(f"tools must be a list of JSON schemas, not a {type(tools).__name__}")
        given = {
            "tools": None if tools is None else [_tool(t, n) for n, t in enumerate(tools)],
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            "add_vision_id": add_vision_id,
        }
        self._check_used(given, variables or {})
        extra = plain_value(dict(variables or {}), "template_variables")
        context = dict(special_tokens or {}) | given | extra
        try:
            prompt = self._template.render(context, messages=plain_messages(messages))
        except jinja2.TemplateError as problem:
            raise ChatError(f"the chat template refuses these messages: {problem}") from problem
        except ChatError:
            raise
        except Exception as problem:  # a template is foreign code: it can fail in any way
            raise ChatError(f"the chat template failed on these messages: {problem}") from problem
        return check_text(prompt)

    def _check_used(self, given: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
        """Refuse what the template would silently drop."""
        for name in variables:
            if name == "messages" or (name in given and name != "documents"):
                raise ChatError(f"template variable {name!r} has its own argument; use that")
        if given["add_generation_prompt"] and "add_generation_prompt" not in self._variables:
            raise CheckpointError(
                "this checkpoint's chat template does not use 'add_generation_prompt', so it "
                "cannot ask for an answer; replace it by chat_template.jinja of a Qwen3-VL model"
            )
        wanted = [name for name, value in given.items() if value] + list(variables)
        for name in wanted:
            if name not in self._variables:
                raise ChatError(f"this checkpoint's chat template does not use {name!r}; omit it")


def find_template(folder: str | Path) -> str | None:
    """The chat template in a checkpoint folder, or None.

    First found wins: processor_config.json, chat_template.json, chat_template.jinja,
    preprocessor_config.json, tokenizer_config.json.
    """
    folder = Path(folder)
    readers = (
        lambda: _template_field(folder / "processor_config.json"),
        lambda: _template_field(folder / "chat_template.json"),
        lambda: _template_file(folder / "chat_template.jinja"),
        lambda: _template_field(folder / "preprocessor_config.json"),
        lambda: _template_field(folder / "tokenizer_config.json"),
    )
    return next((found for read in readers if (found := read()) is not None), None)


def _tool(tool: Any, n: int) -> Any:
    if not isinstance(tool, Mapping):
        raise ChatError(
            f"tools[{n}] must be a JSON schema as a dict, not a {type(tool).__name__}: "
            '{"type": "function", "function": {"name": ..., "parameters": ...}}'
        )
    return plain_value(tool, f"tools[{n}]")


def _template_file(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as problem:
        raise CheckpointError(f"cannot read {path}: {problem}") from problem


def _template_field(path: Path) -> str | None:
    found = (read_json(path) or {}).get("chat_template")
    if isinstance(found, list):  # named templates: [{"name": ..., "template": ...}]
        found = {entry.get("name"): entry.get("template") for entry in found}
    if isinstance(found, dict):
        if not isinstance(found.get("default"), str):
            raise CheckpointError(f"{path}: none of the chat templates is named 'default'")
        return found["default"]
    if found is not None and not isinstance(found, str):
        raise CheckpointError(f"{path}: chat_template must be text")
    return found


class _GenerationTag(jinja2.ext.Extension):
    """Reads `{% generation %}`, a training mark in some templates, and renders what is inside."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike Jinja's own filter: no HTML escapes, and letters stay as they are."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
