/* auth_action.h - the actions that roles are made of. Every row of the route table names one.
 * Internal to api/.
 */
#ifndef API_AUTH_ACTION_H
#define API_AUTH_ACTION_H

#include "core/bytes.h"

/* code, Chroma's name, the built-in roles that have it: A(dmin), W(riter), R(eader) */
#define AUTH_ACTION_TABLE(X)                                                                                           \
    X(RESET, "system:reset", A)                                                                                        \
    X(METRICS, "system:metrics", A)                                                                                    \
    X(CREATE_TENANT, "tenant:create_tenant", A)                                                                        \
    X(GET_TENANT, "tenant:get_tenant", A | W | R)                                                                      \
    X(UPDATE_TENANT, "tenant:update_tenant", A)                                                                        \
    X(GET_USAGE, "tenant:get_usage", A)                                                                                \
    X(CREATE_DATABASE, "db:create_database", A)                                                                        \
    X(GET_DATABASE, "db:get_database", A | W | R)                                                                      \
    X(DELETE_DATABASE, "db:delete_database", A)                                                                        \
    X(LIST_DATABASES, "db:list_databases", A | W | R)                                                                  \
    X(LIST_COLLECTIONS, "db:list_collections", A | W | R)                                                              \
    X(COUNT_COLLECTIONS, "db:count_collections", A | W | R)                                                            \
    X(CREATE_COLLECTION, "db:create_collection", A | W)                                                                \
    X(GET_OR_CREATE_COLLECTION, "db:get_or_create_collection", A | W)                                                  \
    X(GET_COLLECTION, "collection:get_collection", A | W | R)                                                          \
    X(GET_COLLECTION_BY_CRN, "collection:get_collection_by_crn", A | W | R)                                            \
    X(UPDATE_COLLECTION, "collection:update_collection", A | W)                                                        \
    X(DELETE_COLLECTION, "collection:delete_collection", A | W)                                                        \
    X(FORK_COLLECTION, "collection:fork_collection", A | W)                                                            \
    X(COUNT_FORKS, "collection:count_forks", A | W | R)                                                                \
    X(ADD, "collection:add", A | W)                                                                                    \
    X(UPDATE, "collection:update", A | W)                                                                              \
    X(UPSERT, "collection:upsert", A | W)                                                                              \
    X(DELETE, "collection:delete", A | W)                                                                              \
    X(GET, "collection:get", A | W | R)                                                                                \
    X(QUERY, "collection:query", A | W | R)                                                                            \
    X(SEARCH, "collection:search", A | W | R)                                                                          \
    X(COUNT, "collection:count", A | W | R)                                                                            \
    X(CREATE_FUNCTION, "collection:create_attached_function", A | W)                                                   \
    X(REMOVE_FUNCTION, "collection:remove_attached_function", A | W)

enum auth_action {
    ACTION_UNSET,    /* a row that was forgotten: nobody may (a test finds it) */
    ACTION_PUBLIC,   /* no credentials needed */
    ACTION_IDENTITY, /* any valid credentials */
#define ACTION_ENUM_(code, name, roles) ACTION_##code,
    AUTH_ACTION_TABLE(ACTION_ENUM_)
#undef ACTION_ENUM_
        ACTION_COUNT_
};

/* A set of actions is a bit each. */
typedef uint64_t auth_actions;
_Static_assert(ACTION_COUNT_ <= 64, "a set of actions fits its type");

#define ACTION_BIT(action) (UINT64_C(1) << (action))

/* ACTION_UNSET: no such name. */
enum auth_action auth_action_of(struct str name);
const char *auth_action_name(enum auth_action action);
/* Of a built-in role (admin, writer, reader); 0: no such role. */
auth_actions auth_role_actions(struct str role);

#endif
