"""environment.py: ids appended and never rendered again, masks, rewards and ends in their places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import tokenizers
import torch

from amenable.batch import Inputs
from amenable.chat.render import render, render_prompt
from amenable.chat.tokenizer import Tokenizer
from amenable.errors import ConfigError, TemplateError
from amenable.rollout.engine import OnProgress, OnToken, Request, Token
from amenable.rollout.environment import Environment, Observation, Step, _Talk, continuation_ids, play, turns
from amenable.rollout.local import LocalEngine
from amenable.types import Message, Rollout, Sampling, assistant, user
from tests.chat_makers import phi_like, qwen_like
from tests.rollout_makers import decoder, stopping, tokenizer


class GuessTheNumber:
    """Think of 1 to 7; the policy says a number, hears "higher" or "lower"; -0.1 for a miss, 1 for the number."""

    name = "guess"

    def reset(self, seed: int) -> Observation:
        self.number = 1 + seed % 7
        return (Message(role="system", content="Play."), user("Guess my number from 1 to 7."))

    def step(self, text: str) -> Step:
        guess = int(text) if text.strip().isdigit() else 0
        if guess == self.number:
            return Step("", 1.0, done=True, info={"number": self.number})
        return Step("higher" if guess < self.number else "lower", -0.1, done=False)


class Speaker:
    """An engine that says what it is told, spelt byte by byte where `letters`: as no tokenizer would spell it."""

    policy_version, context = 5, 300

    def __init__(self, say: Callable[[Request, int], str], *, end: bool = True, letters: bool = False) -> None:
        self.say, self.end, self.letters = say, end, letters
        self.asked: list[Request] = []
        self.calls = 0

    def generate(
        self, requests: Sequence[Request], *, on_token: OnToken | None = None, on_progress: OnProgress | None = None
    ) -> list[Rollout]:
        self.calls += 1
        return [self._answer(r) for r in requests]

    def _answer(self, r: Request) -> Rollout:
        self.asked.append(r)
        words = self.say(r, self.calls)
        ids = [i for c in words for i in tokenizer().encode(c)] if self.letters else tokenizer().encode(words)
        ids += list(tokenizer().stop_ids[:1]) if self.end else []
        return Rollout(
            prompt=r.prompt,
            prompt_ids=r.prompt_ids,
            response_ids=tuple(ids),
            logprobs=tuple(-0.5 - i for i in range(len(ids))),
            text=words,
            finish="stop" if self.end else "length",
        )

    def stream(self, request: Request) -> Iterator[Token]:
        raise NotImplementedError

    def load_weights(self, version: int) -> None: ...


def bisect(request: Request, turn: int) -> str:
    """4, then 2 or 6, then the odd ones: from what the environment said so far."""
    heard = tokenizer().decode([i for i in request.prompt_ids if i not in tokenizer().special_ids])
    guess, step = 4, 2
    for word in heard.replace("higher", "\0higher").replace("lower", "\0lower").split("\0")[1:]:
        guess, step = guess + (step if word.startswith("higher") else -step), step // 2
    return str(guess)


def test_an_episode_is_the_conversation_as_a_learner_would_render_it() -> None:
    engine = Speaker(bisect)
    rollouts = play(engine, [GuessTheNumber() for _ in range(7)], Sampling(), tokenizer(), 5)
    assert engine.calls == 3 and len(engine.asked) == 7 + 6 + 4
    one = rollouts[0]  # the number is 1: 4, lower, 2, lower, 1
    talk = [Message(role="system", content="Play."), user("Guess my number from 1 to 7.")]
    for said, heard in (("4", "lower"), ("2", "lower")):
        talk += [assistant(said), user(heard)]
    whole = render([*talk, assistant("1")], tokenizer())
    assert one.prompt_ids + one.response_ids == whole.ids
    assert one.own is not None and (False,) * len(one.prompt_ids) + one.own == whole.trained
    spans = turns(one)
    assert [tokenizer().decode(one.response_ids[a:b]) for a, b in spans] == ["4", "2", "1"]
    assert one.token_rewards is not None
    assert {i: r for i, r in enumerate(one.token_rewards) if r} == dict(
        zip([b - 1 for _, b in spans], [-0.1, -0.1, 1.0], strict=True)
    )
    assert [p for p, own in zip(one.logprobs, one.own, strict=True) if own] == [-0.5, -1.5] * 3
    assert all(p == 0 for p, own in zip(one.logprobs, one.own, strict=True) if not own)
    assert (one.finish, one.policy_version, one.seed, one.text) == ("stop", 5, 0, "4\n2\n1")
    assert one.prompt.id == "guess-0" and one.prompt.task == "guess" and one.prompt.meta == {"info": {"number": 1}}
    assert [r.finish for r in rollouts] == ["stop"] * 7
    assert rollouts[3].text == "4" and turns(rollouts[3]) == [(0, 2)]


def test_ids_stay_as_they_were_drawn() -> None:
    engine = Speaker(lambda request, turn: "the cat", letters=True)
    rollout = play(engine, [GuessTheNumber()], Sampling(), tokenizer(), 2)[0]
    drawn = [i for c in "the cat" for i in tokenizer().encode(c)]
    assert drawn != tokenizer().encode("the cat")
    for start, end in turns(rollout):
        assert list(rollout.response_ids[start : end - 1]) == drawn
    assert engine.asked[1].prompt_ids == engine.asked[0].prompt_ids + rollout.response_ids[: turns(rollout)[1][0]]


def test_a_turn_cut_at_its_limit_is_closed_by_a_token_that_is_not_its_own() -> None:
    rollout = play(Speaker(lambda request, turn: "a", end=False), [GuessTheNumber()], Sampling(), tokenizer(), 2)[0]
    end = tokenizer().stop_ids[0]
    (_, first), (second, last) = turns(rollout)
    assert rollout.response_ids[first] == end and rollout.own is not None and not rollout.own[first]
    assert list(rollout.response_ids[first + 1 : second]) == continuation_ids("higher", tokenizer())
    assert last == len(rollout.response_ids) and rollout.finish == "length"


def test_a_cut_turn_is_closed_as_the_template_closes_it() -> None:
    """Gemma's turns end with another token than eos; an ordinary piece that stops the model ends no turn."""
    inner = tokenizers.Tokenizer.from_str(tokenizer().inner.to_str())
    inner.add_special_tokens(["<eos>"])
    spelling = Tokenizer(
        inner,
        {**tokenizer().specials, "eos_token": "<eos>"},
        chat_template=tokenizer().chat_template,
        stop_ids=[2, *tokenizer().encode("\n")],  # 2 is <|end|>, which the template writes
    )
    assert spelling.stop_ids[0] == inner.token_to_id("<eos>")
    for cut, joint in (("the cat", "<|end|>"), ("the cat\n", "<|end|>"), ("<|end|>", ""), ("<eos>", "")):
        talk = _Talk(spelling)
        talk.hear("one")
        drawn = inner.encode(cut, add_special_tokens=False).ids
        talk.ids += drawn
        assert talk.hear("two") == len(talk.ids) - len(drawn)
        follows = spelling.decode(talk.ids[len(drawn) :], skip_special=False)
        assert follows == f"{joint}<|user|>two<|end|><|assistant|>"


def test_seeds_decide_and_never_repeat() -> None:
    engine = Speaker(lambda request, turn: "x")
    environments: list[Environment] = [GuessTheNumber(), GuessTheNumber()]
    rollouts = play(engine, environments, Sampling(), tokenizer(), 3, seeds=[11, 4])
    assert [r.seed for r in rollouts] == [11, 4] and [r.prompt.id for r in rollouts] == ["guess-11", "guess-4"]
    assert len({r.seed for r in engine.asked}) == 6
    with pytest.raises(ConfigError):
        play(engine, environments, Sampling(), tokenizer(), 1, seeds=[1])


def test_a_full_context_ends_the_episode_and_keeps_what_there_is() -> None:
    model = decoder()  # context 128
    engine = LocalEngine(model, stopping())
    rollouts = play(engine, [GuessTheNumber() for _ in range(6)], Sampling(max_tokens=30), stopping(), 50)
    for rollout in rollouts:
        assert rollout.finish == "length" and rollout.failure is None
        assert len(rollout.prompt_ids) + len(rollout.response_ids) <= model.context
        assert len(turns(rollout)) > 1 and rollout.own is not None and rollout.own[-1]
        ids = torch.tensor([rollout.prompt_ids + rollout.response_ids])
        with torch.no_grad():
            hidden = model.hidden(Inputs(ids, torch.arange(ids.shape[1])[None], torch.zeros_like(ids)))
            logprobs = torch.log_softmax(model.logits(hidden), -1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
        want = logprobs[len(rollout.prompt_ids) - 1 :] * torch.tensor(rollout.own)
        assert rollout.logprobs == pytest.approx(want.tolist(), abs=1e-4)


def test_a_failed_turn_fails_the_episode() -> None:
    tiny = LocalEngine(decoder(), tokenizer(), max_tokens=10)
    rollout = play(tiny, [GuessTheNumber()], Sampling(), tokenizer(), 3)[0]
    assert rollout.finish == "failed" and "no room" in (rollout.failure or "") and rollout.response_ids == ()


@pytest.mark.parametrize("make", [None, qwen_like, phi_like])
def test_continuations_join_as_the_template_writes_them(make: Callable[[Path], Path] | None, tmp_path: Path) -> None:
    spelling = Tokenizer.load(make(tmp_path)) if make else tokenizer()
    talk = (user("one"), assistant("two"))
    ids = render(talk, spelling, last_only=True)
    cut = max(i for i, trained in enumerate(ids.trained) if trained) + 1
    joined = [*ids.ids[:cut], *continuation_ids("three", spelling)]
    assert joined == render_prompt((*talk, user("three")), spelling)


def test_a_template_that_rewrites_the_past_is_refused() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'user' %}<|user|>{% else %}<|assistant|>{% endif %}"
        "{% if not loop.last %}old {% endif %}{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    with pytest.raises(TemplateError, match=r"differently|prefix"):
        continuation_ids("x", tokenizer().with_changes(chat_template=source))
