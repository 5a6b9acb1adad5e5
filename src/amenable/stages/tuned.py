"""A model that was fine-tuned to one task: what it says of examples, and how right it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from amenable.batch import Batch, Outputs
from amenable.chat.tokenizer import Tokenizer
from amenable.config.folder import WorkspaceFolder
from amenable.data.example_rows import ExampleSettings, Scale, example_units
from amenable.data.examples import Example, Task
from amenable.data.rows import RowSettings, TokeniseReport, Unit, collate, tokenise
from amenable.errors import DataError, ModelError
from amenable.evals import task_metrics
from amenable.models.folder import load_heads, read_metadata
from amenable.models.forward import Actor, outputs_of
from amenable.models.heads import ClassHead, Head, ScalarHead
from amenable.stages.build import ON_CPU, Compute, Policy, make_actor, open_policy
from amenable.stages.generate import generate
from amenable.train.split import split
from amenable.types import Demonstration, Messages, Prompt, Record, Rollout, Sampling, assistant, user

HEAD = "finetune"
KINDS: dict[str, str] = {
    "classification": "classes",
    "regression": "number",
    "tokens": "token_classes",
    "extraction": "token_classes",
    "target": "lm",
}
"""The kind of the role that each task trains."""
WANTS: dict[str, tuple[str, ...]] = {
    "classification": ("classes",),
    "regression": ("scores",),
    "tokens": ("token_classes",),
    "extraction": ("token_classes",),
}
LONGEST_ANSWER_TOKENS = 30
EVALUATION_TOKENS = 8192

Said = str | float | tuple[str, ...]
"""What a model says of one example: a class, a number, tags, an answer or a text."""
Evaluate = Callable[[Batch, tuple[str, ...]], Outputs]


class NotAsked(Record, frozen=True):
    """In place of what a model says of an example that it cannot be asked: why, as one longer than its context."""

    why: str


class About(Record, frozen=True):
    """What a fine-tuned model must be told of its task; stands in its amenable.json."""

    task: Task
    context: int
    labels: tuple[str, ...] = ()
    scale: Scale = Scale()
    columns: dict[str, str] = {}
    max_tokens: int = 64

    def settings(self, model_kind: Any, overlong: Any = "reject") -> ExampleSettings:
        return ExampleSettings(
            task=self.task,
            context=self.context,
            model_kind=model_kind,
            labels=self.labels,
            scale=self.scale,
            overlong=overlong,
        )


@dataclass
class Tuned:
    """A fine-tuned model at work."""

    policy: Policy
    actor: Actor
    about: About

    def say(self, examples: Sequence[Example]) -> list[Said]:
        """What the model says of each example; of a text that is too long, what it says of its end.

        Raises DataError if an example cannot be asked: words to tag, or a text to answer with another, are never cut.
        """
        found = self.say_or_why_not(examples)
        said = [one for one in found if not isinstance(one, NotAsked)]
        if len(said) < len(found):
            why = next(one.why for one in found if isinstance(one, NotAsked))
            raise DataError(
                f"{len(found) - len(said)} of {len(found)} examples cannot be read: {why}",
                where="examples",
                mend="shorten them",
            )
        return said

    @torch.no_grad()
    def say_or_why_not(self, examples: Sequence[Example]) -> list[Said | NotAsked]:
        """As `say`, and in the place of an example that cannot be asked the reason."""
        if self.about.task == "target":
            rollouts = _rollouts(self.policy, examples, self.about)
            return [NotAsked(r.failure or "failed") if r.finish == "failed" else r.text for r in rollouts]
        settings = self.about.settings(self.policy.model.kind, "truncate_left_prompt")
        units: list[Unit] = []
        found: list[Said | NotAsked | None] = []
        for example in examples:  # without its answers: one that is cut off leaves a question all the same
            own, report = example_units([example.replace(answers=())], self.policy.tokenizer, settings)
            units += own
            found.append(None if own else NotAsked(", ".join(report.reasons)))
        said = iter(foretold(units, self.about, self.policy.tokenizer, self._evaluate) if units else ())
        return [next(said) if one is None else one for one in found]

    def _evaluate(self, batch: Batch, wants: tuple[str, ...]) -> Outputs:
        device = next(self.actor.parameters()).device
        return outputs_of(self.actor.eval(), batch.to(device), wants)


def open_tuned(reference: str, workspace: WorkspaceFolder, compute: Compute = ON_CPU) -> Tuned:
    """A fine-tuned model by its name. Raises ModelError if it was not fine-tuned to a task."""
    policy = open_policy(reference, workspace, compute)
    about = about_of(policy)
    if about is None:
        raise ModelError(
            "the model was not fine-tuned to a task", where=str(policy.folder), mend="run `amenable finetune` first"
        )
    head = None if about.task == "target" else load_heads(policy.folder, device=compute.device)[HEAD]
    return Tuned(policy, make_actor(policy.model, KINDS[about.task], head).eval(), about)


def about_of(policy: Policy) -> About | None:
    """What a model's folder says of the task that it was fine-tuned to; None if it was not."""
    import msgspec

    found = read_metadata(policy.folder).get(HEAD)
    return None if found is None else msgspec.convert(found, About)


def new_head(about: About, hidden_size: int, seed: int) -> Head | None:
    """A fresh head for a task; a model that writes its answers has none."""
    generator = torch.Generator().manual_seed(seed)
    if about.task == "target":
        return None
    if about.task == "regression":
        return ScalarHead(hidden_size, start="small", generator=generator)
    size = 2 if about.task == "extraction" else len(about.labels)
    return ClassHead(hidden_size, size, start="small", generator=generator)


def units_of(
    examples: Sequence[Example], tokenizer: Tokenizer, about: About, model_kind: Any, overlong: Any
) -> tuple[list[Unit], TokeniseReport]:
    """Rows to learn from, or to be measured on."""
    if about.task != "target":
        return example_units(examples, tokenizer, about.settings(model_kind, overlong))
    settings = RowSettings(context=about.context, model_kind=model_kind, overlong=overlong)
    shown = [
        Demonstration(id=e.id, messages=(*asked(e), assistant(e.answers[0])), meta={"answers": e.answers})
        for e in examples
    ]
    return tokenise(shown, tokenizer, settings)


def asked(example: Example) -> Messages:
    """What a model that writes its answers is asked."""
    return (user(example.text),)


@torch.no_grad()
def foretold(units: Sequence[Unit], about: About, tokenizer: Tokenizer, evaluate: Evaluate) -> list[Said]:
    """What the head says of each row."""
    said: list[Said] = []
    for batch in split(collate(units), max_tokens=EVALUATION_TOKENS):
        out = evaluate(batch, WANTS[about.task])
        if out.scores_B is not None:
            said += [score * about.scale.spread + about.scale.mean for score in out.scores_B.tolist()]
        elif out.classes_BC is not None:
            said += [about.labels[c] for c in out.classes_BC.argmax(-1).tolist()]
        else:
            assert out.classes_BTC is not None
            for row, logits_TC in enumerate(out.classes_BTC.float().cpu()):
                logits_NC = logits_TC[batch.trained_BT[row]]
                if about.task == "tokens":
                    said.append(tuple(about.labels[c] for c in logits_NC.argmax(-1).tolist()))
                else:
                    said.append(_answer(batch.records[row], logits_NC, tokenizer))
    return said


def _answer(example: Example, logits_NC: torch.Tensor, tokenizer: Tokenizer) -> str:
    """The likeliest stretch of the passage: begin + end, the end not before the begin and at most 30 tokens long."""
    length = len(logits_NC)
    sums_NN = logits_NC[:, 0, None] + logits_NC[None, :, 1]
    allowed_NN = torch.ones_like(sums_NN, dtype=torch.bool).triu() & ~torch.ones_like(sums_NN, dtype=torch.bool).triu(
        LONGEST_ANSWER_TOKENS
    )
    begin, end = divmod(int(sums_NN.masked_fill(~allowed_NN, float("-inf")).argmax()), length)
    _, offsets = tokenizer.encode_with_offsets(example.text)
    gone = len(offsets) - length  # cut off at the left
    return example.text[offsets[gone + begin][0] : offsets[gone + end][1]].strip()


def written(policy: Policy, examples: Sequence[Example], about: About) -> list[str]:
    """What a model writes for each example, the likeliest token at every step; "" for one that it cannot be asked."""
    return [rollout.text for rollout in _rollouts(policy, examples, about)]


def _rollouts(policy: Policy, examples: Sequence[Example], about: About) -> list[Rollout]:
    prompts = [Prompt(id=e.id, messages=asked(e)) for e in examples]
    sampling = Sampling(temperature=0.0, max_tokens=about.max_tokens)
    return [group[0] for group in generate(policy, prompts, sampling, seed=0, label="answers")]


def figures(about: About, said: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
    """How right a model was, by the figures of its task."""
    measure: Mapping[str, Callable[..., dict[str, float]]] = {
        "classification": task_metrics.classification,
        "regression": task_metrics.regression,
        "tokens": task_metrics.tokens,
        "extraction": task_metrics.extraction,
        "target": task_metrics.target,
    }
    return measure[about.task](said, [right_of(about.task, e) for e in examples])


def right_of(task: Task, example: Example) -> Any:
    """What is right, in the form that the figures of a task take."""
    if task == "classification":
        return example.label
    if task == "regression":
        return example.number
    return example.tags if task == "tokens" else example.answers
