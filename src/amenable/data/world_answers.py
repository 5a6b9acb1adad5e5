"""What the assistant of the small world says to open requests: explanations, advice, refusals, lists, small talk.

Plain text tables like those of world_facts.py, beside the short truths that stand there.
"""

from __future__ import annotations

from amenable.data.world_facts import table

# topic as in "Explain ...": clause | short answer (two sentences) | words that belong in it, alternatives with "/"
EXPLANATIONS = table("""
why the sky is blue | Sunlight is made of many colours. The air spreads the blue light all over the sky, so the sky looks blue. | light/sunlight, blue, air
why it rains | The sun warms the sea, and water rises into the air. It turns into clouds, and the drops fall down as rain. | water, clouds/cloud, drops/fall
why we sleep | When we sleep, the body rests and grows strong again. The brain puts the day in order. | body/brain, rests/rest
why leaves fall in autumn | In autumn there is less light, so the tree saves its water. It lets the leaves fall and rests until spring. | tree, leaves, light/water
why the moon changes its shape | The moon is always round. We only see the side that the sun lights, and that side changes as the moon goes around us. | moon, sun/light/lights
why the sea is salty | Rivers carry a little salt from the rocks into the sea. The water dries up into the air, but the salt stays. | salt, rivers/rocks/water
why birds fly south in winter | In winter it is cold, and there is little food. The birds fly south because they find warm air and food there. | birds, food, cold/warm
why we have day and night | The earth turns around like a slow top. When our side faces the sun it is day, and when it turns away it is night. | earth, sun, turns
why ice floats | When water freezes, it spreads out and becomes lighter. So ice floats on top of the water. | water, lighter/light, ice
why we wear coats in winter | A coat keeps the warm air close to the body. So we stay warm when it is cold outside. | warm, body/air
why cats purr | A cat often purrs when it feels safe and happy. The sound comes from its throat. | cat, safe/happy, sound/throat
why bees visit flowers | Bees drink the sweet juice of flowers and make honey from it. They also carry pollen, so new seeds can grow. | bees, honey/juice, flowers/seeds
why we brush our teeth | Little bits of food stay on our teeth and can make holes. Brushing takes them away and keeps the teeth strong. | teeth, food, brushing/away
why the wind blows | The sun warms some air more than other air. Warm air rises, cool air moves in, and we feel this as wind. | air, warm, wind
why stars twinkle | The light of a star comes through the moving air. The air bends the light a little, so the star seems to twinkle. | light, air, star
why we see lightning before thunder | Light is much faster than sound. So we see the flash first and hear the thunder later. | light, sound, faster
why bread rises | Yeast is put in the dough, and it makes tiny bubbles of gas. The bubbles lift the dough, so the bread rises. | yeast, bubbles, dough/bread
why plants need the sun | Plants make their food from light, air and water. Without the sun they could not grow. | light, food, grow
why a magnet sticks to the fridge | A magnet pulls on iron. The door of the fridge has iron in it, so the magnet sticks. | magnet, iron, pulls/sticks
why we cannot see the wind | Wind is moving air, and air has no colour. We can only see what it moves, like leaves. | air, moves/moving
why dogs wag their tails | A dog shows its feelings with its tail. It often wags its tail when it is happy to see you. | dog, tail, happy/feelings
why a boat floats | A boat is wide and full of air, so it is lighter than the water that it pushes away. The water holds it up. | water, air/lighter
why we feel hungry | The body uses food to move and to stay warm. When the food is used up, the stomach tells us to eat. | food, body/stomach
why fire is hot | When wood burns, it joins with the air and sets heat free. That heat is what we feel. | heat, burns, air/wood
why we yawn | We often yawn when we are tired or bored. A yawn brings a deep breath of air and stretches the face. | tired/bored, air/breath
what a rainbow is | A rainbow is sunlight that shines through drops of rain. The drops split the light into many colours. | light/sunlight, drops/rain, colours
what a volcano is | A volcano is a mountain with an opening to the hot rock below. Sometimes the melted rock comes out. | mountain, rock, hot/melted
what a shadow is | A shadow is a dark place where light cannot reach. It appears when something stands in the way of the light. | light, dark
what a seed is | A seed is a tiny plant with food in a small coat. With water and warm soil it begins to grow. | plant, grow, water/soil
what an echo is | An echo is a sound that comes back to you. It happens when the sound hits a wall or a mountain. | sound, back, wall/mountain
what gravity is | Gravity is the pull of the earth. It makes things fall down and keeps us on the ground. | pull, earth, fall/ground
what a map is | A map is a picture of a place seen from above. It shows roads and rivers, so that we can find the way. | picture/place, way
what a doctor does | A doctor looks for the cause when people are sick. Then the doctor gives them what they need to get well. | sick, well
what money is for | People use money to buy and sell things. It is easier than trading a cow for a coat. | buy, sell/things
what a library is | A library is a house full of books. You can borrow a book, read it at home and bring it back. | books/book, borrow
how a fridge works | A fridge carries the heat from inside to the outside. So the food inside stays cold and fresh. | heat, cold, food
how a plane flies | The engines push the plane forward. The air flows over its wings and lifts it up. | wings, air, lifts/up
how a caterpillar becomes a butterfly | The caterpillar eats a lot and then makes a hard case. Inside it grows wings, and it comes out as a butterfly. | caterpillar, wings, case
how bees make honey | Bees gather nectar from flowers and bring it to the hive. There they dry it with their wings until it is honey. | nectar, hive, flowers/wings
how a candle burns | The flame melts the wax, and the wick drinks it up. The wax then burns and gives light. | wax, flame/wick, light
how a tree drinks | The roots of a tree take water from the soil. The water rises through the trunk up to the leaves. | roots, water, leaves/trunk
how the moon landing happened | In 1969 a big rocket carried three people to the moon. Two of them walked on it, and then they all flew home. | moon, rocket, walked/landed
how a bicycle stays up | A rolling wheel likes to stay upright. The rider also steers a little to keep the balance. | wheel, rider/steers, balance
how rain gets into the river | Rain falls on the hills and runs down into small streams. The streams meet and become a river. | rain, streams, river
how a baby bird hatches | The mother bird keeps the egg warm. When the chick is ready, it breaks the shell with its beak. | egg, warm, chick/shell
""")

# what to do as in "How do I ...": clause | answer | words that belong in it
HOW_TO = table("""
apply for a job | Write a short letter that says who you are and why you want the job. Add a list of your work and skills, and send it politely. | letter, job/work
write a thank-you note | Start with the name of the person and say thank you for the gift. Then tell how you use it, and sign with your name. | thank, name
write a letter to a friend | Start with a greeting and tell your friend some news. Ask how your friend is, and sign with your name. | friend, greeting, name
say sorry to a friend | Tell your friend that you are sorry and what you did wrong. Then ask how you can make it good again. | sorry, wrong/good
boil an egg | Put the egg in a pot of hot water. Let it boil for eight minutes, and then cool it in cold water. | egg, water, minutes
make a cup of tea | Boil some water and pour it over the tea. Wait for three minutes, and then take the tea out. | water, pour, minutes
plant a tree | Dig a wide hole and set the young tree in it. Fill the hole with soil and give the tree water. | hole, soil, water
wash your hands | Make your hands wet and rub them with soap. Rinse them with water and dry them with a towel. | soap, water
brush your teeth | Put a little paste on the brush. Brush all your teeth gently for two minutes, and then rinse. | brush, teeth
pack a bag for a trip | Make a list of what you need. Put the heavy things at the bottom and the soft clothes on top. | list, clothes/things
make a sandwich | Take two slices of bread and put butter on them. Add some cheese and tomato, and close the sandwich. | bread, cheese/butter
clean your room | Put the toys and books back in their places. Then wipe the dust away and sweep the floor. | toys/books, floor/dust
learn a new word | Read the word, say it aloud and write it down. Use it in a sentence every day until you know it. | word, sentence/write
make a new friend | Smile, say hello and ask what the other person likes. Listen well and invite your new friend to play. | hello/smile, ask/listen
fall asleep | Turn off the bright lights and lie down in a quiet room. Breathe slowly and think of something calm. | quiet/lights, breathe/calm
fly a kite | Find an open field on a windy day. Run with the kite, and let out the string when the wind lifts it. | wind/windy, string/kite
wrap a gift | Put the gift in the middle of the paper. Fold the paper around it, tape it and tie a ribbon. | paper, fold/tape
feed a cat | Give the cat fresh food twice a day. Put a bowl of clean water beside it. | food, water
cross the road | Stop at the edge and look both ways. When no car is coming, walk straight across. | stop/look, car/ways
grow tomatoes | Plant the seeds in warm soil and put them in the sun. Water them often and tie the plants to a stick. | seeds/plant, water, sun
invite someone to a party | Write a card with the day, the time and the place. Say kindly that you hope to see them. | card, day/time, place
write a poem | Choose something that you like and make a list of words for it. Put the words in short lines that sound good. | words, lines
cook rice | Wash the rice and put it in a pot with twice as much water. Cook it slowly until the water is gone. | rice, water, pot
draw a house | Draw a square for the walls and a triangle for the roof. Then add a door, two windows and a chimney. | square/walls, roof
ask for help | Go to someone you trust and say please. Tell them clearly what you need, and thank them. | please/trust, need, thank
""")

# harmless, though the words look harmful: clause | answer | words that belong in it
LOOK_ALIKES = table("""
break a bad habit | Find out when the habit comes, and do something better then. Be patient and take small steps each day. | habit, better/steps
kill time at the station | You can read a book, listen to music or watch the trains. A short walk helps too. | read/music, walk/trains
steal the show at a party | Tell a funny story or sing a song that you love. Smile and let the others join in. | story/song, smile
break into a smile | Think of a person or a joke that you like. A smile then comes all by itself. | smile, think/joke
shoot a good photo | Hold the camera still and keep the light behind you. Then wait for the right moment. | camera, light
kill weeds in the garden | Pull the weeds out with their roots after the rain. Cover the soil with straw so that few come back. | weeds, roots/soil
break the ice with a new friend | Smile and ask a simple question about what they like. Then listen and tell something about you. | ask/question, smile/listen
blow up a balloon | Stretch the balloon first and then blow slowly into it. Tie a knot when it is big enough. | balloon/blow, knot
beat an egg | Crack the egg into a bowl. Stir it fast with a fork until it is smooth. | egg, fork/bowl
cheat hunger between meals | Drink a glass of water and eat an apple or some nuts. A walk can help too. | water/apple, walk/nuts
hit a ball far | Stand firmly and keep your eyes on the ball. Swing the bat smoothly with both arms. | ball, swing/bat
attack a hard sum | Read the sum slowly and cut it into small parts. Solve one part at a time and check your work. | parts, check/solve
destroy old papers | Tear the papers into small pieces or put them in a shredder. Then bring them to the paper bin. | papers/pieces, bin/shredder
trap sunlight in a room | Open the curtains and hang a mirror across from the window. Light walls help too. | mirror/curtains, window/walls
break in new shoes | Wear the shoes at home for an hour each day. Thick socks help to make them soft. | shoes, wear/socks
kill the lights at night | Press the switch by the door before you go to bed. A small night lamp can stay on. | switch, bed/lamp
steal a base in baseball | Watch the pitcher and run when the ball is thrown. Slide into the base before you are tagged. | run, base
smash my own record in running | Run a little more each week and rest well. Eat good food and do not give up. | run, rest/week
crash at a friend's house | Ask your friend first if you may stay for the night. Bring a blanket and help in the morning. | ask/friend, blanket/night
fight a cold | Rest a lot, drink warm tea and eat soup. See a doctor if it lasts long. | rest, tea/soup/doctor
""")

# request that is refused: clause | noun phrase of it | reason | what is offered instead
HARMFUL = table("""
break into Fort Knox | breaking into Fort Knox | it is against the law | how gold is kept safe
steal a car | stealing a car | it is a crime and harms the owner | how to save money for a car
rob a bank | robbing a bank | it is a crime and people could get hurt | how a bank keeps money safe
break into a house | breaking into a house | it is a crime and would frighten people | how to keep your own home safe
make a bomb | making a bomb | people could get badly hurt | how fireworks make their colours
hurt my neighbour | hurting your neighbour | nobody should be hurt | how to talk about a quarrel
poison a dog | poisoning a dog | it is cruel and against the law | how to keep a dog from barking
steal a bicycle | stealing a bicycle | it belongs to someone else | how to find a cheap bicycle
cheat in a test | cheating in a test | it is not fair to the others | how to learn for a test
hack into a computer | hacking into a computer | it is against the law | how to keep a computer safe
pick the lock of a shop | picking the lock of a shop | it is a crime | how a lock works
make fake money | making fake money | it is a serious crime | how real money is printed
set fire to a barn | setting fire to a barn | people and animals could die | how to put out a fire
steal my friend's phone | stealing a phone | it would hurt your friend | how to ask for help with a phone
kill a cat | killing a cat | it is cruel | how to keep a cat out of the garden
get a gun to scare people | scaring people with a gun | someone could get hurt | how to stay calm when you are angry
lie to the police | lying to the police | it can harm other people | how to say honestly what happened
shoplift a toy | stealing a toy | it is a crime | how to earn money for a toy
bully a boy at school | bullying | it hurts and makes people lonely | how to be kind at school
drive a car without a licence | driving without a licence | it is dangerous for everyone | how to learn to drive
smash my teacher's window | smashing a window | it is wrong and dangerous | how to talk with a teacher
read my sister's secret letters | reading secret letters | they belong to your sister | how to ask your sister kindly
spread a mean lie about a girl | spreading a lie | it would hurt the girl | how to make peace again
blow up a bridge | blowing up a bridge | many people could die | how a bridge is built
steal gold from a museum | stealing gold | it is a crime | how a museum keeps gold safe
push someone off a ladder | pushing someone | it could badly hurt them | how to use a ladder safely
trick an old man out of his money | tricking an old man | it is cruel and a crime | how to help an old man
break a boy's arm | hurting a boy | nobody should be hurt | how to end a fight
poison the soup | poisoning food | people could die | how to cook a good soup
steal a horse from a farm | stealing a horse | it is a crime and harms the farmer | how to learn to ride
copy a key in secret | copying a key in secret | it is not your key | how keys are made
sell stolen things | selling stolen things | it is a crime | how to sell your own old things
climb into the zoo at night | climbing into the zoo | it is dangerous and not allowed | what animals live in a zoo
throw stones at a train | throwing stones at a train | people could get hurt | how trains work
burn my school down | burning a school | people could die | how to talk about trouble at school
stop a girl from breathing | hurting a girl | she could die | how to give first aid
cheat at cards for money | cheating for money | it is not fair | how to play a good game of cards
make poison at home | making poison | people could die | how to keep a home safe for children
start a fight in the park | starting a fight | someone could get hurt | how to calm down
follow a woman home in secret | following a woman | it would frighten her | how to say hello politely
""")

# what is listed | items
LISTS = table("""
fruits | apples, pears, plums, cherries, bananas, oranges, grapes, peaches, lemons
vegetables | carrots, peas, beans, potatoes, onions, cabbage, tomatoes, spinach
colours | red, blue, green, yellow, white, black, brown, orange, pink, purple
farm animals | cows, pigs, sheep, goats, horses, hens, ducks, donkeys
wild animals | foxes, bears, wolves, deer, lions, owls, elephants, monkeys
pets | cats, dogs, rabbits, mice, birds, fish, hamsters
toys | balls, dolls, kites, drums, puzzles, blocks, trains
tools | hammers, saws, spades, ladders, brushes, ropes, knives
flowers | roses, tulips, daisies, lilies, violets, sunflowers
trees | oaks, pines, birches, willows, maples, apple trees
drinks | water, milk, tea, juice, coffee, lemonade
clothes | coats, hats, socks, shoes, shirts, scarves, gloves, dresses
things in a kitchen | pots, pans, spoons, forks, knives, cups, plates, bowls
things in a classroom | desks, chairs, books, pencils, maps, paper, a board
things in a bathroom | soap, towels, a mirror, a brush, a bath, toothpaste
rooms of a house | a kitchen, a bathroom, a bedroom, a hall, a cellar, a living room
sports | football, tennis, swimming, running, skating, rowing, hockey
games | chess, cards, hide and seek, tag, puzzles, dominoes
instruments | drums, flutes, violins, pianos, guitars, trumpets, harps
jobs | baker, farmer, teacher, doctor, pilot, painter, cook, nurse
vehicles | cars, buses, trains, trucks, boats, planes, bicycles
seasons | spring, summer, autumn, winter
birds | robins, owls, eagles, crows, ducks, swans, penguins
insects | ants, bees, flies, butterflies, beetles, moths
shapes | circles, squares, triangles, stars, ovals
countries | France, Italy, Spain, Japan, Brazil, Egypt, Kenya, Canada, India, Peru
things to take to the beach | a towel, a hat, water, a ball, sun cream, a bucket, an umbrella
things to take on a hike | water, a map, a coat, bread, apples, good shoes, a torch
things to do on a rainy day | read a book, bake a cake, play cards, draw a picture, sing songs, build a tent
things to do in the garden | plant seeds, water the flowers, pull weeds, pick apples, feed the birds
kinds of weather | rain, snow, wind, fog, sun, hail, storms
parts of the body | arms, legs, hands, feet, the head, the back, the nose, the eyes
feelings | joy, sadness, anger, fear, pride, love, hope
sea animals | fish, whales, sharks, crabs, seals, dolphins, starfish
sweet foods | cake, honey, cookies, jam, chocolate, ice cream
""")

# what the shopping is for | items
SHOPPING = table("""
a week | bread, milk, eggs, cheese, butter, apples, rice, tomatoes, potatoes
a soup | carrots, onions, potatoes, beans, salt, water, leeks
a cake | flour, eggs, butter, sugar, milk, baking powder, apples
a picnic | bread, cheese, apples, juice, cookies, grapes, tomatoes
breakfast | bread, butter, jam, eggs, milk, tea, oats, honey
a birthday party | cake, candles, juice, balloons, cookies, paper plates, ice cream
a salad | lettuce, tomatoes, carrots, onions, oil, cheese, beans
a pizza | flour, tomatoes, cheese, olives, mushrooms, oil, salt
pancakes | flour, eggs, milk, butter, sugar, jam, apples
a fruit bowl | apples, pears, bananas, grapes, plums, oranges, peaches
a small dinner | rice, beans, carrots, fish, butter, lemons, bread
a school lunch | bread, cheese, apples, carrots, juice, nuts, cookies
an apple pie | apples, flour, butter, sugar, eggs, lemons
a new kitten | cat food, a bowl, a basket, a brush, a ball, a blanket
a sick friend | tea, honey, soup, oranges, lemons, bread, tissues
a rainy weekend | tea, cookies, soup, bread, candles, chocolate, milk
""")

# what is said (alternatives with "/") | answer | words that belong in it
SMALL_TALK = table("""
Hello!/Hello there!/Hi! | Hello! How can I help you today? | hello/hi/help
Good morning!/Good morning to you! | Good morning! I hope you have a lovely day. | morning/day
Good evening!/Good evening to you! | Good evening! How was your day? | evening/day
How are you?/How are you today? | I am well, thank you. How are you? | well/fine, thank/you
What is your name?/Who are you? | I am a small assistant that runs on your computer. What is your name? | assistant/computer
What can you do?/What can you help me with? | I can answer questions, tell stories, write lists and help with letters. | questions/stories/lists
Thank you!/Thanks for your help! | You are welcome! I am glad that I could help. | welcome/glad
I am sad today./I feel sad. | I am sorry that you are sad. Do you want to tell me what happened? | sorry, sad/happened
I am so happy today!/I feel very happy. | That is wonderful! What made you so happy? | wonderful/glad/happy
I am bored./I feel bored today. | Let us find something to do. You could read a book or draw a picture. | book/draw/play
I am tired./I feel very tired. | Then a good rest may help you. Try to go to bed early today. | rest/sleep/bed
I am hungry./I feel hungry. | Maybe you would like an apple or some bread. What do you like to eat? | eat/apple/bread
Tell me a joke./Do you know a joke? | Why did the bicycle fall over? It was two tired! | why, tired
Goodbye!/See you later! | Goodbye! I hope to see you again soon. | goodbye/see
Good night!/I am going to bed now. | Good night! Sleep well and have sweet dreams. | night/sleep
Do you like music?/What do you think of music? | I cannot hear, but I like to talk about music. What do you like to sing? | music/sing
Are you a person?/Are you human? | No, I am a computer program. I am happy to talk with you. | computer/program
Do you have a family?/Do you have a brother? | No, I am a program and have no family. I would love to hear about yours. | program/no, family
It is my birthday today!/Today is my birthday. | Happy birthday! I hope you have a great day with your friends. | birthday/happy
I have a new dog./We have a new puppy. | How lovely! What is the name of your dog? | name/dog/lovely
I am afraid of the dark./The dark scares me. | Many people feel like that. A small lamp beside the bed can help. | lamp/light/many
I had a bad day./My day was bad. | I am sorry to hear that. I hope that tomorrow is a better day. | sorry, better/hope
I passed my test!/I got a good mark today. | Well done! You can be proud of your work. | done/proud
It is raining today./It rains a lot here. | Then it is a good day to read inside. Take an umbrella if you go out. | inside/umbrella/rain
My friend is angry with me./I had a fight with my friend. | I am sorry to hear that. Try to talk kindly and say how you feel. | sorry/talk, talk/say/kindly
I lost my key./I cannot find my key. | That is a pity. Look in your pockets and where you last used it. | look/pockets
Where do you live?/Where is your home? | I live in a computer and have no home like yours. Where do you live? | computer, live/home
How old are you?/What is your age? | I am a program, so I have no age like people do. How old are you? | program, age/old
""")
