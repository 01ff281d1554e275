"""LangChain's and LlamaIndex's stores on top of our server, with a deterministic embedding. Run by
tests/tools/run-integrations.sh, in an environment of its own; ends with "N passed, N failed"."""
import hashlib
import sys
import traceback

import chromadb
from chroma_server import Server
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from llama_index.core import Document as LlamaDocument
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import (FilterCondition, FilterOperator, MetadataFilter, MetadataFilters,
                                            VectorStoreQuery)
from llama_index.vector_stores.chroma import ChromaVectorStore

DIM = 32


def embed(text):
    """Counts words in 32 buckets, so that texts with words in common are near each other."""
    v = [0.0] * DIM
    for word in text.lower().split():
        v[hashlib.sha256(word.encode()).digest()[0] % DIM] += 1.0
    return v


class Words(Embeddings):
    def embed_documents(self, texts):
        return [embed(t) for t in texts]

    def embed_query(self, text):
        return embed(text)


class LlamaWords(BaseEmbedding):
    def _get_text_embedding(self, text):
        return embed(text)

    def _get_query_embedding(self, query):
        return embed(query)

    async def _aget_query_embedding(self, query):
        return embed(query)


TEXTS = ["red apples", "yellow bananas", "red cherries", "brown dates"]
FACTS = [{"color": "red", "n": 1}, {"color": "yellow", "n": 2}, {"color": "red", "n": 3}, {"color": "brown", "n": 4}]
IDS = ["a", "b", "c", "d"]


def langchain_store(client):
    store = Chroma(client=client, collection_name="langchain", embedding_function=Words())
    documents = [Document(page_content=t, metadata=m) for t, m in zip(TEXTS, FACTS)]
    assert store.add_documents(documents, ids=IDS) == IDS
    return store


def test_langchain_search(client):
    store = langchain_store(client)
    assert [d.page_content for d in store.similarity_search("yellow bananas", k=1)] == ["yellow bananas"]
    (found, distance), = store.similarity_search_with_score("brown dates", k=1)
    assert found.metadata == FACTS[3] and found.id == "d" and distance == 0
    assert {d.id for d in store.similarity_search("red", k=4, filter={"color": "red"})} == {"a", "c"}
    both = {"$and": [{"color": "red"}, {"n": {"$gt": 1}}]}
    assert {d.id for d in store.similarity_search("red", k=4, filter=both)} == {"c"}
    assert {d.id for d in store.similarity_search("x", k=4, where_document={"$contains": "dates"})} == {"d"}
    assert {d.id for d in store.similarity_search_by_vector(embed("brown dates"), k=1)} == {"d"}


def test_langchain_diverse_search(client):
    found = langchain_store(client).max_marginal_relevance_search("red apples", k=2, fetch_k=4)
    assert len({d.id for d in found}) == 2 and found[0].id == "a"


def test_langchain_get(client):
    store = langchain_store(client)
    assert store.get(ids=["b", "d"])["documents"] == ["yellow bananas", "brown dates"]
    assert store.get(where={"n": {"$lte": 2}})["ids"] == ["a", "b"]
    assert [d.id for d in store.get_by_ids(["c"])] == ["c"]
    assert store.get(limit=2, offset=1)["ids"] == ["b", "c"]


def test_langchain_update(client):
    store = langchain_store(client)
    store.update_document("b", Document(page_content="green pears", metadata={"color": "green"}))
    assert store.get(ids=["b"])["documents"] == ["green pears"]
    assert [d.id for d in store.similarity_search("green pears", k=1)] == ["b"]
    store.add_texts(["red plums"], metadatas=[{"color": "red"}], ids=["a"])  # an upsert
    assert store.get(ids=["a"])["documents"] == ["red plums"] and len(store.get()["ids"]) == 4


def test_langchain_delete(client):
    store = langchain_store(client)
    store.delete(ids=["a", "b"])
    assert store.get()["ids"] == ["c", "d"]
    store.reset_collection()
    assert store.get()["ids"] == []
    store.delete_collection()
    assert "langchain" not in [c.name for c in client.list_collections()]


def test_langchain_retriever(client):
    retriever = langchain_store(client).as_retriever(search_kwargs={"k": 1, "filter": {"color": "brown"}})
    assert [d.id for d in retriever.invoke("red apples")] == ["d"]


def llama_store(client):
    store = ChromaVectorStore(chroma_collection=client.create_collection("llama", embedding_function=None))
    nodes = [TextNode(id_=i, text=t, metadata=m, embedding=embed(t),
                      relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc-" + i)})
             for i, t, m in zip(IDS, TEXTS, FACTS)]
    assert store.add(nodes) == IDS
    return store


def filters(*parts, condition=FilterCondition.AND):
    parts = [MetadataFilter(key=k, operator=o, value=v) for k, o, v in parts]
    return MetadataFilters(filters=parts, condition=condition)


def test_llama_query(client):
    store = llama_store(client)
    got = store.query(VectorStoreQuery(query_embedding=embed("yellow bananas"), similarity_top_k=1))
    assert got.ids == ["b"] and got.nodes[0].get_content() == "yellow bananas" and got.nodes[0].metadata == FACTS[1]
    for wanted, parts in [({"a", "c"}, [("color", FilterOperator.EQ, "red")]),
                          ({"c"}, [("color", FilterOperator.EQ, "red"), ("n", FilterOperator.GT, 1)]),
                          ({"b", "d"}, [("color", FilterOperator.NE, "red")]),
                          ({"a", "d"}, [("n", FilterOperator.IN, [1, 4])])]:
        got = store.query(VectorStoreQuery(query_embedding=embed("red"), similarity_top_k=4, filters=filters(*parts)))
        assert set(got.ids) == wanted, parts
    either = filters(("n", FilterOperator.EQ, 1), ("n", FilterOperator.EQ, 2), condition=FilterCondition.OR)
    got = store.query(VectorStoreQuery(query_embedding=embed("x"), similarity_top_k=4, filters=either))
    assert set(got.ids) == {"a", "b"}


def test_llama_get_and_delete(client):
    store = llama_store(client)
    assert {n.node_id for n in store.get_nodes(node_ids=["a", "d"])} == {"a", "d"}
    red = filters(("color", FilterOperator.EQ, "red"))
    assert {n.node_id for n in store.get_nodes(node_ids=None, filters=red)} == {"a", "c"}
    store.delete("doc-a")
    assert {n.node_id for n in store.get_nodes(node_ids=IDS)} == {"b", "c", "d"}
    store.delete_nodes(node_ids=["b", "c"], filters=red)
    assert client.get_collection("llama").get()["ids"] == ["b", "d"]
    store.clear()
    assert client.get_collection("llama").count() == 0


def test_llama_index_update(client):
    """What an application does: documents in and out of an index, which asks the store."""
    collection = client.create_collection("index", embedding_function=None)
    store = ChromaVectorStore(chroma_collection=collection)
    index = VectorStoreIndex.from_vector_store(store, embed_model=LlamaWords())
    for i, text, facts in zip(IDS, TEXTS, FACTS):
        index.insert(LlamaDocument(id_="doc-" + i, text=text, metadata=facts,
                                   excluded_embed_metadata_keys=["color", "n"]))
    retriever = index.as_retriever(similarity_top_k=1, filters=filters(("color", FilterOperator.EQ, "red")))
    assert [n.get_content() for n in retriever.retrieve("red cherries")] == ["red cherries"]
    index.update_ref_doc(LlamaDocument(id_="doc-c", text="green pears", metadata={"color": "green"},
                                       excluded_embed_metadata_keys=["color"]))
    assert collection.count() == 4
    assert [n.get_content() for n in index.as_retriever(similarity_top_k=1).retrieve("green pears")] == ["green pears"]
    assert [n.get_content() for n in retriever.retrieve("red cherries")] == ["red apples"]
    index.delete_ref_doc("doc-a")
    assert sorted(collection.get()["documents"]) == ["brown dates", "green pears", "yellow bananas"]


def main():
    passed = failed = 0
    tests = [(n, t) for n, t in globals().items() if n.startswith("test_")]
    with Server() as server:
        client = chromadb.HttpClient(host="127.0.0.1", port=server.port_now)
        for name, test in tests:
            try:
                client.reset()
                test(client)
                passed += 1
            except Exception:  # noqa: BLE001 - every failure is told
                failed += 1
                print("FAIL", name)
                traceback.print_exc(file=sys.stdout)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
