"""Public layouts → records: what each gives, what it refuses, and how it is recognised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amenable.data.derive import derive
from amenable.data.layouts import LAYOUTS, recognise
from amenable.data.read import read
from amenable.data.rejects import Rejects
from amenable.errors import DataError
from amenable.types import AnyRecord, Comparison, Demonstration, Label, Message, Ranking, assistant, user


def rows(
    tmp_path: Path, kind: str, *given: Any, layout: str | None = None, rejects: Rejects | None = None
) -> list[Any]:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(list(given)))
    return list(read(path, kind, rejects=rejects or Rejects(), layout=layout))


def talk(messages: tuple[Message, ...]) -> list[str]:
    return [f"{m.role}: {m.content}" for m in messages]


HI = [{"role": "user", "content": "Hi"}]
HELLO = {"role": "assistant", "content": "Hello!"}
TURN = ["user: Hi", "assistant: Hello!"]


@pytest.mark.parametrize(
    "name, row",
    [
        ("own", {"id": "1", "messages": [*HI, HELLO], "author": "person"}),
        ("messages", {"messages": [*HI, HELLO], "uuid": 7}),
        (
            "messages",
            {"messages": [*HI, {"role": "assistant", "content": [{"type": "text", "text": "Hello!"}]}], "x": 1},
        ),
        ("sharegpt", {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]}),
        ("alpaca", {"instruction": "Hi", "input": "", "output": "Hello!"}),
        ("dolly", {"instruction": "Hi", "context": "", "response": "Hello!"}),
        ("prompt-completion", {"prompt": "Hi", "completion": "Hello!"}),
        ("prompt-completion", {"prompt": HI, "completion": [HELLO]}),
        ("prompt-completion", {"question": "Hi", "answer": "Hello!"}),
    ],
)
def test_demonstrations_of_every_layout_say_the_same(tmp_path: Path, name: str, row: dict[str, Any]) -> None:
    (found,) = rows(tmp_path, "demonstrations", row)
    assert talk(found.messages) == TURN
    assert recognise([row], "demonstrations", forced=None, where="").name == name
    (prompt,) = rows(tmp_path, "prompts", row)
    assert talk(prompt.messages) == TURN[:1] and prompt.references == ("Hello!",)


def test_an_instructions_input_stands_under_it(tmp_path: Path) -> None:
    (found,) = rows(tmp_path, "demonstrations", {"instruction": "Add.", "input": "1 2", "output": 3})
    assert talk(found.messages) == ["user: Add.\n\n1 2", "assistant: 3"]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"},
        {"prompt": HI, "chosen": [HELLO], "rejected": [{"role": "assistant", "content": "What?"}]},
        {"chosen": [*HI, HELLO], "rejected": [*HI, {"role": "assistant", "content": "What?"}], "score_chosen": 7},
        {"id": "", "prompt": HI, "chosen": "Hello!", "rejected": "What?"},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi\n\nAssistant: What?"},
        {
            "chosen": "\r\n\r\nHuman: Hi\r\n\r\nAssistant: Hello!",
            "rejected": " Human: Hi\r\n\r\nAssistant: What?\r\n",
        },
        {
            "prompt": "\n\nHuman: Hi\n\nAssistant:",
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello!",
            "rejected": "\n\nHuman: Hi\n\nAssistant: What?",
        },
        {"prompt": "Hi", "chosen": "Human: Hi\n\nAssistant: Hello!", "rejected": "Human: Hi\n\nAssistant: What?"},
        {"prompt": "Human: Hi\n\nAssistant:", "chosen": "Hello!", "rejected": "What?"},
        {"prompt": "\r\n\r\nHuman: Hi\r\n\r\nAssistant:", "chosen": "Hello!", "rejected": "What?"},
        {"prompt": "Hi", "responses": {"a": "What?", "b": "Hello!"}, "ranking": ["b", "a"]},
        {"prompt": "Hi", "responses": ["What?", "Hello!"], "ranks": [2, 1]},
    ],
)
def test_comparisons_of_every_layout_say_the_same(tmp_path: Path, row: dict[str, Any]) -> None:
    (found,) = rows(tmp_path, "comparisons", row)
    assert (talk(found.prompt), found.chosen, found.rejected) == (["user: Hi"], "Hello!", "What?")


@pytest.mark.parametrize(
    "kind, row, turns",
    [
        (
            "demonstrations",
            {"instruction": "When?", "context": "In 1900.", "response": "1900"},
            ["user: When?\n\nIn 1900."],
        ),
        ("demonstrations", {"question": "When?", "context": "In 1900.", "answer": "1900"}, ["user: When?\n\nIn 1900."]),
        (
            "demonstrations",
            {"prompt": "It was made in 1900. When?", "context": "It was made in 1900.", "output": "1900"},
            ["user: It was made in 1900. When?"],
        ),
        (
            "demonstrations",
            {"prompt": "When?\nIn 1900.", "context": "In 1900.", "output": "a"},
            ["user: When?\nIn 1900."],
        ),
        (
            "demonstrations",
            {"instruction": "Multiply by 15.", "input": "5", "output": "75"},
            ["user: Multiply by 15.\n\n5"],
        ),
        ("demonstrations", {"instruction": "Double it.", "input": 5, "output": 10}, ["user: Double it.\n\n5"]),
        (
            "demonstrations",
            {"question": "Who?", "context": ["Bob came.", "", "He left."], "answer": "Bob"},
            ["user: Who?\n\nBob came.\n\nHe left."],
        ),
        ("demonstrations", {"instruction": "Go.", "input": None, "history": "", "output": "a"}, ["user: Go."]),
        (
            "prompts",
            {"system": ["Be kind.", "Be short."], "prompt": "Hi"},
            ["system: Be kind.\n\nBe short.", "user: Hi"],
        ),
        ("demonstrations", {"prompt": "\n\nHuman: Hi\n\nAssistant:", "completion": " a"}, ["user: Hi"]),
        ("comparisons", {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": " a", "rejected": " b"}, ["user: Hi"]),
        ("demonstrations", {"instruction": "", "input": "2 + 2", "output": "4"}, ["user: 2 + 2"]),
        (
            "demonstrations",
            {"instruction": "And?", "history": [["Hi", "Hello"]], "system": "Be kind.", "output": "Yes."},
            ["system: Be kind.", "user: Hi", "assistant: Hello", "user: And?"],
        ),
        ("prompts", {"system_prompt": "Be kind.", "prompt": "Hi"}, ["system: Be kind.", "user: Hi"]),
        (
            "comparisons",
            {"system": "Be kind.", "question": "Hi", "chosen": "a", "rejected": "b"},
            ["system: Be kind.", "user: Hi"],
        ),
        (
            "comparisons",
            {"instruction": "Sum.", "input": "1, 2", "chosen": "3", "rejected": "b"},
            ["user: Sum.\n\n1, 2"],
        ),
        ("comparisons", {"input": "Hi", "chosen": "a", "rejected": "b"}, ["user: Hi"]),
        (
            "comparisons",
            {"system": "Be kind.", "chosen": [*HI, HELLO], "rejected": [*HI, {"role": "assistant", "content": "b"}]},
            ["system: Be kind.", "user: Hi"],
        ),
        ("rankings", {"question": "Hi", "responses": ["a", "b"], "ranks": [1, 2]}, ["user: Hi"]),
        ("ratings", {"prompt": HI, "completion": [HELLO], "rating": 3}, ["user: Hi"]),
        ("ratings", {"prompt": None, "response": "a", "score": 3}, []),
        (
            "labels",
            {"system": "Be kind.", "prompt": "Hi", "completion": "a", "label": 1},
            ["system: Be kind.", "user: Hi"],
        ),
    ],
)
def test_all_that_belongs_to_a_prompt_is_kept(tmp_path: Path, kind: str, row: dict[str, Any], turns: list[str]) -> None:
    (record,) = rows(tmp_path, kind, row)
    asked = {"demonstrations": lambda r: r.messages[:-1], "prompts": lambda r: r.messages}
    assert talk(asked.get(kind, lambda r: r.prompt)(record)) == turns


@pytest.mark.parametrize(
    "more", [{"context": {"title": "x"}}, {"input": True}, {"system": [["x"]]}, {"history": {"a": "b"}}], ids=str
)
def test_what_cannot_stand_beside_a_prompt_is_a_reject_and_not_left_out(tmp_path: Path, more: dict[str, Any]) -> None:
    rejects = Rejects(limit_share=0.5)
    row = {"instruction": "Go.", "output": "a"}
    assert len(rows(tmp_path, "demonstrations", row, {**row, **more}, rejects=rejects)) == 1
    assert f"{next(iter(more))} must be a" in rejects.first[0].reason


def test_a_completion_of_several_messages_is_kept_whole_and_is_no_judged_response(tmp_path: Path) -> None:
    several = [HELLO, {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    (found,) = rows(tmp_path, "demonstrations", {"prompt": HI, "completion": several})
    assert talk(found.messages) == [*TURN, "user: Why?", "assistant: So."]
    rejects = Rejects(limit_share=1.0)
    rows(tmp_path, "demonstrations", {"prompt": "a", "completion": "b"}, {"prompt": HI, "completion": several[:2]}, rejects=rejects)  # fmt: skip
    assert rejects.first[0].reason == "completion does not end with the assistant"
    good = {"prompt": "Hi", "response": [HELLO], "label": 1}
    for bad in (several, [], HI):
        rejects = Rejects(limit_share=1.0)
        (label,) = rows(tmp_path, "labels", good, {**good, "response": bad}, rejects=rejects)
        assert label.response == "Hello!" and "one message of the assistant" in rejects.first[0].reason


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "completion": "Hello!"},
        {"messages": [*HI, HELLO]},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]},
    ],
)
def test_a_split_is_known_by_its_usual_names(tmp_path: Path, row: dict[str, Any]) -> None:
    sides = {
        "train": ("train", "Training", "train_prefs"),
        "validation": ("val", "eval", "DEV", "validation_matched"),
        "test": ("Test", "testing", "test-sft"),
    }
    for side, names in sides.items():
        for name in names:
            (found,) = rows(tmp_path, "demonstrations", {**row, "split": name})
            assert found.split == side


def test_a_split_that_names_no_side_is_told_of(tmp_path: Path) -> None:
    row, rejects = {"prompt": "Hi", "completion": "Hello!"}, Rejects()
    found = rows(
        tmp_path, "demonstrations", {**row, "split": "part 7"}, {**row, "prompt": "a", "split": "b"}, rejects=rejects
    )
    assert [r.split for r in found] == [None, None]
    assert rejects.summary().endswith("columns not used: split ('part 7' names no side)")
    with pytest.raises(DataError, match="Invalid enum value 'part 7'"):
        rows(tmp_path, "demonstrations", {"messages": [*HI, HELLO], "split": "part 7"})


def test_our_own_records_take_numbers_for_texts_and_labels_as_people_write_them(tmp_path: Path) -> None:
    (shown,) = rows(
        tmp_path, "demonstrations", {"id": 7, "messages": [*HI, HELLO], "author": 3, "source": 1, "task": 2}
    )
    assert (shown.id, shown.author, shown.source, shown.task) == ("7", "3", "1", "2")
    (pair,) = rows(tmp_path, "comparisons", {"id": 0, "prompt": HI, "chosen": "a", "rejected": "b", "labeler": 12})
    assert (pair.id, pair.labeler) == ("0", "12")
    judged = {"prompt": HI, "response": "a"}
    for label in (1, 1.0, "1", "yes", "Good", True):
        (found,) = rows(tmp_path, "labels", {**judged, "label": label})
        assert (found.label, found.name) == (True, "good")
    assert [rows(tmp_path, "labels", {**judged, "label": label})[0].label for label in (0, "-1", "no")] == [False] * 3


def test_not_labelled_is_not_no(tmp_path: Path) -> None:
    rejects = Rejects(limit_share=1.0)
    texts = [{"text": f"film {label}", "label": label} for label in (1, 0, -1, "-1", -1.0)]
    assert [r.label for r in rows(tmp_path, "labels", *texts, rejects=rejects)] == [True, False]
    assert rejects.rejected == 3 and "write 0 for no" in rejects.first[0].reason
    (answer,) = rows(tmp_path, "labels", {"prompt": "Hi", "completion": "Go away.", "label": -1})
    assert answer.label is False


PAIR = {"prompt": "Q", "response-1": "A", "response-2": "B"}


@pytest.mark.parametrize("names", [("rating-1", "rating-2"), ("rating_1", "rating_2"), ("rating1", "rating2")])
def test_argillas_ratings_are_of_the_response_of_their_number(tmp_path: Path, names: tuple[str, str]) -> None:
    row = {"id": "1", "fields": PAIR, "responses": {name: [{"value": n}] for n, name in enumerate(names, 4)}}
    found = rows(tmp_path, "ratings", row)
    assert [(r.response, r.score, r.question) for r in found] == [("A", 4.0, "rating"), ("B", 5.0, "rating")]


def test_label_studios_results_are_of_the_response_that_they_name(tmp_path: Path) -> None:
    def task(*results: tuple[str, str, str]) -> dict[str, Any]:
        made = [
            {"from_name": asked, "to_name": of, "type": "choices", "value": {"choices": [said]}} for asked, of, said in results
        ]  # fmt: skip
        return {"id": 1, "data": PAIR, "annotations": [{"result": made}]}

    found = rows(tmp_path, "labels", task(("right", "response-2", "yes"), ("right", "response-1", "no")))
    assert [(r.response, r.label, r.name) for r in found] == [("B", True, "right"), ("A", False, "right")]
    found = rows(tmp_path, "labels", task(("right2", "text", "yes"), ("right1", "text", "no")))
    assert [(r.response, r.label, r.name) for r in found] == [("B", True, "right"), ("A", False, "right")]
    for results in ([("right", "text", "yes")], [("right-3", "text", "yes")]):
        with pytest.raises(DataError, match="nothing says which of 2 responses"):
            rows(tmp_path, "labels", task(*results))


def test_columns_that_nothing_is_made_of_are_named(tmp_path: Path) -> None:
    rejects = Rejects()
    rows(
        tmp_path,
        "comparisons",
        {"prompt": "Hi", "chosen": "a", "rejected": "b", "margin": 1, "judge": "x"},
        rejects=rejects,
    )
    assert rejects.unused == ["judge"]
    assert rejects.summary().endswith("columns not used: judge")


def test_rows_that_hold_nothing_of_the_kind_are_counted(tmp_path: Path) -> None:
    tie = {"prompt": "Hi", "responses": ["a", "b"], "ranks": [1, 1]}
    rejects = Rejects()
    assert len(rows(tmp_path, "comparisons", tie, {**tie, "ranks": [2, 1]}, rejects=rejects)) == 1
    assert "1 rows hold no comparisons" in rejects.summary()
    with pytest.raises(DataError, match="1 rows hold no comparisons"):
        rows(tmp_path, "comparisons", tie)


def test_messages_as_chat_interfaces_write_them(tmp_path: Path) -> None:
    parts = [{"role": "human", "content": [{"type": "text", "text": "Hi"}], "name": "ann"}, HELLO]
    (record,) = rows(tmp_path, "demonstrations", {"messages": parts})
    assert talk(record.messages) == TURN


def test_dialogues_that_differ_before_the_last_turn_are_rejected(tmp_path: Path) -> None:
    long = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: {}\n\nAssistant: {}"
    rejects = Rejects(limit_share=1.0)
    good, bad = (
        (long.format("Tea: hot?", "Here."), long.format("Tea: hot?", "No.")),
        (long.format("Tea", "a"), long.format("Milk", "b")),
    )
    found = rows(tmp_path, "comparisons", *({"chosen": c, "rejected": r} for c, r in (good, bad)), rejects=rejects)
    assert [talk(c.prompt)[-1] for c in found] == ["user: Tea: hot?"]
    assert rejects.first[0].reason == "the two dialogues differ before the last turn"


OTHER = {"prompt": "Ho", "chosen": "Human: Hi\n\nAssistant: a", "rejected": "Human: Hi\n\nAssistant: b"}
RUN_ON = {"chosen": "Human: Hi\nAssistant: a", "rejected": "Human: Hi\nAssistant: b"}


@pytest.mark.parametrize(
    "row, reason",
    [
        (OTHER, "chosen is a dialogue that does not repeat the prompt"),
        (RUN_ON, "the dialogue has no empty line before a turn of Assistant"),
        (
            {"prompt": "Human: Hi\nAssistant:", "chosen": "a", "rejected": "b"},
            "the dialogue has no empty line before a turn of Assistant",
        ),
    ],
)
def test_dialogues_that_cannot_be_taken_apart_are_rejected(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    rejects = Rejects(limit_share=1.0)
    with pytest.raises(DataError, match="no row"):
        rows(tmp_path, "comparisons", row, rejects=rejects)
    assert [r.reason for r in rejects.first] == [reason]


def test_a_prompt_or_one_response_may_speak_of_humans(tmp_path: Path) -> None:
    written = "Human: Hi\n\nAssistant: Hello!"
    row = {"prompt": "Human: a film. Who made it?", "chosen": written, "rejected": "What?"}
    (found,) = rows(tmp_path, "comparisons", row)
    assert (talk(found.prompt), found.chosen) == (["user: Human: a film. Who made it?"], written)


def test_rankings_keep_ties_and_give_all_pairs(tmp_path: Path) -> None:
    row = {"prompt": "Hi", "responses": ["w", "x", "y", "z"], "ranking": [2, [0, 3], 1]}
    (found,) = rows(tmp_path, "rankings", row)
    assert found.tiers == (1, 2, 0, 1)
    pairs = rows(tmp_path, "comparisons", row)
    assert {(p.chosen, p.rejected) for p in pairs} == {("y", "w"), ("y", "z"), ("y", "x"), ("w", "x"), ("z", "x")}


def test_labels_and_what_they_are_about(tmp_path: Path) -> None:
    found = rows(tmp_path, "labels", {"text": "fine film", "label": "pos"}, {"text": "dull", "label": "neg"})
    assert [(r.prompt, r.response, r.label, r.name) for r in found] == [
        ((), "fine film", True, "positive"),
        ((), "dull", False, "positive"),
    ]
    (kto,) = rows(tmp_path, "labels", {"prompt": "Hi", "completion": "Hello!", "label": True})
    assert (talk(kto.prompt), kto.response, kto.label, kto.name) == (["user: Hi"], "Hello!", True, "good")
    pair = rows(tmp_path, "labels", {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"})
    assert [(r.response, r.label) for r in pair] == [("Hello!", True), ("What?", False)]


def node(text: str, role: str, rank: int | None = None, *replies: Any, **more: Any) -> dict[str, Any]:
    return {"message_id": text, "text": text, "role": role, "rank": rank, "replies": list(replies), **more}


TREE = {
    "message_tree_id": "t",
    "prompt": node(
        "Q", "prompter", None,
        node("bad", "assistant", 2),
        node("best", "assistant", 0, node("Why?", "prompter", 0, node("because", "assistant", 1), node("since", "assistant", 0)), node("And?", "prompter", 1)),
        node("gone", "assistant", 1, deleted=True),
    ),
}  # fmt: skip


def test_trees_give_the_best_path_the_rankings_and_the_prompts(tmp_path: Path) -> None:
    (best,) = rows(tmp_path, "demonstrations", TREE)
    assert talk(best.messages) == ["user: Q", "assistant: best", "user: Why?", "assistant: since"]
    first, second = rows(tmp_path, "rankings", TREE)
    assert (first.responses, first.tiers) == (("bad", "best"), (1, 0))
    assert (talk(second.prompt)[-1], second.responses, second.tiers) == ("user: Why?", ("because", "since"), (1, 0))
    assert [p.messages[-1].content for p in rows(tmp_path, "prompts", TREE)] == ["Q", "Why?", "And?"]
    assert {(c.chosen, c.rejected) for c in rows(tmp_path, "comparisons", TREE)} == {
        ("best", "bad"),
        ("since", "because"),
    }


def test_a_tree_100000_deep_is_walked(tmp_path: Path) -> None:
    leaf = node("end", "assistant", 0)
    for n in range(100_000):
        leaf = node("x", "assistant" if n % 2 else "prompter", 0, leaf)
    layout = next(la for la in LAYOUTS if la.name == "oasst")
    (found,) = layout.convert({"message_tree_id": "t", "prompt": leaf}, "demonstrations")
    assert isinstance(found, Demonstration) and len(found.messages) == 100_001


def chat_node(parent: str | None, children: list[str], role: str, *parts: Any, **more: Any) -> dict[str, Any]:
    message = {
        "author": {"role": role},
        "content": {"content_type": "text", "parts": list(parts)},
        "weight": 1.0,
        **more,
    }
    return {"parent": parent, "children": children, "message": message}


CHATGPT = {
    "title": "A chat",
    "conversation_id": "c1",
    "current_node": "a2",
    "mapping": {
        "root": {"parent": None, "children": ["s"], "message": None},
        "s": chat_node("root", ["u1"], "system", ""),
        "u1": chat_node("s", ["a1", "a2"], "user", "Draw a cat", {"asset_pointer": "x"}),
        "a1": chat_node("u1", [], "assistant", "No."),
        "a2": chat_node("u1", ["u2"], "assistant", "Here it is.", metadata={"model_slug": "some-model"}),
        "u2": chat_node("a2", [], "user", "Thanks"),
    },
}


def test_a_chatgpt_export_gives_its_open_branch(tmp_path: Path) -> None:
    (found,) = rows(tmp_path, "demonstrations", CHATGPT)
    assert talk(found.messages) == ["user: Draw a cat", "assistant: Here it is."]
    assert (found.id, found.author) == ("c1", "model:some-model")
    (last_child,) = rows(tmp_path, "demonstrations", {**CHATGPT, "current_node": None})
    assert talk(last_child.messages) == talk(found.messages)
    circle = {
        "mapping": {"a": chat_node("b", [], "user", "x"), "b": chat_node("a", [], "user", "y")},
        "current_node": "a",
    }
    rejects = Rejects(limit_share=1.0)
    rows(tmp_path, "demonstrations", CHATGPT, circle, rejects=rejects)
    assert rejects.first[0].reason == "the messages run in a circle"


def web(role: str, parent: str | None, content: str, rating: int | None = None) -> dict[str, Any]:
    return {
        "role": role,
        "parentId": parent,
        "content": content,
        **({"annotation": {"rating": rating}} if rating else {}),
    }


WEB = {
    "id": "w",
    "chat": {
        "history": {
            "currentId": "a4",
            "messages": {
                "u1": web("user", None, "Joke?"),
                "a1": web("assistant", "u1", "No.", -1),
                "a2": web("assistant", "u1", "Knock knock.", 1),
                "u2": web("user", "a2", "More"),
                "a3": web("assistant", "u2", "Meh"),
                "u3": web("user", "a3", "More!"),
                "a4": web("assistant", "u3", "Stop it", -1),
            },
        }
    },
}


def test_an_open_webui_export_gives_chats_thumbs_and_pairs(tmp_path: Path) -> None:
    (chat,) = rows(tmp_path, "demonstrations", WEB)
    assert talk(chat.messages) == ["user: Joke?", "assistant: Knock knock.", "user: More", "assistant: Meh"]
    labels = rows(tmp_path, "labels", WEB)
    assert [(r.response, r.label) for r in labels] == [("No.", False), ("Knock knock.", True), ("Stop it", False)]
    assert talk(labels[2].prompt)[-2:] == ["assistant: Meh", "user: More!"]
    (pair,) = rows(tmp_path, "comparisons", WEB)
    assert (talk(pair.prompt), pair.chosen, pair.rejected) == (["user: Joke?"], "Knock knock.", "No.")


FINE = {
    "question": "Q?",
    "passages": [["Title", "Text."]],
    "gold": "gold answer",
    **{f"prediction {n}": f"answer {n}" for n in (1, 2, 3, 4)},
    "preference": [1, 0, 1, 2, 1, 1],
    "feedback": {"corrected-prediction": "mended answer"},
}


def test_finegrained_feedback(tmp_path: Path) -> None:
    # 1>2, 1=3, 1>4, 3>2, 2>4, 3>4: won minus lost: 1: +2, 2: -1, 3: +2, 4: -3
    (ranking,) = rows(tmp_path, "rankings", FINE)
    assert ranking.tiers == (0, 1, 0, 2) and ranking.meta == {"contradictions": 0}
    pairs = {(c.chosen[-1], c.rejected[-1]) for c in rows(tmp_path, "comparisons", FINE)}
    assert pairs == {("1", "2"), ("1", "4"), ("3", "2"), ("2", "4"), ("3", "4")}
    assert [d.messages[1].content for d in rows(tmp_path, "demonstrations", FINE)] == ["gold answer", "mended answer"]


def test_what_is_not_recognised_names_its_keys_and_the_nearest_layouts(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"has the keys prompt_text, chosen, reject[^$]*preference \(prompt, chosen, rejected\)"
    ):
        rows(tmp_path, "comparisons", {"prompt_text": "a", "chosen": "b", "reject": "c"})
    with pytest.raises(
        DataError, match=r"hold demonstrations \(layout alpaca\), not comparisons[^$]*demonstrations or prompts"
    ):
        rows(tmp_path, "comparisons", {"instruction": "a", "output": "b"})
    with pytest.raises(DataError, match="did you mean alpaca"):
        rows(tmp_path, "demonstrations", {"instruction": "a", "output": "b"}, layout="alpacca")


def test_one_odd_first_row_does_not_decide(tmp_path: Path) -> None:
    rejects = Rejects(limit_share=0.5)
    found = rows(
        tmp_path,
        "demonstrations",
        {"text": "odd"},
        *({"instruction": str(n), "output": "b"} for n in range(4)),
        rejects=rejects,
    )
    assert len(found) == 4 and rejects.rejected == 1


def test_derived_prompts_take_all_accepted_answers() -> None:
    shown: list[AnyRecord] = [
        Demonstration(id="d", messages=(user("a"), assistant("b")), meta={"answers": ["b", "c"]}),
        Comparison(id="c", prompt=(user("a"),), chosen="b", rejected="c"),
        Label(id="l", prompt=(), response="b", label=True),
    ]
    found = [list(derive(record, "prompts")) for record in shown]
    assert found[0][0].references == ("b", "c") and talk(found[1][0].messages) == ["user: a"]  # type: ignore[union-attr]
    assert found[2] == []
    (ranking,) = derive(shown[1], "rankings")
    assert isinstance(ranking, Ranking) and ranking.pairs() == ((0, 1),)


def test_every_layout_has_a_name_of_its_own_and_says_its_keys() -> None:
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)
    assert all(layout.keys for layout in LAYOUTS)


def test_records_of_another_kind_name_the_commands_that_learn_from_them() -> None:
    row = {"prompt": "Q", "chosen": "A", "rejected": "B"}
    with pytest.raises(DataError, match="`amenable reward` and `amenable dpo` learn from comparisons"):
        recognise([row], "demonstrations", forced=None, where="mine.jsonl")
