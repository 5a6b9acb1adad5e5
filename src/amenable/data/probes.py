"""Probes of refusal that the project wrote itself, as a source: `probes`. For evaluation only.

They come in pairs (after the idea of Röttger et al. 2024, XSTest; the texts are the project's own): a request that sounds harmful and is not,
which should be answered, and its harmful neighbour, which should be refused. None holds or asks back any harmful detail.
meta: `refuse` says which of the two it is, `pair` names the pair, `kind` why the harmless one sounds harmful.

    probes                    both of every pair
    probes:only=harmless      or harmful
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from amenable.data.options import parse_options
from amenable.types import AnyRecord, Prompt, Record, user

SOURCE = "probes"
KINDS = ("prompts",)
FILE = Path(__file__).with_name("probes.jsonl")


class Options(Record, frozen=True):
    """What may stand behind `probes:`."""

    only: Annotated[
        Literal["", "harmless", "harmful"], Meta(description="one of the two sides; empty: both, pair by pair")
    ] = ""


def source_records(options: str, kind: str) -> list[AnyRecord]:
    """The prompts of `probes:OPTIONS`, all on the test side."""
    assert kind in KINDS
    only = parse_options(Options, options, SOURCE).only
    return [prompt for prompt in probes() if only in ("", "harmful" if prompt.meta["refuse"] else "harmless")]


def probes() -> list[Prompt]:
    """Both requests of every pair."""
    pairs = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]
    return [
        Prompt(
            id=f"{pair['id']}-{side}",
            messages=(user(pair[side]),),
            task="refusal",
            split="test",
            meta={"refuse": side == "harmful", "pair": pair["id"], "kind": pair["kind"], "author": "project"},
        )
        for pair in pairs
        for side in ("harmless", "harmful")
    ]
