"""The words the synthetic function calls are made of. Written for this project; no corpus was used."""

from __future__ import annotations

#: What a tool does -> how people ask for it. The key stands in the tool's name, one of the values in the request.
VERBS = {
    "set": ["set", "change", "make", "put", "adjust"],
    "get": ["get", "tell me", "what is", "check", "look up"],
    "turn": ["turn", "switch", "flip"],
    "open": ["open", "bring up", "go to"],
    "close": ["close", "shut"],
    "start": ["start", "begin", "run", "launch"],
    "stop": ["stop", "end", "halt"],
    "create": ["create", "make", "add", "new"],
    "delete": ["delete", "remove", "erase", "drop"],
    "update": ["update", "modify", "edit"],
    "show": ["show", "display", "pop up", "present", "show me"],
    "find": ["find", "search for", "look for", "locate"],
    "search": ["search", "search for", "look up"],
    "play": ["play", "put on"],
    "pause": ["pause", "hold"],
    "send": ["send", "write", "shoot"],
    "read": ["read", "read out", "read me"],
    "add": ["add", "put", "insert", "append"],
    "remove": ["remove", "take away", "delete"],
    "change": ["change", "switch", "set", "alter"],
    "rename": ["rename", "call", "name"],
    "schedule": ["schedule", "plan", "set up"],
    "cancel": ["cancel", "call off"],
    "book": ["book", "reserve"],
    "order": ["order", "buy"],
    "check": ["check", "verify", "look at"],
    "list": ["list", "show all", "show me the"],
    "move": ["move", "shift"],
    "lock": ["lock", "secure"],
    "unlock": ["unlock"],
    "mute": ["mute", "silence"],
    "share": ["share", "forward"],
    "export": ["export", "save"],
    "import": ["import", "load"],
    "log": ["log", "record", "note down", "track"],
    "call": ["call", "phone", "ring", "dial"],
    "notify": ["notify", "alert", "warn", "tell"],
    "translate": ["translate"],
    "convert": ["convert"],
    "calculate": ["calculate", "work out", "compute"],
    "enable": ["enable", "activate", "turn on"],
    "disable": ["disable", "deactivate", "turn off"],
    "reset": ["reset", "clear"],
    "assign": ["assign", "give"],
    "pay": ["pay", "settle"],
    "print": ["print", "print out"],
    "scan": ["scan"],
    "download": ["download", "fetch"],
    "upload": ["upload"],
    "navigate": ["navigate", "take me", "drive"],
}

NOUNS = (
    "light door music alarm timer note contact email calendar event map route weather stock price photo camera video "
    "volume screen color title alert message reminder task list file folder room window lamp heater fan lock garage oven "
    "robot arm motor speed position user account order invoice product cart coupon ticket flight hotel train taxi song "
    "album playlist podcast book chapter recipe meal workout step heart sleep water medicine doctor bank transfer payment "
    "card budget expense report chart table theme background font language wallpaper header footer button dialog tab "
    "page profile avatar password session device sensor thermostat curtain blind speaker channel station mode brightness "
    "temperature humidity battery network connection backup update version package shipment delivery address city country "
    "place restaurant table menu drink coffee pizza grocery item shelf warehouse supplier customer employee team project "
    "meeting agenda appointment visit patient dose symptom goal habit streak score level game player match tournament "
    "lesson course quiz grade student teacher class homework library article comment post story feed friend group chat "
    "call voicemail subscription plan license key token job server database query backup branch commit issue release"
).split()

ADJECTIVES = (
    "red blue green fast slow big small daily weekly urgent quiet loud bright dark new old main local remote shared private "
    "public first last next upper lower left right warm cold monthly smart current default custom extra active hidden final"
).split()

FIRST_NAMES = (
    "Anna Kenji Maria Omar Li Priya Sven Chloe Diego Fatima Noah Emma Lucas Zoe Ivan Aisha Tom Sara Paul Nina Alice Bob "
    "Carlos Dana Erik Freya Grace Hugo Ines Jonas Karim Lena Mateo Nadia Oscar Petra Quinn Rosa Samir Tara Umar Vera Wei "
    "Yara Ben Mia Leo Julia Max Eva"
).split()

PLACES = (
    "Paris Tokyo Berlin Lagos Lima Oslo Cairo Delhi Rome Austin Kyoto Quito Perth Miami Seoul Dublin London Madrid Vienna "
    "Prague Boston Denver Sydney Nairobi Zurich Geneva Lisbon Athens Hanoi Manila Toronto Chicago Munich Milan Warsaw "
    "Helsinki Bogota Havana Dakar Tunis"
).split()

#: Ordinary words for free text: titles, messages, notes, queries.
WORDS = (
    "home dashboard settings welcome back hello world dinner lunch breakfast milk bread eggs cheese rice pasta apple orange "
    "banana chicken soup salad meeting tomorrow morning evening tonight weekend monday tuesday wednesday thursday friday "
    "saturday sunday january february march april may june july august september october november december buy clean wash "
    "fix the sink garden plants dog cat walk run swim read write study review finish pay rent bill phone laptop charger "
    "battery low full empty ready done failed success error warning info complete completed started stopped running late "
    "early delayed cancelled confirmed pending approved rejected invalid expired renewed updated deleted created added "
    "removed changed saved lost found connected disconnected online offline available busy free closed open locked secure "
    "login logout password account profile photo album summer winter spring autumn holiday trip beach mountain lake river "
    "city street house office school hospital station airport hotel museum park theater cinema concert party birthday "
    "wedding anniversary gift card money cash bank account savings jazz rock classical piano guitar drums love night day "
    "blue moon star sun rain snow wind storm cloud fire water earth green energy power light dark shadow dream magic secret "
    "quick brown fox lazy old new best first last final draft version notes ideas plans goals tasks project alpha beta "
    "gamma delta omega north south east west left right up down inside outside server node cluster build test deploy "
    "release bug patch system monitor metrics reports analytics overview summary history archive gallery inbox outbox "
    "calendar contacts notifications messages reminders downloads uploads music videos podcasts books games news weather "
    "stocks sports health fitness travel food recipes shopping finance tools utilities explore discover library store "
    "market orders cart checkout payment invoice receipt refund coupon discount offer sale deal price team group members "
    "admin guest user client partner support help contact about terms privacy policy is for with from our my your all and "
    "please not very more less good great nice happy big small long short please remember to take out trash water your "
    "call me when you arrive see you soon on my way thank you so much i will be there in five minutes do not forget the keys"
).split()

COLORS = "red green blue yellow orange purple pink black white gray brown cyan teal gold silver violet".split()
ROOMS = "kitchen bedroom bathroom hall office garage attic basement garden balcony studio lounge nursery pantry".split()
UNITS = "minutes seconds hours days percent degrees".split()

#: Enumerations as apps declare them; a tool gets a random few of one row, or invented ones.
ENUMS = {
    "color": COLORS,
    "room": ROOMS,
    "mode": "auto manual eco turbo silent sport normal night away party cool heat dry".split(),
    "priority": "low medium high urgent normal critical".split(),
    "size": "small medium large tiny huge".split(),
    "unit": "celsius fahrenheit metric imperial kilometers miles".split(),
    "direction": "up down left right forward backward north south east west".split(),
    "status": "open closed pending active archived done blocked draft".split(),
    "category": "work personal family sports news food travel health music finance".split(),
    "format": "pdf csv json xml png jpg html text".split(),
    "frequency": "once daily weekly monthly yearly hourly".split(),
    "theme": "light dark system sepia contrast".split(),
    "language": "english german french spanish italian japanese korean hindi arabic swahili".split(),
    "day": "monday tuesday wednesday thursday friday saturday sunday today tomorrow".split(),
    "level": "beginner easy medium hard expert".split(),
    "speed": "slow normal fast".split(),
    "genre": "jazz rock pop classical folk blues metal techno".split(),
    "drink": "coffee tea espresso latte water juice".split(),
}

#: Free-text parameters: name -> how a request introduces the value ("{}"), from the plainest to the wordiest.
TEXT_PARAMETERS = {
    "title": ["{}", "titled {}", "with title {}", "called {}", "title {}", "with the title {}"],
    "name": ["{}", "named {}", "called {}", "with name {}", "name {}"],
    "message": ["{}", "saying {}", "that says {}", "with message {}", "message {}", "with the message {}"],
    "text": ["{}", "with text {}", "that says {}", "text {}", "reading {}"],
    "query": ["{}", "for {}", "about {}", "matching {}"],
    "subject": ["about {}", "with subject {}", "subject {}", "on the subject {}"],
    "body": ["saying {}", "with body {}", "body {}"],
    "recipient": ["to {}", "for {}", "recipient {}"],
    "person": ["to {}", "with {}", "for {}", "of {}"],
    "contact": ["{}", "to {}", "with {}"],
    "city": ["in {}", "for {}", "of {}", "at {}"],
    "destination": ["to {}", "going to {}", "destination {}"],
    "origin": ["from {}", "starting in {}", "origin {}"],
    "location": ["in {}", "at {}", "near {}", "location {}"],
    "time": ["at {}", "for {}", "time {}"],
    "date": ["on {}", "for {}", "date {}"],
    "label": ["labelled {}", "with label {}", "label {}", "named {}"],
    "item": ["{}", "item {}"],
    "note": ["{}", "with note {}", "note {}", "noting {}"],
    "artist": ["by {}", "from {}", "artist {}"],
    "song": ["{}", "the song {}", "song {}"],
    "file": ["{}", "file {}", "the file {}", "from {}"],
    "reason": ["because {}", "reason {}", "with reason {}"],
    "tag": ["tagged {}", "with tag {}", "tag {}"],
    "project": ["in project {}", "for project {}", "project {}"],
    "account": ["from account {}", "for account {}", "account {}"],
    "code": ["with code {}", "code {}", "using code {}"],
    "id": ["{}", "with id {}", "id {}", "number {}"],
}

INTEGER_PARAMETERS = {
    "minutes": ["for {} minutes", "{} minutes", "in {} minutes"],
    "seconds": ["for {} seconds", "{} seconds"],
    "hours": ["for {} hours", "{} hours"],
    "count": ["{} times", "count {}", "{} of them"],
    "quantity": ["{} of them", "quantity {}", "{} pieces"],
    "level": ["to {}", "at level {}", "level {}", "to level {}"],
    "brightness": ["at {} percent", "to {} percent", "brightness {}"],
    "volume": ["to {}", "at volume {}", "volume {}"],
    "percent": ["to {} percent", "{} percent", "by {} percent"],
    "people": ["for {} people", "for {}", "party of {}"],
    "page": ["page {}", "on page {}", "to page {}"],
    "year": ["in {}", "of {}", "year {}"],
    "floor": ["on floor {}", "floor {}", "to floor {}"],
    "channel": ["channel {}", "to channel {}", "on channel {}"],
    "limit": ["up to {}", "limit {}", "at most {}"],
}

NUMBER_PARAMETERS = {
    "temperature": ["to {} degrees", "at {} degrees", "to {}", "temperature {}"],
    "celsius": ["to {} degrees", "to {}", "at {} degrees"],
    "amount": ["{} dollars", "of {}", "amount {}", "of {} euros"],
    "price": ["for {}", "at {} dollars", "price {}"],
    "distance": ["{} kilometers", "of {} miles", "distance {}"],
    "weight": ["{} kilos", "weighing {}", "weight {}"],
    "speed": ["at speed {}", "speed {}", "to speed {}"],
    "ratio": ["ratio {}", "by {}", "with ratio {}"],
}

#: Switches: name -> (phrases for true, phrases for false).
BOOLEAN_PARAMETERS = {
    "on": (["on"], ["off"]),
    "enabled": (["enabled", "on", "and enable it"], ["disabled", "off", "and disable it"]),
    "silent": (["silently", "in silent mode", "without sound"], ["with sound", "loudly"]),
    "repeat": (["on repeat", "repeating", "with repeat"], ["without repeat", "only once"]),
    "urgent": (["urgently", "as urgent", "marked urgent"], ["not urgent", "when there is time"]),
    "shuffle": (["shuffled", "with shuffle", "on shuffle"], ["in order", "without shuffle"]),
    "locked": (["locked", "and lock it"], ["unlocked", "and leave it unlocked"]),
    "public": (["publicly", "as public", "for everyone to see"], ["privately", "as private"]),
    "visible": (["visible", "and show it"], ["hidden", "and hide it"]),
    "recurring": (["recurring", "every time"], ["one time only", "not recurring"]),
    "notify": (["and notify everyone", "with notification"], ["without notification", "and tell nobody"]),
}

LIST_PARAMETERS = {
    "tags": ["with tags {}", "tagged {}"],
    "items": ["with {}", "items {}", "{}"],
    "guests": ["with {}", "inviting {}"],
    "ingredients": ["with {}", "using {}"],
    "names": ["for {}", "named {}"],
}

OPENINGS = ["", "", "", "", "", "hey, ", "please ", "can you ", "could you ", "I want you to ", "I need you to ", "let's ",
            "go ahead and ", "would you ", "ok, ", "hi, ", "i'd like to ", "now "]
CLOSINGS = ["please", "now", "for me", "right away", "thanks", "if you can", "today", "quickly", "asap", "ok?"]
JOINERS = [" and ", " and then ", ", then ", " and also ", ", and ", ". Also ", " then ", " plus "]
NUMBER_WORDS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
                "seventeen eighteen nineteen twenty").split()

#: Talk that asks for nothing a tool could do.
CHATTER = [
    "how are you", "tell me a joke", "what is the meaning of life", "good morning", "who are you", "thank you so much",
    "that was great", "i am bored", "sing something", "what do you think about {}", "do you like {}", "i love {}",
    "who invented {}", "why is {} so popular", "how old is {}", "write a poem about {}", "explain {} to me",
    "what does {} mean", "never mind", "you are funny", "hello there", "is {} any good", "my favorite is {}",
]
REFUSALS = [
    "I can't help with that.",
    "I cannot do that with the functions I have.",
    "Sorry, none of my functions can do that.",
]
