"""The models of a project answer its prompts, and tasks are made of those that have responses enough."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from amenable.feedback import filling, projects
from amenable.feedback.database import reading, writing
from amenable.feedback.projects import About
from amenable.feedback.store import NewGeneration
from amenable.server.models import Ask, Completion
from amenable.server.site import Site

BATCH = 8
"""Prompts whose responses are drawn together; progress is told after each batch."""


def answer_prompts(site: Site, project: int, tell: Callable[[int], None]) -> None:
    """Draw what is missing, a few prompts at a time; each prompt is tried once. What is drawn is kept as it comes."""
    tried: set[int] = set()
    while True:
        with reading(site.engine) as connection:
            about = projects.about(connection, project)
            left = filling.lacking(connection, about, limit=len(tried) + BATCH)
        todo = [one for one in left if one.prompt not in tried]
        if not todo:
            break
        tried |= {one.prompt for one in todo}
        asks = [
            Ask(model=model, messages=one.messages, sampling=about.settings.sampling, seed=_seed(one.prompt, i))
            for one in todo
            for i, model in enumerate(one.models)
        ]
        answers = iter(site.worker.complete(asks))
        for one in todo:
            made = [next(answers) for _ in one.models]
            usable = [_generation(c, about) for c in made if c.finish != "failed" and c.text.strip()]
            if usable:
                site.store.add_generations(one.prompt, usable)
        tell(len(tried))
    with writing(site.engine) as connection:
        filling.put_up(connection, projects.about(connection, project))


def _generation(drawn: Completion, about: About) -> NewGeneration:
    return NewGeneration(
        text=drawn.text,
        model=drawn.model,
        model_hash=drawn.model_hash,
        sampling=about.settings.sampling,
        seed=drawn.seed,
        finish=drawn.finish,
        logprob=drawn.logprob,
    )


def _seed(prompt: int, number: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{prompt}:{number}".encode(), digest_size=7).digest(), "big")
