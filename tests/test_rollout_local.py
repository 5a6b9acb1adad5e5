"""local.py: the same tokens as transformers, as a plain forward pass, and alone as in company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

import amenable.models.native.decode as native
import amenable.rollout.forward as forward
from amenable.batch import Inputs
from amenable.errors import RolloutError
from amenable.models.decoder import Decoder
from amenable.models.folder import save_model
from amenable.rollout.engine import Token
from amenable.rollout.local import LocalEngine
from amenable.rollout.sampling import DrawParams, draw, seed_keys, uniforms
from amenable.types import Decode, Rollout, Sampling
from tests.rollout_makers import decoder, mixed_requests, request, stopping, tokenizer

WAYS: tuple[Decode, ...] = ("plain",) if native.why_not(decoder()) else ("plain", "compiled")
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": dict(family="mistral", windows=(8, 8), tied=False),
    "qwen2": dict(family="qwen2", qkv_bias=True),
    "qwen3": dict(family="qwen3", qk_norm=True),
    "gpt2": dict(
        family="gpt2", norm="layer", norm_eps=1e-5, activation="gelu_new", gated=False, rope=None, fused_qkv=True,
        qkv_bias=True, out_bias=True, mlp_bias=True, num_kv_heads=4,
    ),
}  # fmt: skip


class NeverStops:
    """The tokenizer without stop ids, so that responses reach their limits."""

    stop_ids = ()

    def decode(self, ids: Any) -> str:
        return tokenizer().decode(ids)

    def stream(self) -> Any:
        return tokenizer().stream()


def plain_logits(model: Decoder, ids: list[int]) -> Tensor:
    tokens = torch.tensor([ids])
    inputs = Inputs(tokens, torch.arange(len(ids))[None], torch.zeros_like(tokens))
    with torch.no_grad():
        return model.logits(model.hidden(inputs))[0]


@pytest.mark.parametrize("decode", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_are_those_of_transformers(family: str, decode: Decode, tmp_path: Path) -> None:
    model = decoder(seed=5, **FAMILIES[family])
    save_model(model, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    requests = [
        request(list(range(10 + i, 10 + i + n)), max_tokens=24, temperature=0.0) for i, n in enumerate((3, 4, 9, 20))
    ]
    rollouts = LocalEngine(model, NeverStops(), decode=decode).generate(requests)
    for r, got in zip(requests, rollouts, strict=True):
        ids = torch.tensor([r.prompt_ids])
        want = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=24,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert list(got.response_ids) == want[0, len(r.prompt_ids) :].tolist()
        assert got.finish == "length"


@pytest.mark.parametrize("decode", WAYS)
def test_responses_are_those_of_plain_forward_passes(decode: Decode) -> None:
    """An independent, naive generation: no cache, no batch, one whole forward pass per token."""
    model, requests = decoder(), mixed_requests()
    engine = LocalEngine(model, stopping(), num_slots=5, decode=decode)
    engine.load_weights(17)
    for r, got in zip(requests, engine.generate(requests), strict=True):
        ids, logprobs = list(r.prompt_ids), []
        for t in range(r.sampling.max_tokens):
            logits = plain_logits(model, ids)[-1:]
            seen = torch.zeros_like(logits, dtype=torch.bool)
            seen[0, ids] = True
            number = torch.from_numpy(uniforms(seed_keys([r.seed]), torch.tensor([t]).numpy().astype("uint64")))
            id, logprob = draw(logits, DrawParams.of([r.sampling]), number, seen)
            ids.append(int(id))
            logprobs.append(logprob.item())
            if ids[-1] in stopping().stop_ids:
                break
        assert list(got.response_ids) == ids[len(r.prompt_ids) :]
        assert got.logprobs == pytest.approx(logprobs, abs=1e-4)
        assert (got.prompt.id, got.seed, got.policy_version) == (r.prompt.id, r.seed, 17)
        assert got.finish == ("stop" if ids[-1] in stopping().stop_ids else "length")
    assert any(r.finish == "stop" for r in engine.generate(requests)), "the test should see both ends"


def test_recorded_logprobs_are_what_a_learner_computes() -> None:
    model = decoder()
    r = request([9, 8, 7], seed=3, temperature=0.6, top_k=9, repetition_penalty=1.5, max_tokens=20)
    got = LocalEngine(model, tokenizer()).generate([r])[0]
    logits = plain_logits(model, [*got.prompt_ids, *got.response_ids])[2:-1]
    want = torch.log_softmax(logits / 0.6, -1)[torch.arange(len(got.response_ids)), torch.tensor(got.response_ids)]
    assert got.logprobs == pytest.approx(want.tolist(), abs=1e-4)


@pytest.mark.parametrize("decode", WAYS)
@pytest.mark.parametrize("num_slots", [1, 3, 64])
def test_company_does_not_change_a_response(num_slots: int, decode: Decode) -> None:
    model, requests = decoder(), mixed_requests()
    together = LocalEngine(model, stopping(), num_slots=num_slots, decode=decode).generate(requests)
    for r, got in zip(requests, together, strict=True):
        alone = LocalEngine(model, stopping(), decode=decode).generate([r])[0]
        assert alone.response_ids == got.response_ids
        assert alone.logprobs == pytest.approx(got.logprobs, abs=1e-4)


@pytest.mark.parametrize("decode", WAYS)
def test_deterministic_mode_is_exact(decode: Decode) -> None:
    """Equal to the last bit whatever the company, the order, the cache's size and what ran before."""
    model, requests = decoder(hidden_size=48, num_heads=6, mlp_size=100), mixed_requests()

    def engine(**changes: Any) -> LocalEngine:
        return LocalEngine(model, stopping(), deterministic=True, decode=decode, **changes)

    same = engine()
    together = same.generate(requests)
    backwards = same.generate(requests[::-1])[::-1]
    assert backwards == together
    for r, got in zip(requests, together, strict=True):
        assert engine().generate([r]) == [got]
        assert engine(max_tokens=66).generate([requests[0], r])[1] == got


def test_a_prompt_wanted_often_is_read_once() -> None:
    model = decoder()
    read: list[int] = []

    def count(inputs: Inputs, **rest: Any) -> Tensor:
        read.append(inputs.tokens_PL.numel())
        return Decoder.hidden(model, inputs, **rest)

    model.hidden = count  # type: ignore[method-assign]
    requests = [request(range(10, 30), seed=i, max_tokens=6) for i in range(8)]
    rollouts = LocalEngine(model, NeverStops()).generate(requests)
    assert read == [20, 8, 8, 8, 8, 8]  # one prompt, then eight rows; the first token comes with the prompt
    assert len({r.response_ids for r in rollouts}) == 8
    read.clear()
    assert (
        LocalEngine(model, NeverStops(), deterministic=True).generate(requests)[3].response_ids
        == rollouts[3].response_ids
    )
    assert read == [20] + [1] * 40


def test_finished_rows_leave_and_waiting_ones_enter() -> None:
    model = decoder()
    rows: list[tuple[int, int]] = []

    def count(inputs: Inputs, **rest: Any) -> Tensor:
        rows.append(tuple(inputs.tokens_PL.shape))  # type: ignore[arg-type]
        return Decoder.hidden(model, inputs, **rest)

    model.hidden = count  # type: ignore[method-assign]
    lengths = [2, 9, 2, 9, 3, 3]
    requests = [request(range(10 + i, 18 + i), seed=i, max_tokens=n) for i, n in enumerate(lengths)]
    progress: list[tuple[int, int]] = []
    LocalEngine(model, NeverStops(), num_slots=2).generate(requests, on_progress=lambda *news: progress.append(news))
    decoded = [p for p, length in rows if length == 1]
    assert sum(decoded) == sum(lengths) - 6 and max(decoded) == 2
    assert [done for done, _ in progress] == sorted({done for done, _ in progress}) and progress[-1] == (6, 6)


def test_long_prompts_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model, requests = decoder(), mixed_requests(15)
    whole = LocalEngine(model, tokenizer()).generate(requests)
    monkeypatch.setattr(forward, "PREFILL_PIECE", 4)
    monkeypatch.setattr(forward, "PREFILL_TOKENS", 16)
    monkeypatch.setattr(native, "PIECE_TOKENS", 7)
    for decode in WAYS:
        assert_same(LocalEngine(model, tokenizer(), decode=decode).generate(requests), whole)


def assert_same(got: list[Rollout], want: list[Rollout]) -> None:
    for a, b in zip(got, want, strict=True):
        assert a.replace(logprobs=()) == b.replace(logprobs=())
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_what_cannot_be_generated_fails_alone() -> None:
    model = decoder()  # context 128
    good = request([5, 6], seed=1, max_tokens=4)
    bad = [request(range(128)), request([]), request([5, model.vocab_size]), request([-1])]
    engine = LocalEngine(model, tokenizer())
    rollouts = engine.generate([bad[0], good, *bad[1:]])
    failures = [r.failure or "" for r in rollouts]
    assert [r.finish == "failed" for r in rollouts] == [True, False, True, True, True]
    assert (
        "128 tokens" in failures[0]
        and "no tokens" in failures[2]
        and f"id {model.vocab_size}" in failures[3]
        and "id -1" in failures[4]
    )
    assert rollouts[1] == engine.generate([good])[0]
    assert all(r.response_ids == () == r.logprobs for r in rollouts if r.finish == "failed")
    with pytest.raises(RolloutError, match="no room"):
        list(engine.stream(bad[0]))
    assert engine.generate([]) == []


@pytest.mark.parametrize("decode", WAYS)
def test_a_model_gone_bad_fails_its_responses(decode: Decode) -> None:
    model = decoder(rope=None)  # learned positions: those from 10 on are spoilt
    with torch.no_grad():
        model.model.embed_positions.weight[10:] = float("nan")
    requests = [request([5] * 7, max_tokens=9), request([5] * 3, max_tokens=5), request([6] * 3, max_tokens=4)]
    rollouts = LocalEngine(model, NeverStops(), decode=decode, num_slots=2).generate(requests)
    assert rollouts[0].finish == "failed" and "token 5 of the response" in (rollouts[0].failure or "")
    assert rollouts[1].finish == "length" and len(rollouts[1].response_ids) == 5
    assert rollouts[2].finish == "length", "its slot held values that are not finite"


def test_the_context_ends_a_response() -> None:
    rollouts = LocalEngine(decoder(), NeverStops()).generate(
        [request(range(100), max_tokens=500), request([7], max_tokens=3)]
    )
    assert [(len(r.response_ids), r.finish) for r in rollouts] == [(28, "length"), (3, "length")]
    short = LocalEngine(decoder(), NeverStops(), max_tokens=40).generate([request([7] * 10, max_tokens=500)])
    assert len(short[0].response_ids) == 30


class Script(nn.Module):
    """A model that says the given ids whatever it reads: token t is decided by its position."""

    kind, context = "decoder", 200

    def __init__(self, ids: list[int], prompt: int) -> None:
        super().__init__()
        self.vocab_size = tokenizer().vocab_size
        self.table = nn.Parameter(torch.zeros(200, self.vocab_size))
        with torch.no_grad():
            for t, id in enumerate(ids):
                self.table[prompt - 1 + t, id] = 50.0

    def hidden(self, inputs: Inputs, cache: Any = None, slots_P: Tensor | None = None) -> Tensor:
        return self.table[inputs.positions_PL]

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden

    def new_cache(self, num_slots: int, max_tokens: int) -> Any:
        return self

    def copy_slot(self, src: int, dst: int, length: int) -> None: ...


def scripted(said: str, **sampling: Any) -> tuple[Rollout, list[Token]]:
    ids = [*tokenizer().encode(said), tokenizer().stop_ids[0]]
    r = request([5, 6, 7], max_tokens=sampling.pop("max_tokens", 99), **sampling)
    engine = LocalEngine(Script(ids, 3), tokenizer())
    rollout, tokens = engine.generate([r])[0], list(engine.stream(r))
    assert [t.id for t in tokens] == list(rollout.response_ids)
    assert [t.logprob for t in tokens] == list(rollout.logprobs)
    assert "".join(t.text for t in tokens) == rollout.text
    return rollout, tokens


def test_streamed_text_never_cuts_a_character() -> None:
    said = "the sea 猫😀ö end"
    rollout, tokens = scripted(said)
    assert rollout.text == said and rollout.finish == "stop"
    assert rollout.response_ids[-1] == tokenizer().stop_ids[0]
    assert all("\ufffd" not in t.text for t in tokens)
    cut, _ = scripted("a😀", max_tokens=2)  # the limit falls inside the character: said so, not hidden
    assert cut.finish == "length" and cut.text.startswith("a\ufffd")


def test_stop_strings_cut_the_text_and_keep_the_ids() -> None:
    said = "the cat sat.\nUser: on the mat"
    rollout, tokens = scripted(said, stop=("\nUser:", "zebra"))
    assert rollout.text == "the cat sat." and rollout.finish == "stop"
    assert tokenizer().decode(rollout.response_ids).startswith("the cat sat.\nUser:")
    assert len(rollout.response_ids) < len(tokenizer().encode(said))
    assert not any("\n" in t.text for t in tokens)  # never shown, then taken back
    assert scripted("aab", stop=("ab",))[0].text == "a"
    assert scripted("the end\nUse it", stop=("\nUser:",))[0].text == "the end\nUse it"  # began like one, was none
    assert scripted("the end\nUser", stop=("\nUser:",))[0].text == "the end\nUser"
    assert scripted("abc bc", stop=("bc", "ab"))[0].text == ""  # the earliest wins


def test_tokens_are_reported_with_their_request() -> None:
    heard: dict[int, list[int]] = {}
    requests = mixed_requests(9)
    rollouts = LocalEngine(decoder(), tokenizer()).generate(
        requests, on_token=lambda index, token: heard.setdefault(index, []).append(token.id)
    )
    assert heard == {i: list(r.response_ids) for i, r in enumerate(rollouts)}


class Dropping(Decoder):
    """With dropout before the head, as adapters may have."""

    def logits(self, hidden_NH: Tensor) -> Tensor:
        return super().logits(self.drop(hidden_NH))


def test_the_learner_finds_its_model_as_it_was() -> None:
    plain = decoder()
    model = Dropping(plain.config)
    model.load_state_dict(plain.state_dict())
    model.drop = nn.Dropout(0.5)
    model.train()
    model.model.layers[0].eval()  # frozen on purpose: must stay so
    before = {name: module.training for name, module in model.named_modules()}
    requests = mixed_requests(6)
    engine, same = LocalEngine(model, tokenizer()), LocalEngine(plain, tokenizer(), decode="plain")
    assert engine.generate(requests) == same.generate(requests)
    stream = engine.stream(requests[0])
    next(stream)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()  # between tokens of a stream, too
    stream.close()
    assert {name: module.training for name, module in model.named_modules()} == before
    tokens = torch.tensor([[5, 6, 7]])
    loss = (
        model.logits(model.hidden(Inputs(tokens, torch.arange(3)[None], torch.zeros_like(tokens)))).logsumexp(-1).sum()
    )
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter -= 0.5 * parameter.grad
    assert engine.generate(requests) != same.generate(requests)  # shared weights: the step is seen


def test_dtype_is_what_the_products_are_computed_in() -> None:
    model, seen = decoder(), []
    model.model.layers[0].mlp.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    r = request([9, 8, 7], temperature=0.0, max_tokens=5)
    exact = LocalEngine(model, tokenizer()).generate([r])[0]
    assert set(seen) == {torch.float32}
    seen.clear()
    rough = LocalEngine(model, tokenizer(), dtype=torch.bfloat16).generate([r])[0]
    assert set(seen) == {torch.bfloat16}
    assert rough.logprobs[0] == pytest.approx(exact.logprobs[0], abs=0.1) and rough.logprobs != exact.logprobs


@pytest.mark.parametrize("decode", WAYS)
def test_sampling_of_many_seeds_follows_the_model(decode: Decode) -> None:
    """First tokens of 4,000 seeds against the model's own distribution: chi-square within five standard deviations."""
    model = decoder()
    requests = [request([5, 6, 7], seed=i, max_tokens=1) for i in range(4000)]
    drawn = [
        r.response_ids[0] for r in LocalEngine(model, tokenizer(), num_slots=256, decode=decode).generate(requests)
    ]
    want = torch.softmax(plain_logits(model, [5, 6, 7])[-1], -1) * 4000
    got = torch.bincount(torch.tensor(drawn), minlength=model.vocab_size)
    common = want > 5
    chi = ((got - want)[common] ** 2 / want[common]).sum().item()
    freedom = int(common.sum())
    assert freedom > 20 and chi < freedom + 5 * (2 * freedom) ** 0.5


def test_sampling_defaults_are_plain() -> None:
    assert DrawParams.of([Sampling()]).scale_B1 is None
