"""Public sets as they are published, column by column, → records: nothing swapped, doubled, cut, or learned that should not be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amenable.data.read import read
from amenable.data.rejects import Rejects
from amenable.errors import DataError
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


def spoken(name: str, parent: str | None, role: str, text: str, rank: float | None = None) -> dict[str, Any]:
    flat = {"message_tree_id": "t", "user_id": "u", "lang": "en", "deleted": False, "labels": {"name": ["spam"]}}
    return {**flat, "message_id": name, "parent_id": parent, "role": role, "text": text, "rank": rank}


OASST = [  # as the Hub has it, a message a row; here a reply stands before what it answers
    spoken("e", "d", "assistant", "It swims.", 0.0),
    spoken("a", None, "prompter", "What is a fish?"),
    spoken("b", "a", "assistant", "A thing.", 1.0),
    spoken("c", "a", "assistant", "An animal.", 0.0),
    spoken("d", "c", "prompter", "And?"),
]


def test_oassts_messages_make_the_trees_that_they_were(tmp_path: Path) -> None:
    (shown,) = rows(tmp_path, "demonstrations", *OASST)
    assert talk(shown.messages) == ["user: What is a fish?", "assistant: An animal.", "user: And?", "assistant: It swims."]  # fmt: skip
    (ranking,) = rows(tmp_path, "rankings", *OASST)
    assert (ranking.responses, ranking.tiers) == (("A thing.", "An animal."), (1, 0))
    assert [p.messages[-1].content for p in rows(tmp_path, "prompts", *OASST)] == ["What is a fish?", "And?"]


def test_messages_that_hang_on_nothing_are_bad_rows(tmp_path: Path) -> None:
    rejects = Rejects(limit_share=1.0)
    lost = [spoken("x", "gone", "assistant", "?"), spoken("y", "z", "prompter", "?"), spoken("z", "y", "assistant", "?"),
            spoken("a", None, "prompter", "again")]  # fmt: skip
    assert len(rows(tmp_path, "demonstrations", *OASST, *lost, rejects=rejects)) == 1
    assert rejects.rejected == 4


# --- what people judged


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


SAYS = {"response_1": "A", "response_2": "B"}
SHP = {"history": "Hi", "human_ref_A": "A", "human_ref_B": "B", "score_A": 3, "score_B": 9}
SAFE = {"prompt": "Hi", "response_0": "A", "response_1": "B", "safer_response_id": 0, "is_response_0_safe": True}
STEER3 = {"domain": "code", "context": HI, "response1": "A", "response2": "B"}
WEBGPT = {"question": {"dataset": "eli5", "id": "1", "full_text": "Hi"}, "answer_0": "A", "answer_1": "B"}
FARM = {"instruction": "Hi", "input": "", "output_1": "A", "output_2": "B"}
ARENA = {"model_a": "x", "model_b": "y", "conversation_a": [*HI, *said("A")], "conversation_b": [*HI, *said("B")]}
BENCH = {
    "conversation_a": [*HI, *said("A"), {"role": "user", "content": "Why?"}, *said("So.")],
    "conversation_b": [*HI, *said("B"), {"role": "user", "content": "Why?"}, *said("Oh.")],
    "turn": 1,
}
TABLE = {"prompt": '["Hi"]', "response_a": '["A"]', "response_b": '["B"]'}
VERTEX = {"input_text": "Hi", "candidate_0": "A", "candidate_1": "B"}


@pytest.mark.parametrize(
    "row, tiers, margin",
    [
        ({**SHP, "labels": 1}, (0, 1), None),
        ({**SHP, "labels": 0}, (1, 0), None),
        ({**SAFE, "better_response_id": 0}, (0, 1), None),
        ({**SAFE, "better_response_id": 1}, (1, 0), None),
        ({"prompt": "Hi", **SAYS, "preference_strength": -3}, (0, 1), 3.0),
        ({"prompt": "Hi", **SAYS, "preference_strength": 1}, (1, 0), 1.0),
        ({"prompt": "Hi", **SAYS, "preference_strength": 0}, (0, 0), None),
        ({**STEER3, "overall_preference": 2}, (1, 0), 2.0),
        ({**WEBGPT, "score_0": 0.5, "score_1": -0.5}, (0, 1), None),
        ({**WEBGPT, "score_0": 0.0, "score_1": 0.0}, (0, 0), None),
        ({**FARM, "preference": 2}, (1, 0), None),
        ({**ARENA, "winner": "model_a"}, (0, 1), None),
        ({**ARENA, "winner": "model_b", "turn": 1}, (1, 0), None),
        ({**ARENA, "winner": "tie (bothbad)"}, (0, 0), None),
        ({**BENCH, "winner": "model_b"}, (1, 0), None),
        ({**TABLE, "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}, (0, 1), None),
        ({**TABLE, "winner_model_a": "0", "winner_model_b": "0", "winner_tie": "1"}, (0, 0), None),
        ({"prompt": "Hi", "response_a": "A", "response_b": "B", "winner": "model_b"}, (1, 0), None),
        ({**VERTEX, "choice": 1}, (1, 0), None),
        ({"input": {"messages": HI}, "preferred_output": said("A"), "non_preferred_output": said("B")}, (0, 1), None),
        ({"prompt": "Hi", "answers": [{"answer": "A", "rank": 2.0}, {"answer": "B", "rank": 1.0}], "source": ["x", "y"]}, (1, 0), None),
        ({"question": "Hi", "answers": [{"text": "A", "pm_score": 3}, {"text": "B", "pm_score": 3}]}, (0, 0), None),
        ({"instruction": "Hi", "completions": [{"response": "A", "overall_score": 8.5}, {"response": "B", "overall_score": 9}]}, (1, 0), None),
    ],
)  # fmt: skip
def test_verdicts_of_public_sets_are_read_the_right_way_round(
    tmp_path: Path, row: dict[str, Any], tiers: tuple[int, int], margin: float | None
) -> None:
    (ranking,) = rows(tmp_path, "rankings", row)
    assert (talk(ranking.prompt), ranking.responses, ranking.tiers) == (TURN[:1], ("A", "B"), tiers)
    if tiers == (0, 0):
        with pytest.raises(DataError, match="1 rows hold no comparisons"):
            rows(tmp_path, "comparisons", row)
        return
    (found,) = rows(tmp_path, "comparisons", row)
    assert (found.chosen, found.rejected) == (("A", "B") if tiers == (0, 1) else ("B", "A"))
    assert found.margin == margin


def test_posts_to_be_summarised_are_worded_as_in_the_paper(tmp_path: Path) -> None:
    info = {"id": "t3_1", "post": "I am sad.", "title": "Sad", "subreddit": "advice", "article": None}
    row = {"info": info, "summaries": [{"text": " A"}, {"text": " B"}], "choice": 1, "worker": "w", "split": "valid1"}
    (found,) = rows(tmp_path, "comparisons", row)
    assert talk(found.prompt) == ["user: SUBREDDIT: r/advice\n\nTITLE: Sad\n\nPOST: I am sad.\n\nTL;DR:"]
    assert (found.chosen, found.rejected) == (" B", " A")


@pytest.mark.parametrize(
    "row, reason",
    [
        ({**SAFE, "better_response_id": 2}, "the verdict is 2, neither 0 nor 1"),
        ({"prompt": "Hi", **SAYS, "preference_strength": None}, "the verdict is None, no number"),
        ({**ARENA, "winner": "model_c"}, "the winner is 'model_c', neither model_a, model_b nor a tie"),
        ({**BENCH, "winner": "model_a", "turn": 2}, "the two conversations differ before the last turn"),
        ({**TABLE, "response_b": '["B", "C"]', "winner_model_a": 1, "winner_model_b": 0}, "the prompt has 1 turns, and the responses do not"),
        ({"prompt": "Hi", "answers": [{"answer": "A", "rank": 1}]}, "there is one answer in answers, and a ranking needs two"),
    ],
)  # fmt: skip
def test_verdicts_that_say_nothing_are_bad_rows(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    rejects = Rejects(limit_share=1.0)
    with pytest.raises(DataError, match="no row to use"):
        rows(tmp_path, "rankings", row, rejects=rejects)
    assert rejects.first[0].reason == reason


@pytest.mark.parametrize(
    "asks",
    [
        {"conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi"}]},
        {"messages": [{"role": "system", "content": "Be kind."}, *HI]},
        {"conversation": HI, "system": "Be kind."},
    ],
)
def test_chosen_and_rejected_may_be_one_message_each(tmp_path: Path, asks: dict[str, Any]) -> None:
    (found,) = rows(
        tmp_path, "comparisons", {**asks, "chosen": {"from": "gpt", "value": "A"}, "rejected": said("B")[0]}
    )
    assert (talk(found.prompt), found.chosen, found.rejected) == ([KIND, TURN[0]], "A", "B")


def test_a_dialogue_without_its_last_answer_says_so(tmp_path: Path) -> None:
    rejects = Rejects(limit_share=1.0)
    row = {"chosen": "\n\nHuman: Hi\n\nAssistant: A", "rejected": "\n\nHuman: Hi\n\nAssistant:"}
    with pytest.raises(DataError):
        rows(tmp_path, "comparisons", row, rejects=rejects)
    assert rejects.first[0].reason == "a dialogue does not end with the assistant"


def test_a_prompt_with_figures_about_it_is_its_text(tmp_path: Path) -> None:
    row = {"prompt": {"text": "He said", "toxicity": 0.3}, "continuation": {"text": " no"}, "challenging": False}
    (found,) = rows(tmp_path, "prompts", row)  # RealToxicityPrompts
    assert talk(found.messages) == ["user: He said"]


@pytest.mark.parametrize(
    "row, label, name",
    [
        ({"prompt": "Hi", "response": "A", "category": {"violence": True}, "is_safe": False}, False, "safe"),  # BeaverTails
        ({"instruction": "Hi", "input": "", "output": "A", "kto_tag": True}, True, "good"),  # LLaMA-Factory
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "A"}], "kto_tag": False}, False, "good"),
        ({"messages": [*HI, *said("A")], "label": False}, False, "good"),
    ],
)  # fmt: skip
def test_answers_that_are_marked_are_labels(tmp_path: Path, row: dict[str, Any], label: bool, name: str) -> None:
    (found,) = rows(tmp_path, "labels", row)
    assert (talk(found.prompt), found.response, found.label, found.name) == (TURN[:1], "A", label, name)
    if "label" not in row:  # which might name a subject as well
        with pytest.raises(DataError, match=r"hold labels \(layout marked\), not demonstrations"):
            rows(tmp_path, "demonstrations", row)


def test_helpsteers_ratings_are_on_its_own_scale(tmp_path: Path) -> None:
    row = {"prompt": "Hi", "response": "A", "helpfulness": 0, "correctness": 1, "coherence": 4, "verbosity": 2}
    (found,) = rows(tmp_path, "ratings", row)
    assert (found.score, found.low, found.high) == (0.0, 0.0, 4.0)


# --- questions and answers


@pytest.mark.parametrize(
    "row, asked",
    [
        ({"inputs": "Hi", "targets": "Hello!", "task": "x"}, "Hi"),  # FLAN
        ({"inputs": [1, 2], "inputs_pretokenized": "Hi", "targets": [3], "targets_pretokenized": "Hello!"}, "Hi"),  # P3
        ({"task_name": "t", "definition": "Greet.", "inputs": "Hi", "targets": "Hello!"}, "Greet.\n\nHi"),  # Super-NaturalInstructions
        ({"query": "Hi", "response": "Hello!", "type": "GSM_SV"}, "Hi"),  # MetaMathQA
        ({"problem": "Hi", "solution": "Hello!", "level": "Level 5"}, "Hi"),  # MATH
        ({"input_text": "Hi", "output_text": "Hello!"}, "Hi"),  # Vertex AI
    ],
)  # fmt: skip
def test_questions_and_answers_by_their_public_names(tmp_path: Path, row: dict[str, Any], asked: str) -> None:
    (found,) = rows(tmp_path, "demonstrations", row)
    assert talk(found.messages) == [f"user: {asked}", TURN[1]]


def test_a_solution_is_learned_and_the_answer_is_what_responses_are_compared_with(tmp_path: Path) -> None:
    row = {"problem": "1 + 1?", "solution": "Two ones are 2.", "answer": 2}
    (shown,), (prompt,) = rows(tmp_path, "demonstrations", row), rows(tmp_path, "prompts", row)
    assert (shown.messages[-1].content, prompt.references) == ("Two ones are 2.", ("2",))


def test_the_number_of_a_choice_is_not_learned_as_an_answer(tmp_path: Path) -> None:
    rejects = Rejects(limit_share=1.0)
    good = {"question": "Which?", "choices": ["red", "blue"], "answer": "blue"}
    (found,) = rows(tmp_path, "demonstrations", good, {**good, "answer": 1}, {**good, "answer": "B"}, rejects=rejects)
    assert talk(found.messages)[1] == "assistant: blue" and rejects.rejected == 2
    assert rejects.first[0].reason.startswith("the answer is one of the choices by its number or letter")


@pytest.mark.parametrize(
    "row, expected",
    [
        ({"messages": HI, "references": ["a", "b", "a"], "level": 3}, ("a", "b")),
        ({"messages": HI, "reference_answer": "a"}, ("a",)),
        ({"prompt": HI, "data_source": "x", "reward_model": {"ground_truth": "34", "style": "rule"}}, ("34",)),  # verl
        ({"prompt": HI, "solution": "34", "difficulty": 5}, ("34",)),  # TRL's sets for GRPO
        ({"question": "Hi", "context": "", "answers": {"text": ["a", "a"], "answer_start": [1, 5]}}, ("a",)),  # SQuAD
        ({"question": "Hi", "context": "", "answers": {"text": [], "answer_start": []}}, ()),
        ({"question": "Hi", "answer": ["a", "b"]}, ("a", "b")),  # Natural Questions
        ({"input": "Hi", "output": ["a", "b"]}, ("a", "b")),  # instances of Super-NaturalInstructions
    ],
)
def test_prompts_keep_the_answers_that_are_right(
    tmp_path: Path, row: dict[str, Any], expected: tuple[str, ...]
) -> None:
    (found,) = rows(tmp_path, "prompts", row)
    assert talk(found.messages) == TURN[:1] and found.references == expected
    if "answer" in row or "output" in row:
        assert rows(tmp_path, "demonstrations", row)[0].messages[-1].content == "a"


def test_a_list_of_completions_is_not_taken_for_a_conversation_or_for_answers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a message must be an object"):
        rows(tmp_path, "demonstrations", {"prompt": "Hi", "completion": ["good", "bad"]})


# --- running text, and what is in no known layout


@pytest.mark.parametrize("more", [{}, {"url": "x"}], ids=str)
def test_empty_texts_between_documents_are_counted_and_are_no_bad_rows(tmp_path: Path, more: dict[str, str]) -> None:
    rejects = Rejects()
    texts = ("", " = Title = ", "", " Words . ", " ")  # WikiText, a row for each line
    assert len(rows(tmp_path, "documents", *({"text": t, **more} for t in texts), rejects=rejects)) == 2
    assert (rejects.rejected, rejects.barren["documents"]) == (0, 3)


@pytest.mark.parametrize(
    "kind, row, meant",
    [
        (
            "demonstrations",
            {"article": "a", "highlights": "b"},
            r"rename them as in: prompt-completion \(.*messages \(",
        ),
        ("comparisons", {"article": "a", "good": "b", "bad": "c"}, r"rename them as in: preference \("),
        ("documents", {"content": "print()", "lang": "Python"}, r"text \(text\)"),
    ],
)
def test_what_is_in_no_layout_is_told_the_plain_one_of_its_kind(
    tmp_path: Path, kind: str, row: dict[str, str], meant: str
) -> None:
    with pytest.raises(DataError, match=meant) as refused:
        rows(tmp_path, kind, row)
    assert "oasst" not in str(refused.value)


def test_a_conversation_that_ends_with_the_user_is_refused_for_that(tmp_path: Path) -> None:
    rejects = Rejects(limit_share=1.0)
    rows(tmp_path, "demonstrations", {"messages": [*HI, HELLO], "n": 1}, {"messages": HI, "n": 2}, rejects=rejects)
    assert rejects.first[0].reason == "the row holds prompts, not demonstrations (its last turn is not the assistant's)"


@pytest.mark.parametrize("name", ["query", "problem", "inputs", "input"])
def test_what_a_pair_is_about_is_not_lost_with_the_name_of_its_column(tmp_path: Path, name: str) -> None:
    (found,) = rows(tmp_path, "comparisons", {name: "Hi", "chosen": "A", "rejected": "B"})
    assert talk(found.prompt) == TURN[:1]


def test_a_super_naturalinstructions_task_is_told_before_each_of_its_instances(tmp_path: Path) -> None:
    path = tmp_path / "task001.json"
    instances = [{"id": f"task001-{n}", "input": f"Passage {n}", "output": ["yes", "Yes"]} for n in range(2)]
    task = {"Contributors": ["x"], "Definition": ["Say yes."], "Positive Examples": [], "Instances": instances}
    path.write_text(json.dumps(task))
    found = list(read(path, "demonstrations", rejects=Rejects()))
    assert talk(found[1].messages) == ["user: Say yes.\n\nPassage 1", "assistant: yes"]  # type: ignore[union-attr]
    assert found[1].meta == {"answers": ["yes", "Yes"]}  # type: ignore[union-attr]
