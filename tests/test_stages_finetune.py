"""amenable finetune: five tasks on three families, from files with named columns to a measured model."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
import torch
import transformers

from amenable.chat.tokenizer import Tokenizer
from amenable.data.example_rows import ExampleSettings, answer_tokens, example_units
from amenable.data.examples import Example, read_examples
from amenable.data.rejects import Rejects
from amenable.errors import ConfigError, DataError, ModelError
from amenable.evals.statistics import mean_interval, share_interval
from amenable.stages.build import make_actor, open_policy
from amenable.stages.evaluate_tuned import evaluate_tuned, interval_of
from amenable.stages.resume import replay
from amenable.stages.tuned import KINDS, About, NotAsked, Tuned, figures, new_head, open_tuned
from amenable.workspace import Workspace

from .chat_makers import framed
from .stage_makers import (
    COLOURS,
    THINGS,
    Toys,
    assert_same_run,
    break_and_resume,
    pairs,
    question,
    rows,
    start,
    toys,
    workspace,
)

__all__ = ["toys", "workspace"]

BRIGHT = ("red", "white", "green")
FAMILIES = ("decoder", "encoder", "seq2seq")


def write(path: Path, lines: list[dict]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A file for each task; what is asked is in the text, so that even a toy can learn it."""
    folder, rng = tmp_path_factory.mktemp("examples"), random.Random(0)
    said = [f"The {t} is {c}." for c, t in pairs()]
    told = {
        "classification": [{"sentence": s, "label": "bright" if c in BRIGHT else "dark"} for s, (c, _) in zip(said, pairs(), strict=True)],
        "regression": [{"text": s, "score": 40 + 10 * COLOURS.index(c)} for s, (c, _) in zip(said, pairs(), strict=True)],
        "tokens": [{"tokens": ["The", t, "is", c], "ner_tags": ["O", "B-THING", "O", "B-COLOUR"]} for c, t in pairs()],
        "extraction": [
            {"context": f"The {t} is {c}. So it is.", "question": "Which colour?", "answers": {"text": [c], "answer_start": [0]}}
            for c, t in pairs()
        ],
        "target": [{"source": question(c, t), "target": f"Yes, {c}."} for c, t in pairs()],
    }  # fmt: skip
    for lines in told.values():
        rng.shuffle(lines)
    return {task: write(folder / f"{task}.jsonl", lines) for task, lines in told.items()}


@pytest.fixture(scope="module")
def models(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small model of each family; none but the decoder has learned anything."""
    from amenable.chat.tokenizer import Tokenizer
    from amenable.models.folder import save_model
    from amenable.stages.build import ON_CPU, DecoderShape, new_policy
    from amenable.stages.pretrain import with_marks

    folder = tmp_path_factory.mktemp("models")
    found = {"decoder": toys.base}
    for family in ("encoder", "seq2seq"):
        tokenizer = with_marks(Tokenizer.load(toys.tokenizer), family)
        shape = DecoderShape(hidden_size=32, num_layers=2, num_heads=2, context=64)
        policy = new_policy(shape, tokenizer, ON_CPU, seed=0, kind=family)
        tokenizer.save(folder / family)
        save_model(policy.model, folder / family)
        found[family] = str(folder / family)
    return found


def recipe(files, models, task, family="decoder", **settings):
    train = {
        "steps": 6, "units_per_step": 12, "validate_every": 3, "save_every": 2, "precision": "float32",
        "optimizer": {"learning_rate": 3e-3}, **settings.pop("train", {}),
    }  # fmt: skip
    data = {"train": [files[task]], "held_out_share": 0.25, **settings.pop("data", {})}
    return {"model": models[family], "task": task, "data": data, "train": train, "context": 40, **settings}


def test_a_class_is_learned_and_the_best_step_kept(files, models, workspace):
    mapping = recipe(files, models, "classification", train={"steps": 60, "validate_every": 10})
    heard: list[str] = []
    run = start("finetune", mapping, workspace, "classes", lambda event: heard.append(event.text))
    assert run.text and not any("was the best by" in text for text in heard)  # the result says it, once
    told = json.loads((run.path / "finetune.json").read_text())
    assert told["labels"] == ["bright", "dark"] and told["chosen_by"] == "accuracy"
    assert run.metrics["accuracy"] > 0.9 > told["trivial"]["accuracy"]
    measured = [row["validation/accuracy"] for row in rows(run.path) if "validation/accuracy" in row]
    assert told["figures"]["accuracy"] == max(measured) == run.metrics["accuracy"]
    assert (run.path / "report.html").stat().st_size > 5000 and "was the best by accuracy" in run.text
    tuned = open_tuned(run.model, workspace)
    assert tuned.say([Example(id="1", text="The hat is red."), Example(id="2", text="The hat is black.")]) == ["bright", "dark"]  # fmt: skip


def test_a_part_of_a_sorted_file_is_measured_fairly(files, models, workspace):
    lines = sorted(
        map(json.loads, Path(files["classification"]).read_text().splitlines()), key=lambda row: row["label"]
    )
    mapping = recipe({"classification": write(workspace.root / "sorted.jsonl", lines)}, models, "classification")
    run = start("finetune", {**mapping, "measure_at_most": 12}, workspace, "sorted")
    told = json.loads((run.path / "finetune.json").read_text())
    assert told["examples"] == 12 and 0 < told["trivial"]["accuracy"] < 1  # both classes are among the twelve


PAIRED = [(task, family) for task in ("classification", "regression", "tokens", "extraction") for family in FAMILIES]
QUICK = (("regression", "encoder"), ("tokens", "decoder"), ("extraction", "seq2seq"))


@pytest.mark.parametrize(
    ("task", "family"), [pair if pair in QUICK else pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRED]
)
def test_every_task_learns_on_every_family(task, family, files, models, workspace):
    mapping = recipe(files, models, task, family, train={"steps": 40, "validate_every": 40})
    run = start("finetune", mapping, workspace, "learned")
    lines = rows(run.path)
    assert all(math.isfinite(line["loss"]) for line in lines)
    assert sum(line["loss"] for line in lines[-5:]) < 0.8 * sum(line["loss"] for line in lines[:5])
    tuned = open_tuned(run.model, workspace)
    said = tuned.say([Example(id="1", text="The hat is red.", second="Which colour?" if task == "extraction" else "", words=("The", "hat"))])[0]  # fmt: skip
    kinds = {"classification": str, "regression": float, "tokens": tuple, "extraction": str}
    assert isinstance(said, kinds[task])
    if task == "extraction":
        assert said in "The hat is red."
    if task == "regression":
        assert 0 < said < 150


@pytest.mark.slow
def test_what_was_kept_is_what_was_measured(files, models, workspace):
    """The saved model gives the figures that the log has for the chosen step, though later steps were worse."""
    rate = {"learning_rate": 0.05, "schedule": "constant"}
    for task in ("regression", "tokens", "extraction"):
        mapping = recipe(files, models, task, "encoder", train={"steps": 8, "validate_every": 1, "optimizer": rate})
        run = start("finetune", mapping, workspace, task)
        found = start("evaluate", {"models": [run.model], "data": files[task], "held_out_share": 0.25}, workspace)
        (row,) = found.details["tuned"]
        for name, value in run.metrics.items():
            assert row["figures"][name] == pytest.approx(value, abs=1e-4), (task, name)


@pytest.mark.slow
def test_an_encoder_decoder_writes_and_is_measured(files, models, workspace):
    few = [json.loads(line) for line in Path(files["target"]).read_text().splitlines()[:4]]
    data = {
        "train": [write(workspace.root / "few.jsonl", few)],
        "validation": [write(workspace.root / "held.jsonl", few)],
        "held_out_share": 0.0,
    }
    mapping = recipe(files, models, "target", "seq2seq", data=data, train={"steps": 200, "validate_every": 100, "units_per_step": 4, "optimizer": {"learning_rate": 1e-2}})  # fmt: skip
    run = start("finetune", mapping, workspace, "wrote")
    assert run.metrics["exact_match"] > 0.8 and run.metrics["bleu"] > 50 and 0 < run.metrics["rougeL"] <= 1
    assert open_tuned(run.model, workspace).say([Example(id="1", text=few[0]["source"])]) == [few[0]["target"]]
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(run.model)
    ids = torch.tensor([[*Tokenizer.load(run.model).encode(few[0]["source"]), 2]])
    out = theirs.generate(ids, max_new_tokens=20, do_sample=False)[0].tolist()
    assert Tokenizer.load(run.model).decode(out) == few[0]["target"]


@pytest.mark.parametrize(
    "family", ["encoder", *(pytest.param(f, marks=pytest.mark.slow) for f in ("decoder", "seq2seq"))]
)
def test_lora_trains_little_and_is_merged(family, files, models, workspace):
    said = []
    mapping = recipe(files, models, "classification", family, lora={"rank": 2})
    run = start("finetune", mapping, workspace, "lora", lambda event: said.append(event.text))
    assert any("LoRA of rank 2" in text for text in said)
    assert (Path(run.model) / "adapter" / "adapter_model.safetensors").exists()
    assert open_tuned(run.model, workspace).say([Example(id="1", text="The hat is red.")])[0] in ("bright", "dark")


def test_pairs_of_texts_are_read_together(files, models, workspace):
    """Alike or not: no single text tells."""
    lines = [{"premise": a, "hypothesis": b, "label": int(a == b)} for a in THINGS for b in THINGS if a == b or a > b]
    data = {"train": [write(workspace.root / "pairs.jsonl", lines * 1)]}
    for family in ("encoder", "decoder"):
        mapping = recipe(files, models, "classification", family, data=data, train={"steps": 4})
        run = start("finetune", mapping, workspace, family)
        tuned = open_tuned(run.model, workspace)
        one, two = (tuned.policy.tokenizer.encode(word) for word in ("hat", "cat"))
        (unit,), _ = example_units([Example(id="e", text="hat", second="cat", label="1")], tuned.policy.tokenizer, tuned.about.settings(family))  # fmt: skip
        end = [tuned.policy.tokenizer.eos_id]
        assert unit[0].tokens.tolist() == [*tuned.policy.tokenizer.start_ids, *one, *end, *two, *end]


@pytest.mark.parametrize("case", ["classification-encoder", "target-decoder"])
def test_a_broken_run_goes_on_bit_for_bit(case, files, models, workspace):
    task, family = case.split("-")
    mapping = recipe(files, models, task, family, measure_at_most=4, max_tokens=6)
    whole = start("finetune", mapping, workspace, "whole")
    again = break_and_resume("finetune", mapping, workspace, step=5)
    assert_same_run(again.path, whole.path)
    assert json.loads((again.path / "finetune.json").read_text()) == json.loads(
        (whole.path / "finetune.json").read_text()
    )


def test_a_dumped_step_replays(files, models, workspace):
    run = start("finetune", recipe(files, models, "extraction", train={"dump_batches": True}), workspace, "dumped")
    assert replay(run.path, 2).metrics["loss"] == rows(run.path)[1]["loss"]


@pytest.mark.slow
def test_evaluate_gives_intervals_on_another_file(files, models, workspace):
    run = start("finetune", recipe(files, models, "classification", train={"steps": 30}), workspace, "classes")
    lines = ["text,label", '"The cat is red.",bright', '"The cat is black.",dark', '"The cat is blue.",purple']
    (workspace.root / "other.csv").write_text("\n".join(lines))
    mapping = {"models": [f"mine={run.model}"], "data": str(workspace.root / "other.csv")}
    found = start("evaluate", mapping, workspace)
    (row,) = found.details["tuned"]
    assert row["unread"] == 1 and "1 of 3 rows rejected: 1 the label 'purple' is none of bright, dark" in found.text
    assert row["model"] == "mine" and row["examples"] == 2 and row["low"] <= row["figures"]["accuracy"] <= row["high"]
    saved = [json.loads(line) for line in Path(found.files["answers"]).read_text().splitlines()]
    assert [line["right"] for line in saved] == ["bright", "dark"]
    with pytest.raises(ConfigError, match="some of the models"):
        start("evaluate", {**mapping, "models": [run.model, models["decoder"]]}, workspace)


def untrained(task, toys, workspace):
    """A model with a new head for a task, as it is before it has learned anything."""
    policy, about = open_policy(toys.sft, workspace), About(task=task, context=64, max_tokens=4, labels=("a", "b"))
    head = new_head(about, policy.model.hidden_size, 0)
    return Tuned(policy, make_actor(policy.model, KINDS[task], head).eval(), about)


LONG = "The hat is red. " * 40


def test_an_answer_that_is_cut_off_leaves_a_question_all_the_same(toys, workspace):
    cut = Example(id="1", text=f"A lamp. {LONG}", second="What?", answers=("lamp",), start=2)
    whole = Example(id="2", text="A cat.", second="Who?", answers=("cat",))
    said = untrained("extraction", toys, workspace).say([cut, whole])
    assert all(isinstance(one, str) for one in said) and said[0] in LONG and said[1] in "A cat."


def test_what_does_not_fit_is_no_empty_answer(toys, workspace):
    long, short = Example(id="1", text=LONG, answers=("x",)), Example(id="2", text="Is the hat red?", answers=("Yes.",))
    tuned = untrained("target", toys, workspace)
    first, second = tuned.say_or_why_not([long, short])
    assert isinstance(first, NotAsked) and "leaves no room" in first.why and isinstance(second, str)
    with pytest.raises(DataError, match="1 of 2 examples cannot be read"):
        tuned.say([long, short])
    words = [Example(id=str(n), words=("hat",) * n, tags=("a",) * n) for n in (200, 2)]
    first, second = untrained("tokens", toys, workspace).say_or_why_not(words)
    assert first == NotAsked("longer than the context") and len(second) == 2


def test_what_cannot_be_asked_or_read_is_counted_and_told(toys, workspace):
    """Data of which most rows are none of the task's, as fairytaleqa for extraction: finetune may learn from them, too."""
    lines = [{"source": f"Is the {t} red?", "target": "Yes."} for t in THINGS[:3]] + [{"source": LONG, "target": "No."}]
    file = write(workspace.root / "t.jsonl", lines + [{"source": f"{n}", "target": ""} for n in range(6)])
    how = {"split": None, "held_out_share": 0.25, "limit": 100, "seed": 0, "config_toml": "", "workspace": workspace}
    tuned = untrained("target", toys, workspace)
    found = evaluate_tuned([("mine", tuned)], file, **how, name=None, on_event=lambda event: None)
    (row,) = found.details["tuned"]
    assert (row["examples"], row["left_out"], row["unread"]) == (3, 1, 6)
    assert "1 more could not be asked: the prompt has" in found.text
    assert "6 of 10 rows rejected: 6 there is no answer" in found.text
    assert len(Path(found.files["answers"]).read_text().splitlines()) == 3
    with pytest.raises(DataError, match="mine cannot be asked any"):
        only = write(workspace.root / "long.jsonl", lines[3:])
        evaluate_tuned([("mine", tuned)], only, **how, name=None, on_event=lambda event: None)


def test_held_out_texts_beyond_the_context_are_no_wrong_answers(files, models, workspace):
    short = [{"source": question(c, t), "target": f"Yes, {c}.", "split": "train"} for c, t in pairs()[:8]]
    held_out = [{**row, "source": f"{row['source']} {n}", "split": "validation"} for n, row in enumerate(short[:4])]
    long = [{"source": LONG, "target": "No.", "split": "validation"}]
    file = write(workspace.root / "t.jsonl", short + held_out + long)
    told = []
    mapping = recipe({"target": file}, models, "target", data={"overlong": "truncate_left_prompt"}, max_tokens=4)
    result = start("finetune", mapping, workspace, "long", told.append)
    assert result.details["examples"] == 4
    assert any("1 held-out examples are longer than the context" in event.text for event in told)
    only = {"overlong": "reject", "validation": [write(workspace.root / "long.jsonl", long)]}
    with pytest.raises(DataError, match=r"(?s)no examples to measure on are left of 1.*longer than the context"):
        start("finetune", recipe({"target": file}, models, "target", data=only), workspace, "none")


def test_shares_means_and_other_figures_have_intervals_of_their_own():
    right = [Example(id=str(n), text="t", label="ab"[n % 2], number=n / 2, answers=("w x y z",)) for n in range(8)]
    classes = interval_of(About(task="classification", context=9), ["a"] * 8, right, 0)
    assert classes == share_interval([1.0, 0.0] * 4, seed=0)
    sure = interval_of(About(task="classification", context=9), ["a", "b"] * 4, right, 0)
    assert sure.value == sure.high == 1.0 and 0.6 < sure.low < 0.7  # Wilson's; a bootstrap of equal rows knows no doubt
    texts = ["w x", "w x y z"] * 4  # F1 of words, and ROUGE-L: 2 of 2 and of 4, all of them
    for task in ("extraction", "target"):
        assert interval_of(About(task=task, context=9), texts, right, 0) == mean_interval([2 / 3, 1.0] * 4, seed=0)
    numbers = [0.0, 1.0, 0.0, 2.0, 2.5, 2.5, 3.0, 3.0]
    rmse = interval_of(About(task="regression", context=9), numbers, right, 0)
    assert rmse.value == figures(About(task="regression", context=9), numbers, right)["rmse"]
    assert 0 < rmse.low < rmse.value < rmse.high


def test_python_says_it_too(files, models, tmp_path):
    home = Workspace(tmp_path / "w")
    result = home.finetune(**recipe(files, models, "classification"))
    assert home.tuned(result).say([Example(id="1", text="The hat is red.")])[0] in ("bright", "dark")
    with pytest.raises(ModelError, match="not fine-tuned"):
        home.tuned(models["decoder"])


WRONG = {
    "labels=['bright']": (DataError, "the label 'dark' is none of bright"),
    "labels=['bright', 'dark', 'bright']": (ConfigError, "'bright' is named twice"),
    "columns={'txt': 'a'}": (ConfigError, "(?s)no column 'txt'.*did you mean 'text'"),
    "columns={'label': 'lable'}": (DataError, "the file has no column 'lable'; it has sentence, label"),
    "choose_by='acuracy'": (ConfigError, "did you mean 'accuracy'"),
    "algorithm={'name': 'tag'}": (ConfigError, "tag does not learn classification"),
    "task='regression'": (DataError, "cannot be used"),
    "task='tokens'": (DataError, "no column 'words'"),
    "data={'layout': 'alpaca'}": (ConfigError, "read by named columns"),
    "data={'prefix_words': 5}": (ConfigError, "(?s)read by named columns.*data.prefix_words"),
    "data={'question': 'foo'}": (ConfigError, "(?s)read by named columns.*data.question"),
    "data={'train_on': 'last'}": (ConfigError, "(?s)read by named columns.*data.train_on"),
    "data={'train': []}": (ConfigError, "no data is named"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_bad_input_is_named(wrong, files, models, workspace):
    settings = eval(f"dict({wrong})")
    mapping = recipe(files, models, "classification", **{k: v for k, v in settings.items() if k != "task"})
    mapping |= {"task": settings["task"]} if "task" in settings else {}
    error, words = WRONG[wrong]
    with pytest.raises(error, match=words):
        start("finetune", mapping, workspace, "wrong")


def test_an_encoder_has_no_words_to_write(files, models, workspace):
    with pytest.raises(ModelError, match="fills masks and writes no text"):
        start("finetune", recipe(files, models, "target", "encoder"), workspace, "wrong")


def test_an_encoder_decoder_reads_texts_in_its_tokenizers_frame():
    tokenizer = framed({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}, "<s> $A </s>")
    begin, end = tokenizer.inner.token_to_id("<s>"), tokenizer.inner.token_to_id("</s>")
    red, cat = tokenizer.encode("The quick brown fox"), tokenizer.encode("cat")
    one = Example(id="e", text="The quick brown fox", second="cat", label="1")
    settings = ExampleSettings(task="classification", context=99, model_kind="seq2seq", labels=("0", "1"))
    ((row,),), _ = example_units([one], tokenizer, settings)
    assert row.source.tolist() == [begin, *red, end, *cat, end]
    words = Example(id="w", words=("The", "cat"), tags=("O", "X"))
    settings = ExampleSettings(task="tokens", context=99, model_kind="seq2seq", labels=("O", "X"))
    ((row,),), _ = example_units([words], tokenizer, settings)
    ids = [*tokenizer.encode("The"), *tokenizer.encode(" cat")]
    assert row.source.tolist() == [begin, *ids, end] and row.tokens.tolist() == [end, *ids]
    assert row.columns["class"][row.trained].tolist() == [0, 1] and row.columns["class"].sum() == 1


def test_one_class_alone_is_refused(files, models, workspace):
    file = write(workspace.root / "one.jsonl", [{"text": f"{n}", "label": "a"} for n in range(20)])
    with pytest.raises(DataError, match="one class only"):
        start("finetune", recipe(files, models, "classification", data={"train": [file]}), workspace, "wrong")


def test_answers_that_do_not_stand_in_the_passage_are_counted(tmp_path):
    lines = [
        {"context": "The cat sat.", "question": "Who?", "answers": a} for a in (["cat"], "A dog.", ["The cat", "it"])
    ]
    rejects = Rejects(limit_share=0.5)
    found = read_examples(write(tmp_path / "qa.jsonl", lines), "extraction", columns={}, rejects=rejects)
    assert [e.answers for e in found] == [("cat",), ("The cat",)]
    assert rejects.summary() == "1 of 3 rows rejected: 1 no answer stands in the passage word for word"
    row = {"context": "A cat, a cat.", "question": "Who?", "answers": {"text": ["cat"], "answer_start": [9]}}
    (second,) = read_examples(write(tmp_path / "squad.jsonl", [row]), "extraction", columns={}, rejects=Rejects())
    row["answers"] = {"text": "cat", "answer_start": 9}
    assert read_examples(write(tmp_path / "one.jsonl", [row]), "extraction", columns={}, rejects=Rejects()) == [second]
    assert second.start == 9 and answer_tokens(second, [(0, 1), (1, 5), (5, 6), (6, 8), (8, 12), (12, 13)]) == (4, 4)


@pytest.mark.parametrize(
    "row, text, unused",
    [
        ({"instruction": "Translate to French.", "input": "dog"}, "Translate to French.\n\ndog", ""),
        ({"instruction": "Name a dog.", "input": ""}, "Name a dog.", ""),
        ({"context": "A dog barks.", "question": "Who barks?"}, "Who barks?\n\nA dog barks.", ""),
        ({"system": "Be brief.", "prompt": "Who barks?", "history": []}, "Be brief.\n\nWho barks?", ""),
        ({"prompt": [{"role": "user", "content": "Who?"}]}, "Who?", ""),
        ({"source": "dog", "split": "train", "idx": 3, "by": "me"}, "dog", "columns not used: idx, by"),
        ({"text": "A dog barks.", "question": "Who?"}, "Who?", "columns not used: text"),
    ],
)
def test_a_text_to_answer_holds_all_that_is_asked(row, text, unused, tmp_path):
    rejects = Rejects()
    file = write(tmp_path / "a.jsonl", [{**row, "output": "chien"}])
    (found,) = read_examples(file, "target", columns={}, rejects=rejects)
    assert (found.text, found.answers, rejects.told_unused()) == (text, ("chien",), unused)


def test_a_column_that_is_named_is_read_alone_and_a_conversation_is_no_text(tmp_path):
    file = write(tmp_path / "a.jsonl", [{"instruction": "Translate.", "input": "dog", "output": "chien"}])
    rejects = Rejects()
    (found,) = read_examples(file, "target", columns={"text": "input"}, rejects=rejects)
    assert found.text == "dog" and rejects.summary().endswith("columns not used: instruction")
    row = {"prompt": "And?", "history": [["Who?", "The dog."]], "output": "It barks."}
    with pytest.raises(DataError, match="several turns are asked"):
        read_examples(write(tmp_path / "b.jsonl", [row]), "target", columns={}, rejects=Rejects())


@pytest.mark.parametrize(
    "task, good, bad, words",
    [
        ("classification", {"text": "a", "label": 0}, {"text": "b", "label": None}, "the label is empty"),
        ("classification", {"text": "a", "label": "x"}, {"text": "b", "label": ["x"]}, "the label is list"),
        ("regression", {"text": "a", "number": 1}, {"text": "b", "number": "high"}, "'high' is no number"),
        ("regression", {"text": "a", "number": 1}, {"text": "b", "number": 10**400}, "0 is no number"),
        ("regression", {"text": "a", "number": "1.5"}, {"text": "b", "number": True}, "True is no number"),
        ("regression", {"text": "a", "number": 2}, {"text": "b", "number": None}, "None is no number"),
        (
            "tokens",
            {"words": ["a"], "tags": [0]},
            {"words": ["a", "b"], "tags": [0, None]},
            "one of the tags is NoneType",
        ),
        ("target", {"text": "a", "answers": ["b", "c"]}, {"text": "a", "answers": []}, "there is no answer"),
        ("target", {"text": "a", "answer": "b"}, {"text": "a", "answer": None}, "there is no answer"),
        (
            "target",
            {"text": "a", "answers": 2},
            {"text": "a", "answers": [None]},
            "an answer must be a text, not NoneType",
        ),
        (
            "target",
            {"text": 1, "answers": [2]},
            {"text": "a", "answers": [["b"]]},
            "an answer must be a text, not list",
        ),
        ("target", {"text": "a", "answers": "b"}, {"text": "a", "answers": True}, "an answer must be a text, not bool"),
        (
            "extraction",
            {"context": "In 1066.", "question": "When?", "answers": {"text": 1066, "answer_start": 3}},
            {"context": "In None.", "question": "When?", "answers": {"text": [None], "answer_start": [3]}},
            "an answer must be a text, not NoneType",
        ),
    ],
)
def test_values_that_are_none_are_no_values(task, good, bad, words, tmp_path):
    rejects = Rejects(limit_share=0.5)
    (found,) = read_examples(write(tmp_path / "a.jsonl", [good, bad]), task, columns={}, rejects=rejects)
    assert words in rejects.first[0].reason and "None" not in (found.label, *found.tags)
    assert all(type(text) is str for text in (found.text, *found.answers))


def test_a_number_that_pandas_left_out_is_no_value(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    nan = float("nan")
    table = {"text": ["a", "b"], "second": [nan, nan], "label": [1.0, nan], "answer": [2.0, nan]}
    parquet.write_table(arrow.table(table), tmp_path / "a.parquet")
    for task, why in (("classification", "the label is empty"), ("target", "there is no answer")):
        rejects = Rejects(limit_share=0.5)
        (found,) = read_examples(str(tmp_path / "a.parquet"), task, columns={}, rejects=rejects)
        assert (found.text, found.second) == ("a", "") and rejects.first[0].reason == why
    table = {"words": [["a"], ["b"]], "tags": [[1.0], [nan]]}
    parquet.write_table(arrow.table(table), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="one of the tags is NaN"):
        read_examples(str(tmp_path / "b.parquet"), "tokens", columns={}, rejects=Rejects())


@pytest.mark.parametrize(
    "classes, named, kept", [((0, 1), (), 4), ((1, 2), (), 6), (("a", "b"), (), 6), ((0, 1), ("-1", "0", "1"), 6)]
)
def test_the_label_of_rows_without_one_is_no_class(classes, named, kept, tmp_path):
    rows = [{"text": f"{n}", "label": (-1, *classes)[n % 3]} for n in range(6)]
    rejects = Rejects(limit_share=0.5)
    file = write(tmp_path / "a.jsonl", rows)
    found = read_examples(file, "classification", columns={}, labels=named, rejects=rejects)
    assert (len(found), rejects.kept, rejects.rejected) == (kept, kept, 6 - kept)
    if kept == 4:
        assert {e.label for e in found} == {"0", "1"} and [r.line for r in rejects.first] == [1, 4]
        with pytest.raises(DataError, match="the label -1 says that there is none"):
            read_examples(file, "classification", columns={}, rejects=Rejects())


def test_a_side_is_known_by_its_usual_names(tmp_path):
    rows = [{"text": name, "label": "x", "split": name} for name in ("train", "val", "valid", "dev", "test")]
    found = read_examples(write(tmp_path / "a.jsonl", rows), "classification", columns={}, rejects=Rejects())
    assert [e.split for e in found] == ["train", "validation", "validation", "validation", "test"]
    rows = [{"text": name, "label": "x", "split": name} for name in ("Training", "eval", "Test_matched", "part 7")]
    rejects = Rejects()
    found = read_examples(write(tmp_path / "b.jsonl", rows), "classification", columns={}, rejects=rejects)
    assert [e.split for e in found] == ["train", "validation", "test", None]
    assert rejects.unused == ["split ('part 7' names no side)"]


def test_a_missing_column_suggests_one_that_is_free(tmp_path):
    file = write(tmp_path / "a.jsonl", [{"sentence": "a", "stars": 3}])
    with pytest.raises(DataError, match="no column 'label'") as error:
        read_examples(file, "classification", columns={}, rejects=Rejects())
    assert error.value.mend.endswith("columns.label=stars")


def test_a_saved_dataset_gives_examples(tmp_path):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    datasets.DatasetDict({"train": table, "test": table.select([0])}).save_to_disk(str(tmp_path / "saved"))
    found = read_examples(str(tmp_path / "saved"), "classification", columns={}, rejects=Rejects())
    assert [(e.text, e.label, e.split) for e in found] == [("a", "0", "train"), ("b", "1", "train")]


def test_real_sets_give_examples(mirror):
    found = read_examples("sentence-polarity", "classification", columns={}, rejects=Rejects(), limit=200)
    assert len(found) == 200 and {e.label for e in found} == {"positive", "not positive"}
    rejects = Rejects(limit_share=1.0)
    stories = read_examples("fairytaleqa", "extraction", columns={}, rejects=rejects)
    assert len(stories) > 2000 and all(a in e.text for e in stories[:200] for a in e.answers)
    assert {e.split for e in stories} == {"train", "validation"} and rejects.rejected > 1000


@pytest.mark.slow
def test_the_pages_example_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parent.parent / "docs" / "finetune.md").read_text(encoding="utf-8")
    source = page.split("<!-- runs: finetune -->\n```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(source, "finetune.md", "exec"), {})
    accuracy, said = capsys.readouterr().out.splitlines()
    assert float(accuracy) > 0.8 and said == "['bright']"
