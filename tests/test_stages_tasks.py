"""`evaluate` on tasks: options by likelihood and by text, calibration, shots that fit, draws, intervals, the cache."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from amenable.batch import Inputs
from amenable.chat.tokenizer import train_bpe
from amenable.cli.evaluate import command
from amenable.config.folder import init_workspace
from amenable.data.tasks import LoadedTask
from amenable.data.templates import Task
from amenable.errors import ConfigError, DataError
from amenable.evals.options import calibrated, choose, per_token, prior
from amenable.models.config import DecoderConfig
from amenable.models.decoder import Decoder
from amenable.models.folder import save_model
from amenable.stages import tasks
from amenable.stages.build import Policy
from amenable.stages.evaluate import Config, run
from amenable.stages.tasks import Asked, TaskSettings, draw_of, evaluate_tasks, measure, option_scores, without_content
from amenable.types import Demonstration, Prompt, Split, assistant, text, user

TASK = Task(cluster="c", fields=("word",), templates=("Is {word} big?", "{word}: big?"), options=("no way", "yes"))
ROWS = "\n".join(
    json.dumps({"word": f"c{n}", "answer": "yes" if n % 3 else "no way", "split": "test" if n < 6 else "train"})
    for n in range(14)
)


def asked(context: int = 64, *, zero: bool = False) -> Asked:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    tokenizer = train_bpe(["is a cat big? yes no way"], 280)
    model = Decoder(
        DecoderConfig(
            vocab_size=tokenizer.vocab_size, hidden_size=16, num_layers=1, num_heads=2, num_kv_heads=2, head_dim=8,
            mlp_size=16, context=context, bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id,
        )
    )  # fmt: skip
    with torch.no_grad():
        for weight in model.parameters() if zero else ():
            weight.zero_()
    return Asked("m", Policy(model.eval(), tokenizer, Path("m"), f"hash {context} {zero}"), raw=True)


def loaded(words: int = 1) -> LoadedTask:
    def made(n: int, split: Split) -> Demonstration:
        meta = {"fields": {"word": " ".join([f"c{n}"] * words)}}
        messages = (user("-"), assistant("yes" if n % 3 else "no way"))
        return Demonstration(id=f"t/{n}", messages=messages, meta=meta, split=split)

    return LoadedTask("t", TASK, tuple(made(n, "test" if n < 6 else "train") for n in range(14)))


def test_option_scores_are_the_log_probs_of_the_options_tokens() -> None:
    model = asked()
    network, tokenizer = model.policy.model, model.policy.tokenizer
    prompt = Prompt(id="p", messages=(text("Is it big?\n"),))
    [(nats, counts)] = option_scores(model, [(prompt, TASK.options)])
    for option, found, count in zip(TASK.options, nats, counts, strict=True):
        before = tokenizer.start_ids + tokenizer.encode("Is it big?\n")
        own = tokenizer.encode_after("Is it big?\n", option)
        ids = torch.tensor([before + own])
        inputs = Inputs(ids, torch.arange(ids.shape[1])[None], torch.zeros_like(ids))
        with torch.no_grad():
            logprobs = network.logits(network.hidden(inputs)[0]).log_softmax(-1)
        want = sum(float(logprobs[len(before) + i - 1, t]) for i, t in enumerate(own))
        assert count == len(own) and found == pytest.approx(want, abs=1e-4)


def test_a_model_that_knows_nothing_prefers_the_shorter_option_unless_normalised() -> None:
    """All weights 0: every token has probability 1 / V, so a score is -n log V, and per token all options are equal."""
    model, task = asked(zero=True), loaded()
    examples = task.side("test")
    size = model.policy.tokenizer.vocab_size
    drawn = draw_of(task, examples, 0, "k", TaskSettings(), "text")
    scores = option_scores(model, [(drawn.prompt(examples[0], 0), TASK.options)])
    assert scores[0][0] == pytest.approx([-n * math.log(size) for n in scores[0][1]], rel=1e-5)
    assert scores[0][1][0] > scores[0][1][1]  # "no way" is longer
    found = measure(model, drawn, examples, TaskSettings(calibration="contextual"), seed=0)
    right = tuple(float(n % 3 > 0) for n in range(6))
    assert found.correct["likelihood"] == right  # always "yes", the shorter
    assert found.correct["likelihood per token"] == tuple(1 - r for r in right)  # a tie: always the first
    assert found.correct["likelihood, contextual"] == tuple(
        1 - r for r in right
    )  # the preference is divided out: a tie
    assert found.fewer_shots == found.left_out == 0


def test_calibration_by_hand() -> None:
    """Prior (0.9, 0.1): an option at 0.8 against 0.2 was expected even more often, so the other one wins."""
    before = prior([[math.log(0.85), math.log(0.15)], [math.log(0.95), math.log(0.05)]])
    assert before == pytest.approx([0.9, 0.1])
    scores = [math.log(0.8), math.log(0.2)]
    assert calibrated(scores, before) == pytest.approx([math.log(8 / 9), math.log(2)])
    assert (choose(scores), choose(calibrated(scores, before))) == (0, 1)
    assert per_token([-6.0, -4.0], [3, 1]) == [-2.0, -4.0]


def test_requests_without_content_keep_everything_else() -> None:
    task = loaded(words=3)
    record = task.side("test")[0]
    drawn = draw_of(task, task.side("test"), 1, "k", TaskSettings(), "text")
    empty = without_content(drawn, record, "contextual", 0)
    assert [r.meta["fields"]["word"] for r in empty] == ["N/A", "", "[MASK]"]
    domain = without_content(drawn, record, "domain", 0)
    words = {w for r in task.side("train") for w in r.meta["fields"]["word"].split()}
    assert all(len(found := r.meta["fields"]["word"].split()) == 3 and set(found) <= words for r in domain)
    assert drawn.prompt(empty[0], 1).messages[0].content.endswith(("Is N/A big?\n", "N/A: big?\n"))


def test_draws_change_examples_and_order_and_repeat_by_seed() -> None:
    task = loaded()
    drawn = [draw_of(task, task.side("test"), 3, f"0:{n}", TaskSettings(), "text") for n in range(6)]
    chosen = [[s.id for s in d.shots] for d in drawn]
    assert len({tuple(c) for c in chosen}) > 3 and {d.template for d in drawn} == {0, 1}
    assert all(s.split == "train" for d in drawn for s in d.shots)
    again = draw_of(task, task.side("test"), 3, "0:2", TaskSettings(), "text")
    assert [s.id for s in again.shots] == chosen[2]
    with pytest.raises(DataError, match="9 shots are wanted and the task has 8"):
        draw_of(task, task.side("test"), 9, "k", TaskSettings(), "text")


def test_fewer_shots_where_the_context_is_short_are_counted() -> None:
    task = loaded(words=4)
    drawn = draw_of(task, task.side("test"), 4, "k", TaskSettings(), "text")
    whole = measure(asked(400), drawn, task.side("test"), TaskSettings(), seed=0)
    assert whole.fewer_shots == 0
    short = measure(asked(60), drawn, task.side("test"), TaskSettings(), seed=0)
    assert short.fewer_shots == 6 and short.left_out == 0
    with pytest.raises(DataError, match="fewer than two examples fit the context of 8"):
        measure(asked(8), drawn, task.side("test"), TaskSettings(), seed=0)


def prepared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    lines = [f"{name} = {json.dumps(getattr(TASK, name))}" for name in ("cluster", "fields", "templates", "options")]
    Path("t.toml").write_text("\n".join(lines))
    Path("rows.jsonl").write_text(ROWS)


def test_cells_are_kept_and_only_missing_ones_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(tmp_path, monkeypatch)
    workspace = init_workspace(tmp_path / "w")
    calls: list[int] = []
    real = tasks.measure

    def counted(model, drawn, *rest, **more):  # type: ignore[no-untyped-def]
        calls.append(len(drawn.shots))
        return real(model, drawn, *rest, **more)

    monkeypatch.setattr(tasks, "measure", counted)
    settings = TaskSettings(sets=("t.toml@rows.jsonl",), shots=(0, 1), draws=2, answers="both", max_tokens=3)
    rows = evaluate_tasks([asked()], settings, workspace=workspace, seed=0)
    assert calls == [0, 0, 1, 1]
    assert [(r.shots, r.scored_by, r.examples, r.draws, r.chance) for r in rows[:3]] == [
        (0, way, 6, 2, 0.5) for way in ("likelihood", "likelihood per token", "generation")
    ]
    assert all(r.low <= r.accuracy <= r.high for r in rows)
    assert evaluate_tasks([asked()], settings, workspace=workspace, seed=0) == rows and len(calls) == 4
    evaluate_tasks([asked()], settings.replace(shots=(0, 1, 2)), workspace=workspace, seed=0)
    assert calls[4:] == [2, 2]
    evaluate_tasks([asked(zero=True)], settings.replace(shots=(0,)), workspace=workspace, seed=0)
    assert calls[6:] == [0, 0]  # another model
    Path("rows.jsonl").write_text(ROWS.replace('"c0"', '"d0"'))
    evaluate_tasks([asked()], settings.replace(shots=(0,)), workspace=workspace, seed=0)
    assert calls[8:] == [0, 0]  # other data


def test_bad_settings_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(tmp_path, monkeypatch)
    workspace = init_workspace(tmp_path / "w")
    Path("rows.jsonl").write_text(ROWS.replace('"test"', '"train"'))
    with pytest.raises(DataError, match="no test part"):
        evaluate_tasks([asked()], TaskSettings(sets=("t.toml@rows.jsonl",)), workspace=workspace, seed=0)
    with pytest.raises(ConfigError, match="both data and tasks"):
        run(Config(models=("m",), data="d", tasks=TaskSettings(sets=("x",))), workspace=workspace)
    with pytest.raises(ConfigError, match="data must be given"):
        run(Config(models=("m",)), workspace=workspace)


def test_evaluate_writes_a_table_of_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(tmp_path, monkeypatch)
    workspace = init_workspace(tmp_path / "w")
    policy = asked(zero=True).policy
    save_model(policy.model, workspace.models / "tiny")
    policy.tokenizer.save(workspace.models / "tiny")
    settings = TaskSettings(sets=("t.toml@rows.jsonl",), shots=(0, 1), draws=2)
    done = run(Config(models=("tiny=tiny@raw",), tasks=settings), workspace=workspace)
    rows = json.loads((Path(done.folder) / "tasks.json").read_text())
    assert rows == done.details["tasks"] and len(rows) == 4 and rows[0]["model"] == "tiny"
    assert rows[0]["accuracy"] == pytest.approx(4 / 6)  # always "yes", the shorter
    assert rows[0]["commonest"] == 1.0 and done.text == ""


def test_what_the_context_is_too_short_for_is_said_and_the_table_is_for_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path, monkeypatch)
    workspace = init_workspace(tmp_path / "w")
    policy = asked(40, zero=True).policy
    save_model(policy.model, workspace.models / "tiny")
    policy.tokenizer.save(workspace.models / "tiny")
    given = ['models=["tiny"]', 'tasks.sets=["t.toml@rows.jsonl"]', "tasks.shots=[4]", "tasks.draws=1"]
    said = CliRunner().invoke(command, [*given, "--workspace", "w", "--quiet"])
    assert said.exit_code == 0, said.output
    head, first, *_ = said.output.splitlines()
    assert head.split("\t") == [
        "model", "task", "shots", "scored by", "accuracy", "95 %", "guessing", "one answer", "examples",
    ]  # fmt: skip
    assert first.split("\t")[3:5] == ["likelihood", "0.667"] and first.split("\t")[6:] == ["0.500", "1.000", "6"]
    assert "6 of 6 prompts hold fewer examples than asked for: the context is full." in said.output


def test_guessing_is_of_each_examples_own_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.toml").write_text('cluster = "c"\nfields = ["word"]\ntemplates = ["Which, {word}?"]')
    rows = [
        {"word": f"w{n}", "answer": "a", "options": ["a", "b", "c", "d"][: 2 + 2 * (n % 2)], "split": "test"}
        for n in range(4)
    ]
    Path("r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = TaskSettings(sets=("t.toml@r.jsonl",), draws=1)
    found = evaluate_tasks([asked()], settings, workspace=init_workspace(tmp_path / "w"), seed=0)
    assert [r.chance for r in found] == [pytest.approx(0.375)] * 2
