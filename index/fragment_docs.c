/* fragment_docs.c - reading documents: raw ones are views into the file, compressed ones are decompressed a block at a
 * time.
 *
 * A reader borrows a slot: a decompressor with the last block it made. Readers that walk along rows thus decompress a
 * block once, and a request that follows finds the block of the one before. Slots are taken and given back by an atomic
 * exchange; a few wait in the fragment, further ones are made when all are taken, and freed afterwards.
 *
 * FAILURE  every offset is checked before it is used; damage is ERR_CORRUPT. A block's claimed size is compared with
 *          what its frame says before memory is taken for it.
 */
#include <zstd.h>

#include "core/mem.h"
#include "index/fragment_internal.h"

enum { N_SLOTS = 4, SLOT_KEEP_BYTES = 256 << 10 };

#define NO_BLOCK UINT64_MAX

struct docs_slot {
    ZSTD_DCtx *ctx;
    char *text;
    size_t cap;
    uint64_t block; /* whose text it is; NO_BLOCK */
};

struct docs_cache {
    _Atomic(struct docs_slot *) slots[N_SLOTS]; /* NULL: taken, or never made */
    _Atomic uint64_t hints[N_SLOTS];            /* the block a slot held when it was given back; may be stale */
};

enum err docs_cache_new(struct docs_cache **out)
{
    struct docs_cache *c = mem_zalloc(sizeof *c);
    if (c == NULL) return ERR_NOMEM;
    for (int i = 0; i < N_SLOTS; i++) atomic_init(&c->hints[i], NO_BLOCK);
    *out = c;
    return ERR_OK;
}

static void slot_free(struct docs_slot *slot)
{
    if (slot == NULL) return;
    (void)ZSTD_freeDCtx(slot->ctx);
    mem_free(slot->text);
    mem_free(slot);
}

void docs_cache_free(struct docs_cache *c)
{
    if (c == NULL) return;
    for (int i = 0; i < N_SLOTS; i++) slot_free(atomic_load(&c->slots[i]));
    mem_free(c);
}

static struct docs_slot *slot_new(void)
{
    struct docs_slot *slot = mem_zalloc(sizeof *slot);
    if (slot == NULL) return NULL;
    slot->block = NO_BLOCK;
    slot->ctx = ZSTD_createDCtx();
    if (slot->ctx == NULL) {
        mem_free(slot);
        return NULL;
    }
    return slot;
}

/* A slot of one's own, with this block in it if one such waits. */
static struct docs_slot *slot_take(struct docs_cache *c, uint64_t block)
{
    struct docs_slot *slot;
    for (int i = 0; i < N_SLOTS; i++) {
        if (atomic_load_explicit(&c->hints[i], memory_order_relaxed) != block) continue;
        slot = atomic_exchange_explicit(&c->slots[i], NULL, memory_order_acquire);
        if (slot != NULL) return slot;
    }
    for (int i = N_SLOTS; i-- > 0;) {
        slot = atomic_exchange_explicit(&c->slots[i], NULL, memory_order_acquire);
        if (slot != NULL) return slot;
    }
    return slot_new();
}

static void slot_put(struct docs_cache *c, struct docs_slot *slot)
{
    if (slot->cap > SLOT_KEEP_BYTES) {
        mem_free(slot->text);
        slot->text = NULL;
        slot->cap = 0;
        slot->block = NO_BLOCK;
    }
    for (int i = 0; i < N_SLOTS; i++) {
        struct docs_slot *none = NULL;
        uint64_t block = slot->block;
        /* release: the next owner, who takes it with acquire, sees what is in it */
        if (atomic_compare_exchange_strong_explicit(&c->slots[i], &none, slot, memory_order_release,
                                                    memory_order_relaxed)) {
            atomic_store_explicit(&c->hints[i], block, memory_order_relaxed);
            return;
        }
    }
    slot_free(slot);
}

static struct docs_block block_at(const struct docs *d, uint64_t i)
{
    struct docs_block block;
    memcpy(&block, d->blocks + i * sizeof block, sizeof block);
    return block;
}

/* The last block that begins at or before a place in the text. */
static uint64_t block_of(const struct docs *d, uint64_t at)
{
    uint64_t low = 0, high = d->n_blocks;
    while (high - low > 1) {
        uint64_t mid = low + (high - low) / 2;
        if (le64_get(d->blocks + mid * sizeof(struct docs_block)) <= at)
            low = mid;
        else
            high = mid;
    }
    return low;
}

static enum err decompress(struct docs_reader *r, uint64_t i, const struct docs_block *block, uint64_t text_n,
                           struct errmsg *em)
{
    const struct docs *d = r->docs;
    if (r->slot == NULL) r->slot = slot_take(d->cache, i);
    if (r->slot == NULL) return errmsg_set(em, ERR_NOMEM, "a decompressor");
    struct docs_slot *slot = r->slot;
    if (slot->block == i) return ERR_OK;
    const uint8_t *from = d->column.heap + block->stored_at;
    if (ZSTD_getFrameContentSize(from, block->stored_n) != text_n)
        return errmsg_set(em, ERR_CORRUPT, "block %llu of the documents has another size", (unsigned long long)i);
    slot->block = NO_BLOCK;
    if (slot->cap < text_n) {
        char *text = mem_resize(slot->text, text_n);
        if (text == NULL) return errmsg_set(em, ERR_NOMEM, "decompress %llu bytes", (unsigned long long)text_n);
        slot->text = text;
        slot->cap = text_n;
    }
    size_t got = ZSTD_decompressDCtx(slot->ctx, slot->text, text_n, from, block->stored_n);
    if (ZSTD_isError(got) || got != text_n)
        return errmsg_set(em, ERR_CORRUPT, "block %llu of the documents does not decompress", (unsigned long long)i);
    slot->block = i;
    return ERR_OK;
}

enum err docs_get(struct docs_reader *r, uint32_t row, struct str *document, struct errmsg *em)
{
    const struct docs *d = r->docs;
    if (!column_has(&d->column, row)) {
        *document = (struct str){NULL, 0};
        return ERR_OK;
    }
    uint64_t from = column_offset(&d->column, row), to = column_offset(&d->column, row + 1);
    if (from > to || to > d->column.heap_bytes)
        return errmsg_set(em, ERR_CORRUPT, "row %u: the document's offset is out of range", row);
    if (from == to) {
        *document = STR("");
        return ERR_OK;
    }
    if (d->n_blocks == 0) return errmsg_set(em, ERR_CORRUPT, "row %u: there is no block for its document", row);
    uint64_t i = block_of(d, from);
    struct docs_block block = block_at(d, i);
    uint64_t end = i + 1 < d->n_blocks ? block_at(d, i + 1).text_at : d->column.heap_bytes;
    if (block.text_at > from || end < to || block.stored_n > d->stored_bytes ||
        block.stored_at > d->stored_bytes - block.stored_n)
        return errmsg_set(em, ERR_CORRUPT, "row %u: the block of its document is out of range", row);
    const char *text;
    if (block.codec == DOCS_RAW && block.stored_n == end - block.text_at) {
        text = (const char *)d->column.heap + block.stored_at;
    } else if (block.codec == DOCS_ZSTD) {
        enum err e = decompress(r, i, &block, end - block.text_at, em);
        if (e != ERR_OK) return e;
        text = r->slot->text;
    } else {
        return errmsg_set(em, ERR_CORRUPT, "row %u: the block of its document is damaged", row);
    }
    *document = str_of(text + (from - block.text_at), (size_t)(to - from));
    return ERR_OK;
}

bool docs_is_lasting(const struct docs_reader *r, struct str document)
{
    uintptr_t at = (uintptr_t)document.p;
    return r->slot == NULL || at < (uintptr_t)r->slot->text || at >= (uintptr_t)r->slot->text + r->slot->cap;
}

void docs_end(struct docs_reader *r)
{
    if (r->slot != NULL) slot_put(r->docs->cache, r->slot);
    r->slot = NULL;
}
