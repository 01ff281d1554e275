"""A collection of plain rows through the Python client, for tests of what happens to it as a whole."""
import numpy as np

DIM = 16


def connect(server):
    import chromadb
    return chromadb.HttpClient(host="127.0.0.1", port=server.port_now)


def fill(collection, first, n, tag="x"):
    rng = np.random.default_rng(first)
    collection.upsert(ids=[f"r{i}" for i in range(first, first + n)], embeddings=rng.normal(size=(n, DIM)),
                      documents=[f"{tag} {i}" for i in range(first, first + n)],
                      metadatas=[{"i": i, "tag": tag} for i in range(first, first + n)])
