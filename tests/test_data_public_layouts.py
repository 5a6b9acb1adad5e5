"""Public sets as they are published, column by column, → records: nothing swapped, doubled, cut, or learned that should not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.test_data_layouts import HELLO, HI, rows

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
