/* backup_list.c - the file BACKUP: what a backup consists of. See docs/formats.md#backup.
 *
 *   chroma backup 1
 *   position 1234
 *   time 2026-11-25T02:00:00Z
 *   collections 2
 *   files 3
 *   28672 0a1b2c3d catalog.sqlite3
 *   ...
 *   end 4e5f6071
 *
 * FAILURE  a file that is not exactly so is damaged; one whose first line has a higher number is of a later program.
 * INVARIANT the name BACKUP appears by a rename, when everything it lists is durable.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/backup_internal.h"
#include "core/buf.h"
#include "core/crc32c.h"
#include "core/mem.h"
#include "wal/log_format.h"

#define HEAD "chroma backup "

static const uint64_t LIST_BYTES_MAX = UINT64_C(256) << 20;

enum err backup_list_add(struct backup_list *l, struct str name, struct errmsg *em)
{
    if (l->n == l->cap) {
        size_t cap = l->cap > 0 ? l->cap * 2 : 64;
        struct backup_file *files = arena_array(&l->arena, cap, sizeof *files);
        if (files == NULL) return errmsg_set(em, ERR_NOMEM, "list the files of a backup");
        if (l->n > 0) memcpy(files, l->files, l->n * sizeof *files);
        l->files = files;
        l->cap = cap;
    }
    struct str copy = arena_str(&l->arena, name);
    if (copy.p == NULL) return errmsg_set(em, ERR_NOMEM, "list the files of a backup");
    l->files[l->n++] = (struct backup_file){.name = copy};
    return ERR_OK;
}

void backup_list_free(struct backup_list *l)
{
    arena_free(&l->arena);
    *l = (struct backup_list){0};
}

void backup_list_sum(const struct backup_list *l, struct backup_summary *sum)
{
    *sum = (struct backup_summary){.position = l->position, .n_collections = l->n_collections, .n_files = l->n};
    for (size_t i = 0; i < l->n; i++) sum->bytes += l->files[i].size;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static enum err write_new(const struct vfs *v, const char *path, struct str text, struct errmsg *em)
{
    struct vfs_file *f = NULL;
    enum err e = v->open(v->ctx, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &f, em);
    if (e != ERR_OK) return e;
    e = v->pwrite(f, text.p, text.n, 0, em);
    if (e == ERR_OK) e = v->sync(f, false, em);
    v->close(f);
    return e;
}

enum err backup_list_write(const struct vfs *v, const char *dir, const struct backup_list *l, struct errmsg *em)
{
    char path[BACKUP_PATH_MAX], temporary[BACKUP_PATH_MAX];
    struct buf b = {0};
    if (!vfs_join(path, sizeof path, dir, "BACKUP") || !vfs_join(temporary, sizeof temporary, dir, "BACKUP.new"))
        return errmsg_set(em, ERR_INVALID, "the path %s is too long", dir);
    buf_printf(&b, HEAD "%d\nposition %" PRIu64 "\ntime %s\ncollections %" PRIu64 "\nfiles %zu\n", BACKUP_VERSION,
               l->position, l->time, l->n_collections, l->n);
    for (size_t i = 0; i < l->n; i++)
        buf_printf(&b, "%" PRIu64 " %08x " STR_FMT "\n", l->files[i].size, (unsigned)l->files[i].crc,
                   STR_ARG(l->files[i].name));
    buf_printf(&b, "end %08x\n", (unsigned)crc32c(0, buf_view(&b).p, b.n));
    enum err e = b.err != ERR_OK ? errmsg_set(em, b.err, "list the files of a backup") : ERR_OK;
    if (e == ERR_OK) e = write_new(v, temporary, buf_view(&b), em);
    buf_free(&b);
    if (e == ERR_OK) e = v->rename(v->ctx, temporary, path, em);
    return e == ERR_OK ? v->sync_dir(v->ctx, dir, em) : e;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static bool take(struct str *s, struct str prefix)
{
    if (!str_starts(*s, prefix)) return false;
    *s = str_of(s->p + prefix.n, s->n - prefix.n);
    return true;
}

static bool take_number(struct str *s, int base, uint64_t *v)
{
    size_t n = 0;
    uint64_t sum = 0;
    for (; n < s->n; n++) {
        char c = s->p[n];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 99;
        if (digit >= (unsigned)base) break;
        if (__builtin_mul_overflow(sum, (uint64_t)base, &sum) || __builtin_add_overflow(sum, digit, &sum)) return false;
    }
    if (n == 0) return false;
    *s = str_of(s->p + n, s->n - n);
    *v = sum;
    return true;
}

static bool take_line(struct str *s, struct str *line)
{
    const char *end = s->n > 0 ? memchr(s->p, '\n', s->n) : NULL;
    if (end == NULL) return false;
    *line = str_of(s->p, (size_t)(end - s->p));
    *s = str_of(end + 1, s->n - line->n - 1);
    return true;
}

/* "<word> <number>\n" */
static bool take_field(struct str *s, struct str word, uint64_t *v)
{
    return take(s, word) && take(s, STR(" ")) && take_number(s, 10, v) && take(s, STR("\n"));
}

static bool is_file_of_collection(struct str s)
{
    uint64_t number;
    return take_number(&s, 10, &number) && take(&s, STR("/")) && take_number(&s, 10, &number) &&
           (str_eq(s, STR(".fragment")) || str_eq(s, STR(".manifest")));
}

static bool is_name(struct str s)
{
    uint64_t number;
    bool is_spare;
    if (str_eq(s, STR("catalog.sqlite3"))) return true;
    if (take(&s, STR("wal/"))) return log_name_parse(s, &number, &is_spare) && !is_spare;
    return take(&s, STR("collections/")) && is_file_of_collection(s);
}

static bool read_entry(struct str line, struct backup_file *f)
{
    uint64_t size, crc;
    if (!take_number(&line, 10, &size) || !take(&line, STR(" "))) return false;
    if (!take_number(&line, 16, &crc) || crc > UINT32_MAX || !take(&line, STR(" ")) || !is_name(line)) return false;
    *f = (struct backup_file){line, size, (uint32_t)crc};
    return true;
}

static enum err parse(struct str text, struct backup_list *l, struct errmsg *em)
{
    struct str s = text, line;
    uint64_t version, n, crc;
    struct backup_file f;
    if (!take(&s, STR(HEAD)) || !take_number(&s, 10, &version))
        return errmsg_set(em, ERR_CORRUPT, "it is no list of a backup");
    if (version > BACKUP_VERSION) return errmsg_set(em, ERR_NEWER, "the backup was made by a later version");
    if (version != BACKUP_VERSION || !take(&s, STR("\n")) || !take_field(&s, STR("position"), &l->position) ||
        !take(&s, STR("time ")) || !take_line(&s, &line) || line.n >= sizeof l->time)
        return errmsg_set(em, ERR_CORRUPT, "its head is damaged");
    memcpy(l->time, line.p, line.n);
    if (!take_field(&s, STR("collections"), &l->n_collections) || !take_field(&s, STR("files"), &n))
        return errmsg_set(em, ERR_CORRUPT, "its head is damaged");
    for (uint64_t i = 0; i < n; i++) {
        if (!take_line(&s, &line) || !read_entry(line, &f))
            return errmsg_set(em, ERR_CORRUPT, "entry %" PRIu64 " is damaged", i);
        enum err e = backup_list_add(l, f.name, em);
        if (e != ERR_OK) return e;
        l->files[l->n - 1].size = f.size;
        l->files[l->n - 1].crc = f.crc;
    }
    uint32_t expected = crc32c(0, text.p, text.n - s.n);
    if (!take(&s, STR("end ")) || !take_number(&s, 16, &crc) || !str_eq(s, STR("\n")) || crc != expected)
        return errmsg_set(em, ERR_CORRUPT, "its end is damaged or missing");
    return ERR_OK;
}

static enum err read_text(const struct vfs *v, const char *path, char **text, size_t *n, struct errmsg *em)
{
    struct vfs_file *f = NULL;
    uint64_t size = 0;
    char *p = NULL;
    enum err e = v->open(v->ctx, path, VFS_READ, &f, em);
    if (e != ERR_OK) return e;
    e = v->size(f, &size, em);
    if (e == ERR_OK && size > LIST_BYTES_MAX) e = errmsg_set(em, ERR_CORRUPT, "it is too large");
    if (e == ERR_OK) {
        p = mem_alloc((size_t)size + 1);
        if (p == NULL) e = errmsg_set(em, ERR_NOMEM, "read %s", path);
    }
    if (e == ERR_OK) e = v->pread(f, p, (size_t)size, 0, em);
    v->close(f);
    if (e != ERR_OK) {
        mem_free(p);
        return e;
    }
    *text = p;
    *n = (size_t)size;
    return ERR_OK;
}

enum err backup_list_read(const struct vfs *v, const char *dir, struct backup_list *out, struct errmsg *em)
{
    char path[BACKUP_PATH_MAX], *text = NULL;
    size_t n = 0;
    struct backup_list l = {0};
    if (!vfs_join(path, sizeof path, dir, "BACKUP")) return errmsg_set(em, ERR_INVALID, "the path %s is too long", dir);
    enum err e = read_text(v, path, &text, &n, em);
    if (e == ERR_NOT_FOUND)
        return errmsg_set(em, e, "%s is no backup, or one that was not finished: it has no file BACKUP", dir);
    if (e == ERR_OK) e = parse(str_of(text, n), &l, em);
    mem_free(text);
    if (e != ERR_OK) {
        errmsg_wrap(em, "%s", path);
        backup_list_free(&l);
        return e;
    }
    *out = l;
    return ERR_OK;
}
