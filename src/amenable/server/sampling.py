"""The models of a project answer its prompts, and tasks are made of those that have responses enough. Where the project does
not choose at random, they are left to `amenable feedback choose`."""

from __future__ import annotations

import hashlib

from amenable.errors import StoreError
from amenable.feedback import filling, projects
from amenable.feedback.database import reading, writing
from amenable.feedback.filling import PutUp
from amenable.feedback.projects import About
from amenable.feedback.store import NewGeneration
from amenable.server.models import Ask, Completion
from amenable.server.site import Site


def answer_prompts(site: Site, project: int, *, limit: int) -> tuple[int, PutUp, str | None]:
    """Draw what the next `limit` prompts lack, and make tasks where the project chooses at random: (how many responses were
    asked for, what became of them, why one of them failed).

    Raises StoreError where the project names no models, or as the model worker does.
    """
    with reading(site.engine) as connection:
        about = projects.about(connection, project)
        todo = filling.lacking(connection, about, limit=limit)
    if not about.settings.models and about.settings.kind != "demonstrate":
        raise StoreError("the project names no models to sample from", mend="name one or more in its settings")
    asks = [
        Ask(model=model, messages=one.messages, sampling=about.settings.sampling, seed=_seed(one.prompt, one.drawn + i))
        for one in todo
        for i, model in enumerate(one.models)
    ]
    answers = iter(site.worker.complete(asks) if asks else ())
    why = None
    for one in todo:
        made = [next(answers) for _ in one.models]
        why = next((c.failure or f"{c.model} answered nothing" for c in made if _failed(c)), why)
        site.store.add_generations(one.prompt, [_generation(c, about) for c in made])
    if about.settings.choose != "random":
        with reading(site.engine) as connection:
            return len(asks), PutUp(added=0, waiting=filling.num_waiting(connection, about)), why
    with writing(site.engine) as connection:
        return len(asks), filling.put_up(connection, about), why


def _failed(drawn: Completion) -> bool:
    return drawn.finish == filling.FAILED or not drawn.text.strip()


def _generation(drawn: Completion, about: About) -> NewGeneration:
    return NewGeneration(
        text=drawn.text,
        model=drawn.model,
        model_hash=drawn.model_hash,
        sampling=about.settings.sampling,
        seed=drawn.seed,
        finish=filling.FAILED if _failed(drawn) else drawn.finish,
        logprob=drawn.logprob,
    )


def _seed(prompt: int, number: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{prompt}:{number}".encode(), digest_size=7).digest(), "big")
