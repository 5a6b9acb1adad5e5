"""What routes share of their requests' shape: strict, bounded fields. A text without a bound is a way in for too much."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from amenable.config.folder import CHAT
from amenable.types import Message, Sampling

LARGEST_ID = 2**31 - 1  # PostgreSQL's integer
LARGEST_SEED = 2**63 - 1


def _plain(text: str) -> str:
    """PostgreSQL keeps no zero character, and half a surrogate pair is no text."""
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("holds characters that are no text")
    return text


class Body(BaseModel):
    """Base of every request's body: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


Id = Annotated[int, Path(ge=1, le=LARGEST_ID)]
Number = Annotated[int, Field(ge=1, le=LARGEST_ID)]
Short = Annotated[str, Field(max_length=200), AfterValidator(_plain)]
Named = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain)]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_plain)]
Note = Annotated[str, Field(max_length=4000), AfterValidator(_plain)]
Text = Annotated[str, Field(max_length=100_000), AfterValidator(_plain)]
Secret = Annotated[str, Field(min_length=1, max_length=200)]
Words = Annotated[str, Query(max_length=200), AfterValidator(_plain)]
Offset = Annotated[int, Query(ge=0, le=LARGEST_ID)]
Limit = Annotated[int, Query(ge=1, le=1000)]


class Said(Body):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "text"]
    content: Text


Turns = Annotated[list[Said], Field(min_length=1, max_length=200)]


class Drawing(Body):
    """How a response is drawn; none: as the model's makers do. temperature 0 is greedy; seed: none: the server draws one and says it."""

    temperature: Annotated[float, Field(ge=0, le=10)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 256
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = None

    def sampling(self, own: Sampling = CHAT) -> Sampling:
        """own: what holds where nothing is said."""
        said = self.model_dump(include=set(Sampling.__struct_fields__), exclude_none=True)
        return own.replace(**said)


def messages(turns: list[Said], system: str = "") -> tuple[Message, ...]:
    """Turns as the records that everything else passes around."""
    told = (Message(role="system", content=system),) if system else ()
    return (*told, *(Message(role=turn.role, content=turn.content) for turn in turns))


Json = dict[str, Any]
