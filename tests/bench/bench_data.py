"""What the benchmarks put into a server: vectors that lie like text embeddings, documents that read like text, metadata
that filters can halve, and the queries. Everything follows from a seed; nothing is downloaded.

Rows come in blocks of BLOCK, each from a generator of its own, so that a million of them never need to be in memory
and any block can be made again.

  Generated   vectors: topics of very different sizes in few latent dimensions, mixed into 384, with noise; words made
              of syllables, drawn by Zipf's law, some of them by the topic.
  Grown       from real vectors and documents (DATA, DOCS): the first rows are the real ones, each further row a blend
              of two that are near each other, with noise, and the text of both.

Queries are made like the last rows are: a new draw, a real vector kept aside, or a blend. What is asked of blends with
the real vectors kept aside is another question: they are of another kind than nearly all rows (`strangers`).
"""
import gzip
import hashlib
import json
import os
import pathlib
import re

import numpy as np

BLOCK = 5000
QUERY_BLOCK = 1 << 40  # of no row
LATENT, TOPICS, VOCABULARY = 64, 1500, 30000
MIX = 2654435761  # Knuth's multiplier: spreads row numbers


def unit(x):
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def make_words(n, rng):
    """n different words of two to five syllables, lower case."""
    onsets = "b c d f g h j k l m n p r s t v w z br ch cl dr fl gr pl pr qu sh sl st str th tr".split()
    vowels = "a e i o u ai ea ee ie oa ou".split()
    codas = ["", "", "", "n", "r", "s", "t", "l", "m", "nd", "st", "ck", "ng"]
    words, seen = [], set()
    while len(words) < n:
        parts = rng.integers(0, [len(onsets), len(vowels), len(codas)], (int(rng.integers(2, 6)), 3))
        word = "".join(onsets[o] + vowels[v] + codas[c] for o, v, c in parts)
        if word not in seen:
            seen.add(word)
            words.append(word)
    return words


class Generated:
    name = "generated"

    def __init__(self, seed=1, dim=384):
        rng = np.random.default_rng([seed, 0])
        self.seed, self.dim = seed, dim
        self.words = make_words(VOCABULARY, rng)
        self.topic_of_word = 1 + rng.permutation(VOCABULARY - 1)
        self.centres = rng.standard_normal((TOPICS, LATENT)).astype(np.float32)
        self.mixing = (rng.standard_normal((LATENT, dim)) / np.sqrt(LATENT)).astype(np.float32)
        weight = 1 / np.arange(1, TOPICS + 1) ** 0.7
        self.topic_weight = weight / weight.sum()
        zipf = 1 / (np.arange(VOCABULARY) + 2.7) ** 1.05
        self.word_sum = np.cumsum(zipf / zipf.sum())

    def _rng(self, kind, block):
        return np.random.default_rng([self.seed, kind, block])

    def _vectors(self, rng, n):
        topics = rng.choice(TOPICS, n, p=self.topic_weight)
        latent = self.centres[topics] + rng.standard_normal((n, LATENT), np.float32) * np.float32(0.7)
        noise = rng.standard_normal((n, self.dim), np.float32) * np.float32(0.35)
        return unit(latent @ self.mixing + noise), topics

    def block(self, i, n=BLOCK):
        """(vectors, documents) of rows i * BLOCK and on."""
        rng = self._rng(1, i)
        vectors, topics = self._vectors(rng, n)
        lengths = rng.integers(6, 50, n)
        drawn = np.searchsorted(self.word_sum, rng.random(int(lengths.sum())))
        drawn = np.minimum(drawn, VOCABULARY - 1)
        own = rng.integers(0, 8, (n, 3))  # three words of the topic's eight
        documents, at = [], 0
        for row in range(n):
            picked = [self.words[w] for w in drawn[at:at + lengths[row]]]
            at += lengths[row]
            picked += [self.words[self.topic_of_word[(topics[row] * 8 + w) % (VOCABULARY - 1)]] for w in own[row]]
            documents.append(picked[0].capitalize() + " " + " ".join(picked[1:]) + ".")
        return vectors, documents

    def queries(self, n, n_rows):
        del n_rows
        return self._vectors(self._rng(2, 0), n)[0]

    def strangers(self, n, n_rows):
        """None: there is one kind of vector."""
        return None


class Grown:
    """Real rows (DATA: .npy, one vector a row; DOCS: JSON list of texts, or of lists whose last item is the text), and
    as many more as are wanted. The last `n_queries` real vectors are no rows."""
    name = "real"

    def __init__(self, data, docs, seed=5, n_queries=500):
        self.real = np.load(data, mmap_mode="r")
        with (gzip.open if str(docs).endswith(".gz") else open)(docs, "rt", encoding="utf-8") as f:
            items = json.load(f)
        self.documents = [t if isinstance(t, str) else t[-1] for t in items]
        self.n_real = min(len(self.real), len(self.documents)) - n_queries
        if self.n_real < BLOCK:
            raise SystemExit(f"{data}: at least {BLOCK + n_queries} rows are needed")
        self.seed, self.dim = seed, self.real.shape[1]
        self.n_queries = n_queries

    def block(self, i, n=BLOCK):
        lo = i * BLOCK
        n_here = max(0, min(n, self.n_real - lo))
        vectors = np.asarray(self.real[lo:lo + n_here], np.float32)
        documents = self.documents[lo:lo + n_here]
        if n_here < n:
            more, texts = self._grow(i, n - n_here)
            vectors = np.concatenate([vectors, more]) if n_here else more
            documents = documents + texts
        return unit(vectors), documents

    def _grow(self, i, n):
        rng = np.random.default_rng([self.seed, i])
        first = rng.integers(0, self.n_real, n)
        others = rng.integers(0, self.n_real, (n, 8))
        a = unit(self.real[np.sort(first)])  # reading in order is kinder to the disk
        first = np.sort(first)
        near = np.asarray(self.real[others.ravel()], np.float32).reshape(n, 8, self.dim)
        best = np.einsum("nd,nkd->nk", a, near).argmax(1)
        second = others[np.arange(n), best]
        share = rng.uniform(0.15, 0.5, (n, 1)).astype(np.float32)
        noise = rng.standard_normal((n, self.dim), np.float32) * np.float32(0.012)
        x = (1 - share) * a + share * near[np.arange(n), best] + noise
        texts = [self.documents[p] + " " + self.documents[q][:60] for p, q in zip(first, second)]
        order = rng.permutation(n)
        return x[order], [texts[k] for k in order]

    def _aside(self, n):
        return unit(self.real[self.n_real:self.n_real + min(n, self.n_queries)])

    def queries(self, n, n_rows):
        return self._aside(n) if n_rows <= self.n_real else unit(self._grow(QUERY_BLOCK, n)[0])

    def strangers(self, n, n_rows):
        """Real vectors, where most rows are not; else None."""
        return None if n_rows <= self.n_real else self._aside(n)


# ---------------------------------------------------------------------------------------------- metadata and filters

def score(i):
    """In [0, 1), evenly spread."""
    return round((i * MIX % 1000003) / 1000003, 6)


def metadata(i, document):
    return {"score": score(i), "year": 2005 + i * MIX % 104729 % 21, "letter": document[:1].lower(),
            "length": len(document), "hot": i % 100 == 0, "bucket": i % 1000}


# name: (clause, the same in Python over a row's metadata)
FILTERS = {
    "half": ({"score": {"$lt": 0.5}}, lambda m: m["score"] < 0.5),
    "tenth": ({"score": {"$gte": 0.9}}, lambda m: m["score"] >= 0.9),
    "hundredth": ({"hot": True}, lambda m: m["hot"]),
    "thousandth": ({"bucket": 7}, lambda m: m["bucket"] == 7),
    "and_or": ({"$and": [{"year": {"$gte": 2018}},
                         {"$or": [{"letter": {"$in": ["a", "p", "d", "s"]}}, {"length": {"$lt": 60}}]}]},
               lambda m: m["year"] >= 2018 and (m["letter"] in ("a", "p", "d", "s") or m["length"] < 60)),
}


def row_id(i):
    return f"row-{i:08d}"


def row_number(text):
    return int(text[4:])


def choose_words(documents):
    """(common, rare, absent): a word in some twentieth of the documents, one in a few, and one in none."""
    count = {}
    for text in documents:
        for word in set(re.findall(r"[A-Za-z]{6,}", text)):
            count[word] = count.get(word, 0) + 1
    def nearest(target):
        return min(count, key=lambda w: (abs(count[w] - target), w))
    absent = "xqzjvkwy"
    assert not any(absent in text for text in documents)
    return nearest(len(documents) / 20), nearest(max(3, len(documents) / 5000)), absent


# ---------------------------------------------------------------------------------------------- cache

def cache_folder():
    """Outside the repository: made-up data are kept there between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(base) / "chroma-c-tests" / "bench"


def load(source, n):
    """(n vectors, n documents) of a source, generated ones from the cache if they are there."""
    key = hashlib.sha256(f"{source.name} {source.seed} {source.dim} {n}".encode())
    key.update(pathlib.Path(__file__).read_bytes())
    path = cache_folder() / f"{source.name}-{n}-{key.hexdigest()[:12]}"
    if source.name == "generated" and (path / "complete").exists():
        documents = json.loads((path / "documents.json").read_text(encoding="utf-8"))
        return np.load(path / "vectors.npy"), documents
    blocks = [source.block(i, min(BLOCK, n - i * BLOCK)) for i in range((n + BLOCK - 1) // BLOCK)]
    vectors = np.concatenate([v for v, _ in blocks])
    documents = [text for _, texts in blocks for text in texts]
    if source.name == "generated":
        path.mkdir(parents=True, exist_ok=True)
        np.save(path / "vectors.npy", vectors)
        (path / "documents.json").write_text(json.dumps(documents), encoding="utf-8")
        (path / "complete").touch()
    return vectors, documents


def source_of(data, docs, n_queries):
    if (data is None) != (docs is None):
        raise SystemExit("DATA and DOCS belong together")
    return Generated() if data is None else Grown(data, docs, n_queries=n_queries)
