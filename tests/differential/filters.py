"""Random `where`, `where_document` and regular expressions."""
from jsontext import Obj, Raw, mutate, number, odd, scalar, string

KEYS = ["s", "i", "f", "b", "n", "ls", "li", "lf", "lb", "absent", "a.b", "é", "chroma:x", "#document", "#id", "#x", "S"]
WORDS = ["apple", "Apple", "banana", "cherry", "straße", "naïve", "x_y", "100%", "日本", "a.b", "foo bar", "", "\n", "42"]
IDS = ["a", "b", "c", "d", "e", "f", "g", "h"]

STRINGS = ["red", "blue", "Red", "", "a", "1", "true", "é", "red "]
INTS = [0, 1, 2, 3, -1, 2**53, 2**53 + 1, 2**53 - 1, 2**63 - 1, -(2**63), 100]
FLOATS = [Raw(t) for t in ("0.0", "1.0", "-1.0", "2.5", "0.1", "9007199254740992.0", "9007199254740994.0", "1e300",
                           "9.223372036854775807e18", "-0.0", "1e-300", "3.0")]


def value_of(rng, kind):
    return {"s": lambda: rng.choice(STRINGS), "i": lambda: rng.choice(INTS), "f": lambda: rng.choice(FLOATS),
            "b": lambda: rng.random() < 0.5, "n": lambda: rng.choice(INTS + FLOATS)}[kind]()


def kind_of(rng, key):
    if rng.random() < 0.12:
        return rng.choice("sifbn")
    return key[-1] if key in ("s", "i", "f", "b", "n", "ls", "li", "lf", "lb") else rng.choice("sifbn")


def condition(rng, key):
    """The value of a key in a clause, mostly a valid one."""
    kind = kind_of(rng, key)
    if key == "#document" and rng.random() < 0.8:
        return document_clause(rng, 9)
    op = rng.choice(["", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$contains", "$not_contains"])
    if kind in "sb" and op in ("$gt", "$gte", "$lt", "$lte") and rng.random() < 0.8:
        op = "$ne"
    if key.startswith("l") and rng.random() < 0.6:
        op = rng.choice(["$contains", "$not_contains"])
    if op == "":
        return value_of(rng, kind)
    if op in ("$in", "$nin"):
        return Obj([(op, [value_of(rng, kind) for _ in range(rng.choice([0, 1, 1, 2, 3, 8]))])])
    return Obj([(op, value_of(rng, kind))])


def where(rng, depth=0):
    if depth < 4 and rng.random() < 0.35:
        return Obj([(rng.choice(["$and", "$or"]), [where(rng, depth + 1) for _ in range(rng.choice([0, 1, 2, 2, 3]))])])
    key = rng.choice(KEYS[:9]) if rng.random() < 0.75 else rng.choice(KEYS)
    return Obj([(key, condition(rng, key))])


def fragment(rng):
    word = rng.choice(WORDS)
    if word and rng.random() < 0.5:
        i = rng.randrange(len(word))
        word = word[i:rng.randrange(i, len(word)) + 1]
    return word


def document_clause(rng, depth=0):
    if depth < 4 and rng.random() < 0.25:
        return Obj([(rng.choice(["$and", "$or"]), [document_clause(rng, depth + 1) for _ in range(rng.choice([0, 1, 2, 2, 3]))])])
    if rng.random() < 0.5:
        return Obj([(rng.choice(["$contains", "$not_contains"]), fragment(rng))])
    return Obj([(rng.choice(["$regex", "$not_regex"]), regex(rng))])


def deep(rng):
    """Clauses about as deep as the reader goes."""
    n = rng.choice([10, 30, 58, 60, 61, 62, 63, 64, 100])
    text, op = '{"s":"red"}', rng.choice(["$and", "$or"])
    return Raw(f'{{"{op}":[' * n + text + "]}" * n)


def broken_where(rng):
    k = rng.random()
    if k < 0.1:
        return deep(rng)
    if k < 0.2:
        return odd(rng)
    if k < 0.35:
        key = rng.choice(KEYS)
        op = rng.choice(["$eq", "$ne", "$gt", "$in", "$nin", "$contains", "$not", "$exists", "eq", "", "$regex", "$and"])
        return Obj([(key, Obj([(op, rng.choice([odd(rng), scalar(rng), [scalar(rng), scalar(rng)], number(rng)]))]))])
    return mutate(rng, where(rng))


def broken_document(rng):
    k = rng.random()
    if k < 0.15:
        return odd(rng)
    if k < 0.35:
        op = rng.choice(["$contains", "$not_contains", "$regex", "$not_regex", "$eq", "$and", "$or", "contains", "$in"])
        return Obj([(op, rng.choice([odd(rng), string(rng), [string(rng)]]))])
    return mutate(rng, document_clause(rng))


ATOMS = ["a", "p", "n", "e", ".", "\\w", "\\d", "\\s", "\\W", "\\D", "\\b", "\\B", "[a-c]", "[^a]", "[[:alpha:]]", "\\pL",
         "\\p{Greek}", "\\p{L}", "\\P{L}", "ß", "ï", "\\x61", "\\x{61}", "\\u0061", "\\.", "\\n", "_", "%", "[a-z&&[^aeiou]]",
         "[\\w--a]", "^", "$", "\\A", "\\z", "(?:an)", "(an)", "(?P<n>na)", "(?<m>na)", "apple", "ban", "42", " ", "日",
         "[\\d\\s]", "[]a]", "[a~~b]", "(?i:APPLE)", "(?i)a", "(?s).", "(?m)^", "(?x) a b", "(?U)a+", "", "|", "\\t", "\\-",
         "\\bfoo\\b", "[à-ÿ]", "\\S", "\\p{Lu}", "\\p{Lowercase}", "\\p{Script=Han}", "\\pN"]
BAD_ATOMS = ["\\Z", "\\h", "\\R", "\\K", "\\Qa\\E", "(?#c)", "(?=a)", "(?!a)", "(?<=a)", "(?>a)", "\\1", "[", "(", ")",
             "a{2,1}", "[z-a]", "*", "+", "?", "{", "}", "]", "a{,3}", "a{1", "\\", "(?-u)\\w", "(?-u:\\xff)", "[a&&b]",
             "\\p{Nope}", "\\x{110000}", "\\xg", "(?P<1>a)", "(?P<n>a)(?P<n>b)", "(?z)", "[[:nope:]]", "a{99999}", "\\e",
             "\\cA", "\\<", "\\>", "\\b{start}", "\\b{end}", "\\G", "\\C", "\\X", "\\N", "\\8", "\\07", "\\c", "\\y",
             "(?R)", "\\u{61}", "\\U00000061", "[a-\\d]", "[\\b]", "(?i-s:a)", "(?)", "(?:)", "()", "[^\\s\\S]", "a**", "a++",
             "a?+", "{1}", "x{0}", "x{0,0}", "[--a]", "\\_", "\\ ", "\\é", "\\/", "\\\"", "\\@", "\\#", "(?u:a)", "(?R:a)"]
REPEATS = ["*", "+", "?", "*?", "+?", "{2}", "{0,3}", "{1,}", "{2,3}?", "{1000}", "??"]


def regex(rng):
    parts = []
    for _ in range(rng.choice([1, 1, 2, 2, 3, 5])):
        part = rng.choice(ATOMS) if rng.random() < 0.93 else rng.choice(BAD_ATOMS)
        if rng.random() < 0.3:
            part += rng.choice(REPEATS)
        parts.append(part)
    text = "".join(parts)
    if rng.random() < 0.15:
        text = f"({text}|{rng.choice(ATOMS)})" + rng.choice(["", "*", "+", "?"])
    return text
