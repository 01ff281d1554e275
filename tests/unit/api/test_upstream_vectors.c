/* test_upstream_vectors.c - the vector of each record, against a model of upstream: random writes, of which a prefix is in
 * the index, a longer or shorter one in the metadata, and of which the beginning is purged from the log.
 */
#include "api/upstream_vectors.h"

#include <math.h>
#include <unistd.h>

#include "tests/unit/api/upstream_dir.h"

enum { DIM = 3, N_IDS = 12, N_WRITES = 60 };

struct record {
    bool is_there;
    float v[DIM];
};

struct write {
    int operation, id;
    bool has_vector;
    float v[DIM];
};

static void apply(struct record *r, const struct write *w)
{
    bool is_update = w->operation == UPSTREAM_UPDATE, is_upsert = w->operation == UPSTREAM_UPSERT;
    if (w->operation == UPSTREAM_DELETE) r->is_there = false;
    if (w->operation == UPSTREAM_ADD && !r->is_there) {
        r->is_there = true;
        memcpy(r->v, w->v, sizeof r->v);
    }
    if ((is_update && r->is_there && w->has_vector) || is_upsert) memcpy(r->v, w->v, sizeof r->v);
    r->is_there = r->is_there || is_upsert;
}

/* The model after the writes 1 to n. */
static void state_at(const struct write *writes, int n, struct record records[N_IDS])
{
    memset(records, 0, N_IDS * sizeof *records);
    for (int i = 1; i <= n; i++) apply(&records[writes[i].id], &writes[i]);
}

static void make_writes(struct rng *rng, struct write writes[N_WRITES + 1])
{
    for (int i = 1; i <= N_WRITES; i++) {
        struct write *w = &writes[i];
        *w = (struct write){.operation = (int)rng_below(rng, 4), .id = (int)rng_below(rng, N_IDS)};
        w->has_vector = w->operation == UPSTREAM_ADD || w->operation == UPSTREAM_UPSERT ||
                        (w->operation == UPSTREAM_UPDATE && rng_below(rng, 2) == 0);
        for (int k = 0; k < DIM; k++) w->v[k] = rng_gauss(rng);
    }
}

static void unit(const float *v, float *out)
{
    float square = 0;
    for (int k = 0; k < DIM; k++) square += v[k] * v[k];
    for (int k = 0; k < DIM; k++) out[k] = v[k] / (sqrtf(square) + 1e-30F);
}

static const char *name_of(int id)
{
    static char text[32];
    (void)snprintf(text, sizeof text, "record %d", id);
    return text;
}

static void write_index(const char *dir, const struct record records[N_IDS], enum space space)
{
    struct index_files f;
    const float gone[DIM] = {9, 9, 9};
    index_begin(&f, DIM);
    for (int i = 0; i < N_IDS; i++) {
        float v[DIM];
        memcpy(v, records[i].v, sizeof v);
        if (space == SPACE_COSINE) unit(records[i].v, v);
        index_put(&f, name_of(i), records[i].is_there ? v : gone, records[i].is_there);
    }
    index_write(&f, dir);
}

struct opened {
    struct upstream_db db;
    struct arena arena;
    struct upstream_collection *list;
    struct upstream_vectors *vectors;
    struct str fault;
    struct buf floats;
};

static void open_all(struct opened *o, const char *dir, enum space space)
{
    char path[4400];
    uint32_t n;
    *o = (struct opened){.fault = {NULL, 0}};
    (void)snprintf(path, sizeof path, "%s/chroma.sqlite3", dir);
    ck_ok(upstream_db_open(&o->db, path, false, NULL));
    ck_ok(upstream_collections(&o->db, &o->arena, &o->list, &n, NULL));
    ck_assert_uint_eq(n, 1);
    ck_ok(upstream_log_list(&o->db, &o->arena, o->list, n, NULL));
    const struct upstream_vectors_in in = {&o->db, vfs_posix(), dir, o->list, space};
    ck_ok(upstream_vectors_open(&o->vectors, &in, &o->arena, &o->fault, NULL));
}

static enum upstream_origin get(struct opened *o, const char *id, float *v)
{
    enum upstream_origin origin = UPSTREAM_NOWHERE;
    uint32_t dim = 0;
    o->floats.n = 0;
    ck_ok(upstream_vectors_get(o->vectors, str_from_c(id), &o->floats, &dim, &origin, NULL));
    ck_assert(dim == (origin == UPSTREAM_NOWHERE ? 0 : DIM) && o->floats.n == dim * sizeof(float));
    if (dim == DIM) memcpy(v, o->floats.p, DIM * sizeof *v);
    return origin;
}

static void close_all(struct opened *o)
{
    upstream_vectors_close(o->vectors);
    upstream_db_close(&o->db);
    buf_free(&o->floats);
    arena_free(&o->arena);
}

static void set_seq(sqlite3 *db, const char *segment, int seq)
{
    char text[128];
    (void)snprintf(text, sizeof text, "INSERT INTO max_seq_id VALUES ('%s', %d)", segment, seq);
    run_sql(db, text);
}

/* A clean directory name for round i. */
static void round_dir(char *out, size_t cap, const char *base, int i)
{
    (void)snprintf(out, cap, "%s/%d", base, i);
}

START_TEST(follows_the_model)
{
    const char *base = tmp_dir();
    int n_from_log = 0, n_unit = 0;
    for (int i = 0, rounds = suite_share(120); i < rounds; i++) {
        struct rng rng = {0x5ec7 + (uint64_t)i};
        struct write writes[N_WRITES + 1];
        struct record in_index[N_IDS], now[N_IDS];
        char dir[4096];
        enum space space = i % 2 == 0 ? SPACE_L2 : SPACE_COSINE;
        round_dir(dir, sizeof dir, base, i);
        sqlite3 *db = make_upstream(dir);
        make_writes(&rng, writes);
        int metadata_seq = 1 + (int)rng_below(&rng, N_WRITES),
            index_seq = (int)rng_below(&rng, (uint32_t)metadata_seq + 1);
        int first = i % 3 == 0 ? 1 : 1 + (int)rng_below(&rng, (uint32_t)index_seq + 1); /* of the log */
        for (int k = first; k <= N_WRITES; k++)
            put_log(db, k, writes[k].operation, name_of(writes[k].id), writes[k].has_vector ? writes[k].v : NULL, DIM,
                    NULL);
        state_at(writes, index_seq, in_index);
        state_at(writes, metadata_seq, now);
        set_seq(db, "meta", metadata_seq);
        if (index_seq > 0) {
            set_seq(db, "vec", index_seq);
            write_index(dir, in_index, space);
        }
        end_upstream(db);
        struct opened o;
        open_all(&o, dir, space);
        ck_assert_msg(o.fault.p == NULL, "round %d: %.*s", i, STR_ARG(o.fault));
        for (int id = 0; id < N_IDS; id++) {
            float v[DIM], want[DIM];
            if (!now[id].is_there) continue; /* nobody asks: it has no row in the metadata */
            enum upstream_origin origin = get(&o, name_of(id), v);
            memcpy(want, now[id].v, sizeof want);
            if (origin == UPSTREAM_UNIT) unit(now[id].v, want);
            ck_assert_msg(origin == UPSTREAM_AS_SENT || (origin == UPSTREAM_UNIT && space == SPACE_COSINE && first > 1),
                          "round %d, id %d: origin %d", i, id, (int)origin);
            ck_assert_msg(memcmp(v, want, sizeof v) == 0, "round %d, id %d", i, id);
            n_from_log += origin == UPSTREAM_AS_SENT;
            n_unit += origin == UPSTREAM_UNIT;
        }
        float v[DIM];
        ck_assert_int_eq(get(&o, "nobody", v), UPSTREAM_NOWHERE);
        close_all(&o);
    }
    ck_assert_int_gt(n_from_log, 0);
    ck_assert_int_gt(n_unit, 0);
}
END_TEST

START_TEST(a_disagreement_is_told)
{
    char dir[4096];
    const float sent[DIM] = {1, 2, 3}, other[DIM] = {1, 2, 4};
    struct index_files f;
    struct opened o;
    float v[DIM];
    round_dir(dir, sizeof dir, tmp_dir(), 0);
    sqlite3 *db = make_upstream(dir);
    put_log(db, 5, UPSTREAM_UPSERT, "certain", sent, DIM, NULL);
    put_log(db, 6, UPSTREAM_ADD, "a guess", sent, DIM, NULL); /* skipped, if it was there before */
    set_seq(db, "meta", 6);
    set_seq(db, "vec", 6);
    index_begin(&f, DIM);
    index_put(&f, "certain", other, true);
    index_put(&f, "a guess", other, true);
    index_write(&f, dir);
    end_upstream(db);
    open_all(&o, dir, SPACE_L2);
    ck_assert_int_eq(get(&o, "certain", v), UPSTREAM_DISPUTED);
    ck_assert_mem_eq(v, sent, sizeof v);
    ck_assert_int_eq(get(&o, "a guess", v), UPSTREAM_AS_SENT);
    ck_assert_mem_eq(v, other, sizeof v);
    close_all(&o);
}
END_TEST

/* Without its index, what the log has is all there is. */
START_TEST(an_unreadable_index_leaves_the_log)
{
    static const char *const names[] = {"index_metadata.pickle", "header.bin", "data_level0.bin"};
    const char *base = tmp_dir();
    for (int i = 0; i < 6; i++) {
        char dir[4096], path[4400];
        const float old[DIM] = {1, 2, 3}, new[DIM] = {4, 5, 6};
        struct index_files f;
        struct opened o;
        float v[DIM];
        round_dir(dir, sizeof dir, base, i);
        sqlite3 *db = make_upstream(dir);
        put_log(db, 7, UPSTREAM_UPDATE, "updated", new, DIM, NULL);
        put_log(db, 8, UPSTREAM_ADD, "added", new, DIM, NULL);
        set_seq(db, "meta", 8);
        set_seq(db, "vec", 6);
        index_begin(&f, DIM);
        index_put(&f, "updated", old, true);
        index_put(&f, "older", old, true);
        index_write(&f, dir);
        end_upstream(db);
        (void)snprintf(path, sizeof path, "%s/vec/%s", dir, names[i % 3]);
        if (i < 3)
            ck_assert_int_eq(truncate(path, 20), 0);
        else
            ck_assert_int_eq(unlink(path), 0);
        open_all(&o, dir, SPACE_L2);
        ck_assert_ptr_nonnull(o.fault.p);
        ck_assert_int_eq(get(&o, "updated", v), UPSTREAM_AS_SENT);
        ck_assert_mem_eq(v, new, sizeof v);
        ck_assert_int_eq(get(&o, "added", v), UPSTREAM_AS_SENT);
        ck_assert_int_eq(get(&o, "older", v), UPSTREAM_NOWHERE);
        close_all(&o);
    }
}
END_TEST

/* An index that lacks one of the records that it names: the others count. */
START_TEST(a_hole_in_the_index_is_one_record)
{
    char dir[4096];
    const float some[DIM] = {1, 2, 3};
    struct index_files f;
    struct opened o;
    float v[DIM];
    round_dir(dir, sizeof dir, tmp_dir(), 0);
    sqlite3 *db = make_upstream(dir);
    set_seq(db, "meta", 6);
    set_seq(db, "vec", 6);
    index_begin(&f, DIM);
    index_put(&f, "whole", some, true);
    index_text(&f, "hole");
    buf_lit(&f.pickle, "J\x63\0\0\0");
    index_write(&f, dir);
    end_upstream(db);
    open_all(&o, dir, SPACE_IP);
    ck_assert_msg(o.fault.p != NULL && strstr(o.fault.p, "lacks 1 of the 2") != NULL, "%s", o.fault.p);
    ck_assert_int_eq(get(&o, "whole", v), UPSTREAM_AS_SENT);
    ck_assert_int_eq(get(&o, "hole", v), UPSTREAM_NOWHERE);
    close_all(&o);
}
END_TEST

TESTS(upstream_vectors, follows_the_model, a_disagreement_is_told, an_unreadable_index_leaves_the_log,
      a_hole_in_the_index_is_one_record)
