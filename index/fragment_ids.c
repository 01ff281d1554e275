/* fragment_ids.c - columns of byte strings, and the hash table from ids to rows.
 *
 * TABLE    open addressing with linear probing over u32 slots, a power of two of them, at least twice as many as rows.
 *          0 is empty. Else the low `row_bits` bits hold row + 1 (row_bits: what n_rows needs), the bits above hold as
 *          many top bits of the id's 64-bit hash. So a look-up of an absent id seldom touches the ids themselves.
 * FAILURE  a damaged slot leads to a row out of range or to another id: it is passed over. Probing is bounded by the
 *          number of slots, so a table without an empty slot ends it too. A table whose checksum is wrong is made again
 *          in memory from the ids, by the first who looks for one; without memory for it every id is looked at.
 */
#include "core/hash.h"
#include "core/mem.h"
#include "index/fragment_internal.h"

bool column_has(const struct column *c, uint32_t row)
{
    if (c->offsets == NULL) return false;
    return c->present == NULL || (c->present[row / 8] >> (row % 8) & 1) != 0;
}

enum err column_get(const struct column *c, uint32_t row, struct bytes *value, struct errmsg *em)
{
    if (!column_has(c, row)) {
        *value = (struct bytes){NULL, 0};
        return ERR_OK;
    }
    uint64_t from = column_offset(c, row), to = column_offset(c, row + 1);
    if (from > to || to > c->heap_bytes) return errmsg_set(em, ERR_CORRUPT, "row %u: an offset is out of range", row);
    *value = (struct bytes){c->heap + from, (size_t)(to - from)};
    return ERR_OK;
}

uint32_t id_hash_slots(uint32_t n_rows)
{
    uint32_t n = 2;
    while (n < UINT32_C(1) << 31 && n / 2 < n_rows) n *= 2;
    return n;
}

/* Bits that row + 1 may need. */
static unsigned row_bits(uint32_t n_rows)
{
    return n_rows == 0 ? 1 : 32 - (unsigned)__builtin_clz(n_rows);
}

static uint32_t slot_value(uint32_t row, uint64_t hash, unsigned bits)
{
    uint32_t tag = bits < 32 ? (uint32_t)(hash >> 32) >> bits << bits : 0;
    return tag | (row + 1);
}

static uint32_t slot_row(uint32_t slot, unsigned bits)
{
    return (bits < 32 ? slot & ((UINT32_C(1) << bits) - 1) : slot) - 1;
}

enum err id_hash_build(uint32_t *slots, uint32_t n_slots, const uint64_t *hashes, const struct column *ids,
                       uint32_t n_rows, struct errmsg *em)
{
    unsigned bits = row_bits(n_rows);
    CHECK(n_slots > n_rows && "an empty slot ends every search");
    for (uint32_t row = 0; row < n_rows; row++) {
        uint32_t i = (uint32_t)hashes[row] & (n_slots - 1);
        for (; slots[i] != 0; i = (i + 1) & (n_slots - 1)) {
            uint32_t other = slot_row(slots[i], bits);
            struct bytes a = {NULL, 0}, b = {NULL, 0};
            if (hashes[other] != hashes[row]) continue;
            enum err e = column_get(ids, row, &a, em);
            if (e == ERR_OK) e = column_get(ids, other, &b, em);
            if (e != ERR_OK) return e;
            if (str_eq(str_of(a.p, a.n), str_of(b.p, b.n)))
                return errmsg_set(em, ERR_CORRUPT, "rows %u and %u have the same id", other, row);
        }
        slots[i] = slot_value(row, hashes[row], bits);
    }
    return ERR_OK;
}

/* The table made from the ids, which are good; NULL: it cannot be made. */
static uint32_t *make_slots(const struct fragment *f)
{
    uint32_t *slots = mem_array(f->n_id_slots, sizeof *slots);
    uint64_t *hashes = mem_array(f->n_rows, sizeof *hashes);
    bool is_made = slots != NULL && hashes != NULL;
    for (uint32_t row = 0; is_made && row < f->n_rows; row++) {
        struct bytes id;
        is_made = column_get(&f->ids, row, &id, NULL) == ERR_OK;
        if (is_made) hashes[row] = hash_bytes(id.p, id.n, f->header->hash_seed);
    }
    is_made = is_made && id_hash_build(slots, f->n_id_slots, hashes, &f->ids, f->n_rows, NULL) == ERR_OK;
    mem_free(hashes);
    if (is_made) return slots;
    mem_free(slots);
    return NULL;
}

/* The table to look into; NULL: there is none. Two threads may make one at once: the first to be done keeps it. */
static const uint32_t *slots_of(const struct fragment *f)
{
    struct fragment_health *h = f->health;
    if (section_is_good(f, SECTION_ID_HASH)) return f->id_slots;
    uint32_t *made = atomic_load_explicit(&h->id_slots, memory_order_acquire), *none = NULL;
    if (made != NULL) return made;
    made = make_slots(f);
    if (made != NULL && !atomic_compare_exchange_strong(&h->id_slots, &none, made)) {
        mem_free(made);
        made = none;
    }
    return made;
}

static uint32_t find_by_scan(const struct fragment *f, struct str id)
{
    struct bytes found;
    for (uint32_t row = 0; row < f->n_rows; row++) {
        if (column_get(&f->ids, row, &found, NULL) != ERR_OK) continue;
        if (str_eq(id, str_of(found.p, found.n))) return row;
    }
    return ROW_NONE;
}

uint32_t id_hash_find(const struct fragment *f, struct str id)
{
    const uint32_t *slots = slots_of(f);
    if (slots == NULL) return find_by_scan(f, id);
    uint64_t hash = hash_bytes(id.p, id.n, f->header->hash_seed);
    unsigned bits = row_bits(f->n_rows);
    uint32_t tag = slot_value(UINT32_MAX, hash, bits); /* row + 1 wraps to 0: the tag alone */
    uint32_t i = (uint32_t)hash & (f->n_id_slots - 1);
    for (uint32_t tries = 0; tries < f->n_id_slots && slots[i] != 0; tries++, i = (i + 1) & (f->n_id_slots - 1)) {
        uint32_t row = slot_row(slots[i], bits);
        struct bytes found;
        if (slots[i] - (row + 1) != tag || row >= f->n_rows) continue;
        if (column_get(&f->ids, row, &found, NULL) != ERR_OK) continue;
        if (str_eq(id, str_of(found.p, found.n))) return row;
    }
    return ROW_NONE;
}
