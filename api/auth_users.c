/* auth_users.c - the YAML file of users and roles, in the form that Chroma's Python server had.
 *
 *   roles_mapping:
 *     reader: {actions: ["tenant:get_tenant", "collection:get"]}
 *   users:
 *     - id: bob
 *       tokens: ["tok-1", "tok-2"]
 *       tenant: default_tenant          # default: any
 *       databases: [default_database]   # default: any
 *       role: reader
 *
 * Without roles_mapping the roles are admin, writer and reader (auth_action.h), and a user without a role is admin
 * within its scope. With it, every user needs one of its roles.
 *
 * FAILURE     everything that is not understood stops the start, with file and line: a misspelt "tenant" that was
 *             passed over would leave its user without bounds. Tokens are never part of a message.
 * INVARIANT   only nodes of fixed depth are looked at, so aliases cannot make the walk long.
 */
#include "api/auth_internal.h"

#include <yaml.h>

struct reader {
    struct auth *auth;
    yaml_document_t document;
    const char *name;
    const yaml_node_t *roles; /* the mapping, or NULL */
    bool is_roles;            /* users that are known get roles; new ones are added without credentials */
    struct errmsg *em;
};

enum user_key { KEY_ID, KEY_TOKENS, KEY_TENANT, KEY_DATABASES, KEY_ROLE, N_USER_KEYS };

static enum err reject(const struct reader *r, const yaml_node_t *n, const char *text)
{
    return errmsg_set(r->em, ERR_INVALID, "%s:%zu: %s", r->name, n->start_mark.line + 1, text);
}

static bool is_text(const yaml_node_t *n)
{
    return n != NULL && n->type == YAML_SCALAR_NODE && n->data.scalar.length > 0;
}

static struct str text_of(const yaml_node_t *n)
{
    return str_of((const char *)n->data.scalar.value, n->data.scalar.length);
}

/* A mapping with none but these keys, each at most once; values[i] is NULL when keys[i] is absent. */
static enum err read_keys(struct reader *r, const yaml_node_t *map, const char *const *keys, size_t n,
                          const yaml_node_t **values)
{
    if (map->type != YAML_MAPPING_NODE) return reject(r, map, "expected \"key: value\" lines");
    for (size_t i = 0; i < n; i++) values[i] = NULL;
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(&r->document, p->key);
        size_t i = 0;
        while (i < n && is_text(k) && !str_eq(text_of(k), str_from_c(keys[i]))) i++;
        if (!is_text(k) || i == n) return reject(r, k != NULL ? k : map, "a key that is not known here");
        if (values[i] != NULL) return reject(r, k, "a key that was there before");
        values[i] = yaml_document_get_node(&r->document, p->value);
        if (values[i] == NULL) return reject(r, k, "a key without a value");
    }
    return ERR_OK;
}

/* --- roles ------------------------------------------------------------------------------------------------------- */

static enum err read_actions(struct reader *r, const yaml_node_t *role, auth_actions *actions)
{
    static const char *const keys[] = {"actions"};
    const yaml_node_t *list;
    enum err e = read_keys(r, role, keys, 1, &list);
    if (e != ERR_OK) return e;
    if (list == NULL || list->type != YAML_SEQUENCE_NODE) return reject(r, role, "a role needs a list of actions");
    *actions = 0;
    for (const yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top; i++) {
        const yaml_node_t *item = yaml_document_get_node(&r->document, *i);
        enum auth_action action = is_text(item) ? auth_action_of(text_of(item)) : ACTION_UNSET;
        if (action == ACTION_UNSET) return reject(r, item != NULL ? item : list, "an action that is not known");
        *actions |= ACTION_BIT(action);
    }
    return ERR_OK;
}

/* All of them, also those that no user has, so that a mistake is found when it is made. */
static enum err check_roles(struct reader *r)
{
    auth_actions actions;
    if (r->roles->type != YAML_MAPPING_NODE) return reject(r, r->roles, "roles_mapping: expected names of roles");
    for (const yaml_node_pair_t *p = r->roles->data.mapping.pairs.start; p < r->roles->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(&r->document, p->key);
        const yaml_node_t *v = yaml_document_get_node(&r->document, p->value);
        if (!is_text(k) || v == NULL) return reject(r, r->roles, "roles_mapping: expected names of roles");
        enum err e = read_actions(r, v, &actions);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

static enum err set_role(struct reader *r, size_t user, const yaml_node_t *map, const yaml_node_t *role)
{
    struct auth_user *u = &r->auth->users[user];
    if (role == NULL && (r->roles != NULL || r->is_roles)) return reject(r, map, "a user without a role");
    if (role == NULL) {
        u->actions = auth_role_actions(STR("admin"));
        return ERR_OK;
    }
    if (!is_text(role)) return reject(r, role, "expected the name of a role");
    if (r->roles == NULL) {
        auth_actions actions = auth_role_actions(text_of(role));
        if (actions == 0) return reject(r, role, "a role other than admin, writer and reader, and no roles_mapping");
        u->actions = actions;
        return ERR_OK;
    }
    const yaml_node_t *found = NULL;
    for (const yaml_node_pair_t *p = r->roles->data.mapping.pairs.start; p < r->roles->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(&r->document, p->key);
        if (str_eq(text_of(k), text_of(role))) found = yaml_document_get_node(&r->document, p->value);
    }
    if (found == NULL) return reject(r, role, "a role that is not in roles_mapping");
    return read_actions(r, found, &u->actions);
}

/* --- users ------------------------------------------------------------------------------------------------------- */

static enum err no_memory(const struct reader *r)
{
    return errmsg_set(r->em, ERR_NOMEM, "%s: out of memory", r->name);
}

static enum err set_tenant(struct reader *r, size_t user, const yaml_node_t *tenant)
{
    struct auth_user *u = &r->auth->users[user];
    if (!is_text(tenant)) return reject(r, tenant, "expected the name of a tenant, or \"*\"");
    if (str_eq(text_of(tenant), STR("*"))) {
        u->tenant = (struct str){NULL, 0};
        return ERR_OK;
    }
    struct str copy = arena_str(&r->auth->arena, text_of(tenant));
    if (copy.p == NULL) return no_memory(r);
    u->tenant = copy;
    return ERR_OK;
}

static enum err set_databases(struct reader *r, size_t user, const yaml_node_t *list)
{
    struct auth_user *u = &r->auth->users[user];
    if (list->type != YAML_SEQUENCE_NODE) return reject(r, list, "expected a list of databases");
    const yaml_node_item_t *first = list->data.sequence.items.start, *end = list->data.sequence.items.top;
    struct str *copy = arena_array(&r->auth->arena, (size_t)(end - first) + 1, sizeof *copy);
    bool any_database = false;
    uint32_t n = 0;
    if (copy == NULL) return no_memory(r);
    for (const yaml_node_item_t *i = first; i < end; i++) {
        const yaml_node_t *item = yaml_document_get_node(&r->document, *i);
        if (!is_text(item)) return reject(r, list, "expected a list of databases");
        any_database = any_database || str_eq(text_of(item), STR("*"));
        if ((copy[n++] = arena_str(&r->auth->arena, text_of(item))).p == NULL) return no_memory(r);
    }
    u->databases = copy;
    u->n_databases = n;
    u->any_database = any_database;
    return ERR_OK;
}

static enum err set_tokens(struct reader *r, size_t user, const yaml_node_t *list)
{
    if (list->type != YAML_SEQUENCE_NODE) return reject(r, list, "expected a list of tokens");
    for (const yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top; i++) {
        const yaml_node_t *item = yaml_document_get_node(&r->document, *i);
        if (item == NULL || item->type != YAML_SCALAR_NODE) return reject(r, list, "expected a list of tokens");
        enum err e = auth_add_token(r->auth, user, text_of(item), r->em);
        if (e != ERR_OK) {
            errmsg_wrap(r->em, "%s:%zu", r->name, item->start_mark.line + 1);
            return e;
        }
    }
    return ERR_OK;
}

static enum err read_user(struct reader *r, const yaml_node_t *map)
{
    static const char *const keys[N_USER_KEYS] = {"id", "tokens", "tenant", "databases", "role"};
    const yaml_node_t *v[N_USER_KEYS];
    size_t user;
    enum err e = read_keys(r, map, keys, N_USER_KEYS, v);
    if (e != ERR_OK) return e;
    if (v[KEY_ID] == NULL || !is_text(v[KEY_ID])) return reject(r, map, "a user without an id");
    bool is_known = auth_find_user(r->auth, text_of(v[KEY_ID]), &user);
    if (is_known && !r->is_roles) return reject(r, v[KEY_ID], "a user who is there twice");
    if (!is_known) e = auth_add_user(r->auth, text_of(v[KEY_ID]), &user, r->em);
    if (e == ERR_OK) e = set_role(r, user, map, v[KEY_ROLE]);
    if (e == ERR_OK && v[KEY_TENANT] != NULL) e = set_tenant(r, user, v[KEY_TENANT]);
    if (e == ERR_OK && v[KEY_DATABASES] != NULL) e = set_databases(r, user, v[KEY_DATABASES]);
    bool wants_tokens = r->auth->provider == AUTH_TOKEN && !r->is_roles;
    if (e == ERR_OK && wants_tokens && v[KEY_TOKENS] == NULL) return reject(r, map, "a user without tokens");
    if (e == ERR_OK && wants_tokens) e = set_tokens(r, user, v[KEY_TOKENS]);
    return e;
}

static enum err read_root(struct reader *r, const yaml_node_t *root)
{
    static const char *const keys[] = {"users", "roles_mapping"};
    const yaml_node_t *v[2];
    enum err e = read_keys(r, root, keys, 2, v);
    if (e != ERR_OK) return e;
    if (v[0] == NULL || v[0]->type != YAML_SEQUENCE_NODE) return reject(r, root, "expected a list of users");
    r->roles = v[1];
    if (r->roles != NULL && (e = check_roles(r)) != ERR_OK) return e;
    /* In a file of roles only who is named there may do anything. */
    for (size_t i = 0; r->is_roles && i < r->auth->n_users; i++) r->auth->users[i].actions = 0;
    for (const yaml_node_item_t *i = v[0]->data.sequence.items.start; i < v[0]->data.sequence.items.top; i++) {
        const yaml_node_t *user = yaml_document_get_node(&r->document, *i);
        if (user == NULL) return reject(r, v[0], "expected a list of users");
        if ((e = read_user(r, user)) != ERR_OK) return e;
    }
    return ERR_OK;
}

enum err auth_read_users(struct auth *a, const struct auth_text *t, bool is_roles, struct errmsg *em)
{
    struct reader r = {.auth = a, .name = t->name, .is_roles = is_roles, .em = em};
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return no_memory(&r);
    yaml_parser_set_input_string(&parser, (const unsigned char *)t->text.p, t->text.n);
    enum err e = ERR_OK;
    if (!yaml_parser_load(&parser, &r.document))
        e = parser.error == YAML_MEMORY_ERROR
                ? no_memory(&r)
                : errmsg_set(em, ERR_INVALID, "%s:%zu: not YAML", t->name, parser.problem_mark.line + 1);
    yaml_parser_delete(&parser);
    if (e != ERR_OK) return e;
    const yaml_node_t *root = yaml_document_get_root_node(&r.document);
    e = root != NULL ? read_root(&r, root) : errmsg_set(em, ERR_INVALID, "%s: there is no user in it", t->name);
    yaml_document_delete(&r.document);
    return e;
}
