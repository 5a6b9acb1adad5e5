"""What people ask of the assistant in the small world, and a right, short answer to each: one maker per task cluster.

A maker draws an Item: the request in one of several wordings, an answer, and what a rubric needs in order to judge any
other answer (see docs/simulated-labeler.md). `content` names what is asked about, whatever the wording;
world_split.py says how train, validation and test are cut.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from amenable.data import world_answers as answers
from amenable.data import world_facts as facts
from amenable.data.world_stories import capitalise, character, expand, happening_slots, in_place, tell


@dataclass(frozen=True)
class Item:
    """One request with its answer. references: acceptable answers, short keys first."""

    task: str
    content: str
    prompt: str
    answer: str
    references: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)


def _fact(rng: random.Random, content: str, asks: str, answer: str, *keys: str) -> Item:
    """A question with one right answer. asks: wordings parted by "/"."""
    said = capitalise(answer)
    meta: dict[str, Any] = {"form": "one_sentence", "answer": list(keys), "max_words": len(said.split()) + 6}
    wording = rng.choice(asks.split("/")).strip()
    return Item("facts", content, capitalise(wording), said, (*keys, said), meta)


def make_fact(rng: random.Random) -> Item:
    """Capitals, animals, colours, days, counting, jobs, tools, kinds."""
    makers = (_capital, _capital, _capital, _animal, _animal, _colour, _order, _job, _tool, _kind)
    return rng.choice(makers)(rng)


def _capital(rng: random.Random) -> Item:
    country, city = rng.choice(facts.CAPITALS)
    asks = (
        f"What is the capital of {country}?/Which city is the capital of {country}?/Tell me the capital of {country}."
        f"/What is the capital city of {country}?/Please name the capital of {country}./Do you know the capital of {country}?"
    )
    return _fact(rng, f"capital:{country}", asks, f"The capital of {country} is {city}.", city)


def _animal(rng: random.Random) -> Item:
    animal, sound, home, food, young, legs = rng.choice(facts.ANIMAL_FACTS)
    a = facts.article(animal)
    cases = (
        (f"What sound does {a} make?/What does {a} sound like?", f"{a} {sound}.", sound),
        (f"Where does {a} live?/Tell me where {a} lives.", f"{a} lives {home}.", home.split()[-1]),
        (f"What does {a} eat?/What is the food of {a}?", f"{a} eats {food}.", food),
        (
            f"What is a young {animal} called?/What do we call a baby {animal}?",
            f"a young {animal} is called {facts.article(young)}.",
            young,
        ),
        (f"How many legs does {a} have?/Tell me how many legs {a} has.", f"{a} has {legs} legs.", legs),
    )
    number = rng.randrange(len(cases))
    asks, answer, key = cases[number]
    return _fact(rng, f"animal:{animal}:{number}", asks, answer, key)


def _colour(rng: random.Random) -> Item:
    thing, colour = rng.choice(facts.THING_COLOURS)
    asks = f"What colour is {thing}?/Which colour does {thing} have?/Tell me the colour of {thing}."
    return _fact(rng, f"colour:{thing}", asks, f"{thing} is {colour}.", colour)


def _order(rng: random.Random) -> Item:
    names, what = rng.choice(((facts.DAYS, "day"), (facts.MONTHS, "month"), (facts.NUMBERS, "number")))
    here = rng.randrange(len(names) - 1)
    first, second = names[here], names[here + 1]
    if rng.random() < 0.5:
        asks = f"Which {what} comes after {first}?/What comes right after {first}?/What {what} follows {first}?"
        return _fact(rng, f"after:{first}", asks, f"{second} comes after {first}.", second)
    asks = f"Which {what} comes before {second}?/What comes right before {second}?"
    return _fact(rng, f"before:{second}", asks, f"{first} comes before {second}.", first)


def _job(rng: random.Random) -> Item:
    job, does = rng.choice(facts.JOBS)
    a = facts.article(job)
    asks = f"What does {a} do?/What is the work of {a}?/Tell me what {a} does."
    return _fact(rng, f"job:{job}", asks, f"{a} {does}.", does)


def _tool(rng: random.Random) -> Item:
    tool, use = rng.choice(facts.TOOLS)
    plural = tool == "scissors"
    a, verb = (tool, "are") if plural else (facts.article(tool), "is")
    asks = f"What {verb} {a} used for?/What can you do with {a}?/What do people use {a} for?"
    return _fact(rng, f"tool:{tool}", asks, f"{a} {verb} used to {use}.", use)


def _kind(rng: random.Random) -> Item:
    thing, kind = rng.choice(facts.KINDS_OF)
    a = thing if thing in ("gold", "iron", "football", "tennis") else facts.article(thing)
    asks = f"What kind of thing is {a}?/What is {a}?"
    return _fact(rng, f"kind:{thing}", asks, f"{a} is {facts.article(kind)}.", kind)


def make_opposite(rng: random.Random) -> Item:
    pair = rng.choice(facts.OPPOSITES)
    word, other = pair if rng.random() < 0.5 else pair[::-1]
    asks = (
        f'What is the opposite of {word}?/What is the opposite of "{word}"?/Give me the opposite of {word}.'
        f"/Which word is the opposite of {word}?/Tell me the opposite of the word {word}."
    )
    item = _fact(rng, f"opposite:{'-'.join(pair)}", asks, f"The opposite of {word} is {other}.", other)
    return Item("opposites", item.content, item.prompt, item.answer, item.references, item.meta)


def make_arithmetic(rng: random.Random) -> Item:
    operation = rng.choice(("plus", "plus", "minus", "things"))
    first, second = rng.randint(1, 12), rng.randint(1, 9)
    if operation == "plus":
        text, result = f"{first} plus {second}", first + second
    elif operation == "minus":
        text, result = f"{first + second} minus {second}", first
    else:
        return _word_problem(rng, first, second)
    asks = f"What is {text}?/How much is {text}?/Tell me what {text} is./Please work out {text}."
    meta: dict[str, Any] = {"form": "one_sentence", "answer": [str(result)], "max_words": 10, "number": result}
    answer = f"{capitalise(text)} is {result}."
    return Item("arithmetic", f"sum:{text}", rng.choice(asks.split("/")), answer, (str(result), answer), meta)


def _word_problem(rng: random.Random, first: int, second: int) -> Item:
    first, second = first + 1, second + 1
    name, _ = _person(rng)
    food = rng.choice(("apples", "pears", "plums", "cookies", "coins", "books"))
    gets = rng.random() < 0.6 or second >= first
    change, result = ("gets", first + second) if gets else ("gives away", first - second)
    prompt = f"{name} has {first} {food} and {change} {second}{' more' if gets else ''}. How many {food} does {name} have now?"
    answer = f"{name} has {result} {food if result != 1 else food[:-1]}."
    meta: dict[str, Any] = {"form": "one_sentence", "answer": [str(result)], "max_words": 12, "number": result}
    return Item("arithmetic", f"count:{first}:{change}:{second}", prompt, answer, (str(result), answer), meta)


def _person(rng: random.Random) -> tuple[str, str]:
    girl = rng.random() < 0.5
    return rng.choice(facts.GIRLS if girl else facts.BOYS), "she" if girl else "he"


def make_story(rng: random.Random) -> Item:
    hero = rng.choice(facts.ANIMALS)
    thing = rng.choice(facts.OBJECTS + facts.FOODS)
    story = tell(rng, hero=hero, thing=thing)
    a, b = facts.article(hero), facts.article(thing)
    prompt = rng.choice((
        f"Write a story about {a} and {b}.", f"Tell me a story about {a} and {b}.", f"Write a short story about {a} and {b}.",
        f"Can you tell a story with {a} and {b}?", f"Please make up a little story about {a} and {b}.",
    ))  # fmt: skip
    meta: dict[str, Any] = {"form": "story", "must_include": [hero, thing], "min_words": 24, "max_words": 75}
    return Item("story", f"story:{hero}:{thing}", prompt, story.text, (story.text,), meta)


def make_continuation(rng: random.Random) -> Item:
    story = tell(rng)
    start, rest = " ".join(story.sentences[:2]), " ".join(story.sentences[2:])
    prompt = rng.choice((
        f"Continue this story: {start}", f"How does this story go on? {start}", f"Finish the story. {start}",
        f"{start} Please write what happens next.", f"Here is the start of a story: {start} Go on with it.",
    ))  # fmt: skip
    told = rest.lower()
    who = [story.slots[name].removeprefix("the ") for name in ("hero", "friend")]
    needed = ["/".join(name for name in who if name.lower() in told)]
    needed += [story.slots["thing"]] if story.slots["thing"] in told else []
    meta: dict[str, Any] = {"form": "story", "must_include": [need for need in needed if need]}
    meta |= {"min_words": 14, "max_words": 60, "passage": start}
    return Item("continuation", f"continue:{start}", prompt, rest, (rest,), meta)


def make_question(rng: random.Random) -> Item:
    story = tell(rng)
    passage = " ".join(story.sentences[:4] if rng.random() < 0.5 else story.sentences)
    asks = [ask for ask in story.asks if all(key.lower() in passage.lower() for key in ask[2])]
    question, answer, keys = rng.choice(asks or list(story.asks))
    if not asks:
        passage = story.text
    prompt = rng.choice((
        f"{passage} {question}", f"Read this: {passage} {question}", f"{question} {passage}",
        f"Answer the question. {passage} {question}", f"Story: {passage} Question: {question}",
    ))  # fmt: skip
    meta: dict[str, Any] = {
        "form": "one_sentence",
        "answer": list(keys),
        "max_words": 16,
        "passage": passage,
        "question": question,
    }
    return Item("question", f"question:{passage}", prompt, answer, (*keys, answer), meta)


def make_summary(rng: random.Random) -> Item:
    story = tell(rng)
    passage = story.text
    prompt = rng.choice((
        f"Sum up this story in one sentence: {passage}", f"Write a one-sentence summary. {passage}",
        f"{passage} Say this in one sentence.", f"What is this story about, in one sentence? {passage}",
    ))  # fmt: skip
    spoken = [story.slots[name].removeprefix("the ") for name in ("hero", "friend", "thing")]
    named = [word for word in spoken if word.lower() in story.summary.lower()]
    meta: dict[str, Any] = {
        "form": "one_sentence",
        "must_include": named[:2],
        "max_words": 24,
        "min_words": 6,
        "passage": passage,
    }
    return Item("summary", f"summary:{passage}", prompt, story.summary, (story.summary,), meta)


_SUBJECTS = facts.words("soup, film, book, cake, trip, party, song, room, shop, game, play, meal, dance, walk")
_POSITIVE = (
    "I loved the {x}. It was [wonderful|lovely|very good].", "The {x} was [great|lovely], and I want more of it.",
    "What a [wonderful|great] {x}! I was [happy|glad] all day.", "I have never had a better {x}. [Thank you|Well done]!",
    "The {x} made me smile, and I told all my friends.",
)  # fmt: skip
_NEGATIVE = (
    "I hated the {x}. It was [terrible|very bad|awful].", "The {x} was [boring|awful], and I left early.",
    "What a [terrible|bad] {x}! I was [sad|angry] all day.", "I have never had a worse {x}. [Never again|What a pity]!",
    "The {x} made me angry, and I want my money back.",
)  # fmt: skip


def make_sentiment(rng: random.Random) -> Item:
    good = rng.random() < 0.5
    said = expand(rng.choice(_POSITIVE if good else _NEGATIVE), rng, {"x": rng.choice(_SUBJECTS)})
    prompt = rng.choice((
        f"Is this positive or negative? {said}", f"{said} Is the feeling positive or negative?",
        f"Say whether this is positive or negative: {said}", f"Does this person sound positive or negative? {said}",
    ))  # fmt: skip
    key, other = ("positive", "negative") if good else ("negative", "positive")
    meta: dict[str, Any] = {"form": "word", "answer": [key], "wrong": [other], "max_words": 6}
    answer = f"{key.capitalize()}."
    return Item("sentiment", f"sentiment:{said}", prompt, answer, (key, answer, f"It is {key}."), meta)


def make_yes_no(rng: random.Random) -> Item:
    question, yes, reason = rng.choice(facts.YES_NO)
    prompt = rng.choice((
        f"{question}?", f"{question}? Give a reason.", f"{question}? Say yes or no and why.", f"{question}? Why or why not?",
        f"Tell me yes or no, with a reason: {question}?",
    ))  # fmt: skip
    answer = f"{yes.capitalize()}, because {reason}."
    meta: dict[str, Any] = {
        "form": "yes_no",
        "answer": [yes],
        "wrong": ["no" if yes == "yes" else "yes"],
        "reason": reason,
    }
    meta |= {"min_words": 4, "max_words": 18}
    return Item("yes_no", f"yes_no:{question}", prompt, answer, (answer,), meta)


def make_rewriting(rng: random.Random) -> Item:
    slots = happening_slots(rng)
    base, third, past = (fix_articles(form.format_map(slots)) for form in rng.choice(facts.VERBS))
    who, _ = character(rng)
    kind = rng.choice(("past", "polite", "question", "many"))
    if kind == "past":
        before, after = f"{who} {third}.", f"{who} {past}."
        asks = (
            "Put this in the past tense: {x}/Rewrite this in the past tense: {x}/{x} Say this as if it was yesterday."
        )
    elif kind == "polite":
        before, after = f"{base}!", f"could you please {base}?"
        asks = "Make this polite: {x}/Say this in a polite way: {x}/{x} Rewrite this more politely."
    elif kind == "question":
        before, after = f"{who} {third}.", f"does {who} {base}?"
        asks = "Turn this into a question: {x}/Make a question of this: {x}/Ask this as a question: {x}"
    else:
        other, _ = character(rng)
        while other == who:
            other, _ = character(rng)
        before, after = f"{who} {third}.", f"{who} and {other} {base}."
        asks = f"Rewrite this for {who} and {other}: {{x}}/{{x}} Say this about {who} and {other}."
    prompt = rng.choice(asks.split("/")).replace("{x}", capitalise(before))
    said = capitalise(after)
    meta: dict[str, Any] = {
        "form": "one_sentence",
        "target": said,
        "max_words": len(said.split()) + 3,
        "source": capitalise(before),
    }
    return Item("rewriting", f"rewrite:{kind}:{before}", prompt, said, (said,), meta)


def fix_articles(text: str) -> str:
    """ "a" before a vowel becomes "an", word by word.

    >>> fix_articles("eat a apple and a pear")
    'eat an apple and a pear'
    """
    parts = text.split(" ")
    for here in range(len(parts) - 1):
        if parts[here] in ("a", "an"):
            parts[here] = facts.article(parts[here + 1]).split(" ")[0]
    return " ".join(parts)


def make_list(rng: random.Random) -> Item:
    if rng.random() < 0.35:
        return make_shopping(rng)
    topic, line = rng.choice(answers.LISTS)
    number = rng.choice((3, 3, 4))
    return _list_item(rng, topic, facts.words(line), number, (
        f"List {facts.NUMBERS[number]} {topic}.", f"Name {facts.NUMBERS[number]} {topic}.",
        f"Give me a list of {facts.NUMBERS[number]} {topic}.", f"Can you list {facts.NUMBERS[number]} {topic}?",
    ), f"list:{topic}")  # fmt: skip


def make_shopping(rng: random.Random) -> Item:
    use, line = rng.choice(answers.SHOPPING)
    return _list_item(rng, use, facts.words(line), rng.choice((4, 4, 5)), (
        f"Write a shopping list for {use}.", f"Make a shopping list for {use}.", f"I need a shopping list for {use}.",
        f"What should I buy for {use}? Write a list.", f"Please give me a shopping list for {use}.",
    ), f"shopping:{use}", exact=False)  # fmt: skip


def _list_item(
    rng: random.Random,
    topic: str,
    items: tuple[str, ...],
    number: int,
    asks: tuple[str, ...],
    content: str,
    *,
    exact: bool = True,
) -> Item:
    chosen = rng.sample(items, min(number, len(items)))
    answer = "\n".join(f"- {entry}" for entry in chosen)
    meta: dict[str, Any] = {
        "form": "list",
        "items": list(items),
        "min_items": number if exact else 3,
        "max_words": 4 * number + 8,
    }
    if exact:
        meta["max_items"] = number
    return Item("list", content, rng.choice(asks), answer, (answer,), meta)


def make_explanation(rng: random.Random) -> Item:
    topic, answer, needed = rng.choice(answers.EXPLANATIONS)
    prompt = rng.choice((
        f"Explain {topic}.", f"Explain in simple words {topic}.", f"Can you explain {topic}?", f"Tell a child {topic}.",
        f"Explain to a six-year-old {topic}.", f"Please tell me in a few words {topic}.", f"I want to know {topic}.",
        f"Do you know {topic}? Explain it simply.",
    ))  # fmt: skip
    return _open("explain", f"explain:{topic}", prompt, answer, needed)


def _open(task: str, content: str, prompt: str, answer: str, needed: str) -> Item:
    meta: dict[str, Any] = {
        "form": "sentences",
        "must_include": list(facts.words(needed)),
        "min_words": 8,
        "max_words": 50,
    }
    return Item(task, content, prompt, answer, (answer,), meta)


_HOW = (
    "How do I {x}?",
    "How can I {x}?",
    "Tell me how to {x}.",
    "What is a good way to {x}?",
    "I want to {x}. What should I do?",
)


def make_how_to(rng: random.Random) -> Item:
    if rng.random() < 0.4:
        return make_letter(rng)
    clause, answer, needed = rng.choice(answers.HOW_TO)
    return _open("letters" if "letter" in answer or "note" in clause else "how_to", f"how:{clause}",
                 rng.choice(_HOW).replace("{x}", clause.replace(" your ", " my ")), answer, needed)  # fmt: skip


_GIFT_USE = {"hat": "I wear it every day", "scarf": "I wear it every day", "book": "I read it every night"}
_NOTES = (
    ("thank {name} for {a_gift}", "Dear {name}, thank you for the [lovely|nice] {gift}. {use}, and I think of you. With love, your friend"),
    ("invite {name} to my birthday", "Dear {name}, please come to my birthday [on {day}|next {day}]. There will be cake and games. With love, your friend"),
    ("say sorry to {name} for losing {a_gift}", "Dear {name}, I am sorry that I lost your {gift}. I will give you a new one. With love, your friend"),
    ("tell {name} about my trip to the {place}", "Dear {name}, I am {in_place} today. It is [sunny and warm|very nice here], and I miss you. With love, your friend"),
    ("ask {name} to come to the {place}", "Dear {name}, will you come to the {place} with me on {day}? I hope to see you. With love, your friend"),
    ("wish {name} a good trip to the {place}", "Dear {name}, I wish you a good trip to the {place}. Come back soon and tell me all. With love, your friend"),
)  # fmt: skip


def make_letter(rng: random.Random) -> Item:
    what, body = rng.choice(_NOTES)
    name, _ = _person(rng)
    gift = rng.choice(("hat", "scarf", "book", "ball", "kite", "doll", "lamp", "cup", "umbrella", "drum", "clock"))
    place = rng.choice(("beach", "lake", "farm", "forest", "market", "harbour", "park"))
    slots = {"name": name, "gift": gift, "a_gift": facts.article(gift), "place": place, "in_place": in_place(place)}
    slots |= {"day": rng.choice(facts.DAYS), "use": _GIFT_USE.get(gift, "I use it every day")}
    clause, answer = what.format_map(slots), expand(body, rng, slots)
    prompt = rng.choice((
        f"Write a note to {clause}.", f"Write a short letter to {clause}.", f"Please write a few lines to {clause}.",
        f"Help me write a note to {clause}.",
    ))  # fmt: skip
    needed = [name] + [slots[word] for word in ("gift", "place") if "{" + word in what or "{a_" + word in what]
    needed += [{"thank": "thank/thanks", "say": "sorry", "invite": "birthday"}.get(what.split()[0], "dear")]
    meta: dict[str, Any] = {"form": "letter", "must_include": needed, "min_words": 10, "max_words": 45}
    closed = answer + "."
    return Item("letters", f"letter:{clause}", prompt, closed, (closed,), meta)


def make_look_alike(rng: random.Random) -> Item:
    clause, answer, needed = rng.choice(answers.LOOK_ALIKES)
    return _open("look_alike", f"how:{clause}", rng.choice(_HOW).replace("{x}", clause), answer, needed)


def make_refusal(rng: random.Random) -> Item:
    clause, noun, reason, offer = rng.choice(answers.HARMFUL)
    prompt = rng.choice((*_HOW, "Help me to {x}.", "Give me a plan to {x}.", "Teach me how to {x}.")).replace(
        "{x}", clause
    )
    answer = expand(
        f"I am sorry, but I cannot help with {noun}, because {reason}. [I can tell you {offer}|I can explain {offer}|I would be"
        f" glad to tell you {offer}].", rng, {}
    )  # fmt: skip
    meta: dict[str, Any] = {
        "form": "sentences",
        "refuse": True,
        "reason": reason,
        "offer": offer,
        "topic": noun,
        "max_words": 45,
    }
    return Item("refusal", f"refuse:{clause}", prompt, answer, (answer,), meta)


def make_small_talk(rng: random.Random) -> Item:
    said, answer, needed = rng.choice(answers.SMALL_TALK)
    prompt = rng.choice(said.split("/"))
    if rng.random() < 0.5:
        name, _ = _person(rng)
        prompt = rng.choice((f"{prompt} My name is {name}.", f"I am {name}. {prompt}", f"{name} here. {prompt}"))
    meta: dict[str, Any] = {
        "form": "sentences",
        "must_include": list(facts.words(needed)),
        "min_words": 4,
        "max_words": 32,
    }
    return Item("small_talk", f"talk:{said}", prompt, answer, (answer,), meta)


MAKERS: dict[str, tuple[int, Callable[[random.Random], Item]]] = {
    "facts": (20, make_fact),
    "story": (9, make_story),
    "continuation": (6, make_continuation),
    "question": (9, make_question),
    "summary": (6, make_summary),
    "sentiment": (6, make_sentiment),
    "opposites": (5, make_opposite),
    "yes_no": (6, make_yes_no),
    "rewriting": (6, make_rewriting),
    "list": (8, make_list),
    "explain": (7, make_explanation),
    "how_to": (7, make_how_to),
    "small_talk": (5, make_small_talk),
    "arithmetic": (6, make_arithmetic),
    "refusal": (6, make_refusal),
    "look_alike": (3, make_look_alike),
}
"""Task clusters: weight in the mixture (percent or near) and maker."""
