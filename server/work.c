/* work.c - see work.h.
 */
#include "server/work.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static enum err run_backup(struct store *s, const char *to, char answer[WORK_ANSWER_MAX], struct errmsg *em)
{
    struct backup_summary sum;
    if (to[0] != '/') return errmsg_set(em, ERR_SHAPE, "a backup wants an absolute path");
    enum err e = store_backup(s, to, &sum, em);
    if (e != ERR_OK) return e;
    (void)snprintf(answer, WORK_ANSWER_MAX,
                   "backed up: position=%" PRIu64 " collections=%" PRIu64 " files=%" PRIu64 " bytes=%" PRIu64,
                   sum.position, sum.n_collections, sum.n_files, sum.bytes);
    return ERR_OK;
}

static enum err run_compact(struct store *s, const char *which, char answer[WORK_ANSWER_MAX], struct errmsg *em)
{
    struct compact_summary sum;
    enum err e = store_compact_now(s, which, &sum, em);
    if (e != ERR_OK) return e;
    (void)snprintf(answer, WORK_ANSWER_MAX,
                   "compacted: collections=%" PRIu64 " fragments=%" PRIu64 "->%" PRIu64 " bytes=%" PRIu64 "->%" PRIu64,
                   sum.n_collections, sum.fragments_before, sum.fragments_after, sum.bytes_before, sum.bytes_after);
    return ERR_OK;
}

enum err work_run(struct store *s, const char *line, char answer[WORK_ANSWER_MAX], struct errmsg *em)
{
    if (strncmp(line, "backup ", 7) == 0) return run_backup(s, line + 7, answer, em);
    if (strcmp(line, "compact") == 0) return run_compact(s, NULL, answer, em);
    if (strncmp(line, "compact ", 8) == 0) return run_compact(s, line + 8, answer, em);
    return errmsg_set(em, ERR_SHAPE, "no such request");
}

static enum err open_store(struct store **s, const char *dir, struct errmsg *em)
{
    const struct vfs *v = vfs_posix();
    const struct store_options o = {.path = dir, .no_compactor = true};
    struct vfs_file *f;
    char catalog[4096];
    if (!vfs_join(catalog, sizeof catalog, dir, "catalog.sqlite3"))
        return errmsg_set(em, ERR_INVALID, "the path is too long");
    enum err e = v->open(v->ctx, catalog, VFS_READ, &f, em);
    if (e == ERR_NOT_FOUND) return errmsg_set(em, e, "%s holds no data of this server", dir);
    if (e != ERR_OK) return e;
    v->close(f);
    e = store_open(s, &o, em);
    if (e != ERR_OK) errmsg_wrap(em, "open the data in %s", dir);
    if (e == ERR_LOCKED) errmsg_wrap(em, "a server that does not listen on %s/control", dir);
    return e;
}

/* The log gives files back by a thread of its own; what has stayed goes at the next start. */
static void wait_for_log(struct store *s)
{
    enum { ROUNDS = 100, STEP_NS = 10000000 };
    static const uint64_t SMALL = 1 << 20;
    const struct timespec step = {.tv_nsec = STEP_NS};
    struct store_health h;
    for (int i = 0; i < ROUNDS; i++) {
        store_health(s, &h);
        if (h.log.live_bytes > 0 || (h.log.n_segments <= 1 && h.log.disk_bytes <= SMALL)) break;
        (void)nanosleep(&step, NULL);
    }
}

enum err work_alone(const char *dir, const char *line, char answer[WORK_ANSWER_MAX], struct errmsg *em)
{
    struct store *s = NULL;
    enum err e = open_store(&s, dir, em);
    if (e != ERR_OK) return e;
    e = work_run(s, line, answer, em);
    if (e == ERR_OK) wait_for_log(s);
    store_close(s);
    return e;
}
