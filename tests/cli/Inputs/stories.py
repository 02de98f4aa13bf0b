"""JSONL with N small made-up documents, the same at every call: stories.py N"""
import json
import random
import sys

draws = random.Random(3)
names, verbs, things = ["the cat", "a dog", "my sister", "Zoë", "the sea"], ["sees", "finds", "wants", "doesn't like"], ["it", "42 stones", "the old door", "déjà vu", "  tabs\tand lines\n"]
for i in range(int(sys.argv[1])):
    text = " ".join(" ".join(map(draws.choice, (names, verbs, things))) + draws.choice(".!?") for _ in range(draws.randrange(1, 12)))
    print(json.dumps({"text": text, "id": i}))
