"""Public sets as they are published, column by column, → records: nothing swapped, doubled, cut, or learned that should not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from amenable.data.rejects import Rejects
from tests.test_data_layouts import HELLO, HI, TURN, rows, talk

# --- conversations


@pytest.mark.parametrize("mark", [{"weight": 0}, {"weight": 0.0}, {"train": False}], ids=str)
@pytest.mark.parametrize("more", [{}, {"tools": []}, {"system": "Be kind."}], ids=str)
def test_answers_of_weight_0_are_marked_as_not_to_be_learned(
    tmp_path: Path, mark: dict[str, Any], more: dict[str, Any]
) -> None:
    turns = [{**HI[0], "weight": 0}, {**HELLO, **mark}, {"role": "user", "content": "Why?"}, {**HELLO, "weight": 1}]
    (found,) = rows(tmp_path, "demonstrations", {"messages": turns, **more})
    assert found.meta == {"unlearned": [2 if "system" in more else 1]}
    (prompt,) = rows(tmp_path, "prompts", {"messages": turns[:2], **more})
    assert prompt.references == ()


GEMINI = [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Hel"}, {"text": "lo!"}]}]
KIND = "system: Be kind."


@pytest.mark.parametrize(
    "row, turns",
    [
        ({"conversations": ["Hi", "Hello!"], "source": "stackexchange"}, TURN),  # LIMA
        ({"conversation": [{"input": "Hi", "output": "Hello!"}], "source": "Airoboros"}, TURN),  # Capybara
        ({"conversation": [{**HI[0], "country": None}, {**HELLO, "toxic": False}], "redacted": False}, TURN),  # WildChat
        ({"contents": GEMINI, "systemInstruction": {"parts": [{"text": "Be kind."}]}}, [KIND, *TURN]),
        ({"contents": GEMINI, "system_instruction": "Be kind."}, [KIND, *TURN]),
        (
            {
                "schemaVersion": "bedrock-conversation-2024",
                "system": [{"text": "Be kind."}],
                "messages": [{"role": "user", "content": [{"text": "Hi"}]}, {**HELLO, "content": [{"text": "Hello!"}]}],
            },
            [KIND, *TURN],
        ),
        ({"messages": [{"role": "developer", "content": "Be kind."}, *HI, HELLO], "tools": []}, [KIND, *TURN]),
        ({"messages": [{"role": "System", "content": "Be kind."}, {"role": "User", "content": "Hi"}, {"role": "Chatbot", "content": "Hello!"}]}, [KIND, *TURN]),
    ],
)  # fmt: skip
def test_conversations_as_public_sets_and_vendors_write_them(
    tmp_path: Path, row: dict[str, Any], turns: list[str]
) -> None:
    (found,) = rows(tmp_path, "demonstrations", row)
    assert talk(found.messages) == turns


def test_a_conversation_of_texts_that_ends_with_a_question_is_a_prompt(tmp_path: Path) -> None:
    (found,) = rows(tmp_path, "prompts", {"conversations": ["Hi"], "source": "x"})
    assert talk(found.messages) == ["user: Hi"]


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "21 degrees"},
        {"from": "function_call", "value": "{}"},
    ],
    ids=str,
)
def test_tools_are_refused_by_name(tmp_path: Path, turn: dict[str, Any]) -> None:
    rejects = Rejects(limit_share=1.0)
    good = {"messages": [*HI, HELLO], "tools": []}
    assert len(rows(tmp_path, "demonstrations", good, {**good, "messages": [*HI, turn, HELLO]}, rejects=rejects)) == 1
    assert rejects.first[0].reason == "a message calls a tool or is what one gave, and only texts are learned here"
