/* fragment_health.c - what is known about the sections of a fragment: right, damaged, or not looked at yet.
 *
 * HAPPY PATH  whoever is about to use a section asks section_is_good (or section_need). The first time its checksum is
 *             compared, at the speed of memory, and the outcome kept; two readers may do it at once, and find the same.
 *             A large section is taken as it is until the scrub has read it.
 * FAILURE     a damaged section is told in the log once, and counted in the store's watch. What it means depends:
 *               derived sections (id hash, norms, codes, indexes, lists)  are done without: fragment_ops.c, fragment_filter.c
 *               documents, uris, metadata, vectors                      requests that need them get ERR_CORRUPT
 *               ids, ordinals, births                                   nothing about the rows is certain: all get it
 * INVARIANT   bits are set and never cleared. Damage is stored with release and read with acquire, so that who sees the
 *             bit sees what was put in the section's place.
 */
#include "core/crc32c.h"
#include "core/logger.h"
#include "index/fragment_internal.h"

/* What is read whole before its first use: some 8 GB/s from memory, but from a disk it delays the first answer. Of the second
 * kind a request needs a few pages only. */
enum { CHECK_AT_USE_BYTES = 64 << 20, CHECK_BULK_AT_USE_BYTES = 16 << 20 };

#define BIT(type) (UINT32_C(1) << (type))

static const uint32_t DERIVED = BIT(SECTION_NORMS) | BIT(SECTION_ID_HASH) | BIT(SECTION_CODES) |
                                BIT(SECTION_META_INDEX) | BIT(SECTION_TEXT_INDEX) | BIT(SECTION_SPARSE_LISTS);
static const uint32_t CERTAINTY = BIT(SECTION_IDS) | BIT(SECTION_ORDINALS) | BIT(SECTION_BORN);
static const uint32_t ROWS = BIT(SECTION_VECTORS) | BIT(SECTION_ORDINALS) | BIT(SECTION_BORN) | BIT(SECTION_IDS) |
                             BIT(SECTION_URIS) | BIT(SECTION_META) | BIT(SECTION_DOCUMENTS);

static const uint32_t BULK = BIT(SECTION_VECTORS) | BIT(SECTION_DOCUMENTS) | BIT(SECTION_META) | BIT(SECTION_URIS);

const char *section_name(enum section_type type)
{
    static const char *const names[SECTION_TYPES_] = {
        [SECTION_VECTORS] = "vectors",
        [SECTION_ORDINALS] = "ordinals",
        [SECTION_BORN] = "births",
        [SECTION_NORMS] = "norms",
        [SECTION_IDS] = "ids",
        [SECTION_ID_HASH] = "id hash",
        [SECTION_URIS] = "uris",
        [SECTION_META] = "metadata",
        [SECTION_DOCUMENTS] = "documents",
        [SECTION_CODES] = "vector codes",
        [SECTION_META_INDEX] = "metadata index",
        [SECTION_TEXT_INDEX] = "text index",
        [SECTION_SPARSE_LISTS] = "sparse lists",
    };
    return (unsigned)type < SECTION_TYPES_ && names[type] != NULL ? names[type] : "unknown";
}

const struct fragment_section *section_entry(const struct fragment *f, enum section_type type)
{
    for (uint32_t i = 0; i < f->header->n_sections; i++)
        if (f->header->sections[i].type == (uint32_t)type) return &f->header->sections[i];
    return NULL;
}

static uint32_t known_damage(const struct fragment *f)
{
    return atomic_load_explicit(&f->health->damaged, memory_order_acquire);
}

static void count(struct fragment_watch *w, uint32_t bits)
{
    if (w == NULL) return;
    if ((bits & DERIVED) != 0)
        atomic_fetch_add_explicit(&w->n_derived, (unsigned)__builtin_popcount(bits & DERIVED), memory_order_relaxed);
    if ((bits & ROWS) != 0)
        atomic_fetch_add_explicit(&w->n_rows, (unsigned)__builtin_popcount(bits & ROWS), memory_order_relaxed);
}

void section_condemn(const struct fragment *f, enum section_type type, const char *what)
{
    uint32_t bit = BIT(type), before = atomic_fetch_or(&f->health->damaged, bit);
    if ((before & bit) != 0) return;
    if ((bit & CERTAINTY) != 0) /* the one thing of a segment that readers may set */
        atomic_store_explicit((_Atomic bool *)(uintptr_t)&f->segment.is_unreadable, true, memory_order_release);
    const char *then = (bit & DERIVED) != 0 ? "it is done without, and will be made again"
                       : (bit & ROWS) != 0  ? "requests that need it are refused"
                                            : "it is not used";
    log_error("%s: %s (%s): %s", f->path, what, section_name(type), then);
    count(f->health->watch, bit);
}

bool section_check(const struct fragment *f, enum section_type type)
{
    const struct fragment_section *s = section_entry(f, type);
    bool is_right = s == NULL || crc32c(0, (const uint8_t *)f->map.p + s->offset, (size_t)s->length) == s->crc;
    if (is_right)
        (void)atomic_fetch_or_explicit(&f->health->checked, BIT(type), memory_order_release);
    else
        section_condemn(f, type, "a checksum is wrong");
    return is_right;
}

bool section_is_good(const struct fragment *f, enum section_type type)
{
    if ((known_damage(f) & BIT(type)) != 0) return false;
    if ((atomic_load_explicit(&f->health->checked, memory_order_acquire) & BIT(type)) != 0) return true;
    const struct fragment_section *s = section_entry(f, type);
    uint64_t most = (BIT(type) & BULK) != 0 ? CHECK_BULK_AT_USE_BYTES : CHECK_AT_USE_BYTES;
    return (s != NULL && s->length > most) || section_check(f, type);
}

enum err section_need(const struct fragment *f, enum section_type type, struct errmsg *em)
{
    if (section_is_good(f, type)) return ERR_OK;
    return errmsg_set(em, ERR_CORRUPT, "the section of %s is damaged", section_name(type));
}

/* --- for the store --------------------------------------------------------------------------------------------------- */

void fragment_set_watch(struct segment *s, struct fragment_watch *w)
{
    const struct fragment *f = fragment_of(s);
    f->health->watch = w;
    count(w, known_damage(f));
}

bool fragment_has_lost_rows(const struct segment *s)
{
    return (known_damage(fragment_of(s)) & ROWS) != 0;
}

bool fragment_wants_rebuild(const struct segment *s)
{
    uint32_t damage = known_damage(fragment_of(s));
    return (damage & DERIVED) != 0 && (damage & ROWS) == 0;
}

void fragment_note_scrub(const struct segment *s, uint32_t damaged)
{
    const struct fragment *f = fragment_of(s);
    for (uint32_t i = 0; i < f->header->n_sections; i++) {
        uint32_t type = f->header->sections[i].type;
        if (type >= SECTION_TYPES_) continue;
        if ((damaged & BIT(type)) != 0)
            section_condemn(f, (enum section_type)type, "the scrub found a section damaged");
        else
            (void)atomic_fetch_or_explicit(&f->health->checked, BIT(type), memory_order_release);
    }
}

/* --- everything ------------------------------------------------------------------------------------------------------ */

static enum err verify(const struct segment *s, uint32_t which, struct errmsg *em)
{
    const struct fragment *f = fragment_of(s);
    enum err e = fragment_check_header(f->map, em);
    for (uint32_t i = 0; e == ERR_OK && i < f->header->n_sections; i++) {
        const struct fragment_section *section = &f->header->sections[i];
        bool is_known = section->type < SECTION_TYPES_;
        if (is_known && (which & BIT(section->type)) == 0) continue;
        if (is_known ? section_check(f, (enum section_type)section->type)
                     : crc32c(0, (const uint8_t *)f->map.p + section->offset, (size_t)section->length) == section->crc)
            continue;
        e = errmsg_set(em, ERR_CORRUPT, "the checksum of section %u is wrong", section->type);
    }
    for (uint32_t row = 1; e == ERR_OK && row < f->n_rows; row++)
        if (f->ordinals[row - 1] >= f->ordinals[row])
            e = errmsg_set(em, ERR_CORRUPT, "row %u: ordinals do not ascend", row);
    if (e != ERR_OK) errmsg_wrap(em, "%s", f->path);
    return e;
}

enum err fragment_verify(const struct segment *s, struct errmsg *em)
{
    return verify(s, UINT32_MAX, em);
}

enum err fragment_verify_rows(const struct segment *s, struct errmsg *em)
{
    return verify(s, ROWS, em);
}
