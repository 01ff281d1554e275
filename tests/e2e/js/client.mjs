// Every call of the published JavaScript client against our server.
//
//   node client.mjs BINARY DIRECTORY-WITH-NODE_MODULES
//
// Each test gets an empty store. A method that the client declares and no test calls is a failure.
// Ends with "N passed, N failed".
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { startServer } from "./server.mjs";
import { watchMethods } from "./surface.mjs";

const [binary, packages] = process.argv.slice(2);
const chroma = createRequire(join(packages, "package.json"))("chromadb");
const { AdminClient, ChromaClient, K, Knn, Schema, Search, registerEmbeddingFunction } = chroma;

// Texts to vectors: how often three letters occur.
class Letters {
  constructor(letters = "aeo") {
    this.letters = letters;
    this.name = "letters";
  }
  async generate(texts) {
    return texts.map((t) => [...this.letters].map((c) => t.split(c).length - 1));
  }
  defaultSpace() {
    return "l2";
  }
  supportedSpaces() {
    return ["l2", "cosine", "ip"];
  }
  getConfig() {
    return { letters: this.letters };
  }
  validateConfigUpdate() {}
  static buildFromConfig(config) {
    return new Letters(config.letters);
  }
}
Object.defineProperty(Letters, "name", { value: "letters" });
registerEmbeddingFunction("letters", Letters);

const IDS = ["a", "b", "c", "d"];
const DOCS = ["apples are red", "bananas are yellow", "cherries are red too", "dates are brown"];
const VECTORS = [[1, 0, 0], [0, 1, 0], [0.75, 0.25, 0], [0, 0, 1]];
const FACTS = [
  { color: "red", n: 1, tags: ["x", "y"] },
  { color: "yellow", n: 2, ripe: true },
  { color: "red", n: 3 },
  { color: "brown", n: 4.5 },
];

async function fruit(client, more = {}) {
  const c = await client.createCollection({ name: "fruit", embeddingFunction: null, ...more });
  await c.add({ ids: IDS, embeddings: VECTORS, documents: DOCS, metadatas: FACTS });
  return c;
}

const tests = {
  async "heartbeat, version, identity, preflight checks"({ client }) {
    const beat = await client.heartbeat();
    assert.ok(Math.abs(beat / 1e6 - Date.now()) < 3600e3, "nanoseconds since 1970");
    assert.match(await client.version(), /^\d+\.\d+\.\d+$/);
    const who = await client.getUserIdentity();
    assert.equal(who.tenant, "default_tenant");
    assert.deepEqual(who.databases, ["default_database"]);
    assert.ok((await client.getMaxBatchSize()) >= 100000);
    assert.equal(await client.supportsBase64Encoding(), true);
    assert.deepEqual(Object.keys(await client.getPreflightChecks()).sort(), ["max_batch_size", "supports_base64_encoding"]);
  },

  async "a client without tenant and database asks who it is"({ port }) {
    const client = new ChromaClient({ host: "127.0.0.1", port, tenant: undefined, database: undefined });
    assert.equal(await client.countCollections(), 0);
    assert.deepEqual(await client._path(), { tenant: "default_tenant", database: "default_database" });
  },

  async "create, get and list collections"({ client }) {
    const c = await client.createCollection({
      name: "first", embeddingFunction: null, metadata: { topic: "x", n: 1, f: 1.5, b: true },
      configuration: { hnsw: { space: "cosine", ef_search: 55 } },
    });
    assert.equal(c.name, "first");
    assert.deepEqual(c.metadata, { topic: "x", n: 1, f: 1.5, b: true });
    assert.equal(c.configuration.hnsw.space, "cosine");
    assert.equal(c.configuration.hnsw.ef_search, 55);
    assert.match(c.id, /^[0-9a-f-]{36}$/);
    assert.equal((await client.getCollection({ name: "first" })).id, c.id);
    assert.equal((await client.getCollectionById(c.id)).name, "first");
    await client.createCollection({ name: "second", embeddingFunction: null });
    assert.deepEqual((await client.listCollections()).map((x) => x.name).sort(), ["first", "second"]);
    const pages = [await client.listCollections({ limit: 1 }), await client.listCollections({ limit: 1, offset: 1 })];
    assert.deepEqual(pages.map((p) => p.length), [1, 1]);
    assert.notEqual(pages[0][0].id, pages[1][0].id);
    assert.equal(await client.countCollections(), 2);
    assert.deepEqual((await client.getCollections(["first", "second"])).map((x) => x.name), ["first", "second"]);
    assert.equal(await client.collection(c.id).count(), 0);
  },

  async "getOrCreateCollection gives what is there"({ client }) {
    const one = await client.getOrCreateCollection({ name: "first", embeddingFunction: null, metadata: { a: 1 } });
    const two = await client.getOrCreateCollection({ name: "first", embeddingFunction: null, metadata: { a: 2 } });
    assert.equal(two.id, one.id);
    assert.deepEqual(two.metadata, { a: 1 });
  },

  async "deleteCollection"({ client }) {
    await client.createCollection({ name: "first", embeddingFunction: null });
    await client.deleteCollection({ name: "first" });
    assert.equal(await client.countCollections(), 0);
    await assert.rejects(client.getCollection({ name: "first" }), { name: "ChromaNotFoundError" });
    await assert.rejects(client.deleteCollection({ name: "first" }), { name: "ChromaNotFoundError" });
  },

  async "errors have their classes"({ client }) {
    await client.createCollection({ name: "first", embeddingFunction: null });
    await assert.rejects(client.createCollection({ name: "first", embeddingFunction: null }), { name: "ChromaUniqueError" });
    await assert.rejects(client.createCollection({ name: "a", embeddingFunction: null }), { name: "ChromaClientError" });
    await assert.rejects(client.getCollectionById("x"), { name: "ChromaClientError" });
    await assert.rejects(client.getCollectionByCrn("a:b"), { name: "ChromaClientError" });
    const c = await fruit(client);
    await assert.rejects(c.query({ queryEmbeddings: [[1, 2]] }), { name: "ChromaClientError", message: /dimension of 3, got 2/ });
    await assert.rejects(c.get({ where: { n: { $gt: "x" } } }));
    await assert.rejects(c.get({ whereDocument: { $regex: "(" } }), { name: "ChromaClientError", message: /Regex/ });
    await client.deleteCollection({ name: "fruit" });
    await assert.rejects(c.count(), { name: "ChromaNotFoundError" });
  },

  async "modify renames, replaces metadata, changes settings"({ client }) {
    const c = await client.createCollection({ name: "first", embeddingFunction: null, metadata: { a: 1, b: 2 } });
    await c.modify({ name: "renamed", metadata: { c: "x" } });
    await c.modify({ configuration: { hnsw: { ef_search: 77, batch_size: 9 } } });
    const again = await client.getCollection({ name: "renamed" });
    assert.equal(again.id, c.id);
    assert.deepEqual(again.metadata, { c: "x" });
    assert.equal(again.configuration.hnsw.ef_search, 77);
    await assert.rejects(client.getCollection({ name: "first" }), { name: "ChromaNotFoundError" });
  },

  async "embedding functions are kept and used"({ client }) {
    const c = await client.createCollection({ name: "texts", embeddingFunction: new Letters() });
    await c.add({ ids: ["1", "2"], documents: ["banana", "ooze"] });
    const got = await c.query({ queryTexts: ["a cabana"], nResults: 1 });
    assert.deepEqual(got.ids, [["1"]]);
    const again = await client.getCollection({ name: "texts" });
    assert.deepEqual(again.embeddingFunction.getConfig(), { letters: "aeo" });
    assert.deepEqual((await again.query({ queryTexts: ["look"], nResults: 1 })).ids, [["2"]]);
    await again.update({ ids: ["1"], documents: ["oolong"] });
    assert.deepEqual((await again.get({ ids: ["1"], include: ["embeddings"] })).embeddings, [[0, 0, 3]]);
  },

  async "a schema is taken and comes back"({ client }) {
    const schema = new Schema();
    schema.createIndex(new chroma.VectorIndexConfig({ space: "ip", hnsw: { ef_search: 33 } }));
    schema.deleteIndex(new chroma.StringInvertedIndexConfig(), "blob");
    const c = await client.createCollection({ name: "first", schema, embeddingFunction: null });
    assert.equal(c.configuration.hnsw.space, "ip");
    const again = await client.getCollection({ name: "first" });
    assert.equal(again.schema.keys["blob"].string.stringInvertedIndex.enabled, false);
    await c.add({ ids: ["a"], embeddings: [[1, 2]], metadatas: [{ blob: "x", other: "y" }] });
    assert.deepEqual((await c.get({ where: { other: "y" } })).ids, ["a"]);
    await assert.rejects(c.get({ where: { blob: "x" } }), /indexing is disabled/);
  },

  async "add, count, get, peek"({ client }) {
    const c = await fruit(client);
    assert.equal(await c.count(), 4);
    for (const readLevel of ["index_and_wal", "index_only", "index_and_bounded_wal"])
      assert.equal(await c.count({ readLevel }), 4);
    const all = await c.get({ include: ["documents", "metadatas", "embeddings", "uris"] });
    assert.deepEqual(all.ids, IDS);
    assert.deepEqual(all.documents, DOCS);
    assert.deepEqual(all.embeddings, VECTORS);
    assert.deepEqual(all.metadatas.map((m) => ({ ...m })), FACTS);
    assert.deepEqual(all.uris, [null, null, null, null]);
    assert.equal(all.rows()[1].document, DOCS[1]);
    assert.deepEqual((await c.get({ ids: ["d", "a", "zz"] })).ids, ["a", "d"]);
    assert.deepEqual((await c.get({ limit: 2, offset: 1 })).ids, ["b", "c"]);
    const peek = await c.peek({ limit: 3 });
    assert.deepEqual(peek.ids, ["a", "b", "c"]);
    await c.add({ ids: ["a"], embeddings: [[9, 9, 9]], documents: ["not this"] });
    assert.equal((await c.get({ ids: ["a"] })).documents[0], DOCS[0], "an id that exists stays");
  },

  async "uris and unicode"({ client }) {
    const c = await client.createCollection({ name: "odd", embeddingFunction: null });
    const texts = ["日本語 😀", "nul \u0000 here", "\"\\/\b\f\n\r\t", "é e\u0301"];
    await c.add({ ids: texts, embeddings: [[1], [2], [3], [4]], documents: texts, uris: texts, metadatas: texts.map((t) => ({ [t]: t })) });
    const got = await c.get({ include: ["documents", "uris", "metadatas"] });
    assert.deepEqual(got.ids, texts);
    assert.deepEqual(got.documents, texts);
    assert.deepEqual(got.uris, texts);
    assert.deepEqual(got.metadatas.map((m) => ({ ...m })), texts.map((t) => ({ [t]: t })));
    assert.deepEqual((await c.get({ whereDocument: { $contains: "😀" } })).ids, [texts[0]]);
  },

  async "filters"({ client }) {
    const c = await fruit(client);
    const ids = async (where, whereDocument) => (await c.get({ where, whereDocument })).ids;
    assert.deepEqual(await ids({ color: "red" }), ["a", "c"]);
    assert.deepEqual(await ids({ color: { $ne: "red" } }), ["b", "d"]);
    assert.deepEqual(await ids({ n: { $gt: 2 } }), ["c", "d"]);
    assert.deepEqual(await ids({ n: { $gte: 2 } }), ["b", "c", "d"]);
    assert.deepEqual(await ids({ n: { $lt: 2 } }), ["a"]);
    assert.deepEqual(await ids({ n: { $lte: 2 } }), ["a", "b"]);
    assert.deepEqual(await ids({ color: { $in: ["red", "brown"] } }), ["a", "c", "d"]);
    assert.deepEqual(await ids({ color: { $nin: ["red", "brown"] } }), ["b"]);
    assert.deepEqual(await ids({ ripe: true }), ["b"]);
    assert.deepEqual(await ids({ tags: { $contains: "y" } }), ["a"]);
    assert.deepEqual(await ids({ tags: { $not_contains: "y" } }), ["b", "c", "d"]);
    assert.deepEqual(await ids({ $and: [{ color: "red" }, { n: { $gt: 1 } }] }), ["c"]);
    assert.deepEqual(await ids({ $or: [{ n: 4.5 }, { color: "yellow" }] }), ["b", "d"]);
    assert.deepEqual(await ids(undefined, { $contains: "red" }), ["a", "c"]);
    assert.deepEqual(await ids(undefined, { $not_contains: "red" }), ["b", "d"]);
    assert.deepEqual(await ids(undefined, { $regex: "^\\w+s are (yellow|brown)$" }), ["b", "d"]);
    assert.deepEqual(await ids(undefined, { $not_regex: "a+p" }), ["b", "c", "d"]);
    assert.deepEqual(await ids({ n: { $lt: 4 } }, { $or: [{ $contains: "red" }, { $contains: "brown" }] }), ["a", "c"]);
  },

  async "query"({ client }) {
    const c = await fruit(client);
    const got = await c.query({
      queryEmbeddings: [[1, 0, 0], [0, 0, 2]], nResults: 2,
      include: ["distances", "documents", "metadatas", "embeddings", "uris"],
    });
    assert.deepEqual(got.ids[0], ["a", "c"]);
    assert.equal(got.ids[1][0], "d");
    assert.deepEqual(got.distances[0], [0, 0.125]);
    assert.equal(got.distances[1][0], 1);
    assert.deepEqual(got.documents[0], [DOCS[0], DOCS[2]]);
    assert.deepEqual(got.embeddings[0], [VECTORS[0], VECTORS[2]]);
    assert.deepEqual(got.rows()[0].map((r) => r.id), ["a", "c"]);
    assert.equal(got.rows()[0][1].distance, 0.125);
    const filtered = await c.query({ queryEmbeddings: [[1, 0, 0]], where: { color: { $ne: "red" } }, whereDocument: { $contains: "are" } });
    assert.deepEqual([...filtered.ids[0]].sort(), ["b", "d"]);
    assert.deepEqual((await c.query({ queryEmbeddings: [[1, 0, 0]], ids: ["b", "c"], nResults: 1 })).ids, [["c"]]);
    for (const [space, distance] of [["cosine", 1 - 3 / Math.sqrt(10)], ["ip", 1 - 0.75]]) {
      await client.deleteCollection({ name: "fruit" });
      const other = await fruit(client, { configuration: { hnsw: { space } } });
      const d = (await other.query({ queryEmbeddings: [[1, 0, 0]], ids: ["c"], include: ["distances"] })).distances[0][0];
      assert.ok(Math.abs(d - distance) < 1e-6, `${space}: ${d}`);
    }
  },

  async "update and upsert"({ client }) {
    const c = await fruit(client);
    await c.update({ ids: ["a", "zz"], embeddings: [VECTORS[0], VECTORS[0]], documents: ["green apples", "nobody"], metadatas: [{ n: 10, color: null }, { n: 0 }] });
    const a = await c.get({ ids: ["a"] });
    assert.equal(a.documents[0], "green apples");
    assert.deepEqual({ ...a.metadatas[0] }, { color: "red", n: 10, tags: ["x", "y"] }); // this client sends no nulls
    await c.upsert({ ids: ["d", "e"], embeddings: [[0, 0, 2], [1, 1, 1]], documents: ["D", "E"], metadatas: [{ z: 1 }, { z: 2 }] });
    assert.deepEqual((await c.get()).ids, ["a", "b", "c", "d", "e"]);
    const d = await c.get({ ids: ["d"], include: ["embeddings", "metadatas"] });
    assert.deepEqual(d.embeddings[0], [0, 0, 2]);
    assert.deepEqual({ ...d.metadatas[0] }, { color: "brown", n: 4.5, z: 1 });
  },

  async "delete"({ client }) {
    const c = await fruit(client);
    assert.equal((await c.delete({ ids: ["a"] })).deleted, 1);
    assert.equal((await c.delete({ where: { n: { $gte: 2 } }, limit: 1 })).deleted, 1);
    assert.deepEqual((await c.get()).ids, ["c", "d"]);
    assert.equal((await c.delete({ whereDocument: { $contains: "brown" } })).deleted, 1);
    assert.deepEqual((await c.get()).ids, ["c"]);
  },

  async "a thousand records in one call"({ client }) {
    const c = await client.createCollection({ name: "many", embeddingFunction: null });
    const n = 1000;
    const ids = Array.from({ length: n }, (_, i) => `r${i}`);
    await c.add({ ids, embeddings: ids.map((_, i) => [i, -i]), metadatas: ids.map((_, i) => ({ i, even: i % 2 === 0 })) });
    assert.equal(await c.count(), n);
    assert.equal((await c.get({ where: { even: true }, limit: n })).ids.length, n / 2);
    assert.deepEqual((await c.query({ queryEmbeddings: [[700.2, -700.2]], nResults: 3 })).ids, [["r700", "r701", "r699"]]);
  },

  async "getIndexingStatus: nothing is ever left to do"({ client }) {
    const c = await fruit(client);
    const s = await c.getIndexingStatus();
    assert.equal(s.op_indexing_progress, 1);
    assert.equal(s.num_unindexed_ops, 0);
    assert.equal(s.num_indexed_ops, s.total_ops);
  },

  async "fork and forkCount"({ client }) {
    const c = await fruit(client);
    assert.equal(await c.forkCount(), 0);
    const copy = await c.fork({ name: "copy" });
    assert.equal(copy.name, "copy");
    assert.notEqual(copy.id, c.id);
    assert.deepEqual(copy.metadata, c.metadata);
    await copy.delete({ ids: ["a"] });
    assert.equal(await copy.count(), (await c.count()) - 1);
    assert.deepEqual((await c.get({ ids: ["a"] })).ids, ["a"]);
    assert.equal(await c.forkCount(), 1);
    assert.equal(await copy.forkCount(), 1);
    await assert.rejects(c.fork({ name: "copy" }), { name: "ChromaUniqueError" });
    await assert.rejects(c.fork({ name: "x" }), { name: "ChromaClientError", message: /new_name/ });
  },

  async "search"({ client }) {
    const c = await fruit(client);
    const search = new Search().rank(Knn({ query: [1, 0, 0], limit: 3 })).limit(2).select(K.DOCUMENT, K.SCORE);
    const got = await c.search(search);
    assert.deepEqual(got.ids, [["a", "c"]]);
    assert.deepEqual(got.documents, [[DOCS[0], DOCS[2]]]);
    assert.deepEqual(got.scores, [[0, 0.125]]);
  },

  async "tenants and databases"({ port }) {
    const admin = new AdminClient({ host: "127.0.0.1", port, ssl: false });
    await admin.createTenant({ name: "acme" });
    assert.equal((await admin.getTenant({ name: "acme" })).name ?? (await admin.getTenant({ name: "acme" })), "acme");
    await assert.rejects(admin.getTenant({ name: "nobody" }), { name: "ChromaNotFoundError" });
    await assert.rejects(admin.createTenant({ name: "acme" }), { name: "ChromaUniqueError" });
    await admin.createDatabase({ name: "one", tenant: "acme" });
    await admin.createDatabase({ name: "two", tenant: "acme" });
    const one = await admin.getDatabase({ name: "one", tenant: "acme" });
    assert.equal(one.name, "one");
    assert.equal(one.tenant, "acme");
    assert.deepEqual((await admin.listDatabases({ tenant: "acme" })).map((d) => d.name), ["one", "two"]);
    assert.deepEqual((await admin.listDatabases({ tenant: "acme", limit: 1, offset: 1 })).map((d) => d.name), ["two"]);
    const client = new ChromaClient({ host: "127.0.0.1", port, tenant: "acme", database: "one" });
    await fruit(client);
    assert.equal(await client.countCollections(), 1);
    const other = new ChromaClient({ host: "127.0.0.1", port, tenant: "acme", database: "two" });
    await assert.rejects(other.getCollection({ name: "fruit" }), { name: "ChromaNotFoundError" });
    await admin.deleteDatabase({ name: "one", tenant: "acme" });
    assert.equal(await client.countCollections(), 0);
    await assert.rejects(admin.getDatabase({ name: "one", tenant: "acme" }), { name: "ChromaNotFoundError" });
  },

  async "reset empties everything"({ client }) {
    await fruit(client);
    await client.reset();
    assert.equal(await client.countCollections(), 0);
  },
};

const server = await startServer(binary);
let passed = 0;
let failed = 0;
const anyClient = new ChromaClient({ host: "127.0.0.1", port: server.port });
const neverCalled = watchMethods(join(packages, "node_modules/chromadb/dist/chromadb.d.ts"), [
  ["declare class ChromaClient", anyClient],
  ["declare class AdminClient", new AdminClient({ host: "127.0.0.1", port: server.port, ssl: false })],
  ["interface Collection", await anyClient.createCollection({ name: "any", embeddingFunction: null })],
]);
for (const [name, test] of Object.entries(tests)) {
  const client = new ChromaClient({ host: "127.0.0.1", port: server.port });
  try {
    await client.reset();
    await test({ client, port: server.port });
    passed++;
  } catch (e) {
    failed++;
    console.log(`FAIL ${name}\n  ${e.stack}`);
  }
}
if (neverCalled().length === 0) passed++;
else {
  failed++;
  console.log(`FAIL methods that no test calls: ${neverCalled().join(", ")}`);
}
const code = await server.stop();
if (code !== 0) {
  failed++;
  console.log(`FAIL the server ended with ${code}`);
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
