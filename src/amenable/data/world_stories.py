"""Small stories with real plots, made from schemas: who wants what, what goes wrong, how it ends.

A schema is a handful of lines with choices `[a|b]` and slots `{hero}`; a line that starts with "?" is told only in long
tellings. Each schema brings the questions that its story answers and a one-sentence summary, so that passages,
summaries, continuations and stories for the pre-training text all come from one telling that cannot contradict itself.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from amenable.data import world_facts as facts

_CHOICE = re.compile(r"\[([^\[\]]*)\]")


def expand(template: str, rng: random.Random, slots: dict[str, str]) -> str:
    """The template with choices drawn and slots filled; each sentence starts with a capital letter.

    >>> expand("{hero} saw {a_thing}. [It was new.]", random.Random(0), {"hero": "the fox", "a_thing": "a kite"})
    'The fox saw a kite. It was new.'
    """
    drawn = _CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), template)
    return capitalise(" ".join(drawn.format_map(slots).split()))


def capitalise(text: str) -> str:
    """First letters of sentences in capitals, also inside opening quotes.

    >>> capitalise('the owl said, "yes." it slept.')
    'The owl said, "yes." It slept.'
    """
    return re.sub(r'(^|(?<=[.!?]) |(?<=[.!]") |\n)("?)([a-z])', lambda m: m[1] + m[2] + m[3].upper(), text)


@dataclass(frozen=True)
class Schema:
    """A plot. asks: (question, full answer, short answers parted by "/")."""

    name: str
    lines: tuple[str, ...]
    asks: tuple[tuple[str, str, str], ...]
    summary: str
    thing: str = "object"  # what {thing} may be, a key of THINGS


@dataclass(frozen=True)
class Story:
    """One telling: its sentences, what may be asked about it, and its summary."""

    schema: str
    sentences: tuple[str, ...]
    asks: tuple[tuple[str, str, tuple[str, ...]], ...]
    summary: str
    slots: dict[str, str]

    @property
    def text(self) -> str:
        return " ".join(self.sentences)


SCHEMAS: tuple[Schema, ...] = (
    Schema(
        "lost",
        (
            "[One day|One morning|One afternoon], {hero} lost {a_thing} {in_place}.",
            "?It was {colour} and had been a gift from {his} {kin}.",
            "{Hero} looked [everywhere|here and there|high and low] and felt {bad}.",
            "?The {place} was big, and the sun was already low.",
            "Then {friend} came by and [offered to help|helped to look].",
            "Together they found the {thing} {where}.",
            "{Hero} was {good} and thanked {friend}.",
        ),
        (
            ("What did {hero} lose?", "{Hero} lost {a_thing}.", "{thing}"),
            ("Where did they find the {thing}?", "They found the {thing} {where}.", "{where}"),
            ("Who helped {hero}?", "{Friend} helped {hero}.", "{friend_word}"),
        ),
        "{Hero} lost {a_thing}, and {friend} helped to find it.",
    ),
    Schema(
        "gift",
        (
            "It was the birthday of {friend}, and {hero} wanted to give {friend_him} a gift.",
            "{He} had [very little|only a little] money, so {he} made {a_thing} [by hand|alone at home].",
            "?It took {him} three long evenings to make it.",
            "{He} painted it {colour} and brought it to the {place}.",
            "{Friend} opened the paper and [smiled|laughed for joy].",
            '"This is the best gift of all," said {friend}.',
        ),
        (
            ("What did {hero} make?", "{Hero} made {a_thing}.", "{thing}"),
            ("What colour was the {thing}?", "The {thing} was {colour}.", "{colour}"),
            ("Whose birthday was it?", "It was the birthday of {friend}.", "{friend_word}"),
        ),
        "{Hero} made {a_thing} as a birthday gift for {friend}.",
        "made",
    ),
    Schema(
        "rain",
        (
            "{Hero} [walked|went] to the {place} with {a_thing}.",
            "[Suddenly|Soon] the sky grew dark, and it began to rain.",
            "?The rain fell hard, and the path turned to mud.",
            "{Friend} [stood|waited] {spot} and called {him} over.",
            "They waited there and told each other [stories|jokes] until the sun came back.",
            "{Hero} went home [wet|late] but {good}.",
        ),
        (
            ("Where did {hero} go?", "{Hero} went to the {place}.", "{place}"),
            ("Where was {friend}?", "{Friend} was {spot}.", "{spot}"),
            ("How did {hero} feel at the end?", "{Hero} felt {good}.", "{good}"),
        ),
        "{Hero} was caught in the rain and waited with {friend} until the sun came back.",
    ),
    Schema(
        "share",
        (
            "{Hero} had {a_thing} for lunch and sat down {spot}.",
            "{Friend} [came by|sat nearby] and had nothing to eat.",
            "?{Hero} was very hungry and thought about it for a while.",
            "{Hero} [cut|broke] the {thing} in two and gave {friend} one half.",
            "They ate together {in_place} and felt {good}.",
            "[After that day|From then on], they were good friends.",
        ),
        (
            ("What did {hero} share?", "{Hero} shared {a_thing}.", "{thing}"),
            ("Who had nothing to eat?", "{Friend} had nothing to eat.", "{friend_word}"),
            ("Where did {hero} sit down?", "{Hero} sat down {spot}.", "{spot}"),
        ),
        "{Hero} shared {a_thing} with {friend}, and they became friends.",
        "food",
    ),
    Schema(
        "stuck",
        (
            "{Hero} was playing with {a_thing} {in_place}.",
            "The {thing} flew [too high|up high] and got stuck in a tree.",
            "?{Hero} jumped and jumped but could not reach it.",
            "{Hero} was {bad} and [did not know what to do|sat down in the grass].",
            "{Friend} [brought|fetched] a long ladder and climbed up.",
            "Soon the {thing} was back, and they played until evening.",
        ),
        (
            ("What got stuck in the tree?", "The {thing} got stuck in the tree.", "{thing}"),
            ("Where was {hero} playing?", "{Hero} was playing {in_place}.", "{place}"),
            ("Who climbed up?", "{Friend} climbed up.", "{friend_word}"),
        ),
        "{Hero} lost {a_thing} in a tree, and {friend} brought it down.",
        "flying",
    ),
    Schema(
        "afraid",
        (
            "{Hero} was afraid of the dark.",
            "One night {he} heard a strange sound {where}.",
            "?{His} heart beat fast, and {he} held {his} breath.",
            "{He} took {a_thing} and went to look.",
            "It was only {friend}, who [had lost the way|could not sleep].",
            "They both laughed, and {hero} was [not afraid any more|brave from that night on].",
        ),
        (
            ("What was {hero} afraid of?", "{Hero} was afraid of the dark.", "dark"),
            ("What did {hero} take?", "{Hero} took {a_thing}.", "{thing}"),
            ("Who made the sound?", "{Friend} made the sound.", "{friend_word}"),
        ),
        "{Hero} was afraid of a sound in the night, but it was only {friend}.",
    ),
    Schema(
        "broken",
        (
            "{Hero} borrowed {a_thing} from {friend}.",
            "On the way to the {place}, {he} [fell|slipped] and broke it.",
            "?{He} thought of hiding it {where}, but that felt wrong.",
            "{Hero} was {bad}, but {he} told the truth.",
            '"I am sorry," {he} said. "I will help you to mend it."',
            "{Friend} [was not angry|smiled kindly], and they mended the {thing} together.",
        ),
        (
            ("What did {hero} break?", "{Hero} broke {a_thing}.", "{thing}"),
            ("Where was {hero} going?", "{Hero} was going to the {place}.", "{place}"),
            ("How did {hero} feel?", "{Hero} felt {bad}.", "{bad}"),
        ),
        "{Hero} broke {a_thing} that belonged to {friend}, told the truth and helped to mend it.",
        "fragile",
    ),
    Schema(
        "race",
        (
            "{Hero} and {friend} had a race to the {place}.",
            "{Friend} was [faster|stronger] and soon ran ahead.",
            "?The way was long, and the day was hot.",
            "But then {friend} fell over {a_thing} and hurt {friend_his} leg.",
            "{Hero} stopped and [helped {friend_him} up|sat down beside {friend_him}].",
            "They came to the {place} side by side, and both felt {good}.",
        ),
        (
            ("Where did they race to?", "They raced to the {place}.", "{place}"),
            ("Who fell?", "{Friend} fell.", "{friend_word}"),
            ("What did {friend} fall over?", "{Friend} fell over {a_thing}.", "{thing}"),
        ),
        "{Hero} stopped in a race to help {friend}, and they came in together.",
        "solid",
    ),
    Schema(
        "bake",
        (
            "{Hero} wanted to make {a_thing} for {his} {kin}.",
            "{He} went to the {place} to get [flour and eggs|milk and butter].",
            "?On the way home {he} sang a little song.",
            "But {he} left it in the oven too long, and it turned black.",
            "{Friend} came to help, and they made [a new one|another one].",
            "This time it was [sweet and warm|just right], and everyone was {good}.",
        ),
        (
            ("What did {hero} want to make?", "{Hero} wanted to make {a_thing}.", "{thing}"),
            ("Who came to help?", "{Friend} came to help.", "{friend_word}"),
            ("Where did {hero} go?", "{Hero} went to the {place}.", "{place}"),
        ),
        "{Hero} burned {a_thing}, but with the help of {friend} the next one was good.",
        "baked",
    ),
    Schema(
        "find",
        (
            "{Hero} found {a_thing} {where}.",
            "It was {colour} and [looked very old|shone in the sun].",
            '"Who does it belong to?" asked {hero}.',
            "?{He} asked the people at the {place}, but nobody knew.",
            "{He} carried it to {friend}, who had been looking for it [all day|all week].",
            "{Friend} was {good} and gave {him} a big hug.",
        ),
        (
            ("Where did {hero} find the {thing}?", "{Hero} found the {thing} {where}.", "{where}"),
            ("What colour was the {thing}?", "The {thing} was {colour}.", "{colour}"),
            ("Who had been looking for the {thing}?", "{Friend} had been looking for it.", "{friend_word}"),
        ),
        "{Hero} found {a_thing} and gave it back to {friend}.",
    ),
    Schema(
        "new",
        (
            "{Hero} was new [at the school|in the village|in the town] and had no friends.",
            "{He} sat {spot} with {a_thing} and felt {bad}.",
            "?The others ran past and did not see {him}.",
            '{Friend} came up and asked, "May I play with you?"',
            "They [took turns with|played with] the {thing} all afternoon.",
            "That evening {hero} was {good}, for {he} had a friend.",
        ),
        (
            ("How did {hero} feel at first?", "{Hero} felt {bad} at first.", "{bad}"),
            ("What did {hero} have?", "{Hero} had {a_thing}.", "{thing}"),
            ("Who asked to play?", "{Friend} asked to play.", "{friend_word}"),
        ),
        "{Hero} had no friends at first, but then {friend} came to play.",
    ),
    Schema(
        "sick",
        (
            "{Friend} was sick and had to stay in bed.",
            "{Hero} brought {friend_him} {a_thing} [from the {place}|and a warm smile].",
            "?Then {he} opened the window and let in some fresh air.",
            "{He} sat beside the bed and [read a story|sang a song].",
            "The next day {friend} felt [better|well again].",
            '"You are a true friend," said {friend}, and {hero} was {good}.',
        ),
        (
            ("Who was sick?", "{Friend} was sick.", "{friend_word}"),
            ("What did {hero} bring?", "{Hero} brought {a_thing}.", "{thing}"),
            ("How did {hero} feel at the end?", "{Hero} felt {good}.", "{good}"),
        ),
        "{Friend} was sick, and {hero} brought {a_thing} and cared for {friend_him}.",
    ),
    Schema(
        "market",
        (
            "{Hero} went to the market to sell {a_thing}.",
            "[A rich man|A tall man] wanted to pay [ten|twenty] coins for it.",
            "Then {friend} came, who [had only two coins|had no money] but needed the {thing}.",
            "?{Hero} looked at the coins and looked at {friend}.",
            "{Hero} gave it to {friend} and kept nothing.",
            "[Years later|The next spring], {friend} came back with {a_food} to say thank you.",
        ),
        (
            ("What did {hero} want to sell?", "{Hero} wanted to sell {a_thing}.", "{thing}"),
            ("Where did {hero} go?", "{Hero} went to the market.", "market"),
            ("Who needed the {thing}?", "{Friend} needed the {thing}.", "{friend_word}"),
        ),
        "{Hero} gave {a_thing} to {friend}, who needed it more than a rich man.",
    ),
    Schema(
        "build",
        (
            "{Hero} and {friend} wanted to build a [small house|little tent] {in_place}.",
            "They took old wood and {a_thing} and worked [all day|all morning].",
            "?It was hard work, and twice the roof fell in.",
            "At noon a strong wind blew it down, and {friend} was {bad}.",
            '"We can do it again," said {hero}.',
            "By evening it stood [firm and strong|better than before], and both were {good}.",
        ),
        (
            ("What blew it down?", "A strong wind blew it down.", "wind"),
            ("Where did they build?", "They built {in_place}.", "{place}"),
            ("How was {friend} at noon?", "{Friend} was {bad} at noon.", "{bad}"),
        ),
        "{Hero} and {friend} built again after the wind blew their work down.",
        "useful",
    ),
    Schema(
        "seed",
        (
            "{Hero} planted a seed {spot}.",
            "Every day {he} came with {a_thing} and gave it water.",
            "?The rain came and the sun came, and the days went by.",
            '{Friend} [laughed and said|said], "Nothing will grow there."',
            "But in spring {a_colour} flower opened.",
            "{Hero} was {proud}, and {friend} said sorry.",
        ),
        (
            ("What did {hero} plant?", "{Hero} planted a seed.", "seed"),
            ("What colour was the flower?", "The flower was {colour}.", "{colour}"),
            ("Who laughed or doubted?", "{Friend} did.", "{friend_word}"),
        ),
        "{Hero} planted a seed and cared for it until it became {a_colour} flower.",
        "vessel",
    ),
    Schema(
        "river",
        (
            "{Hero} wanted to cross the river but could not swim.",
            "{He} had {a_thing} for {his} {kin}, who lived on the other side.",
            "?The water was deep and cold.",
            "{Friend} had a small {colour} boat and [took {him} across|rowed {him} over].",
            "{His} {kin} was {good} to see them both.",
            "They all [had tea|ate soup] and talked until night.",
        ),
        (
            ("What did {hero} want to cross?", "{Hero} wanted to cross the river.", "river"),
            ("What did {hero} have?", "{Hero} had {a_thing}.", "{thing}"),
            ("What colour was the boat?", "The boat was {colour}.", "{colour}"),
        ),
        "{Friend} took {hero} across the river to see {his} {kin}.",
    ),
    Schema(
        "noise",
        (
            "Every night {hero} made a loud noise with {a_thing}.",
            "{Friend} lived next door and could not sleep.",
            "?{Friend} was too shy to say a word for many days.",
            "At last {friend} came over and asked for [quiet|a little peace].",
            "{Hero} felt {bad} and put the {thing} {where}.",
            "[Now|After that] {he} plays only by day, and {friend} comes to [listen|dance].",
        ),
        (
            ("Who could not sleep?", "{Friend} could not sleep.", "{friend_word}"),
            ("What did {hero} make noise with?", "{Hero} made noise with {a_thing}.", "{thing}"),
            ("Where did {hero} put the {thing}?", "{Hero} put it {where}.", "{where}"),
        ),
        "{Hero} made too much noise with {a_thing} until {friend} asked for quiet.",
        "loud",
    ),
    Schema(
        "swap",
        (
            "{Hero} had {a_thing}, and {friend} had {a_food}.",
            "Each [wanted|dreamed of] what the other had.",
            "?They met at the {place} and talked it over for an hour.",
            "So they [swapped|traded] and went home {good}.",
            "But soon {hero} [missed|longed for] the old {thing} and felt {bad}.",
            '{Friend} gave it back and said, "We can both use it."',
        ),
        (
            ("What did {hero} have at first?", "{Hero} had {a_thing}.", "{thing}"),
            ("What did {friend} have at first?", "{Friend} had {a_food}.", "{food}"),
            ("What did {hero} miss?", "{Hero} missed the {thing}.", "{thing}"),
        ),
        "{Hero} swapped {a_thing} with {friend} but missed it, and then they shared it.",
    ),
)

THINGS: dict[str, tuple[str, ...]] = {
    "object": facts.OBJECTS,
    "food": facts.FOODS,
    "baked": facts.words("cake, pie, cookie, pancake, muffin, bun"),
    "made": facts.words("kite, boat, doll, basket, box, drum, blanket, ladder, scarf, hat, flute, whistle, lamp"),
    "flying": facts.words("ball, kite, hat, scarf, umbrella"),
    "fragile": facts.words(
        "kite, lamp, drum, boat, doll, basket, umbrella, box, cup, bicycle, ladder, mirror, clock, flute"
    ),
    "solid": facts.words("ball, book, drum, boat, basket, box, ladder, bucket, bicycle, umbrella"),
    "vessel": facts.words("bucket, cup"),
    "loud": facts.words("drum, bell, flute, whistle"),
    "useful": facts.words("blanket, ladder, bucket, box, basket, umbrella"),
}
"""What {thing} may be in a schema that needs a certain kind of thing."""

_AT = {"hill": "on", "beach": "on", "farm": "on", "playground": "on", "bridge": "on"} | dict.fromkeys(
    ("river", "market", "school", "lake", "harbour", "station", "library", "bakery"), "at"
)
SPOTS = facts.words("under a tree, in the tall grass, beside the pond, near the gate, near the well, by the road")


def character(rng: random.Random) -> tuple[str, str]:
    """A name or "the animal", and the pronoun."""
    if rng.random() < 0.5:
        return "the " + rng.choice(facts.ANIMALS), rng.choice(("he", "she"))
    girl = rng.random() < 0.5
    return rng.choice(facts.GIRLS if girl else facts.BOYS), "she" if girl else "he"


def tell(rng: random.Random, *, long: bool = False, hero: str | None = None, thing: str | None = None) -> Story:
    """A story by a random schema. hero: an animal's name without article; thing: one of OBJECTS or FOODS.

    long also tells the lines marked "?".
    """
    fitting = [schema for schema in SCHEMAS if thing is None or thing in THINGS[schema.thing]]
    schema = rng.choice(fitting)
    who, he = ("the " + hero, rng.choice(("he", "she"))) if hero else character(rng)
    friend, friend_he = character(rng)
    while friend == who:
        friend, friend_he = character(rng)
    slots = _slots(rng, schema, who, he, friend, friend_he, thing)
    lines = [line.lstrip("?") for line in schema.lines if long or not line.startswith("?")]
    sentences = tuple(expand(line, rng, slots) for line in lines)
    asks = tuple(
        (expand(ask, rng, slots), expand(answer, rng, slots), tuple(key.format_map(slots).split("/")))
        for ask, answer, key in schema.asks
        if _answerable(answer, " ".join(sentences), slots)
    )
    return Story(schema.name, sentences, asks, expand(schema.summary, rng, slots), slots)


def in_place(place: str) -> str:
    """A place with its preposition.

    >>> in_place("hill"), in_place("garden")
    ('on the hill', 'in the garden')
    """
    return f"{_AT.get(place, 'in')} the {place}"


def happening_slots(rng: random.Random) -> dict[str, str]:
    """Slots for `facts.VERBS`."""
    place = rng.choice(facts.PLACES)
    return {
        "object": rng.choice(facts.OBJECTS),
        "food": rng.choice(facts.FOODS),
        "baked": rng.choice(THINGS["baked"]),
        "place": place,
        "in_place": in_place(place),
    }


def _slots(
    rng: random.Random, schema: Schema, who: str, he: str, friend: str, friend_he: str, thing: str | None
) -> dict[str, str]:
    his = {"he": ("him", "his"), "she": ("her", "her")}
    place = rng.choice([place for place in facts.PLACES if place not in ("river", "bridge")])
    colour = rng.choice(facts.COLOURS[:-1])
    chosen = thing or rng.choice(THINGS[schema.thing])
    food = rng.choice([food for food in facts.FOODS if food != chosen])
    slots = {
        "hero": who,
        "he": he,
        "him": his[he][0],
        "his": his[he][1],
        "friend": friend,
        "friend_him": his[friend_he][0],
        "friend_his": his[friend_he][1],
        "friend_word": friend.removeprefix("the "),
        "thing": chosen,
        "a_thing": facts.article(chosen),
        "food": food,
        "a_food": facts.article(food),
        "place": place,
        "in_place": in_place(place),
        "spot": rng.choice(SPOTS),
        "where": rng.choice(facts.WHERE),
        "colour": colour,
        "a_colour": facts.article(colour),
        "good": rng.choice(facts.GOOD_FEELINGS[:4]),
        "proud": rng.choice(("proud", "happy", "glad")),
        "bad": rng.choice(facts.BAD_FEELINGS[:3]),
        "kin": rng.choice(("mother", "father", "sister", "brother", "grandmother", "grandfather")),
    }
    return (
        slots
        | {"Hero": who[0].upper() + who[1:], "He": he.capitalize(), "His": his[he][1].capitalize()}
        | {"Friend": friend[0].upper() + friend[1:]}
    )


def _answerable(answer: str, told: str, slots: dict[str, str]) -> bool:
    """Does the telling hold every slot that the answer speaks of?"""
    names = re.findall(r"{(\w+)}", answer)
    return all(slots[name].lower() in told.lower() for name in names)
