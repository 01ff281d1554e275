/* object.c - see object.h.
 *
 * Layout of the block: the struct, the reference count, then every text with a NUL behind it.
 *
 * FAILURES   memory only.
 * INVARIANTS refs >= 1 while anyone may look at the object. Whoever takes a reference holds one already, or holds the
 *            view's lock while the view holds one; so the count never rises from zero.
 */
#include "catalog/object.h"

#include <stdatomic.h>

#include "core/mem.h"

struct object {
    struct catalog_collection pub; /* first: a pointer to it is a pointer to the object */
    atomic_size_t refs;
    char text[];
};

static struct object *object_of(const struct catalog_collection *col)
{
    return (struct object *)(uintptr_t)col; /* objects are only ever made by object_new, which made them writable */
}

static struct bytes place(char **at, const void *p, size_t n)
{
    if (p == NULL) return (struct bytes){NULL, 0};
    char *here = *at;
    if (n > 0) memcpy(here, p, n);
    here[n] = '\0';
    *at = here + n + 1;
    return (struct bytes){here, n};
}

static struct str place_str(char **at, struct str s)
{
    struct bytes b = place(at, s.p, s.n);
    return (struct str){b.p, b.n};
}

struct catalog_collection *object_new(const struct catalog_collection *from)
{
    const size_t lengths[] = {from->tenant.n,        from->database.n, from->name.n,
                              from->configuration.n, from->schema.n,   from->metadata.n};
    size_t size = sizeof(struct object) + sizeof lengths / sizeof lengths[0]; /* a NUL each */
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        if (!ck_add(size, lengths[i], &size)) return NULL;
    }
    struct object *o = mem_zalloc(size);
    if (o == NULL) return NULL;
    char *at = o->text;
    o->pub.number = from->number;
    o->pub.id = from->id;
    o->pub.tenant = place_str(&at, from->tenant);
    o->pub.database = place_str(&at, from->database);
    o->pub.name = place_str(&at, from->name);
    o->pub.configuration = place_str(&at, from->configuration);
    o->pub.schema = place_str(&at, from->schema);
    if (from->metadata.n > 0) o->pub.metadata = place(&at, from->metadata.p, from->metadata.n);
    o->pub.space = from->space;
    atomic_init(&o->pub.runtime, NULL);
    atomic_init(&o->refs, 1);
    return &o->pub;
}

void object_attach(struct catalog_collection *state, struct catalog_runtime *runtime)
{
    CHECK(atomic_load(&state->runtime) == NULL && "a live object is attached once");
    if (runtime != NULL) atomic_fetch_add_explicit(&runtime->n_states, 1, memory_order_relaxed);
    atomic_store(&state->runtime, runtime);
}

static void object_free(struct object *o)
{
    struct catalog_runtime *runtime = atomic_load(&o->pub.runtime);
    mem_free(o);
    if (runtime != NULL && atomic_fetch_sub_explicit(&runtime->n_states, 1, memory_order_acq_rel) == 1)
        runtime->free_runtime(runtime);
}

const struct catalog_collection *catalog_collection_ref(const struct catalog_collection *col)
{
    /* relaxed: the caller can see the object already; nothing is published by counting */
    size_t before = atomic_fetch_add_explicit(&object_of(col)->refs, 1, memory_order_relaxed);
    CHECK(before > 0 && "a reference is taken from a live object");
    return col;
}

void catalog_collection_unref(const struct catalog_collection *col)
{
    if (col == NULL) return;
    struct object *o = object_of(col);
    /* acq_rel: every holder's last look (release) comes before the free (acquire) */
    size_t before = atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel);
    CHECK(before > 0 && "a reference is given back once");
    if (before == 1) object_free(o);
}
