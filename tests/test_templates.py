"""Templates as data: what is rendered, which errors are told, and wordings of one example kept apart in an epoch."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from amenable.data.loader import Loader
from amenable.data.rows import Row
from amenable.data.source import load
from amenable.data.templates import Task, checked, read_task, render, render_prompt, wordings
from amenable.errors import DataError
from amenable.types import Demonstration, Message, assistant, user

TASK = Task(
    cluster="rewriting",
    fields=("text", "change"),
    templates=("Make this {change}: {text}", "{text}\n\nRewrite it.", "Set {{x}}: {text}"),
)


def record(id: str = "r-1", **parts: str) -> Demonstration:
    return Demonstration(
        id=id,
        messages=(user("Own wording."), assistant("Done.")),
        task="rewriting",
        meta={"fields": parts},
        split="test",
    )


def test_a_template_is_filled_and_nothing_else_changes() -> None:
    shown = render(TASK, record(text="Go {away}!", change="kinder"), 0)
    assert [m.content for m in shown.messages] == ["Make this kinder: Go {away}!", "Done."]
    assert shown.id == "r-1/t1" and shown.split == "test" and shown.meta["example"] == "r-1"
    assert render(TASK, record(text="A"), 2).messages[0].content == "Set {x}: A"
    prompt = render_prompt(TASK, record(text="A"), 1)
    assert prompt.messages[0].content == "A\n\nRewrite it." and prompt.references == ("Done.",)
    system = Message(role="system", content="Be kind.")
    talk = record(text="A").replace(messages=(system, *record().messages))
    assert [m.role for m in render(TASK, talk, 1).messages] == ["system", "user", "assistant"]


def test_a_template_is_used_only_where_all_of_its_fields_are_there() -> None:
    assert TASK.usable({"text": "A"}) == (1, 2)
    with pytest.raises(DataError, match="no change"):
        render(TASK, record(text="A"), 0)
    assert {w.id for w in wordings(TASK, record(text="A"), 9)} == {"r-1/t2", "r-1/t3"}


def test_wordings_are_drawn_by_seed_and_record_none_twice() -> None:
    shown = [[w.id for w in wordings(TASK, record(f"r-{n}", text="A", change="B"), 2, seed=5)] for n in range(30)]
    assert all(len(set(ids)) == 2 for ids in shown)
    assert len({id.rpartition("/")[2] for ids in shown for id in ids}) == 3
    assert shown == [
        [w.id for w in wordings(TASK, record(f"r-{n}", text="A", change="B"), 2, seed=5)] for n in range(30)
    ]
    assert not list(wordings(TASK, Demonstration(id="n", messages=record().messages), 2))
    turns = record(text="A").replace(messages=record().messages * 2)
    assert not list(wordings(TASK, turns, 2))


@pytest.mark.parametrize(
    ("template", "message", "mend"),
    [
        ("Make {txt} nicer", "'txt', which the task lacks", "did you mean text"),
        ("Make {text nicer", "braces are not balanced", "{{ and }}"),
        ("Make text} nicer", "braces are not balanced", "{{ and }}"),
        ("Make it nicer", "names no field", "text, change"),
        (TASK.templates[0], "stands twice", "delete"),
    ],
)
def test_a_template_that_cannot_be_used_is_named(template: str, message: str, mend: str) -> None:
    with pytest.raises(DataError) as found:
        checked(TASK.replace(templates=(*TASK.templates, template)), where="t.toml")
    assert message in found.value.what and mend in (found.value.mend or "")
    assert found.value.where == "t.toml, template 4"


def test_a_task_file_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "opposites.toml"
    path.write_text('cluster = "opposites"\nfields = ["word"]\ntemplates = ["The opposite of {word}?"]\n')
    assert read_task(path).templates == ("The opposite of {word}?",)
    for text in (
        'cluster = "a"\nfields = [',
        'cluster = "a"\nfields = []\ntemplates = []\n',
        'cluster = "a"\nextra = 1\n',
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=r"opposites\.toml"):
            try:
                read_task(path)
            except DataError as error:
                raise DataError(str(error)) from error


def test_a_task_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file") as error:
        load(f"tasks:sets={tmp_path / 'missing.toml'}@rows.jsonl", "demonstrations")
    assert error.value.where == str(tmp_path / "missing.toml")


def test_a_missing_number_among_rows_is_no_answer(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "sums.toml").write_text('cluster = "sums"\nfields = ["sum"]\ntemplates = ["What is {sum}?"]\n')
    table = arrow.table({"sum": ["2 + 2", "2 + ?"], "answer": [4.0, float("nan")]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="the row has no answer") as error:
        load(f"tasks:sets={tmp_path / 'sums.toml'}@{tmp_path / 'rows.parquet'}", "demonstrations")
    assert error.value.where == f"{tmp_path / 'rows.parquet'}:2"


def units(examples: int, each: int) -> list[list[Row]]:
    """`each` wordings of every third example, the others once, in their order."""
    found = []
    for n in range(examples):
        for k in range(each if n % 3 == 0 else 1):
            meta = {"example": f"e{n}"} if k else {}
            shown = Demonstration(id=f"e{n}/t{k}" if k else f"e{n}", messages=(), meta=meta)
            found.append([Row(np.array([len(found)]), np.array([False]), record=shown)])
    return found


def example_of(unit: list[Row]) -> str:
    return str(unit[0].record.id.partition("/")[0])


@pytest.mark.parametrize("seed", range(4))
def test_no_step_repeats_an_example_and_wordings_stand_far_apart(seed: int) -> None:
    held = units(60, 4)  # 120 units
    loader = Loader(held, units_per_step=16, seed=seed)
    steps = [[example_of(u) for u in loader.next_units()] for _ in range(45)]
    assert all(len(set(step)) == len(step) for step in steps)
    plain = Loader([[Row(u[0].tokens, u[0].trained)] for u in held], units_per_step=120, seed=seed)
    epoch = [example_of(u) for u in Loader(held, units_per_step=120, seed=seed).next_units()]
    unspread = [example_of(held[int(u[0].tokens[0])]) for u in plain.next_units()]

    def nearest(order: list[str]) -> int:
        at = [[i for i, name in enumerate(order) if name == f"e{n}"] for n in range(0, 60, 3)]
        return min(b - a for places in at for a, b in pairwise(places))

    assert nearest(epoch) >= 20 > nearest(unspread)  # 120 / 4 = 30 apart, but for the crowd between


def test_epochs_hold_every_wording_once_and_differ() -> None:
    loader = Loader(units(12, 3), units_per_step=5, seed=0)
    seen = [u[0].record.id for _ in range(8) for u in loader.next_units()]
    count = len(loader.units)
    assert sorted(seen[:count]) == sorted(u[0].record.id for u in loader.units) and count == 20
    assert sorted(seen[:20]) == sorted(seen[20:40]) and seen[:20] != seen[20:40]
