"""That the benchmarks measure what they say: their data repeat, their exact neighbours are exact, and their filters mean
to the server what they mean in Python."""
import json
import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench"))
import bench_data  # noqa: E402
import bench_load  # noqa: E402

N = 1500


@pytest.fixture(scope="module")
def generated():
    return bench_data.Generated()


def real_files(folder):
    """DATA and DOCS as a user may have them: float16, texts at the end of lists."""
    rng = np.random.default_rng(2)
    n = bench_data.BLOCK + 100
    np.save(folder / "x.npy", rng.standard_normal((n, 24)).astype(np.float16))
    (folder / "x.json").write_text(json.dumps([["name", i, f"text {i}"] for i in range(n)]))
    return folder / "x.npy", folder / "x.json"


def test_blocks_repeat_and_differ(generated, tmp_path):
    grown = bench_data.Grown(*real_files(tmp_path), n_queries=50)
    assert grown.n_real == bench_data.BLOCK + 50
    for source in (generated, grown):
        a, texts = source.block(1, N)
        b, again = source.block(1, N)
        other, _ = source.block(2, N)
        assert np.array_equal(a, b) and texts == again and not np.array_equal(a, other)
        assert a.dtype == np.float32 and a.shape == (N, source.dim) and len(texts) == N
        assert np.allclose(np.linalg.norm(a, axis=1), 1, atol=1e-5)
        q = source.queries(20, N)
        assert q.shape == (20, source.dim) and np.array_equal(q, source.queries(20, N))
    first, texts = grown.block(1, N)  # 50 real rows, then blends
    assert texts[49] == f"text {bench_data.BLOCK + 49}" and texts[50].count("text") == 2
    assert np.allclose(first[:50], bench_data.unit(grown.real[bench_data.BLOCK:bench_data.BLOCK + 50]))


def test_words_are_as_common_as_they_should_be(generated):
    _, texts = generated.block(0)
    common, rare, absent = bench_data.choose_words(texts)
    count = [sum(w in t for t in texts) for w in (common, rare, absent)]
    assert len(texts) / 40 < count[0] < len(texts) / 10 and 1 <= count[1] <= 30 and count[2] == 0


def test_exact_neighbours_are_exact(generated):
    rng = np.random.default_rng(3)
    x, q = generated.block(0, N)[0], generated.queries(10, N)
    masks = {"all": None, "some": rng.random(N) < 0.02, "few": np.arange(N) < 4, "none": np.zeros(N, bool)}
    exact = bench_load.Exact(q, list(masks))
    for lo in range(0, N, 400):
        exact.add(x[lo:lo + 400], {k: None if m is None else m[lo:lo + 400] for k, m in masks.items()})
    similarity = q @ x.T
    for name, mask in masks.items():
        rows = np.arange(N) if mask is None else np.flatnonzero(mask)
        for i in range(len(q)):
            best = np.sort(similarity[i, rows])[::-1]
            k = min(10, len(rows))
            assert exact.recall(name, i, best[:k]) == (k, k)
            if k == 10:
                assert exact.recall(name, i, np.append(best[:9], best[10] - 1e-3)) == (9, 10)
            assert exact.recall(name, i, []) == (0, k)


def test_filters_mean_the_same_to_the_server(generated, server):
    vectors, texts = generated.block(0, N)
    client = bench_load.Client(server.port_now)
    made = client.call("POST", bench_load.COLLECTIONS, {"name": "bench", "configuration": {"hnsw": {"space": "cosine"}}})
    path = f"{bench_load.COLLECTIONS}/{made['id']}"
    bodies = [bench_load.add_body(lo, vectors[lo:lo + 500], texts[lo:lo + 500]) for lo in range(0, N, 500)]
    bench_load.send_all(server.port_now, path + "/add", bodies, 2)
    rows = [bench_data.metadata(i, t) for i, t in enumerate(texts)]
    for name, (clause, test) in bench_data.FILTERS.items():
        answer = client.call("POST", path + "/get", {"where": clause, "include": ["metadatas"]})
        found = sorted(bench_data.row_number(i) for i in answer["ids"])
        assert found == [i for i, m in enumerate(rows) if test(m)], name
        assert 0 < len(found) < N
        assert all(rows[bench_data.row_number(i)] == m for i, m in zip(answer["ids"], answer["metadatas"]))
    share = [sum(map(bench_data.FILTERS[f][1], rows)) / N for f in ("half", "tenth", "hundredth")]
    assert np.allclose(share, [0.5, 0.1, 0.01], rtol=0.1)
    exact = bench_load.Exact(generated.queries(5, N), ["all"])
    exact.add(vectors, {"all": None})
    assert bench_load.measure_recall(client, path, exact, "all", 5, {}) == 1  # so few rows are compared exactly
    told = client.explained(path + "/query", bench_load.query_body(exact.queries[0]))
    assert told["selected"] == N and told["records"] == 10
    client.close()
