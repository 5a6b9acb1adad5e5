"""The small world with more people, animals and things in it, and asked about in more ways: for a model of the wider world.

A model that meets the same thirty names learns these names; one that meets two hundred learns to look up in the request whom it
is about. A record is widened as a whole: the same word everywhere, in the request, the answer and what a rubric looks for.
"""

from __future__ import annotations

import random
import re
from typing import Any

from amenable.data import world_facts as facts
from amenable.data.world_facts import words
from amenable.data.world_tasks import fix_articles
from amenable.types import Demonstration

_WORD = re.compile(r"[A-Za-z]+")
_GIRLS = words(
    "Ada, Agnes, Aisha, Alice, Amina, Anita, Aya, Bella, Bianca, Carla, Chloe, Daisy, Dana, Dora, Edith, Elena, Elsa, Esther, Eva,"
    " Fatima, Fiona, Flora, Gloria, Grace, Greta, Hanna, Helen, Ida, Ines, Irene, Iris, Ivana, Jasmin, Judith, Julia, June, Karin,"
    " Laila, Lara, Laura, Lea, Lena, Linda, Lola, Louise, Maria, Martha, Mary, Meera, Mina, Molly, Nadia, Naomi, Olga, Olivia, Paula,"
    " Petra, Priya, Rachel, Rita, Rose, Ruth, Sally, Sofia, Susan, Tara, Tina, Ursula, Vera, Wanda, Yasmin, Yuki, Zara"
)
_BOYS = words(
    "Ahmed, Alan, Albert, Alex, Andrew, Anton, Arthur, Bill, Bob, Boris, Bruno, Carlos, Chen, David, Diego, Emil, Eric, Frank, Fred,"
    " George, Hans, Harry, Hassan, Henry, Ian, Igor, Ivan, Jakob, James, Jim, Joe, John, Jonas, Joseph, Juan, Karl, Kenji, Kofi, Kurt,"
    " Lars, Lewis, Louis, Marco, Mark, Martin, Matteo, Mike, Milan, Nick, Nils, Olaf, Otto, Pablo, Pedro, Peter, Philip, Rafael,"
    " Ravi, Robert, Simon, Stefan, Steve, Theo, Thomas, Tony, Victor, Walter, Will, Yusuf"
)
_CREATURES = words(
    "ant, ape, baker, bat, bee, beetle, bird, bull, camel, clown, cook, crab, crow, dentist, doctor, dolphin, dragon, driver, dwarf,"
    " eagle, elephant, elf, farmer, fish, fly, gardener, ghost, giant, giraffe, goose, guard, hamster, hare, hunter, judge, kangaroo,"
    " kitten, lamb, leopard, lion, lizard, mole, monkey, monster, moose, neighbour, nurse, painter, panda, parrot, peacock, penguin,"
    " pigeon, pirate, pilot, pony, puppy, rat, raven, robot, sailor, seal, shepherd, singer, snail, snake, spider, stork, swan,"
    " tailor, teacher, tiger, toad, tortoise, traveller, troll, turkey, walrus, whale, wizard, wolf, worm, zebra"
)
_THINGS = words(
    "apron, badge, bag, balloon, banner, bead, belt, bone, boot, bottle, bow, bowl, bracelet, brick, broom, brush, camera,"
    " card, carpet, chain, chair, comb, compass, cork, crown, cushion, diary, dish, envelope, eraser, fan, feather, fork, frame, glass,"
    " glove, hammer, hook, jacket, jar, jewel, jug, kettle, lantern, leaf, lens, letter, medal, mug, napkin, necklace,"
    " notebook, paintbrush, pan, parcel, pearl, pebble, pen, photo, pillow, pin, pipe, plate, postcard, pot, purse, puzzle,"
    " radio, ribbon, rope, rose, ruler, sack, saddle, scroll, shell, shoe, shovel, sock, stamp, stick, stone, teapot,"
    " telescope, ticket, torch, towel, toy, vase, violin, wallet, watch, wreath"
)
_FOODS = words(
    "apricot, avocado, biscuit, burger, cabbage, cheese pie, cherry, chocolate, coconut, corn cob, cucumber, date, doughnut, egg, fig,"
    " lemon, mango, melon, mushroom, nut, olive, onion, papaya, pepper, pizza, potato, pumpkin, radish, roll, sausage, strawberry,"
    " tart, turnip, waffle, walnut"
)
_SAME_KIND: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (facts.GIRLS, facts.GIRLS + _GIRLS),
    (facts.BOYS, facts.BOYS + _BOYS),
    (facts.ANIMALS, facts.ANIMALS + _CREATURES),
    (words("key, coin, ring, spoon, button, candle, pencil"), _THINGS),
    (words("apple, pear, sandwich, carrot, banana, peach, plum, tomato"), _FOODS),
)
"""Words of the world, and what may stand for each of them; never a thing that a plot needs for what it is (a loud drum)."""
NAMES_ONLY = frozenset(("letters", "small_talk", "arithmetic"))
EVERYTHING = frozenset(("story", "continuation", "question", "summary", "rewriting"))
"""Clusters where the other kinds are exchanged, too. In those that are not named, truth hangs on the word."""


def widen(record: Demonstration, rng: random.Random) -> Demonstration:
    """The record with other names, animals and things; as it is where its cluster depends on them.

    >>> from amenable.types import assistant, user
    >>> said = (user("Mia saw an owl. Put this as a question."), assistant("Did Mia see an owl?"))
    >>> [m.content for m in widen(Demonstration(id="a", messages=said, task="rewriting"), random.Random(0)).messages]
    ['Ivana saw a tortoise. Put this as a question.', 'Did Ivana see a tortoise?']
    """
    if record.task not in NAMES_ONLY | EVERYTHING:
        return record
    here = set(_WORD.findall(" ".join(m.content for m in record.messages)))
    here |= {word.lower() for word in here}
    others: dict[str, str] = {}
    for known, wide in _SAME_KIND[: 2 if record.task in NAMES_ONLY else None]:
        found = [word for word in known if word in here]
        others |= dict(zip(found, rng.sample(wide, len(found)), strict=True))

    def exchanged(text: str) -> str:
        return fix_articles(_WORD.sub(lambda match: _in_place_of(match[0], others), text))

    def through(value: Any) -> Any:
        """The words exchanged in all texts within."""
        if isinstance(value, str):
            return exchanged(value)
        if isinstance(value, dict):
            return {key: through(its) for key, its in value.items()}
        return [through(its) for its in value] if isinstance(value, list | tuple) else value

    messages = tuple(m.replace(content=exchanged(m.content)) for m in record.messages)
    return record.replace(messages=messages, meta=through(record.meta))


def _in_place_of(word: str, others: dict[str, str]) -> str:
    """What stands for the word, with its capital letter."""
    if word in others:
        return others[word]
    other = others.get(word.lower(), word)
    return other.capitalize() if word[:1].isupper() else other


CLUSTERS = {
    "story": "story_writing",
    "continuation": "story_continuation",
    "question": "passage_questions",
    "summary": "one_sentence_summary",
    "rewriting": "rewriting",
    "explain": "explanations",
}
"""Clusters of the small world whose requests the primer's templates of a cluster can word, too."""
_CHANGES = {"past": "in the past tense", "polite": "more polite", "question": "a question"}


def parts_of(record: Demonstration) -> dict[str, str] | None:
    """What the templates of CLUSTERS need of a record of the small world; None where they do not fit it."""
    meta = record.meta
    _, _, about = meta["content"].partition(":")
    if record.task == "story":
        return {"words": ", ".join(facts.article(word) for word in meta["must_include"])}
    if record.task == "continuation":
        return {"beginning": meta["passage"]}
    if record.task in ("question", "summary"):
        return {name: meta[name] for name in ("passage", "question") if name in meta}
    if record.task == "explain":
        return {"topic": about}
    change = _CHANGES.get(about.partition(":")[0]) if record.task == "rewriting" else None
    return {"text": meta["source"], "change": change} if change else None
