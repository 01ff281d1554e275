/* catalog_rig.h - a catalog on a file of the test's own, and collections for it.
 *
 * THREADS  the test's.
 */
#ifndef TESTS_CATALOG_RIG_H
#define TESTS_CATALOG_RIG_H

#include "tests/lib/suite.h"

#include <stdatomic.h>
#include <stdio.h>

#include "catalog/catalog.h"
#include "core/mem.h"

#define T STR("default_tenant")
#define D STR("default_database")

static char path[256];

static inline struct catalog *open_file(void)
{
    struct catalog *c = NULL;
    struct errmsg em = {""};
    enum err e = catalog_open(&c, vfs_posix(), path, &em);
    ck_assert_msg(e == ERR_OK, "%s", em.text);
    return c;
}

static inline struct catalog *fresh(void)
{
    (void)snprintf(path, sizeof path, "%s/catalog.sqlite3", tmp_dir());
    return open_file();
}

static inline struct catalog *reopen(struct catalog *c)
{
    catalog_close(c);
    return open_file();
}

static inline struct catalog_new_collection plan(const char *name)
{
    return (struct catalog_new_collection){.tenant = T,
                                           .database = D,
                                           .name = str_from_c(name),
                                           .configuration = STR("{\"hnsw\":1}"),
                                           .schema = STR("{\"keys\":2}"),
                                           .metadata = {"\0m\xff", 3},
                                           .space = 2};
}

static inline const struct catalog_collection *make(struct catalog *c, const char *name)
{
    struct catalog_new_collection in = plan(name);
    const struct catalog_collection *col = NULL;
    bool is_new = false;
    ck_ok(catalog_create_collection(c, &in, &col, &is_new, NULL));
    ck_assert(is_new);
    return col;
}

static inline uint64_t make_number(struct catalog *c, const char *name)
{
    const struct catalog_collection *col = make(c, name);
    uint64_t number = col->number;
    catalog_collection_unref(col);
    return number;
}

static inline bool exists(struct catalog *c, const char *name)
{
    const struct catalog_collection *col = catalog_collection_by_name(c, T, D, str_from_c(name));
    catalog_collection_unref(col);
    return col != NULL;
}

static inline void expect_databases(struct catalog *c, struct str tenant, uint32_t limit, uint32_t offset,
                                    const char *names)
{
    struct arena a = {0};
    struct catalog_database *list = NULL;
    size_t n = 99;
    ck_ok(catalog_list_databases(c, tenant, limit, offset, &a, &list, &n));
    char got[256] = "";
    for (size_t i = 0; i < n; i++) {
        ck_assert(str_eq(list[i].tenant, tenant));
        struct uuid id;
        ck_ok(catalog_get_database(c, tenant, list[i].name, &id));
        ck_assert(uuid_eq(&id, &list[i].id));
        strncat(got, list[i].name.p, sizeof got - strlen(got) - 2);
        strcat(got, " ");
    }
    ck_assert_str_eq(got, names);
    arena_free(&a);
}

/* A live object, and what happens to it. */
struct live {
    struct catalog_runtime runtime; /* first */
    struct catalog *c;
    uint64_t number;
    int n_attached, n_freed;
    enum err answer;
};

static inline void count_free(struct catalog_runtime *r)
{
    ((struct live *)(void *)r)->n_freed++;
}

#endif
