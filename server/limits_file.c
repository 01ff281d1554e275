/* limits_file.c - see limits_file.h.
 *
 *   tenants:
 *     acme:
 *       rate_limit: {writes_per_second: 10}
 *       quota: {num_collections: 5}
 *
 * Keys, ranges and meaning are those of the configuration (server/config_table.c); what a tenant does not set it has from
 * there, and 0 lifts a limit for it.
 * FAILURE     everything that is not understood stops the start, with file and line: a misspelt quota is none.
 * INVARIANT   only nodes of fixed depth are looked at, so aliases cannot make the walk long.
 */
#include "server/limits_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "core/mem.h"
#include "core/vfs.h"

enum { LIMITS_FILE_MAX = 16 << 20, KEY_MAX_BYTES = 128 };

struct reader {
    struct limits_file *file;
    const struct config *config;
    yaml_document_t document;
    const char *name;
    struct errmsg *em;
};

static struct str text_of(const yaml_node_t *n)
{
    return str_of((const char *)n->data.scalar.value, n->data.scalar.length);
}

static enum err reject(const struct reader *r, const yaml_node_t *n, const char *text)
{
    return errmsg_set(r->em, ERR_INVALID, "%s:%zu: %s", r->name, n->start_mark.line + 1, text);
}

static enum err no_memory(const struct reader *r)
{
    return errmsg_set(r->em, ERR_NOMEM, "%s: out of memory", r->name);
}

typedef enum err (*member_reader)(struct reader *r, const yaml_node_t *key, const yaml_node_t *value, void *ctx);

static enum err each_member(struct reader *r, const yaml_node_t *map, member_reader read, void *ctx)
{
    if (map->type != YAML_MAPPING_NODE) return reject(r, map, "expected \"key: value\" lines");
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(&r->document, p->key);
        const yaml_node_t *value = yaml_document_get_node(&r->document, p->value);
        if (key == NULL || value == NULL || key->type != YAML_SCALAR_NODE || key->data.scalar.length == 0)
            return reject(r, map, "expected \"key: value\" lines");
        enum err e = read(r, key, value, ctx);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

struct group {
    const char *name;
    struct tenant_rules *rules;
};

static enum err read_limit(struct reader *r, const yaml_node_t *key, const yaml_node_t *value, void *ctx)
{
    const struct group *g = ctx;
    char name[KEY_MAX_BYTES];
    struct str own = text_of(key);
    int n = snprintf(name, sizeof name, "%s.%.*s", g->name, (int)(own.n < 100 ? own.n : 100), own.p);
    const struct config_key *k = config_find(str_of(name, n > 0 ? (size_t)n : 0));
    if (k == NULL || k->type != CONFIG_NUMBER) return reject(r, key, "there is no such limit");
    uint64_t v;
    if (value->type != YAML_SCALAR_NODE || !config_parse_number(text_of(value), &v) || v < k->min || v > k->max)
        return errmsg_set(r->em, ERR_INVALID, "%s:%zu: %s: expected a whole number from %llu to %llu", r->name,
                          value->start_mark.line + 1, name, (unsigned long long)k->min, (unsigned long long)k->max);
    CHECK(k->offset >= offsetof(struct config, limits) &&
          k->offset < offsetof(struct config, limits) + sizeof(struct tenant_rules) && "the group's keys are limits");
    *(uint64_t *)(void *)((char *)g->rules + (k->offset - offsetof(struct config, limits))) = v;
    return ERR_OK;
}

static enum err read_group(struct reader *r, const yaml_node_t *key, const yaml_node_t *value, void *ctx)
{
    static const char *const names[] = {"rate_limit", "quota"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!str_eq(text_of(key), str_from_c(names[i]))) continue;
        return each_member(r, value, read_limit, &(struct group){names[i], ctx});
    }
    return reject(r, key, "expected rate_limit or quota");
}

static enum err read_tenant(struct reader *r, const yaml_node_t *key, const yaml_node_t *value, void *ctx)
{
    struct tenant_override *list = ctx;
    struct limits_options *o = &r->file->options;
    struct tenant_override *t = &list[o->n_overrides];
    *t = (struct tenant_override){arena_str(&r->file->arena, text_of(key)), r->config->limits};
    if (t->tenant.p == NULL) return no_memory(r);
    o->n_overrides++;
    return each_member(r, value, read_group, &t->rules);
}

static int compare_tenants(const void *a, const void *b)
{
    return str_cmp(((const struct tenant_override *)a)->tenant, ((const struct tenant_override *)b)->tenant);
}

/* Sorts the list, for which its order does not matter. */
static enum err refuse_twins(const struct reader *r, struct tenant_override *list, size_t n)
{
    qsort(list, n, sizeof *list, compare_tenants);
    for (size_t i = 1; i < n; i++)
        if (str_eq(list[i - 1].tenant, list[i].tenant))
            return errmsg_set(r->em, ERR_INVALID, "%s: the tenant \"%.*s\" is there twice", r->name,
                              (int)(list[i].tenant.n < 100 ? list[i].tenant.n : 100), list[i].tenant.p);
    return ERR_OK;
}

static enum err read_root(struct reader *r, const yaml_node_t *key, const yaml_node_t *value, void *ctx)
{
    (void)ctx;
    if (!str_eq(text_of(key), STR("tenants"))) return reject(r, key, "expected tenants");
    if (value->type != YAML_MAPPING_NODE) return reject(r, value, "expected names of tenants");
    if (r->file->options.overrides != NULL) return reject(r, key, "tenants are there twice");
    size_t n = (size_t)(value->data.mapping.pairs.top - value->data.mapping.pairs.start);
    struct tenant_override *list = arena_array(&r->file->arena, n + 1, sizeof *list);
    if (list == NULL) return no_memory(r);
    r->file->options.overrides = list;
    enum err e = each_member(r, value, read_tenant, list);
    return e == ERR_OK ? refuse_twins(r, list, r->file->options.n_overrides) : e;
}

enum err limits_file_read(struct limits_file *f, const struct config *c, struct str text, const char *name,
                          struct errmsg *em)
{
    struct reader r = {.file = f, .config = c, .name = name, .em = em};
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return no_memory(&r);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
    enum err e = ERR_OK;
    if (!yaml_parser_load(&parser, &r.document))
        e = parser.error == YAML_MEMORY_ERROR
                ? no_memory(&r)
                : errmsg_set(em, ERR_INVALID, "%s:%zu: not YAML", name, parser.problem_mark.line + 1);
    yaml_parser_delete(&parser);
    if (e != ERR_OK) return e;
    const yaml_node_t *root = yaml_document_get_root_node(&r.document);
    if (root != NULL) e = each_member(&r, root, read_root, NULL); /* an empty file sets nothing */
    yaml_document_delete(&r.document);
    return e;
}

static enum err read_file(struct limits_file *f, const struct config *c, struct errmsg *em)
{
    const struct vfs *vfs = vfs_posix();
    struct vfs_file *file = NULL;
    char *text = NULL;
    uint64_t size = 0;
    enum err e = vfs->open(vfs->ctx, c->limits_file, VFS_READ, &file, em);
    if (e == ERR_NOT_FOUND) return errmsg_set(em, e, "limits_file %s does not exist", c->limits_file);
    if (e != ERR_OK) return e;
    if ((e = vfs->size(file, &size, em)) != ERR_OK) goto out;
    if (size > LIMITS_FILE_MAX) {
        e = errmsg_set(em, ERR_INVALID, "%s: larger than such a file can be", c->limits_file);
        goto out;
    }
    if ((text = mem_alloc((size_t)size + 1)) == NULL) {
        e = errmsg_set(em, ERR_NOMEM, "read %s", c->limits_file);
        goto out;
    }
    if ((e = vfs->pread(file, text, (size_t)size, 0, em)) == ERR_OK)
        e = limits_file_read(f, c, str_of(text, (size_t)size), c->limits_file, em);
out:
    mem_free(text);
    vfs->close(file);
    return e;
}

enum err limits_file_open(struct limits_file *f, const struct config *c, struct errmsg *em)
{
    *f = (struct limits_file){.options = {.defaults = c->limits,
                                          .has_scorecard = c->scorecard_enabled,
                                          .scorecard = c->scorecard,
                                          .n_scorecard = c->n_scorecard,
                                          .store_interval_s = (uint32_t)c->usage_store_interval_s}};
    enum err e = c->limits_file != NULL ? read_file(f, c, em) : ERR_OK;
    if (e != ERR_OK) limits_file_close(f);
    return e;
}

void limits_file_close(struct limits_file *f)
{
    arena_free(&f->arena);
    *f = (struct limits_file){0};
}
