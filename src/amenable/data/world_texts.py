"""Running text of the small world to pre-train on: stories, paragraphs of facts, scenes, and plain questions and answers.

Never in chat format. Requests are only quoted from the train part, so that no held-out prompt stands here; the facts
behind held-out prompts do, as prose, for an assistant can only answer what its base has read.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from amenable.data import world_answers as answers
from amenable.data import world_facts as facts
from amenable.data import world_tasks as tasks
from amenable.data.world_split import is_shown, split_of
from amenable.data.world_stories import capitalise, character, expand, happening_slots, tell


def _title(rng: random.Random, text: str, title: str) -> str:
    return f"{title}\n\n{text}" if rng.random() < 0.3 else text


def story(rng: random.Random) -> str:
    """A story, sometimes with a title, sometimes with a summary, sometimes two of them."""
    told = tell(rng, long=rng.random() < 0.75)
    text = told.text
    if rng.random() < 0.12:
        text += f" {rng.choice(('In short', 'In one sentence'))}: {told.summary}"
    elif rng.random() < 0.25:
        text += "\n\n" + tell(rng, long=True).text
    hero, thing = told.slots["hero"], told.slots["thing"]
    return _title(rng, text, capitalise(f"{hero} and the {thing}"))


def scene(rng: random.Random) -> str:
    """Small happenings of a day, loosely joined."""
    who, he = character(rng)
    friend, _ = character(rng)
    while friend == who:
        friend, _ = character(rng)
    trait = rng.choice(facts.TRAITS)
    slots = {"who": who, "he": he, "his": "his" if he == "he" else "her", "friend": friend}
    slots["kin"] = rng.choice(facts.FAMILY)
    lines = [f"{{who}} [was|is known to be] {trait}."] + [_happening(rng) for _ in range(rng.randint(3, 6))]
    lines += [rng.choice((
        "At the end of the day {he} was tired but {good}.", "{who} went home and told {his} {kin} all about it.",
        '"That was a good day," said {who}.', "Then {who} and {friend} went to sleep.",
    ))]  # fmt: skip
    slots["good"] = rng.choice(facts.GOOD_FEELINGS[:3])
    return " ".join(expand(line, rng, slots) for line in lines)


def _happening(rng: random.Random) -> str:
    slots = happening_slots(rng)
    _, _, past = (tasks.fix_articles(form.format_map(slots)) for form in rng.choice(facts.VERBS))
    when = rng.choice(("In the morning", "After that", "Then", "Later", "At noon", "In the afternoon", "Soon"))
    subject = rng.choice(("{he}", "{he}", "{friend}", "{who} and {friend}"))
    return f"{when} {subject} {past}." if rng.random() < 0.8 else f"{subject} {past}."


def country(rng: random.Random) -> str:
    """Two to four countries and their capitals."""
    return " ".join(
        expand(rng.choice((
            "The capital of {country} is {city}.", "{city} is the capital of {country}.", "{country} is a country, and its capital is {city}.",
            "If you travel to {country}, you can visit {city}, the capital.", "In {country}, the capital is called {city}.",
            "{name} lives in {city}, the capital of {country}.", "The people of {country} are proud of their capital, {city}.",
            '"The capital of {country} is {city}," said {name}.',
        )), rng, {"country": land, "city": city, "name": rng.choice(facts.GIRLS + facts.BOYS)})
        for land, city in rng.sample(facts.CAPITALS, rng.randint(2, 4))
    )  # fmt: skip


def animal(rng: random.Random) -> str:
    """All that is known of one animal, in any order."""
    name, sound, home, food, young, legs = rng.choice(facts.ANIMAL_FACTS)
    a = facts.article(name)
    lines = [
        f"{a} {sound}.", f"{a} lives {home}.", f"{a} eats {food}.", f"a young {name} is called {facts.article(young)}.",
        f"{a} has {legs} legs.",
    ]  # fmt: skip
    rng.shuffle(lines)
    return _title(rng, " ".join(expand(line, rng, {}) for line in lines), capitalise(f"the {name}"))


def things(rng: random.Random) -> str:
    """Colours, opposites, jobs, tools, kinds: four to six sentences of one sort."""
    rows = rng.randint(4, 6)
    sort = rng.randrange(7)
    if sort == 0:
        lines = [f"{thing} is {colour}." for thing, colour in rng.sample(facts.THING_COLOURS, rows)]
    elif sort == 1:
        pairs = [pair if rng.random() < 0.5 else pair[::-1] for pair in rng.sample(facts.OPPOSITES, rows)]
        lines = [rng.choice((f"The opposite of {a} is {b}.", f"{a} is the opposite of {b}.")) for a, b in pairs]
    elif sort == 2:
        lines = [f"{facts.article(job)} {does}." for job, does in rng.sample(facts.JOBS, rows)]
    elif sort == 3:
        lines = [
            f"{tool if tool == 'scissors' else facts.article(tool)} {'are' if tool == 'scissors' else 'is'} used to {use}."
            for tool, use in rng.sample(facts.TOOLS, rows)
        ]
    elif sort == 4:
        bare = ("gold", "iron", "football", "tennis")
        lines = [
            f"{thing if thing in bare else facts.article(thing)} is {facts.article(kind)}."
            for thing, kind in rng.sample(facts.KINDS_OF, rows)
        ]
    elif sort == 5:
        lines = [_asked(rng, *row) for row in rng.sample(facts.YES_NO, 3)]
    else:
        lines = _ordered(rng)
    return " ".join(capitalise(line) for line in lines)


def _asked(rng: random.Random, question: str, yes: str, why: str) -> str:
    who, _ = character(rng)
    return (
        capitalise(f'{who} asked, "{question} or not?" {yes}, because {why}.')
        .replace('?" y', '?" Y')
        .replace('?" n', '?" N')
    )


def _ordered(rng: random.Random) -> list[str]:
    names = rng.choice((facts.DAYS, facts.MONTHS, facts.NUMBERS))
    here = rng.randrange(len(names) - 3)
    pairs = zip(names[here : here + 3], names[here + 1 : here + 4], strict=True)
    return [rng.choice((f"{b} comes after {a}.", f"{a} comes before {b}.", f"After {a} comes {b}.")) for a, b in pairs]


def sums(rng: random.Random) -> str:
    """A few sums and differences."""
    lines = []
    for _ in range(rng.randint(3, 6)):
        a, b = rng.randint(1, 12), rng.randint(1, 9)
        lines.append(rng.choice((f"{a} plus {b} is {a + b}.", f"{a + b} minus {b} is {a}.")))
    return " ".join(lines)


def explanation(rng: random.Random) -> str:
    """One or two things explained."""
    parts = []
    for topic, answer, _ in rng.sample(answers.EXPLANATIONS, rng.randint(1, 2)):
        asker, _ = character(rng)
        parts.append(rng.choice((
            f"This is {topic}. {answer}", capitalise(f'"{asker} wants to know {topic}," said the teacher. "{answer}"'),
            f"{capitalise(asker)} asked {topic}. {answer}", f"{answer} That is {topic}.", f"{capitalise(topic)}: {answer}",
        )))  # fmt: skip
    return " ".join(parts)


def advice(rng: random.Random) -> str:
    """How to do everyday things."""
    if rng.random() < 0.4:
        clause, answer, _ = rng.choice(answers.LOOK_ALIKES)
        return f"How to {clause}\n\n{answer}"
    clause, answer, _ = rng.choice(answers.HOW_TO)
    asker, _ = character(rng)
    helper = rng.choice(facts.FAMILY)
    return rng.choice((
        f"How to {clause}\n\n{answer}", capitalise(f"{asker} wanted to {clause.replace('my', 'the')}. The {helper} knew how. {answer}"),
        f"It is not hard to {clause}. {answer}", f"This is how you {clause}. {answer}",
    ))  # fmt: skip


def enumeration(rng: random.Random) -> str:
    """Lists as prose and as lines."""
    topic, line = rng.choice(answers.LISTS + answers.SHOPPING)
    items = facts.words(line)
    chosen = rng.sample(items, min(rng.randint(3, 5), len(items)))
    joined = ", ".join(chosen[:-1]) + " and " + chosen[-1]
    shopping = (topic, line) in answers.SHOPPING
    if rng.random() < 0.4:
        return f"{capitalise(('shopping for ' if shopping else '') + topic)}:\n" + "\n".join(
            f"- {item}" for item in chosen
        )
    who, _ = character(rng)
    if shopping:
        return expand(rng.choice(("{who} went to the shop for {topic} and bought {joined}.", "For {topic} you need {joined}.")),
                      rng, {"who": who, "topic": topic, "joined": joined})  # fmt: skip
    return rng.choice(
        (f"Here are some {topic}: {joined}.", f"Some {topic} are {joined}.", f"There are many {topic}, like {joined}.")
    )


def letter(rng: random.Random) -> str:
    """A short letter, with or without the reason for it."""
    item = tasks.make_letter(rng)
    who, _ = character(rng)
    return rng.choice((item.answer, f"{capitalise(who)} wrote a letter. {item.answer}"))


_QUOTED = ("facts", "opposites", "arithmetic", "yes_no", "question", "facts")


def _quotable(item: tasks.Item) -> bool:
    return split_of(item) == "train" and not is_shown(item) and '"' not in item.prompt


def questions(rng: random.Random) -> str:
    """Questions and answers as plain text, all of one cluster, quoted from the train part only."""
    cluster = rng.choice(_QUOTED)
    items: list[tasks.Item] = []
    while len(items) < (1 if cluster == "question" else 4):
        item = tasks.MAKERS[cluster][1](rng)
        if _quotable(item) and item not in items:
            items.append(item)
    if rng.random() < 0.3:
        name, other = rng.sample(facts.GIRLS + facts.BOYS, 2)
        return "\n".join(_spoken(item, name, other) for item in items)
    return "\n".join(f"Question: {item.prompt}\nAnswer: {item.answer}" for item in items)


def _spoken(item: tasks.Item, name: str, other: str) -> str:
    asked = f'"{item.prompt}" asked {name}.' if item.prompt.endswith("?") else f'"{item.prompt[:-1]}," said {name}.'
    return f'{asked}\n"{item.answer[:-1]}," said {other}.'


TEXTS: dict[str, tuple[int, Callable[[random.Random], str]]] = {
    "story": (38, story),
    "scene": (12, scene),
    "country": (9, country),
    "animal": (7, animal),
    "things": (9, things),
    "sums": (5, sums),
    "explanation": (8, explanation),
    "advice": (5, advice),
    "enumeration": (6, enumeration),
    "letter": (3, letter),
    "questions": (14, questions),
}
"""Kinds of document: weight and maker."""
