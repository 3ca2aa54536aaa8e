"""Makes and drops Python objects of many kinds: dictionaries, strings, tuples, small classes, JSON. Run
with PYTHONMALLOC=malloc, or CPython's own small-object allocator stands before the malloc."""

import json
import random

draw = random.Random(1)


class Node:
    def __init__(self, key, left, right):
        self.key, self.left, self.right = key, left, right


def tree(depth):
    if depth == 0:
        return None
    return Node(draw.randrange(10 ** 6), tree(depth - 1), tree(depth - 1))


def count(node):
    return 0 if node is None else 1 + count(node.left) + count(node.right)


table, total = {}, 0
for turn in range(12):
    total += count(tree(13))
    for _ in range(30_000):
        key = f"key-{draw.randrange(40_000)}"
        if key in table and draw.random() < 0.4:
            del table[key]
        else:
            table[key] = [key * draw.randint(1, 6), draw.random(), (turn, key)]
    total += len(json.loads(json.dumps(list(table.items())[:5_000])))
assert total == 12 * (2 ** 13 - 1 + 5_000), total
