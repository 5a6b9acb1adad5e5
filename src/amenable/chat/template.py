"""Jinja chat templates, rendered in a sandbox in the way that transformers' `apply_chat_template` renders them.

A template comes with a model folder and is thus foreign code: it runs in Jinja's immutable sandbox, which has no way to
files or to Python objects' insides. What templates in the wild expect to find is here: the filter `tojson`, the functions
`raise_exception` and `strftime_now`, `{% break %}`, and `{% generation %}` blocks (whose body is rendered as it stands).
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from amenable.errors import TemplateError


def render_template(
    source: str,
    messages: Sequence[Mapping[str, str]],
    *,
    generation_prompt: bool,
    specials: Mapping[str, str | None],
) -> str:
    """The text of a conversation; `specials` are bos_token, eos_token and their like.

    Raises TemplateError where the template has a mistake or refuses the conversation.

    >>> render_template("{{ bos_token }}{{ messages[0].content }}", [{"role": "user", "content": "Hi"}],
    ...                 generation_prompt=True, specials={"bos_token": "<s>"})
    '<s>Hi'
    """
    values: dict[str, Any] = {name: value for name, value in specials.items() if value is not None}
    try:
        return compile_template(source).render(
            messages=list(messages), tools=None, documents=None, add_generation_prompt=generation_prompt, **values
        )
    except (jinja2.TemplateError, TypeError, KeyError, IndexError, ValueError, RecursionError) as error:
        raise TemplateError(
            f"the chat template cannot render this conversation: {error}",
            where=f"roles {', '.join(m['role'] for m in messages) or '(none)'}",
            mend="see which roles and what order of turns the template accepts",
        ) from error


@lru_cache(maxsize=32)
def compile_template(source: str) -> jinja2.Template:
    """The compiled template. Raises TemplateError with the line of a syntax error."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(
            f"the chat template is not valid Jinja: {error.message}",
            where=f"line {error.lineno} of the template",
            mend="mend the template (chat_template.jinja or chat_template in tokenizer_config.json)",
        ) from error


class _GenerationBlock(Extension):
    """`{% generation %} ... {% endgeneration %}` marks the assistant's words; we find these by tokens instead."""

    tags = {"generation"}  # Jinja's own protocol

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes <, > and & for HTML, which a model should never see.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)
