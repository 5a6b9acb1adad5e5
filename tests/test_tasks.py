"""Tasks: options, targets and shots rendered, public forms read, mixtures drawn, held-out data kept out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from amenable.data import tasks
from amenable.data.registry import read_instructions as readers
from amenable.data.registry import read_worded as worded
from amenable.data.registry.entries import entry, names
from amenable.data.source import load
from amenable.data.tasks import LoadedTask, Options, draw_counts, load_tasks, mixture, without_near
from amenable.data.tasks import worded as in_words
from amenable.data.templates import Task, checked, options_of, parts_of, render, render_prompt
from amenable.errors import DataError
from amenable.types import Demonstration, assistant, user

TASK = Task(
    cluster="entailment",
    fields=("premise", "hypothesis"),
    templates=(
        "{premise}\nDoes it follow that {hypothesis}?\n\n{options_}",
        "Is {hypothesis} true?",
        "Make a premise.",
    ),
    options=("yes", "no"),
    targets=("{answer}", "{answer}", "{premise}"),
)


def record(n: int = 1, answer: str = "yes", split: str | None = "train") -> Demonstration:
    fields = {"premise": f"P{n}.", "hypothesis": f"H{n}"}
    return Demonstration(
        id=f"e/{n}", messages=(user("-"), assistant(answer)), task="e", meta={"fields": fields}, split=split
    )


def said(shown: Demonstration) -> list[str]:
    return [m.content for m in shown.messages]


def test_options_stand_where_the_template_or_the_caller_wants_them() -> None:
    listed = "OPTIONS:\n- yes\n- no"
    assert said(render(TASK, record(), 0)) == [f"P1.\nDoes it follow that H1?\n\n{listed}", "yes"]
    assert said(render(TASK, record(), 0, options=False))[0] == "P1.\nDoes it follow that H1?"
    assert said(render(TASK, record(), 1))[0] == "Is H1 true?"
    assert said(render(TASK, record(), 1, options=True))[0] == f"Is H1 true?\n\n{listed}"
    own = record().replace(meta={**record().meta, "options": ["yes", "maybe"]})
    assert said(render(TASK, own, 0))[0].endswith("- yes\n- maybe")


@pytest.mark.parametrize("shots", [0, 2])
def test_wording_reads_each_record_a_few_times_however_many_there_are(
    shots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Demonstration] = []

    def matter(row: Demonstration) -> str:
        read.append(row)
        return row.id

    monkeypatch.setattr(tasks, "_matter", matter)
    rows = tuple(record(n) for n in range(50))
    found, _ = in_words([LoadedTask("e", TASK, rows)], Options(templates=2, shots=shots))
    assert len(found) == 100
    assert len(read) <= 150  # once each, and once for each wording; 5,000 where every wording reads them all


def test_a_target_turns_the_task_round() -> None:
    assert said(render(TASK, record(), 2)) == ["Make a premise.", "P1."]
    assert render_prompt(TASK, record(), 2).references == ("P1.",)
    assert [TASK.asks_answer(i) for i in range(3)] == [True, True, False]


def test_shots_stand_before_the_request_as_turns_or_text() -> None:
    shots = [record(2, "no"), record(3)]
    turns = render(TASK, record(), 1, shots=shots)
    assert said(turns) == ["Is H2 true?", "no", "Is H3 true?", "yes", "Is H1 true?", "yes"]
    assert [m.role for m in turns.messages] == ["user", "assistant"] * 3
    raw = render(TASK, record(), 1, shots=shots, form="text")
    assert said(raw) == ["Is H2 true?\nno\n\nIs H3 true?\nyes\n\nIs H1 true?\n", "yes"]
    assert raw.messages[0].role == "text"


def test_bad_options_and_answers_are_told() -> None:
    with pytest.raises(DataError, match="'maybe' is not among the options 'yes', 'no'"):
        render(TASK, record(answer="maybe"), 0)
    with pytest.raises(DataError, match="'yes' stands twice"):
        checked(TASK.replace(options=("yes", "no", "yes")))
    with pytest.raises(DataError, match="2 targets for 3 templates"):
        checked(TASK.replace(targets=("{answer}", "{premise}")))
    with pytest.raises(DataError, match="'premis', which the task lacks"):
        checked(TASK.replace(targets=("{answer}", "{answer}", "{premis}")))


# Readers --------------------------------------------------------------------------------------------------------------


def put(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


PATTERNS = {"rte": [["{premise} {hypothesis}?\n{options_}", "{answer}"], ["Make one.", "{premise}"]]}


@pytest.mark.parametrize("form", ["json", "source"])
def test_flan_patterns_are_read_as_data(tmp_path: Path, form: str) -> None:
    if form == "json":
        put(tmp_path / "x_templates.json", {"PATTERNS": PATTERNS})
        put(tmp_path / "x_clusters.json", {"nli": ["rte"]})
    else:
        put(tmp_path / "templates.py", f"import nothing_there\nPATTERNS = {PATTERNS!r}\n")
        put(tmp_path / "task_splits.py", "_DEFAULT_TASK_CLUSTERS_ABBREV = {'nli': ['rte']}\n")
    [(name, task, records)] = readers.flan_templates(tmp_path, None)
    assert (name, task.cluster, task.fields, records) == ("rte", "nli", ("premise", "hypothesis"), [])
    assert task.targets == ("{answer}", "{premise}") and not list(readers.flan_templates(tmp_path, "mnli"))


def test_super_natural_instructions_become_templates_with_their_examples(tmp_path: Path) -> None:
    rows = [{"input": f"{n} {{x}}", "output": ["odd" if n % 2 else "even"]} for n in range(8)]
    about = {
        "Definition": ["Say odd or even."], "Categories": ["Number Sense"], "Instances": rows,
        "Positive Examples": [{"input": "3", "output": "odd", "explanation": "Half of 3 is no whole."}],
        "Negative Examples": [{"input": "4", "output": "odd"}],
    }  # fmt: skip
    put(tmp_path / "a" / "task7" / "train.json", about)
    put(tmp_path / "a" / "task7" / "test.json", about | {"Instances": rows[:1]})
    [(name, task, records)] = readers.super_ni(tmp_path, None)
    assert (name, task.cluster, task.options) == ("task7", "number_sense", ("even", "odd"))
    assert Counter(r.split for r in records) == {"train": 8, "test": 1} and len(task.templates) == 4
    first = records[0]
    assert said(render(task, first, 0)) == ["Say odd or even.\n\n0 {x}", "even"]
    assert said(render(task, first, 3))[0] == (
        "Definition: Say odd or even.\n\nPositive example 1\nInput: 3\nOutput: odd\nExplanation: Half of 3 is no whole.\n\n"
        "Negative example 1\nInput: 4\nOutput: odd\n\nNow answer this one.\nInput: 0 {x}\nOutput:"
    )


def test_instruction_induction_and_t0_become_tasks(tmp_path: Path) -> None:
    put(tmp_path / "annotations" / "sum.json", {"annotations": ["Add {both}.", "Give the sum.", "Give the sum."]})
    put(tmp_path / "raw" / "induce" / "sum.json", {"examples": {"1": {"input": "1 2", "output": ["3", "three"]}}})
    [(name, task, [one])] = readers.instruction_induction(tmp_path, None)
    assert (name, task.cluster) == ("tiny_sum", "numerical")
    assert said(render(task, one, 0)) == ["Add {both}.\n\n1 2", "3"] and len(task.templates) == 2
    lines = [json.dumps({"prompt": f"Same {n}?\n", "completion": "Yes<|endoftext|>"}) for n in range(7)]
    put(tmp_path / "paws_x.jsonl", "\n".join([*lines, json.dumps({"prompt": "Q", "completion": "No<|endoftext|>"})]))
    [(_, task, records)] = readers.t0(tmp_path, "paws_x")
    assert (task.cluster, task.options, len(records)) == ("paraphrase", ("No", "Yes"), 8)
    assert said(render(task, records[0], 0)) == ["Same 0?", "Yes"]


def test_questions_with_explanations_are_answered_both_ways_and_list_their_options(tmp_path: Path) -> None:
    where = "Where?\\nOptions:\\n- a house\\n- 5 p.m.\\n- a house\t{}\tSo it is.\n"
    (tmp_path / "ecqa_train.tsv").write_text(where.format("5 p.m.") + where.format("a house"))
    (tmp_path / "creak_train.tsv").write_text("".join(f"Is {n}?\t{('yes', 'no')[n % 2]}\tAs {n}.\n" for n in range(8)))
    (creak, yes_no, rows), (ecqa, own, [at_five, at_home]) = worded.flan_cot(tmp_path, None)
    assert (creak, yes_no.cluster, yes_no.options, len(rows)) == ("cot_creak", "common_sense", ("no", "yes"), 8)
    assert (ecqa, own.options, options_of(own, at_five)) == ("cot_ecqa", (), ("a house", "5 p.m."))
    assert said(render(own, at_five, 0))[1] == "5 p.m." and options_of(own, at_home) == options_of(own, at_five)
    assert said(render(yes_no, rows[1], 5)) == [
        "Is 1?\n\nFirst explain, then give the answer.",
        "As 1.\nThe answer is no.",
    ]
    assert said(render(yes_no, rows[1], 9)) == ["Question: Is 1?\nAnswer: no\nWhy is that so?", "As 1."]
    assert [yes_no.asks_answer(i) for i in range(10)] == [True] * 4 + [False] * 6


def test_stories_and_film_reviews_become_tasks_with_wordings_of_ours(mirror: Path) -> None:
    [stories] = load_tasks(("fairytaleqa",))
    assert stories.task.cluster == "reading_comprehension" and len(stories.side("train")) == 8548
    first = stories.records[0]
    asked, answer = said(render(stories.task, first, 3))
    passage, question = first.meta["fields"]["passage"], first.meta["fields"]["question"]
    assert asked == f"{passage}\n\nQuestion: {question}\nAnswer:" and answer == first.meta["answers"][0]
    assert said(render(stories.task, first, 8))[1] == question
    [reviews] = load_tasks(("sentence-polarity:a",))
    assert (reviews.task.cluster, reviews.task.options) == ("sentiment", ("negative", "positive"))
    assert Counter(r.messages[-1].content for r in reviews.records).keys() == {"negative", "positive"}
    assert 5000 < len(reviews.records) < 5700 and len(reviews.task.templates) == 10


@pytest.mark.slow
def test_all_sets_together_are_one_mixture(mirror: Path) -> None:
    tasks = load_tasks((*(n for n in names() if entry(n).tasks and n != "flan-templates"), "primer"))
    clusters = {t.task.cluster for t in tasks}
    assert {"entailment", "paraphrase", "sentiment", "numerical", "reading_comprehension"} <= clusters
    for task in tasks:
        record = task.records[0]
        for index in task.task.usable(parts_of(task.task, record)):
            assert all(m.content for m in render(task.task, record, index).messages), task.name


# Mixtures -------------------------------------------------------------------------------------------------------------


def test_counts_by_hand() -> None:
    assert draw_counts({"a": 10, "b": 90}, cap=1000, size=50) == {"a": 5, "b": 45}
    assert draw_counts({"a": 10, "b": 90}, cap=30) == {"a": 10, "b": 30}
    assert draw_counts({"a": 4, "b": 100, "c": 100}, cap=100, temperature=1e9, size=64) == {"a": 4, "b": 30, "c": 30}
    assert sum(draw_counts({"a": 7, "b": 7, "c": 7}, cap=9, size=10).values()) == 10


def written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    templates = ["Is {word} big?", "Tell whether {word} is big."]
    for name, cluster in (("one", "size"), ("two", "other")):
        put(folder / f"{name}.toml", f'cluster = "{cluster}"\nfields = ["word"]\ntemplates = {json.dumps(templates)}\n')
    words = "the long road to the old town by the river was wet after rain on day"
    rows = [{"word": f"{words} {n} {n}", "answer": "yes", "split": "train"} for n in range(10)]
    put(folder / "one.jsonl", "\n".join(json.dumps({**r, "word": f"thing {n}"}) for n, r in enumerate(rows)))
    other = [{**r, "word": f"stone {n}"} for n, r in enumerate(rows[:6])] + [{"word": "thing 3", "answer": "no"}]
    put(folder / "two.jsonl", "\n".join(map(json.dumps, other)))


def test_a_mixture_words_caps_and_holds_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, monkeypatch)
    sets = ("one.toml@one.jsonl", "two.toml@two.jsonl")
    found, notes = mixture(Options(sets=sets, templates=2, cap=4, held_out=("other",)))
    train = [r for r in found if r.split == "train"]
    assert {r.task for r in train} == {"one"} and len(train) == 8
    assert set(Counter(r.meta["example"] for r in train).values()) == {2}
    assert {r.split for r in found if r.task == "two"} == {"test"}
    assert "two: held out, never trained on" in notes
    assert "one: 1 taken out of training, too near to held-out examples" in notes  # thing 3
    assert "one: 4 of 9 training examples drawn" in notes
    loaded = load(f"tasks:sets={'+'.join(sets)},held_out=two,shots=2", "demonstrations")
    shown = next(r for r in loaded.records if r.task == "one")
    assert len(shown.messages) == 6 and shown.messages[-2].content not in said(shown)[:-2]
    assert any("held out" in note for note in loaded.notes)


def test_near_copies_leave_training_and_are_counted() -> None:
    def made(n: int, text: str, split: str) -> Demonstration:
        return Demonstration(
            id=f"t/{n}", messages=(user("-"), assistant("x")), meta={"fields": {"text": text}}, split=split
        )

    story = "the quick brown fox jumps over the lazy dog near the old stone bridge while two children watch from a boat"
    other = "a baker in the small village sold warm bread and sweet cakes to everyone who passed his door that morning"
    task = Task(cluster="c", fields=("text",), templates=("{text}",))
    records = (made(1, story, "test"), made(2, story + " today", "train"), made(3, other, "train"))
    [left], removed = without_near([LoadedTask("t", task, records)], 0.8)
    assert removed == {"t": 1} and [r.id for r in left.records] == ["t/1", "t/3"]
    assert without_near([LoadedTask("t", task, records)], 0)[1] == {}


def test_bad_sets_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, monkeypatch)
    with pytest.raises(DataError, match="holds wordings and no records"):
        load_tasks(["one.toml"])
    with pytest.raises(DataError, match="did you mean super-ni"):
        load_tasks(["super-nl"])
    with pytest.raises(DataError, match="does not come as tasks"):
        load_tasks(["gsm8k"])
    with pytest.raises(DataError, match="no task or cluster 'othr'"):
        mixture(Options(sets=("two.toml@two.jsonl",), held_out=("othr",)))
    put(tmp_path / "one.jsonl", '{"word": "a"}')
    with pytest.raises(DataError, match="the row has no answer"):
        load_tasks(["one.toml@one.jsonl"])


def test_rows_tell_answers_options_and_sides_by_list_and_by_name(tmp_path: Path) -> None:
    put(tmp_path / "t.toml", 'cluster = "c"\nfields = ["word"]\ntemplates = ["{word}?"]')
    spec = f"{tmp_path}/t.toml@{tmp_path}/"
    put(tmp_path / "a.jsonl", '{"word": "a", "answer": ["yes", "aye"], "options": ["yes", "no"], "split": "val"}')
    put(tmp_path / "a.csv", 'word,answer,options,split\na,no,"[""yes"", ""no""]",dev\n')
    for file, answer, right in (("a.jsonl", "yes", ["yes", "aye"]), ("a.csv", "no", ["no"])):
        [task] = load_tasks([spec + file])
        [one] = task.records
        assert (one.messages[-1].content, one.meta["answers"], one.split) == (answer, right, "validation")
        assert options_of(task.task, one) == ("yes", "no")
    put(tmp_path / "b.csv", "word,answer,options\na,no,yes|no\n")
    with pytest.raises(DataError, match="options is no list") as told:
        load_tasks([spec + "b.csv"])
    assert str(told.value.where).endswith("b.csv:2")
    put(tmp_path / "c.jsonl", '{"word": "a", "answer": "no", "split": "holdout"}')
    with pytest.raises(DataError, match="no side 'holdout'"):
        load_tasks([spec + "c.jsonl"])


def test_a_row_that_gives_nothing_or_no_text_is_told_by_its_line(tmp_path: Path) -> None:
    put(tmp_path / "t.toml", 'cluster = "c"\nfields = ["word", "more"]\ntemplates = ["{word} {more}?", "{word}?"]')
    spec, rows = f"{tmp_path}/t.toml@{tmp_path}/rows.jsonl", tmp_path / "rows.jsonl"
    good = {"word": 1, "more": "b", "answer": 2}
    put(rows, "\n".join(map(json.dumps, (good, {"word": "a", "more": None, "answer": [3, "c"]}))))
    [task] = load_tasks([spec])
    assert [(r.meta["fields"], r.meta["answers"]) for r in task.records] == [
        ({"word": "1", "more": "b"}, ["2"]),
        ({"word": "a"}, ["3", "c"]),
    ]
    for row, words in (
        ({"wrod": "a", "more": "b", "answer": "c"}, "the row lacks word"),
        ({"word": " ", "answer": "c"}, "the row lacks word"),
        ({"word": ["a", "b"], "answer": "c"}, "word must be a text, not list"),
        ({"word": "a", "answer": {"text": ["c"], "answer_start": [0]}}, "answer must be a text, not dict"),
        ({"word": "a", "answer": [["c"]]}, "answer is no list of texts"),
        ({"word": "a", "answer": [" "]}, "the row has no answer"),
    ):
        put(rows, "\n".join(map(json.dumps, (good, row))))
        with pytest.raises(DataError, match=words) as told:
            load_tasks([spec])
        assert str(told.value.where) == f"{rows}:2"


def test_examples_that_no_template_words_are_not_counted_as_drawn() -> None:
    task = Task(cluster="c", fields=("word",), templates=("{word}?",))
    records = [record(n).replace(meta={"fields": {"word": "a"} if n % 2 else {"wrod": "a"}}) for n in range(6)]
    found, notes = in_words([LoadedTask("t", task, tuple(records))], Options())
    assert len(found) == 3
    assert notes == [
        "t: 3 of 6 training examples drawn",
        "t: 3 examples left out, as they lack what every template asks for",
    ]
