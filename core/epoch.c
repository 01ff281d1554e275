/* epoch.c - see epoch.h.
 *
 * The slots are a process-wide list that only grows: a thread takes a free slot on its first enter and gives it back
 * when it ends. This is the one place besides the logger with process-wide mutable state: a reader must be countable
 * from any thread without being handed a context.
 */
#include "core/epoch.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/mem.h"

enum { EPOCH_SLOTS = 512, EPOCH_RECLAIM_EVERY = 16, CACHE_LINE = 64 };

struct epoch_slot {
    _Alignas(CACHE_LINE) _Atomic uint64_t seen; /* 0 = outside, else the epoch at enter */
    _Atomic int taken;
    unsigned depth; /* owner thread only */
};

struct retired {
    struct retired *next;
    void (*fn)(void *p);
    void *p;
    uint64_t epoch;
};

static struct epoch_slot slots[EPOCH_SLOTS];
static _Atomic uint64_t global_epoch = 1;
static pthread_mutex_t retired_mu = PTHREAD_MUTEX_INITIALIZER;
static struct retired *retired_head; /* guarded by retired_mu */
static unsigned retired_count;       /* guarded by retired_mu: since the last reclaim */
static _Thread_local struct epoch_slot *my_slot;
static pthread_key_t slot_key; /* gives the slot back when its thread ends */
static pthread_once_t slot_once = PTHREAD_ONCE_INIT;

static void slot_release(void *p)
{
    struct epoch_slot *s = p;
    atomic_store_explicit(&s->seen, 0, memory_order_release);
    atomic_store_explicit(&s->taken, 0, memory_order_release);
}

static void make_key(void)
{
    if (pthread_key_create(&slot_key, slot_release) != 0) panic("no thread key left");
}

static struct epoch_slot *slot_take(void)
{
    (void)pthread_once(&slot_once, make_key);
    for (int i = 0; i < EPOCH_SLOTS; i++) {
        int free_slot = 0;
        if (atomic_compare_exchange_strong(&slots[i].taken, &free_slot, 1)) {
            slots[i].depth = 0;
            (void)pthread_setspecific(slot_key, &slots[i]);
            return &slots[i];
        }
    }
    panic("more than %d threads read at once", EPOCH_SLOTS);
}

void epoch_enter(void)
{
    struct epoch_slot *s = my_slot != NULL ? my_slot : (my_slot = slot_take());
    if (s->depth++ > 0) return;
    /* The store must be visible before any shared pointer is loaded: seq_cst, paired with the scan in
     * oldest_reader(). A stale (lower) epoch only delays freeing. */
    atomic_store(&s->seen, atomic_load(&global_epoch));
}

void epoch_leave(void)
{
    struct epoch_slot *s = my_slot;
    CHECK(s != NULL && s->depth > 0 && "epoch_leave without epoch_enter");
    if (--s->depth == 0) atomic_store_explicit(&s->seen, 0, memory_order_release);
}

static uint64_t oldest_reader(void)
{
    uint64_t oldest = UINT64_MAX;
    for (int i = 0; i < EPOCH_SLOTS; i++) {
        uint64_t seen = atomic_load(&slots[i].seen);
        if (seen != 0 && seen < oldest) oldest = seen;
    }
    return oldest;
}

bool epoch_reclaim(void)
{
    struct retired *ready = NULL;
    (void)pthread_mutex_lock(&retired_mu);
    uint64_t oldest = oldest_reader();
    retired_count = 0;
    for (struct retired **link = &retired_head; *link != NULL;) {
        struct retired *r = *link;
        if (r->epoch < oldest) {
            *link = r->next;
            r->next = ready;
            ready = r;
        } else {
            link = &r->next;
        }
    }
    bool is_empty = retired_head == NULL;
    (void)pthread_mutex_unlock(&retired_mu);
    while (ready != NULL) {
        struct retired *next = ready->next;
        ready->fn(ready->p);
        mem_free(ready);
        ready = next;
    }
    return is_empty;
}

void epoch_retire(void (*fn)(void *p), void *p)
{
    struct retired *r = mem_alloc(sizeof *r);
    if (r == NULL && my_slot != NULL && my_slot->depth > 0) return; /* waiting would be for ourselves: it is lost */
    if (r == NULL) { /* cannot remember it: wait until every reader of today is gone, then free it here */
        uint64_t now = atomic_fetch_add(&global_epoch, 1);
        while (oldest_reader() <= now) (void)sched_yield();
        fn(p);
        return;
    }
    r->fn = fn;
    r->p = p;
    (void)pthread_mutex_lock(&retired_mu);
    r->epoch = atomic_fetch_add(&global_epoch, 1); /* readers that enter from now on show a higher epoch */
    r->next = retired_head;
    retired_head = r;
    bool is_due = ++retired_count >= EPOCH_RECLAIM_EVERY;
    (void)pthread_mutex_unlock(&retired_mu);
    if (is_due) (void)epoch_reclaim();
}

void epoch_drain(void)
{
    CHECK((my_slot == NULL || my_slot->depth == 0) && "epoch_drain inside an epoch");
    while (!epoch_reclaim()) (void)sched_yield();
}
