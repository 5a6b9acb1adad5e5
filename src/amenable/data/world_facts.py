"""The facts of the small world: tables of words and truths that documents, prompts and demonstrations are made from.

Plain text tables, one entry per line or comma, parsed by `table` and `words`; all written for this project. A fact stands
here once, so that a document, a reference and a rubric can never disagree.
"""

from __future__ import annotations


def words(line: str) -> tuple[str, ...]:
    """The entries of a comma-separated line.

    >>> words("red, light blue")
    ('red', 'light blue')
    """
    return tuple(" ".join(part.split()) for part in line.split(",") if part.strip())


def table(lines: str) -> tuple[tuple[str, ...], ...]:
    """The rows of a table: one row a line, cells parted by " | ".

    >>> table("cat | kitten")
    (('cat', 'kitten'),)
    """
    return tuple(
        tuple(cell.strip() for cell in line.split(" | ")) for line in lines.strip().splitlines() if line.strip()
    )


def article(noun: str) -> str:
    """The noun with "a" or "an"; plurals and nouns that take no article are left to the caller.

    >>> article("owl"), article("unicorn"), article("hour")
    ('an owl', 'a unicorn', 'an hour')
    """
    vowel = noun[0].lower() in "aeiou" and not noun.lower().startswith(("uni", "use", "eu", "one"))
    return ("an " if vowel or noun.lower().startswith(("hour", "honest")) else "a ") + noun


GIRLS = words("Mia, Anna, Lily, Emma, Rosa, Nora, Ella, Zoe, Lucy, Ruby, Ivy, Clara, Sara, Maya, Nina, Kate, Jane, Amy")
BOYS = words("Tom, Ben, Sam, Max, Leo, Jack, Tim, Noah, Adam, Paul, Omar, Finn, Luke, Hugo, Oscar, Felix, Dan, Ali")
ANIMALS = words(
    "cat, dog, fox, owl, bear, rabbit, mouse, duck, frog, horse, hen, pig, goat, sheep, cow, squirrel, hedgehog,"
    " turtle, robin, beaver, badger, otter, donkey, deer"
)
OBJECTS = words(
    "ball, kite, lamp, book, hat, bell, key, drum, boat, doll, basket, umbrella, ring, coin, box, cup, blanket,"
    " bicycle, map, ladder, spoon, mirror, scarf, clock, flute, bucket, button, whistle, candle, pencil"
)
FOODS = words(
    "apple, pear, cake, pie, sandwich, carrot, cookie, banana, peach, pancake, muffin, plum, orange, bun, tomato"
)
PLACES = words(
    "park, garden, forest, market, river, school, beach, farm, library, hill, lake, meadow, village, harbour,"
    " playground, barn, bakery, station, field, bridge"
)
WHERE = words(
    "under the bed, behind the door, under a tree, in the tall grass, behind the shed, near the gate, under the bench,"
    " beside the pond, on the top shelf, in the old box, behind a bush, under the stairs, near the well, in the barn"
)
COLOURS = words("red, blue, green, yellow, white, black, brown, orange, pink, purple, grey, silver, golden")
TRAITS = words("small, kind, brave, shy, clever, curious, quiet, cheerful, young, gentle, busy, friendly, playful")
GOOD_FEELINGS = words("happy, glad, cheerful, thankful, proud, excited")
BAD_FEELINGS = words("sad, worried, upset, lonely, afraid, tired")
FAMILY = words("mother, father, sister, brother, grandmother, grandfather, aunt, uncle")

CAPITALS = table("""
France | Paris
Germany | Berlin
Italy | Rome
Spain | Madrid
Portugal | Lisbon
England | London
Ireland | Dublin
Scotland | Edinburgh
Norway | Oslo
Sweden | Stockholm
Finland | Helsinki
Denmark | Copenhagen
Iceland | Reykjavik
Poland | Warsaw
Austria | Vienna
Hungary | Budapest
Greece | Athens
Turkey | Ankara
Russia | Moscow
Ukraine | Kyiv
Belgium | Brussels
Romania | Bucharest
Bulgaria | Sofia
Croatia | Zagreb
Serbia | Belgrade
Egypt | Cairo
Kenya | Nairobi
Ghana | Accra
Ethiopia | Addis Ababa
Morocco | Rabat
Senegal | Dakar
Uganda | Kampala
India | New Delhi
China | Beijing
Japan | Tokyo
South Korea | Seoul
Thailand | Bangkok
Vietnam | Hanoi
Nepal | Kathmandu
Iran | Tehran
Iraq | Baghdad
Lebanon | Beirut
Mongolia | Ulaanbaatar
Indonesia | Jakarta
Australia | Canberra
New Zealand | Wellington
Canada | Ottawa
Mexico | Mexico City
Cuba | Havana
Jamaica | Kingston
Brazil | Brasilia
Argentina | Buenos Aires
Chile | Santiago
Peru | Lima
Colombia | Bogota
Venezuela | Caracas
Ecuador | Quito
Uruguay | Montevideo
""")

# animal | sound it makes | where it lives | what it eats | its young | number of legs
ANIMAL_FACTS = table("""
cat | meows | in a house | fish and meat | kitten | four
dog | barks | in a house | meat and bones | puppy | four
cow | moos | on a farm | grass | calf | four
pig | grunts | on a farm | corn and roots | piglet | four
sheep | bleats | on a farm | grass | lamb | four
goat | bleats | on a farm | leaves and grass | kid | four
horse | neighs | in a stable | hay and oats | foal | four
hen | clucks | in a coop | seeds and grain | chick | two
duck | quacks | on a pond | water plants | duckling | two
owl | hoots | in a hollow tree | mice | owlet | two
lion | roars | on the plains | meat | cub | four
wolf | howls | in the forest | meat | pup | four
bear | growls | in a den | berries and fish | cub | four
frog | croaks | near a pond | flies | tadpole | four
bee | buzzes | in a hive | nectar | larva | six
mouse | squeaks | in a hole | seeds and cheese | pup | four
snake | hisses | in the grass | mice and eggs | snakelet | no
donkey | brays | in a stable | hay | foal | four
fox | yelps | in a den | mice and berries | cub | four
rabbit | squeaks | in a burrow | grass and carrots | kitten | four
spider | makes no sound | in a web | flies | spiderling | eight
elephant | trumpets | on the plains | leaves and fruit | calf | four
monkey | chatters | in the trees | fruit and nuts | infant | four
bird | sings | in a nest | seeds and worms | chick | two
""")

# thing | colour | is it a plural
THING_COLOURS = table("""
grass | green
snow | white
milk | white
coal | black
the sun | yellow
a lemon | yellow
a banana | yellow
a carrot | orange
a strawberry | red
a tomato | red
blood | red
the clear sky | blue
chocolate | brown
a flamingo | pink
an elephant | grey
a crow | black
a swan | white
a cherry | red
a frog | green
a plum | purple
salt | white
a pumpkin | orange
a leaf in spring | green
an eggplant | purple
sand | yellow
a fire engine | red
a pea | green
tar | black
""")

OPPOSITES = table("""
hot | cold
big | small
happy | sad
fast | slow
up | down
open | closed
wet | dry
old | young
bright | dark
loud | quiet
full | empty
hard | soft
early | late
near | far
strong | weak
rich | poor
clean | dirty
long | short
heavy | light
high | low
left | right
good | bad
day | night
thick | thin
sweet | sour
wide | narrow
brave | afraid
first | last
kind | cruel
easy | difficult
begin | end
give | take
push | pull
buy | sell
win | lose
love | hate
laugh | cry
remember | forget
arrive | leave
true | false
deep | shallow
safe | dangerous
sharp | blunt
smooth | rough
awake | asleep
""")

# job | what this person does
JOBS = table("""
baker | bakes bread and cakes
farmer | grows food and looks after animals
teacher | helps children to learn
doctor | helps sick people to get well
pilot | flies planes
sailor | works on a ship
painter | paints walls and pictures
gardener | looks after plants
tailor | makes and mends clothes
cook | makes meals
driver | drives a bus or a truck
nurse | cares for sick people
builder | builds houses
fisherman | catches fish
singer | sings songs
writer | writes books
dentist | looks after teeth
vet | helps sick animals
postman | brings letters
firefighter | puts out fires
librarian | looks after books
shepherd | looks after sheep
clown | makes people laugh
carpenter | makes things from wood
""")

# tool | what it is used for
TOOLS = table("""
hammer | hit nails
saw | cut wood
spoon | eat soup
needle | sew clothes
broom | sweep the floor
key | open a lock
umbrella | stay dry in the rain
clock | tell the time
pen | write
oven | bake bread
ladder | climb up high
lamp | light a room
knife | cut food
towel | dry your hands
brush | paint pictures
map | find the way
bucket | carry water
pillow | rest your head
scissors | cut paper
telescope | look at the stars
kettle | boil water
thermometer | measure heat
rope | tie things together
spade | dig holes
""")

# thing | kind it belongs to
KINDS_OF = table("""
rose | flower
tulip | flower
daisy | flower
oak | tree
pine | tree
apple | fruit
pear | fruit
carrot | vegetable
potato | vegetable
cabbage | vegetable
salmon | fish
shark | fish
robin | bird
eagle | bird
penguin | bird
ant | insect
butterfly | insect
piano | instrument
violin | instrument
drum | instrument
chair | piece of furniture
table | piece of furniture
football | sport
tennis | sport
gold | metal
iron | metal
bus | vehicle
truck | vehicle
coat | piece of clothing
sock | piece of clothing
""")

DAYS = words("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")
MONTHS = words("January, February, March, April, May, June, July, August, September, October, November, December")
NUMBERS = words(
    "zero, one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen, fifteen,"
    " sixteen, seventeen, eighteen, nineteen, twenty"
)

# question (without mark) | yes or no | reason, a clause after "because"
YES_NO = table("""
Can a bird fly | yes | it has wings
Can a fish swim | yes | it has fins
Can a stone swim | no | it is too heavy and sinks
Is ice cold | yes | it is frozen water
Is fire cold | no | it burns and gives heat
Is the sun hot | yes | it is a huge ball of glowing gas
Can a cat read a book | no | it never learned letters
Does a dog have wings | no | it has four legs instead
Is a lemon sweet | no | it is full of sour juice
Is sugar sweet | yes | it tastes like honey
Can a baby drive a car | no | it is far too young
Is a feather heavy | no | it is thin and full of air
Is an elephant heavy | yes | it is one of the biggest animals
Do plants need water | yes | they drink it through their roots
Does a fish need water | yes | it breathes under water
Can people breathe under water | no | they have lungs and need air
Is a mouse bigger than a horse | no | it is so small that it fits in a hand
Is a snail fast | no | it creeps along on one foot
Is snow warm | no | it is made of tiny bits of ice
Does the moon shine at night | yes | it sends back the light of the sun
Is glass easy to break | yes | it is hard but brittle
Does wood float on water | yes | it is lighter than water
Does iron float on water | no | it is heavier than water
Should you wash your hands before dinner | yes | clean hands keep you healthy
Should you look straight at the sun | no | it can hurt your eyes
Is sleep good for you | yes | it gives your body a rest
Do bees make honey | yes | they gather nectar from flowers
Do cows give milk | yes | they make it to feed their calves
Can a turtle run faster than a horse | no | it has short legs and a heavy shell
Is a giraffe tall | yes | it has a very long neck
Do trees grow from seeds | yes | a seed holds a tiny new plant
Is it dark at midnight | yes | the sun is on the other side of the earth
Is a circle square | no | it is round and has no corners
Can you hear with your nose | no | you hear with your ears
Do penguins live in the desert | no | they live where it is cold and wet
Is paper made from wood | yes | it is pressed from the pulp of trees
Does a week have eight days | no | it has seven days
Does a year have twelve months | yes | it starts in January and ends in December
Is milk good for a kitten | no | it often hurts its stomach
Can a spider make a web | yes | it spins its own thread
""")

# verb: base | third person | past
VERBS = table("""
walk to the {place} | walks to the {place} | walked to the {place}
run to the {place} | runs to the {place} | ran to the {place}
find a {object} | finds a {object} | found a {object}
eat the {food} | eats the {food} | ate the {food}
carry the {object} | carries the {object} | carried the {object}
wash the {object} | washes the {object} | washed the {object}
lose the {object} | loses the {object} | lost the {object}
hide the {object} | hides the {object} | hid the {object}
buy a {object} | buys a {object} | bought a {object}
bake a {baked} | bakes a {baked} | baked a {baked}
share the {food} | shares the {food} | shared the {food}
sing {in_place} | sings {in_place} | sang {in_place}
sleep {in_place} | sleeps {in_place} | slept {in_place}
play {in_place} | plays {in_place} | played {in_place}
draw a {object} | draws a {object} | drew a {object}
open the {object} | opens the {object} | opened the {object}
bring the {object} | brings the {object} | brought the {object}
see a {object} | sees a {object} | saw a {object}
""")
