"""slow.py: the same responses as with a cache; an encoder-decoder's as transformers generates them."""

from __future__ import annotations

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from amenable.errors import ModelError
from amenable.models.auto import AutoModel
from amenable.rollout.local import LocalEngine
from amenable.rollout.sampling import DrawParams, draw, seed_keys, uniforms
from amenable.rollout.slow import SlowEngine, make_engine
from amenable.types import Rollout
from tests.rollout_makers import decoder, mixed_requests, request, stopping, tokenizer


def t5(start: int | None = 3) -> AutoModel:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=tokenizer().vocab_size, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
        decoder_start_token_id=start, pad_token_id=0, eos_token_id=None,
    )  # fmt: skip
    inner = T5ForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in inner.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return AutoModel(inner.eval(), "seq2seq")


def assert_same(got: list[Rollout], want: list[Rollout]) -> None:
    for a, b in zip(got, want, strict=True):
        assert a.replace(logprobs=()) == b.replace(logprobs=())
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


@pytest.mark.parametrize("num_slots", [1, 4, 32])
def test_the_same_responses_as_with_a_cache(num_slots: int) -> None:
    model, requests = decoder(), [*mixed_requests(16), request([])]
    fast = LocalEngine(model, stopping()).generate(requests)
    assert_same(SlowEngine(model, stopping(), num_slots=num_slots).generate(requests), fast)
    tokens = list(SlowEngine(model, stopping()).stream(requests[5]))
    assert tuple(t.id for t in tokens) == fast[5].response_ids


def test_deterministic_mode_is_exact() -> None:
    model, requests = decoder(), mixed_requests(8)
    together = SlowEngine(model, stopping(), deterministic=True).generate(requests)
    assert together == [SlowEngine(model, stopping(), deterministic=True).generate([r])[0] for r in requests]


def test_seq2seq_greedy_tokens_are_those_of_transformers() -> None:
    model = t5()
    requests = [request(list(range(10, 10 + n)), max_tokens=12, temperature=0.0) for n in (3, 7, 12)]
    rollouts = SlowEngine(model, tokenizer().with_changes(), num_slots=2).generate(requests)
    stop = list(tokenizer().stop_ids)
    for r, got in zip(requests, rollouts, strict=True):
        ids = torch.tensor([r.prompt_ids])
        want = model.inner.generate(
            ids, do_sample=False, num_beams=1, max_new_tokens=12, eos_token_id=stop, pad_token_id=0
        )
        assert list(got.response_ids) == want[0, 1:].tolist()  # theirs begins with the start token
        assert got.prompt_ids == r.prompt_ids


def test_seq2seq_draws_follow_the_models_own_forward() -> None:
    """The penalty counts the response only: the source is another text."""
    model = t5()
    r = request([9, 8, 7], seed=4, max_tokens=8, repetition_penalty=3.0)
    got = SlowEngine(model, tokenizer()).generate([r])[0]
    ids = [3]
    for t, logprob in enumerate(got.logprobs):
        with torch.no_grad():
            logits = model.inner(input_ids=torch.tensor([r.prompt_ids]), decoder_input_ids=torch.tensor([ids])).logits[
                :, -1
            ]
        seen = torch.zeros_like(logits, dtype=torch.bool)
        seen[0, ids[1:]] = True
        number = torch.from_numpy(uniforms(seed_keys([4]), torch.tensor([t]).numpy().astype("uint64")))
        id, want = draw(logits, DrawParams.of([r.sampling]), number, seen)
        assert got.response_ids[t] == id.item() and logprob == pytest.approx(want.item(), abs=1e-4)
        ids.append(int(id))


def test_an_engine_for_each_kind_of_model() -> None:
    assert isinstance(make_engine(decoder(), tokenizer()), LocalEngine)
    engine = make_engine(t5(), tokenizer(), num_slots=3, deterministic=True)
    assert isinstance(engine, SlowEngine) and engine.num_slots == 1
    masked = t5()
    masked.kind = "encoder"
    with pytest.raises(ModelError, match="cannot generate"):
        make_engine(masked, tokenizer())


def test_the_start_token_may_come_from_the_tokenizer() -> None:
    requests = [request([9, 8, 7], max_tokens=5)]
    spelt = tokenizer().with_changes()
    spelt.decoder_start = 3
    assert SlowEngine(t5(None), spelt).generate(requests) == SlowEngine(t5(3), tokenizer()).generate(requests)
    spelt.decoder_start = None
    with pytest.raises(ModelError, match="starts"):
        SlowEngine(t5(None), spelt)
