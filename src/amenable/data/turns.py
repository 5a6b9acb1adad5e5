"""Conversations as other systems write them → Messages."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from amenable.data.rejects import BadRow
from amenable.types import Message, Messages, Role, assistant, user

_ROLES: dict[str, Role] = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
    "text": "text",
}
_TOOLS = {"tool", "tool_call", "tool_response", "function", "function_call", "observation", "ipython"}
_TURN = re.compile(r"\n\n(Human|Assistant):[ \t]?")


def text_of(value: Any, name: str) -> str:
    """The value if it is text; numbers are written out. Raises BadRow otherwise."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and math.isnan(value):
        raise BadRow(f"{name} must be a text, not NaN")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise BadRow(f"{name} must be a text, not {type(value).__name__}")


def missing(value: Any) -> bool:
    """Whether a field holds nothing: null, an empty text, or NaN as pandas writes it."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def messages_of(value: Any, name: str = "messages") -> Messages:
    """A prompt or conversation: one text, or a list of {role, content} or {from, value}. Raises BadRow.

    >>> [m.role for m in messages_of([{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}])]
    ['user', 'assistant']
    """
    if isinstance(value, str):
        return dialogue(value) if is_dialogue(value) else (user(value),)
    if not isinstance(value, list | tuple):
        raise BadRow(f"{name} must be a text or a list of messages, not {type(value).__name__}")
    return tuple(_message(item) for item in value)


def turns_of(conversation: Any) -> Any:
    """The turns of a conversation as messages_of takes them, where it is texts by turns, or pairs of input and output.

    >>> turns_of(["Hi", "Hello"]) == turns_of([{"input": "Hi", "output": "Hello"}])
    True
    """
    if not isinstance(conversation, list) or not conversation:
        return conversation
    if all(isinstance(turn, Mapping) and turn.keys() == {"input", "output"} for turn in conversation):
        conversation = [said for pair in conversation for said in (pair["input"], pair["output"])]
    elif not all(isinstance(said, str) for said in conversation):
        return conversation
    return [{"role": ("user", "assistant")[n % 2], "content": said} for n, said in enumerate(conversation)]


def _message(item: Any) -> Message:
    if not isinstance(item, Mapping):
        raise BadRow(f"a message must be an object, not {type(item).__name__}")
    role = item.get("role", item.get("from"))
    content = next((item[name] for name in ("content", "value", "parts") if name in item), None)
    if item.get("tool_calls") or item.get("function_call") or str(role).lower() in _TOOLS:
        raise BadRow("a message calls a tool or is what one gave, and only texts are learned here")
    if role is None or content is None:
        raise BadRow("a message has no role or no content")
    if str(role).lower() not in _ROLES:
        raise BadRow(f"a message has the unknown role {role!r}")
    return Message(role=_ROLES[str(role).lower()], content=content_text(content))


def unlearned(turns: Any, messages: Messages) -> dict[str, Any]:
    """Demonstration.meta: {"unlearned": places of the answers that are not to be learned}, those of weight 0 or train false.

    >>> said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "What?", "weight": 0}]
    >>> unlearned(said, messages_of(said))
    {'unlearned': [1]}
    """
    before = len(messages) - len(turns)  # a system text, if the row has it beside its turns
    places = [
        n
        for n, turn in enumerate(turns, before)
        if messages[n].role == "assistant" and (turn.get("weight") == 0 or turn.get("train") is False)
    ]
    return {"unlearned": places} if places else {}


def content_text(content: Any) -> str:
    """Message content as text: itself, or its text parts joined. Raises BadRow for images and sounds."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [p.get("text") if isinstance(p, Mapping) and p.get("type", "text") == "text" else p for p in content]
        texts = [p for p in parts if isinstance(p, str)]
        if len(texts) == len(parts):
            return "".join(texts)
    raise BadRow("a message's content is no text")


def is_dialogue(value: Any) -> bool:
    """Whether a text is a conversation in one, as Anthropic's HH has them, whatever space stands before it.

    >>> is_dialogue("Human: Hi\\r\\n\\r\\nAssistant:"), is_dialogue("Human: a film of 2019")
    (True, False)
    """
    if not isinstance(value, str) or not value.lstrip().startswith("Human:"):
        return False
    return "Assistant:" in value or value.startswith(("\n\n", "\r\n\r\n"))


def _led(text: str) -> str:
    """The text with line ends of one kind, and one empty line before its first turn."""
    return "\n\n" + text.replace("\r\n", "\n").lstrip()


def dialogue(text: str) -> Messages:
    r"""The turns of a text that marks them with "\n\nHuman:" and "\n\nAssistant:". Raises BadRow.

    A prompt may end with a mark for the assistant to go on from: that is no turn.

    >>> [(m.role, m.content) for m in dialogue("\n\nHuman: Hi\n\nAssistant: Hello")]
    [('user', 'Hi'), ('assistant', 'Hello')]
    """
    before, *rest = _TURN.split(_led(text))
    if before.strip() or not rest:
        raise BadRow("the dialogue does not start with a turn of Human or Assistant")
    if "Assistant" not in rest[::2] and "Assistant:" in text:
        raise BadRow("the dialogue has no empty line before a turn of Assistant")
    turns = [
        Message(role="user" if who == "Human" else "assistant", content=said.strip())
        for who, said in zip(rest[::2], rest[1::2], strict=True)
    ]
    return tuple(turns[:-1] if turns[-1] == assistant("") else turns)


def joined(messages: Iterable[Message]) -> Messages:
    """Messages of one role that follow each other, as one, with an empty line between them."""
    out: list[Message] = []
    for message in messages:
        if out and out[-1].role == message.role:
            out[-1] = message.replace(content=f"{out[-1].content}\n\n{message.content}")
        else:
            out.append(message)
    return tuple(out)
