/* power_disk_cut.c - see power_disk.h: the disk as a power cut may have left it.
 *
 * The list of operations is replayed: bytes inode by inode, names directory by directory. What a later sync made durable is
 * applied; what none did meets its fate, in the order in which it was done.
 */
#include "tests/lib/power_disk_internal.h"

#include <stdio.h>

#include "tests/lib/suite.h"

enum { SECTOR = 512 };

/* --- fates --------------------------------------------------------------------------------------------------------- */

struct fates {
    enum power_loss loss;
    struct rng rng;
    size_t last; /* POWER_ORDER: the operation that is torn; those before have arrived, those after have not */
};

/* A name, or a size: whole or not at all. */
static bool is_kept(struct fates *f, size_t i)
{
    switch (f->loss) {
    case POWER_KEEP:
        return true;
    case POWER_DROP:
        return false;
    case POWER_ORDER:
        return i < f->last;
    default:
        return rng_below(&f->rng, 2) == 0;
    }
}

static void put_sectors(struct fates *f, struct inode *i, const struct op *op)
{
    for (size_t from = 0; from < op->n;) {
        size_t step = SECTOR - (size_t)((op->at + from) % SECTOR);
        if (step > op->n - from) step = op->n - from;
        if (rng_below(&f->rng, 2) == 0) power_bytes_put(&i->first, &i->n_first, op->at + from, op->data + from, step);
        from += step;
    }
}

static void put_part(struct fates *f, struct inode *i, const struct op *op)
{
    size_t cut = rng_below(&f->rng, (uint32_t)op->n + 1);
    if (rng_below(&f->rng, 3) != 0)
        power_bytes_put(&i->first, &i->n_first, op->at, op->data, cut);
    else
        power_bytes_put(&i->first, &i->n_first, op->at + cut, op->data + cut, op->n - cut);
}

static void meet_fate(struct fates *f, struct inode *inode, const struct op *op, size_t i)
{
    enum power_loss loss = f->loss;
    if (op->kind == OP_SIZE) {
        if (is_kept(f, i)) power_bytes_resize(&inode->first, &inode->n_first, (size_t)op->at);
        return;
    }
    if (loss == POWER_ORDER && i == f->last) loss = POWER_BYTES;
    if (loss == POWER_MIX) {
        static const enum power_loss ways[] = {POWER_KEEP, POWER_DROP, POWER_SECTORS, POWER_BYTES, POWER_MIX};
        loss = ways[rng_below(&f->rng, sizeof ways / sizeof ways[0])];
    }
    switch (loss) {
    case POWER_SECTORS:
        put_sectors(f, inode, op);
        break;
    case POWER_BYTES:
        put_part(f, inode, op);
        break;
    case POWER_MIX:
        if (op->at + op->n > inode->n_first) power_bytes_resize(&inode->first, &inode->n_first, (size_t)op->at + op->n);
        break;
    default:
        if (loss == POWER_KEEP || (loss != POWER_DROP && is_kept(f, i)))
            power_bytes_put(&inode->first, &inode->n_first, op->at, op->data, op->n);
        break;
    }
}

static void apply_whole(struct inode *i, const struct op *op)
{
    if (op->kind == OP_WRITE)
        power_bytes_put(&i->first, &i->n_first, op->at, op->data, op->n);
    else
        power_bytes_resize(&i->first, &i->n_first, (size_t)op->at);
}

static void apply_name(struct names *t, const struct op *op)
{
    bool has_former = op->kind == OP_RENAME || op->kind == OP_EXCHANGE;
    struct name *name = power_names_find(t, has_former ? op->was : op->path);
    bool is_it = name != NULL && name->inode == op->inode;
    if (op->kind == OP_REMOVE) {
        if (is_it) power_names_drop(t, name);
    } else if (op->kind == OP_EXCHANGE) {
        if (is_it && power_names_find(t, op->path) != NULL) power_names_exchange(t, op->path, op->was);
    } else if (op->kind == OP_RENAME && is_it) {
        power_names_move(t, op->was, op->path);
    } else {
        power_names_put(t, op->path, op->inode);
    }
}

static bool is_byte_op(const struct op *op)
{
    return op->kind == OP_WRITE || op->kind == OP_SIZE;
}

static bool is_name_op(const struct op *op)
{
    return op->kind == OP_MAKE || op->kind == OP_RENAME || op->kind == OP_EXCHANGE || op->kind == OP_REMOVE;
}

/* For each inode, how many of the first n operations were done before its last sync; 0: none. */
static size_t *last_syncs(const struct power_disk *d, size_t n)
{
    size_t *synced = power_must(calloc(d->n_inodes + 1, sizeof *synced));
    for (size_t i = 0; i < n; i++)
        if (d->ops[i].kind == OP_SYNC) synced[d->ops[i].inode] = i;
    return synced;
}

static bool is_name_synced(const struct power_disk *d, size_t i, size_t n)
{
    for (size_t k = i + 1; k < n; k++)
        if (d->ops[k].kind == OP_SYNC_DIR && power_is_in(d->ops[i].path, d->ops[k].path)) return true;
    return false;
}

/* Without a directory nothing is in it. */
static void drop_orphans(struct names *t)
{
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < t->n; i++) {
            char dir[PATH_CAP];
            (void)snprintf(dir, sizeof dir, "%.*s", (int)power_parent_length(t->list[i].path), t->list[i].path);
            if (dir[0] == '\0' || power_names_find(t, dir) != NULL) continue;
            power_names_drop(t, &t->list[i]);
            again = true;
        }
    }
}

/* --- rebuilding ---------------------------------------------------------------------------------------------------- */

struct power_disk *power_disk_cut(struct power_disk *d, size_t n, enum power_loss loss, uint64_t seed)
{
    struct power_disk *to = power_disk_new();
    struct fates fates = {.loss = loss, .rng = {seed * 2 + 1}};
    power_lock(d);
    to->has_no_links = d->has_no_links;
    ck_assert_uint_le(n, d->n_ops);
    size_t back = rng_below(&fates.rng, 24);
    fates.last = n > back ? n - back : 0;
    for (size_t i = 0; i < d->n_inodes; i++) {
        (void)power_inode_new(to, d->inodes[i].is_dir);
        to->inodes[i].first = power_copy(d->inodes[i].first, d->inodes[i].n_first);
        to->inodes[i].n_first = d->inodes[i].n_first;
    }
    for (size_t i = 0; i < d->first.n; i++) power_names_put(&to->first, d->first.list[i].path, d->first.list[i].inode);

    size_t *synced = last_syncs(d, n);
    for (size_t i = 0; i < n; i++) {
        const struct op *op = &d->ops[i];
        if (is_byte_op(op) && i < synced[op->inode])
            apply_whole(&to->inodes[op->inode], op);
        else if (is_byte_op(op))
            meet_fate(&fates, &to->inodes[op->inode], op, i);
        else if (is_name_op(op) && (is_name_synced(d, i, n) || is_kept(&fates, i)))
            apply_name(&to->first, op);
    }
    free(synced);
    power_unlock(d);
    drop_orphans(&to->first);
    for (size_t i = 0; i < to->n_inodes; i++) {
        to->inodes[i].now = power_copy(to->inodes[i].first, to->inodes[i].n_first);
        to->inodes[i].n_now = to->inodes[i].n_first;
    }
    for (size_t i = 0; i < to->first.n; i++) power_names_put(&to->now, to->first.list[i].path, to->first.list[i].inode);
    return to;
}

static uint64_t sum_bytes(uint64_t h, const char *p, size_t n)
{
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    for (; n > 0; p++, n--) h = (h ^ (unsigned char)*p) * 1099511628211u;
    return h;
}

uint64_t power_disk_sum(struct power_disk *d)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < d->now.n; i++) {
        const struct inode *inode = &d->inodes[d->now.list[i].inode];
        uint64_t h = sum_bytes(1469598103934665603u, d->now.list[i].path, strlen(d->now.list[i].path));
        sum += sum_bytes(h + inode->n_now, inode->now, inode->n_now); /* in any order */
    }
    return sum;
}

void power_disk_print(struct power_disk *d)
{
    for (size_t i = 0; i < d->now.n; i++) {
        const struct name *name = &d->now.list[i];
        (void)fprintf(stderr, "  %10zu %s\n", d->inodes[name->inode].n_now, name->path);
    }
}
