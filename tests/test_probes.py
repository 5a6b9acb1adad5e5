"""The probes of refusal: whole pairs, on the test side, nothing near to what the primer teaches or to each other."""

from __future__ import annotations

import pytest

from amenable.data.near import near_pairs
from amenable.data.primer import written_demonstrations
from amenable.data.probes import probes
from amenable.data.source import load
from amenable.errors import DataError
from amenable.splitting import plain


def test_every_pair_has_both_sides_and_all_are_for_testing() -> None:
    found = probes()
    pairs = {p.meta["pair"] for p in found}
    assert len(found) == 2 * len(pairs) >= 80 and len({p.id for p in found}) == len(found)
    for pair in pairs:
        assert sorted(p.meta["refuse"] for p in found if p.meta["pair"] == pair) == [False, True]
    assert {p.split for p in found} == {"test"} and {p.meta["author"] for p in found} == {"project"}


def test_the_source_gives_either_side() -> None:
    harmful, harmless = (load(f"probes:only={side}", "prompts").records for side in ("harmful", "harmless"))
    assert all(p.meta["refuse"] for p in harmful) and not any(p.meta["refuse"] for p in harmless)
    assert len(load("probes", "prompts").records) == len(harmful) + len(harmless)
    with pytest.raises(DataError, match="no setting of probes"):
        load("probes:side=harmful", "prompts")
    with pytest.raises(DataError):
        load("probes", "demonstrations")  # nothing to train on


def test_no_probe_stands_in_the_primer() -> None:
    told = [plain(p.messages[-1].content) for p in probes()]
    taught = [plain(m.content) for d in written_demonstrations() for m in d.messages if m.role == "user"]
    assert len(set(told)) == len(told) and not set(told) & set(taught)
    assert not [pair for pair in near_pairs([*told, *taught], 0.7) if pair[0] < len(told)]
