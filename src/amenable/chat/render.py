"""The one place where a conversation becomes ids and a mask of what is trained.

How the mask is found: for each assistant turn i, `messages[:i]` rendered with the generation prompt must be a prefix, token
by token, of the whole conversation's ids (where the text is a prefix but its last token ran into the answer, the two are
encoded apart, as they are when the model writes). What follows up to the first stop token, that token included, is what the
model would have had to write: it is trained. No message can hold a control token (guard.py), so the first stop token that is
one ends the turn; a folder may name a piece of text, too, as a stop (GPT-2's line end), and that ends no turn. What the template
writes after it (often a newline) is not trained, nor is anything else.

Raw text (role "text", or an empty prompt) stands outside any template: bos, prefix, continuation, eos.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from importlib import resources
from typing import NamedTuple

from amenable.chat.template import render_template
from amenable.chat.tokenizer import Tokenizer
from amenable.errors import ModelError, TemplateError
from amenable.types import Message, Record, Role, assistant, user


class Rendered(Record, frozen=True):
    """Token ids, and for each whether it is trained."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]


def render(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    *,
    roles: Sequence[Role] = ("assistant",),
    last_only: bool = False,
    but: Collection[int] = (),
) -> Rendered:
    """A whole conversation; the turns of `roles` (or only the last of them) are trained with their stop tokens.

    but: places of turns that are not trained all the same.
    For roles other than the assistant's the template's header of the turn is trained as well.
    Raises TemplateError where turns cannot be told apart.

    >>> from amenable.chat.tokenizer import train_bpe
    >>> r = render((user("a"), assistant("b")), train_bpe(["ab"], 262))
    >>> r.ids, [int(t) for t in r.trained]       # bos user a end assistant b end
    ((1, 4, 70, 2, 5, 71, 2), [0, 0, 0, 0, 0, 1, 1])
    """
    messages = tuple(messages)
    if is_raw(messages):
        return _render_raw(messages, tokenizer)
    turns = [i for i, m in enumerate(messages) if m.role in roles]
    ids, starts = _encode_chat(messages, tokenizer, generation_prompt=False)
    trained = [False] * len(ids)
    for i in turns[-1:] if last_only else turns:
        if i not in but:
            start, stop = _turn_span(messages, i, ids, starts, tokenizer)
            trained[start:stop] = [True] * (stop - start)
    return Rendered(ids=tuple(ids), trained=tuple(trained))


def render_prompt(messages: Sequence[Message], tokenizer: Tokenizer) -> list[int]:
    """Ids to generate from: the conversation so far and the assistant's header; for raw text bos and the text."""
    messages = tuple(messages)
    if is_raw(messages):
        return tokenizer.start_ids + tokenizer.encode("".join(m.content for m in messages))
    return _encode_chat(messages, tokenizer, generation_prompt=True)[0]


def render_response(
    messages: Sequence[Message], response: str, tokenizer: Tokenizer, finished: bool = True
) -> Rendered:
    """One response to a prompt, trained; ends with the stop token if `finished`, and right before it if not.

    An empty prompt makes the response a raw text of its own.

    >>> from amenable.chat.tokenizer import train_bpe
    >>> t = train_bpe(["ab"], 262)
    >>> render_response((user("a"),), "b", t, finished=False).ids
    (1, 4, 70, 2, 5, 71)
    >>> render_response((), "ab", t).ids
    (1, 70, 71, 2)
    """
    messages = tuple(messages)
    if is_raw(messages):
        whole = _render_raw((*messages, assistant(response)), tokenizer)
        end = len(whole.ids)
        if tokenizer.eos_id is None:
            return whole
    else:
        whole = render((*messages, assistant(response)), tokenizer, last_only=True)
        end = max(i for i, trained in enumerate(whole.trained) if trained) + 1
    end = end if finished else end - 1
    return Rendered(ids=whole.ids[:end], trained=whole.trained[:end])


def render_source(messages: Sequence[Message], tokenizer: Tokenizer) -> list[int]:
    """Encoder input of a prompt.

    With a chat template: its rendering, ended by eos. Without: the one message's text, or one line "role: text" per message,
    within the tokenizer's frame of a source.
    """
    messages = tuple(messages)
    if tokenizer.chat_template is not None and not is_raw(messages):
        eos = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
        ids, _ = _encode_chat(messages, tokenizer, generation_prompt=True)
        return ids if ids[-1:] == eos else ids + eos
    one = len(messages) == 1 or is_raw(messages)
    words = "".join(m.content for m in messages) if one else "\n".join(f"{m.role}: {m.content}" for m in messages)
    before, after = tokenizer.source_frame
    return [*before, *tokenizer.encode(words), *after]


def render_target(response: str, tokenizer: Tokenizer, finished: bool = True) -> list[int]:
    """Decoder input of a response: the decoder's start token, the text and, if `finished`, eos. Raises ModelError."""
    start, eos = tokenizer.decoder_start, tokenizer.eos_id
    if start is None or eos is None:
        raise ModelError(
            "the tokenizer of an encoder-decoder must name its eos and its decoder's start (or padding) token",
            where="tokenizer_config.json, config.json",
            mend="name eos_token, and decoder_start_token_id or pad_token",
        )
    return [start, *tokenizer.encode(response), *([eos] if finished else [])]


def is_raw(messages: Sequence[Message]) -> bool:
    """Whether these stand outside a chat template: nothing, or raw text (with an assistant's continuation or without)."""
    return not messages or messages[0].role == "text"


def check_template(tokenizer: Tokenizer) -> None:
    """Tries the chat template on short conversations of two turns, with and without a system message.

    Raises TemplateError if there is no template, the stop token gets no loss, earlier turns do not stay prefixes of
    later ones, or the trained text is not the assistant's. Padding that equals the stop token is no fault here: masks
    come from turns and never from ids, so the stop token is trained all the same.
    """
    first, second = "Seven of them.", "Blue, I think."
    talk = (user("How many?"), assistant(first), user("And the colour?"), assistant(second))
    rendered = render(talk, tokenizer)
    spans = [tokenizer.decode(ids).strip() for ids in _trained_spans(rendered)]
    for want, got in zip((first, second), spans, strict=False):
        if not got.endswith(want):
            raise TemplateError(
                f"the template trains {got!r} where the assistant says {want!r}",
                where="the chat template",
                mend="the generation prompt must be just what stands before the assistant's words",
            )
    if len(spans) != 2:
        raise TemplateError(
            f"of two assistant turns {len(spans)} would be trained",
            where="the chat template",
            mend="the template must end each assistant turn with a stop token",
        )


def template_for_base(tokenizer: Tokenizer) -> str:
    """A plain chat template for a base model that has none; `default_template_for` puts it on."""
    opening = "<|im_start|>" if tokenizer.inner.token_to_id("<|im_start|>") is not None else "### "
    source = (resources.files("amenable.chat") / "fallback.jinja").read_text(encoding="utf-8").strip()
    return f"{{%- set open_turn = {opening!r} -%}}\n{source}"


def default_template_for(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with a plain fallback chat template, for base models that carry none; never applied unasked.

    Each turn is "### role", a newline, the text and the model's own eos, which is thus the stop token; where the vocabulary
    has `<|im_start|>` that opens a turn instead. The caller must say that the template is not the model's own.
    """
    if tokenizer.eos_id is None:
        raise TemplateError(
            "the tokenizer names no eos token, so no turn could end",
            where="tokenizer_config.json",
            mend="name its eos_token",
        )
    return tokenizer.with_changes(chat_template=template_for_base(tokenizer))


def coloured(rendered: Rendered, tokenizer: Tokenizer) -> list[tuple[str, bool]]:
    """Runs of text with whether they are trained, special tokens shown; for `amenable data show --render`.

    >>> from amenable.chat.tokenizer import train_bpe
    >>> t = train_bpe(["ab"], 262)
    >>> coloured(render((user("a"), assistant("b")), t), t)
    [('<|bos|><|user|>a<|end|><|assistant|>', False), ('b<|end|>', True)]
    """
    runs = list(_runs(rendered))
    return [(tokenizer.decode(ids, skip_special=False), trained) for ids, trained in runs]


class _Encoded(NamedTuple):
    """A rendered conversation: its text, with marks where messages spell control tokens, and its ids."""

    text: str
    ids: list[int]


def _encode_chat(
    messages: tuple[Message, ...], tokenizer: Tokenizer, *, generation_prompt: bool
) -> tuple[list[int], dict[int, list[int]]]:
    """Ids of a conversation, and by assistant turn those of all that stands before its words.

    A template that looks at the first message cannot say what stands before that one: such a turn is not among them.
    An answer is read as it is written: behind a prompt whose ids are settled. Where its first characters would have become
    one token with the last of the prompt (a space, a line end), the two are encoded apart.
    """
    cut, starts = None, {}
    whole = _encode(messages, tokenizer, generation_prompt, cut)
    for i, message in enumerate(messages):
        if message.role == "assistant":
            try:
                before = _encode(messages[:i], tokenizer, True, cut)
            except TemplateError:
                if i:
                    raise
                continue
            starts[i] = before.ids
            if whole.ids[: len(before.ids)] != before.ids and whole.text.startswith(before.text):
                cut = before
                whole = _encode(messages, tokenizer, generation_prompt, cut)
    return whole.ids, starts


def _encode(
    messages: Sequence[Message], tokenizer: Tokenizer, generation_prompt: bool, cut: _Encoded | None
) -> _Encoded:
    text = _chat_text(messages, tokenizer, generation_prompt)
    if cut is None or not text.startswith(cut.text):
        return _Encoded(text, tokenizer.guard.encode_rendered(text))
    # Behind a control token, so that no space is put before what goes on.
    anchor = tokenizer.anchor
    rest = tokenizer.guard.encode_rendered(anchor + text[len(cut.text) :])[1 if anchor else 0 :]
    return _Encoded(text, cut.ids + rest)


def _chat_text(messages: Sequence[Message], tokenizer: Tokenizer, generation_prompt: bool) -> str:
    if tokenizer.chat_template is None:
        raise TemplateError(
            "the tokenizer has no chat template, as is usual for base models",
            where="chat_template.jinja of the model folder",
            mend="ask for the plain fallback template, give a template, or use raw text",
        )
    guard = tokenizer.guard
    return render_template(
        tokenizer.chat_template,
        [{"role": m.role, "content": guard.plain(m.content)} for m in messages],
        generation_prompt=generation_prompt,
        specials={"bos_token": None, "eos_token": None, **tokenizer.specials},
    )


def _turn_span(
    messages: tuple[Message, ...], i: int, ids: Sequence[int], starts: dict[int, list[int]], tokenizer: Tokenizer
) -> tuple[int, int]:
    """[start, stop) of turn i's words and stop token within the whole conversation's ids."""
    before = starts.get(i)
    if before is None and messages[i].role == "assistant":
        raise TemplateError(
            "the chat template cannot say what stands before an assistant's words that open a conversation",
            where=f"turn {i + 1} (assistant) of {len(messages)}",
            mend="let a user's or the system's turn stand first; data.train_on=last looks at the last turn alone",
        )
    if before is None:
        before = _encode_chat(messages[:i], tokenizer, generation_prompt=False)[0] if i else []
    start = len(before)
    if list(ids[:start]) != before:
        raise TemplateError(
            "the chat template does not keep prefixes: what precedes a turn changes once the turn is there",
            where=f"turn {i + 1} ({messages[i].role}) of {len(messages)}",
            mend="use a template that writes earlier turns alike each time, and whose generation prompt is what stands "
            "before the assistant's words; data.train_on=last looks at the last turn alone",
        )
    for j in range(start, len(ids)):
        if ids[j] in tokenizer.turn_end_ids:
            return start, j + 1
    names = ", ".join(repr(tokenizer.inner.id_to_token(s)) for s in tokenizer.stop_ids) or "none"
    ends = [tokenizer.inner.id_to_token(t) for t in ids[start:] if t in tokenizer.special_ids]
    raise TemplateError(
        "the stop token would get no loss: the template does not end the turn with one, so the model would never stop",
        where=f"turn {i + 1} ({messages[i].role}); stop tokens: {names}",
        mend=f"add {ends[0]!r}, with which the template ends the turn, to eos_token_id in generation_config.json"
        if ends
        else "let the template write the eos token, which must be a control token, after each assistant turn",
    )


def _render_raw(messages: Sequence[Message], tokenizer: Tokenizer) -> Rendered:
    """bos, the raw prefix untrained, the continuation trained with eos. Without a prefix all after bos is trained."""
    told = [m for m in messages if m.role == "assistant"]
    prefix = "".join(m.content for m in messages if m.role != "assistant")
    if len(told) > 1 or any(m.role not in ("text", "assistant") for m in messages):
        raise TemplateError(
            "raw text takes one continuation and no other turns",
            where=f"roles {', '.join(m.role for m in messages)}",
            mend="write the conversation with user and assistant turns",
        )
    before = tokenizer.start_ids + tokenizer.encode(prefix)
    after = [t for m in told for t in tokenizer.encode_after(prefix, m.content)]
    end = [tokenizer.eos_id] if told and tokenizer.eos_id is not None else []
    trained = [False] * len(before) + [True] * (len(after) + len(end))
    return Rendered(ids=(*before, *after, *end), trained=tuple(trained))


def _runs(rendered: Rendered) -> Iterator[tuple[list[int], bool]]:
    """Maximal runs of tokens that are all trained or all not."""
    start = 0
    for i in range(1, len(rendered.ids) + 1):
        if i == len(rendered.ids) or rendered.trained[i] != rendered.trained[start]:
            yield list(rendered.ids[start:i]), rendered.trained[start]
            start = i


def _trained_spans(rendered: Rendered) -> list[list[int]]:
    return [ids for ids, trained in _runs(rendered) if trained]
