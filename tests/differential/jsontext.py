"""JSON that Python's own writer cannot write: repeated members, odd numbers, white space, broken text."""
import json


class Raw(str):
    """Goes out as it is."""


class Obj(list):
    """An object as a list of (key, value): members may repeat."""

    def get(self, key, default=None):
        return next((v for k, v in self if k == key), default)


def obj(**members):
    return Obj(members.items())


def dump(v, spaces=None):
    """Text of a value. `spaces`: a random generator that puts white space where JSON allows it."""
    def gap():
        return "" if spaces is None or spaces.random() > 0.1 else spaces.choice([" ", "\n", "\t", "\r\n ", "  "])

    def write(v):
        if isinstance(v, Raw):
            return str(v)
        if isinstance(v, (Obj, dict)):
            items = v.items() if isinstance(v, dict) else v
            return "{" + ",".join(gap() + write(k) + gap() + ":" + gap() + write(x) + gap() for k, x in items) + "}"
        if isinstance(v, (list, tuple)):
            return "[" + ",".join(gap() + write(x) + gap() for x in v) + "]"
        if isinstance(v, str):
            return json.dumps(v, ensure_ascii=spaces is not None and spaces.random() < 0.3)
        return json.dumps(v)
    return write(v)


UNICODE = ["é", "Ω≈ç√", "日本語", "😀", "a\u0301", "\u200b", "\ufeff", "\u0000", "\n", "\t", "\"", "\\", "\u007f",
           "\u0085", "\u2028", "ﬀ", "İ", "ß", "\U0010ffff", "%", "_", "'", "/", "+", "<script>", " "]

NUMBERS = [0, 1, -1, 2, 3, 7, 10, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1,
           2**63 - 1, 2**63, 2**63 + 1, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**30] + \
    [Raw(t) for t in ("0.0", "-0", "-0.0", "0.1", "1.0", "1.5", "-1.5", "1e0", "1E2", "1e-7", "1e16", "1e15", "1e300",
                      "-1e300", "3.4e38", "3.5e38", "1e-46", "1e-400", "9007199254740993.0", "9223372036854775807.0",
                      "9223372036854775808.0", "123456789.123456789", "0.30000000000000004", "2.5e0", "1e39",
                      "4.9e-324", "1.7976931348623157e308", "16777217", "16777217.0", "100000000000000000000.0")]

BROKEN = [Raw(t) for t in ("NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "-", "1e", "0x10", "1e999", "-1e400",
                           "tru", "nul", "True", "None", "'a'", "undefined", '"\\ud800"', '"\\udc00"', '"\\ud83d\\u0041"',
                           '"\\x41"', '"a\nb"', '"\\u12"', '"unterminated', "", "[1,]", '{"a":1,}', "[1 2]", "{1:2}",
                           '{"a" 1}', "[", "{", "}", "]", "/**/1", "1,", "\x00", "[1]]")]


def number(rng):
    k = rng.random()
    if k < 0.5:
        return rng.choice(NUMBERS)
    if k < 0.75:
        return rng.randrange(-5, 20)
    if k < 0.9:
        return round(rng.uniform(-10, 10), rng.randrange(0, 6))
    base = rng.choice([2**53, 2**63, 2**31, 2**24, 2**64])
    n = rng.choice([1, -1]) * (base + rng.randrange(-3, 4))
    return n if rng.random() < 0.7 else Raw(f"{n}.0")


def string(rng):
    k = rng.random()
    if k < 0.15:
        return ""
    if k < 0.55:
        return rng.choice(["a", "b", "red", "blue", "x y", "A", "1", "true", "null", "1.0", "a" * 40, "$eq", "#id"])
    return "".join(rng.choice(UNICODE + list("abcXYZ09 .-_")) for _ in range(rng.randrange(1, 8)))


def scalar(rng):
    k = rng.random()
    if k < 0.4:
        return number(rng)
    if k < 0.75:
        return string(rng)
    return rng.choice([True, False, None])


def odd(rng, depth=0):
    """Any JSON value."""
    k = rng.random()
    if k < 0.6 or depth > 3:
        return scalar(rng)
    if k < 0.8:
        return [odd(rng, depth + 1) for _ in range(rng.randrange(0, 4))]
    return Obj((string(rng), odd(rng, depth + 1)) for _ in range(rng.randrange(0, 3)))


def nodes(v, path=()):
    """The paths of all values within, the whole included."""
    yield path
    if isinstance(v, Obj):
        for i, (_, x) in enumerate(v):
            yield from nodes(x, path + (i,))
    elif isinstance(v, list):
        for i, x in enumerate(v):
            yield from nodes(x, path + (i,))


def at(v, path):
    for i in path:
        v = v[i][1] if isinstance(v, Obj) else v[i]
    return v


def put(v, path, new):
    """A copy of `v` with the value at `path` replaced."""
    if not path:
        return new
    copy = type(v)(v)
    i = path[0]
    copy[i] = (v[i][0], put(v[i][1], path[1:], new)) if isinstance(v, Obj) else put(v[i], path[1:], new)
    return copy


def mutate(rng, v):
    """One change at one place: a member taken away, added, repeated or renamed, a value replaced."""
    paths = list(nodes(v))
    path = rng.choice(paths[:400])
    node = at(v, path)
    k = rng.random()
    if isinstance(node, Obj) and k < 0.75:
        new = Obj(node)
        if node and k < 0.2:
            del new[rng.randrange(len(new))]
        elif node and k < 0.35:
            name, value = rng.choice(node)
            new.insert(rng.randrange(len(new) + 1), (name, rng.choice([value, odd(rng)])))
        elif node and k < 0.5:
            i = rng.randrange(len(new))
            new[i] = (rng.choice([new[i][0].upper(), new[i][0] + "s", new[i][0][:-1], string(rng), "$" + new[i][0]]), new[i][1])
        elif k < 0.65:
            new.insert(rng.randrange(len(new) + 1), (rng.choice(["extra", "", "id", "$x", "#x", string(rng)]), odd(rng)))
        else:
            new = [value for _, value in node]  # a list of the members' values
        return put(v, path, new)
    if isinstance(node, list) and not isinstance(node, Obj) and k < 0.6:
        new = list(node)
        if node and k < 0.2:
            del new[rng.randrange(len(new))]
        elif node and k < 0.35:
            new.insert(rng.randrange(len(new) + 1), rng.choice(node))
        elif k < 0.5:
            new.insert(rng.randrange(len(new) + 1), odd(rng))
        else:
            new = rng.choice([[], [node], node[0] if node else None])
        return put(v, path, new)
    if k < 0.08:
        return put(v, path, rng.choice(BROKEN))
    if isinstance(node, str) and not isinstance(node, Raw) and k < 0.3:
        return put(v, path, node + rng.choice(UNICODE))
    return put(v, path, rng.choice([odd(rng), None, [node], Obj([("a", node)]), [], Obj(), "", number(rng)]))


def break_text(rng, text):
    """Damage to the bytes of a body."""
    data = text.encode("utf-8", "surrogatepass")
    i = rng.randrange(len(data) + 1)
    k = rng.randrange(6)
    if k == 0:
        return data[:i]
    if k == 1:
        return data + rng.choice([b" ", b"\n", b"x", b"}", b"{}", b"\x00", b"null", b",", b"//c"])
    if k == 2:
        return rng.choice([b"\xef\xbb\xbf", b" ", b"\n\n", b"\x00", b"\xff"]) + data
    if k == 3:
        return data[:i] + bytes([rng.choice(b'"\\{}[]:,\x00\x1f\x7f\x80\xff\xc3\xed 0-e.')]) + data[i:]
    if k == 4:
        return data[:i] + data[i + 1:]
    return rng.choice([b"", b"null", b"true", b"12", b'"abc"', b"[]", b"{}", b" ", b"[[]]", b"{}{}", b"nan", b"-0",
                       b"1.5", b'[null]', b"[1,2,3,4,5,6]"])
