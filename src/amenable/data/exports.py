"""Trees and chat exports: OASST message trees, ChatGPT and Open WebUI exports, and finegrained-RLHF feedback.

No function here recurses: a tree of any depth is walked with a list of what is still to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any

from amenable.data.formats import Row
from amenable.data.rejects import BadRow
from amenable.data.turns import content_text, joined, missing, text_of
from amenable.types import (
    AnyRecord,
    Comparison,
    Demonstration,
    Label,
    Message,
    Messages,
    Prompt,
    Ranking,
    assistant,
    user,
)

Fields = Mapping[str, Any]


def oasst(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """An OASST tree: its best conversation, the rankings of sibling answers, or every user turn as a prompt.

    rank 0 is best; the best conversation takes the best-ranked reply at every turn. Deleted messages and what follows
    them are left out.
    """
    root = row["prompt"]
    if not isinstance(root, Mapping) or "text" not in root:
        raise BadRow("the tree's prompt is no message, or a message hangs on none that is there")
    if kind == "demonstrations":
        path = _best_path(root)
        if len(path) < 2:
            raise BadRow("the tree has no answer")
        yield Demonstration(id=str(row["message_tree_id"]), messages=path, author="person")
        return
    for path, node in _asking_nodes(root):
        name = str(node.get("message_id", ""))
        if kind == "prompts":
            yield Prompt(id=name, messages=path)
            continue
        ranked = [r for r in _replies(node) if isinstance(r.get("rank"), int) and r.get("role") == "assistant"]
        if len(ranked) >= 2:
            order = {rank: tier for tier, rank in enumerate(sorted({r["rank"] for r in ranked}))}
            responses = tuple(text_of(r["text"], "text") for r in ranked)
            yield Ranking(id=name, prompt=path, responses=responses, tiers=tuple(order[r["rank"]] for r in ranked))


def oasst_trees(rows: Iterable[Row]) -> Iterator[Row]:
    """OASST's messages, one a row in any order, as trees; what hangs on no message of the file is a tree without a prompt."""
    nodes: dict[str, tuple[Row, dict[str, Any]]] = {}
    for row in rows:
        if not isinstance(row.value, dict) or str(row.value.get("message_id")) in nodes:
            yield row  # of no tree: a bad row
            continue
        rank = row.value.get("rank")
        rank = int(rank) if isinstance(rank, float) and rank.is_integer() else rank  # as pandas writes it beside nulls
        nodes[str(row.value.get("message_id"))] = (row, {**row.value, "rank": rank, "replies": []})
    roots = []
    for row, node in nodes.values():
        parent = node.get("parent_id")
        if missing(parent):
            roots.append((row, node))
        elif str(parent) in nodes:
            nodes[str(parent)][1]["replies"].append(node)
    reached, waiting = set(), [node for _, node in roots]
    while waiting:
        node = waiting.pop()
        reached.add(str(node.get("message_id")))
        waiting += node["replies"]
    lost = [(row, None) for name, (row, _) in nodes.items() if name not in reached]
    for row, root in (*roots, *lost):
        assert isinstance(row.value, dict)
        name = str(row.value.get("message_tree_id") or row.value.get("message_id"))
        yield row._replace(value={"message_tree_id": name, "prompt": root})


def _replies(node: Fields) -> list[Fields]:
    found = node.get("replies") or []
    return [r for r in found if isinstance(r, Mapping) and "text" in r and not r.get("deleted")]


def _turn(node: Fields) -> Message:
    said = text_of(node["text"], "text")
    return assistant(said) if node.get("role") == "assistant" else user(said)


def _best_path(root: Fields) -> Messages:
    path, node = [_turn(root)], root
    while replies := _replies(node):
        node = min(replies, key=lambda r: r["rank"] if isinstance(r.get("rank"), int) else 1 << 30)
        path.append(_turn(node))
    while path and path[-1].role != "assistant":
        path.pop()
    return tuple(path)


def _asking_nodes(root: Fields) -> Iterator[tuple[Messages, Fields]]:
    """Every user turn with the conversation up to it, parents first."""
    waiting: list[tuple[Messages, Fields]] = [((_turn(root),), root)]
    while waiting:
        path, node = waiting.pop(0)
        if path[-1].role == "user":
            yield path, node
        waiting += [((*path, _turn(reply)), reply) for reply in _replies(node)]


def chatgpt(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """One conversation of a ChatGPT export: the branch that was open last, without system, tool and hidden turns."""
    mapping = row["mapping"]
    if not isinstance(mapping, Mapping):
        raise BadRow("mapping must be an object")
    turns, model = [], ""
    for node in _branch(mapping, row.get("current_node")):
        message = node.get("message")
        if not isinstance(message, Mapping) or message.get("weight") == 0:
            continue
        role = (message.get("author") or {}).get("role")
        said = _parts(message.get("content"))
        if role not in ("user", "assistant") or not said.strip() or message.get("recipient", "all") != "all":
            continue
        model = (message.get("metadata") or {}).get("model_slug") or model if role == "assistant" else model
        turns.append(assistant(said) if role == "assistant" else user(said))
    name = str(row.get("conversation_id") or row.get("id") or "")
    yield Demonstration(id=name, messages=_answered(turns), author=f"model:{model}" if model else "model:chatgpt")


def _branch(mapping: Fields, current: Any) -> list[Fields]:
    """From the root to the current node; without one, along the last child of every node."""
    if current not in mapping:
        current = next((k for k, v in mapping.items() if v.get("parent") not in mapping), None)
        passed = {current}
        while current in mapping and (children := mapping[current].get("children")):
            current = children[-1]
            if current in passed:
                raise BadRow("the messages run in a circle")
            passed.add(current)
    return _upwards(mapping, current, "parent")


def _upwards(nodes: Fields, current: Any, parent: str) -> list[Fields]:
    path, seen = [], set()
    while isinstance(current, str) and isinstance(nodes.get(current), Mapping):
        if current in seen:
            raise BadRow("the messages run in a circle")
        seen.add(current)
        path.append(nodes[current])
        current = nodes[current].get(parent)
    return path[::-1]


def _parts(content: Any) -> str:
    if not isinstance(content, Mapping) or content.get("content_type", "text") not in ("text", "multimodal_text"):
        return ""
    return "\n".join(part for part in content.get("parts") or [] if isinstance(part, str))


def _answered(turns: list[Message]) -> Messages:
    """Turns of one speaker joined, from the first user turn to the last answer."""
    while turns and turns[0].role == "assistant":
        turns = turns[1:]
    while turns and turns[-1].role != "assistant":
        turns = turns[:-1]
    if not turns:
        raise BadRow("the conversation holds no answered turn")
    return joined(turns)


def _web_messages(row: Fields) -> tuple[Fields, Any] | None:
    chat = row.get("chat", row)
    history = chat.get("history") if isinstance(chat, Mapping) else None
    messages = history.get("messages") if isinstance(history, Mapping) else None
    return (
        (messages, history.get("currentId")) if isinstance(history, Mapping) and isinstance(messages, Mapping) else None
    )


def open_webui_kinds(row: Fields) -> frozenset[str]:
    """The kinds in a row of an Open WebUI export; none if it is no such row."""
    return frozenset({"demonstrations", "labels", "comparisons"}) if _web_messages(row) else frozenset()


def open_webui(row: Fields, kind: str) -> Iterator[AnyRecord]:
    """A chat of an Open WebUI export: its open branch, its thumbs, or pairs of a liked and a disliked answer to one turn.

    The branch ends before the first answer that got a thumb down: nobody should learn to say it.
    """
    found = _web_messages(row)
    assert found is not None
    nodes, current = found
    name = str(row.get("id") or "")
    if kind == "demonstrations":
        turns = []
        for node in _upwards(nodes, current, "parentId"):
            if _thumb(node) is False:
                break
            turns.append(_web_turn(node))
        yield Demonstration(id=name, messages=_answered([t for t in turns if t.role != "system"]), author="model")
        return
    rated = [(key, node) for key, node in nodes.items() if isinstance(node, Mapping) and _thumb(node) is not None]
    if kind == "labels":
        for key, node in rated:
            yield Label(
                id=f"{name}/{key}",
                prompt=_before(nodes, node),
                response=_web_turn(node).content,
                label=bool(_thumb(node)),
            )
        return
    for (one, a), (two, b) in combinations(rated, 2):
        if a.get("parentId") == b.get("parentId") and _thumb(a) != _thumb(b):
            good, bad = (a, b) if _thumb(a) else (b, a)
            yield Comparison(
                id=f"{name}/{one}/{two}",
                prompt=_before(nodes, a),
                chosen=_web_turn(good).content,
                rejected=_web_turn(bad).content,
            )


def _thumb(node: Fields) -> bool | None:
    rating = (node.get("annotation") or {}).get("rating") if node.get("role") == "assistant" else None
    return None if not isinstance(rating, int | float) or rating == 0 else rating > 0


def _web_turn(node: Fields) -> Message:
    role, said = node.get("role"), content_text(node.get("content"))
    if role not in ("user", "assistant", "system"):
        raise BadRow(f"a message has the unknown role {role!r}")
    return Message(role=role, content=said)


def _before(nodes: Fields, node: Fields) -> Messages:
    return joined(_web_turn(n) for n in _upwards(nodes, node.get("parentId"), "parentId"))


def finegrained(row: Fields, kind: str, *, with_passages: bool) -> Iterator[AnyRecord]:
    """A question of the finegrained-RLHF feedback: 4 answers with all 6 pairs judged, and two answers by people.

    A ranking orders the answers by pairs won minus pairs lost; meta.contradictions counts the judged pairs that this
    order turns round (people are not always transitive). Comparisons are the judged pairs themselves, ties left out.
    """
    asked = text_of(row["question"], "question")
    if with_passages:
        passages = "\n\n".join("\n".join(map(str, p)) if isinstance(p, list) else str(p) for p in row["passages"])
        asked = f"{passages}\n\n{asked}"
    prompt = (user(asked),)
    if kind == "prompts":
        yield Prompt(id="", messages=prompt, references=(text_of(row["gold"], "gold"),))
        return
    if kind == "demonstrations":
        corrected = (row.get("feedback") or {}).get("corrected-prediction")
        for answer, how in ((row.get("gold"), "gold"), (corrected, "corrected")):
            if answer:
                messages = (*prompt, assistant(text_of(answer, how)))
                yield Demonstration(id="", messages=messages, author="person", meta={"answer": how})
        return
    responses = tuple(text_of(row.get(f"prediction {n}"), f"prediction {n}") for n in (1, 2, 3, 4))
    judged = row["preference"]
    if not isinstance(judged, list) or len(judged) != 6 or any(p not in (0, 1, 2) for p in judged):
        raise BadRow("preference must be six numbers, each 0, 1 or 2")
    pairs = list(zip(combinations(range(4), 2), judged, strict=True))
    if kind == "comparisons":
        for (one, two), better in pairs:
            if better:
                chosen, rejected = (one, two) if better == 1 else (two, one)
                yield Comparison(id="", prompt=prompt, chosen=responses[chosen], rejected=responses[rejected])
        return
    won = [0, 0, 0, 0]
    for (one, two), better in pairs:
        if better:
            won[one] += 1 if better == 1 else -1
            won[two] += 1 if better == 2 else -1
    places = {score: tier for tier, score in enumerate(sorted(set(won), reverse=True))}
    tiers = tuple(places[score] for score in won)
    turned = sum(1 for (i, j), b in pairs if (b == 1 and tiers[i] > tiers[j]) or (b == 2 and tiers[i] < tiers[j]))
    yield Ranking(id="", prompt=prompt, responses=responses, tiers=tiers, meta={"contradictions": turned})
