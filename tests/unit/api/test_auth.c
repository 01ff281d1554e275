/* test_auth.c - the policy: what its texts may say, who is recognised, who may do what on every row of the route table,
 * and that a password is verified once. bcrypt runs at its lowest cost here. */
#include "tests/lib/suite.h"

#include <crypt.h>
#include <stdio.h>

#include "api/auth_internal.h"
#include "api/routes.h"
#include "core/logger.h"
#include "core/mem.h"

static struct auth *auth;
static struct errmsg em;

static enum err make(const struct auth_options *o)
{
    em = (struct errmsg){{0}};
    auth = NULL;
    return auth_new(&auth, o, &em);
}

static struct auth_text text(const char *s)
{
    return (struct auth_text){str_from_c(s), "file"};
}

static enum err make_users(const char *yaml)
{
    return make(&(struct auth_options){.provider = AUTH_TOKEN, .users = text(yaml)});
}

static struct str header(const char *s)
{
    return str_from_c(s);
}

/* The id of who sends these headers, or "" when nobody is recognised. */
static const char *who(const char *authorization, const char *chroma_token)
{
    static char id[64];
    const struct auth_headers h = {header(authorization), header(chroma_token)};
    const struct auth_user *u = NULL;
    enum auth_result result =
        auth->provider == AUTH_BASIC ? auth_identify_basic(auth, &h, &u) : auth_identify_token(auth, &h, &u);
    if (result == AUTH_UNVERIFIED) result = auth_verify_basic(auth, &h, &u);
    ck_assert(result == AUTH_GOOD || result == AUTH_BAD);
    ck_assert((u != NULL) == (result == AUTH_GOOD));
    (void)snprintf(id, sizeof id, "%.*s", u != NULL ? (int)u->id.n : 0, u != NULL ? u->id.p : "");
    return id;
}

START_TEST(nothing_is_needed_without_a_provider)
{
    ck_ok(make(&(struct auth_options){.provider = AUTH_NONE}));
    ck_assert_ptr_null(auth);
    auth_free(auth);
}
END_TEST

START_TEST(a_token_is_found_in_its_headers)
{
    struct auth_options o = {.provider = AUTH_TOKEN, .token = text("s3cret\n")};
    ck_ok(make(&o));
    ck_assert_str_eq(who("Bearer s3cret", NULL), "anonymous");
    ck_assert_str_eq(who(NULL, "s3cret"), "anonymous");
    ck_assert_str_eq(who("Basic eDp5", "s3cret"), "anonymous"); /* a proxy's own */
    ck_assert_str_eq(who("Bearer wrong", "s3cret"), "");
    static const char *const wrong[] = {
        "",       "Bearer",       "Bearer ",      "Bearer  s3cret", "Bearer s3cret ", "Bearer s3cre", "Bearer s3crets",
        "s3cret", "Token s3cret", "Bearer S3cret"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) ck_assert_str_eq(who(wrong[i], NULL), "");
    ck_assert_str_eq(who(NULL, NULL), "");
    ck_assert_str_eq(who(NULL, ""), "");
    auth_free(auth);
    o.header = AUTH_HEADER_AUTHORIZATION;
    ck_ok(make(&o));
    ck_assert_str_eq(who("Bearer s3cret", NULL), "anonymous");
    ck_assert_str_eq(who(NULL, "s3cret"), "");
    auth_free(auth);
    o.header = AUTH_HEADER_CHROMA_TOKEN;
    ck_ok(make(&o));
    ck_assert_str_eq(who("Bearer s3cret", NULL), "");
    ck_assert_str_eq(who("Bearer wrong", "s3cret"), "anonymous");
    auth_free(auth);
}
END_TEST

START_TEST(options_must_fit_together)
{
    const struct auth_text t = text("tok"), u = text("users: [{id: a, tokens: [b]}]");
    const struct auth_options wrong[] = {{.provider = AUTH_TOKEN},
                                         {.provider = AUTH_TOKEN, .token = t, .users = u},
                                         {.provider = AUTH_TOKEN, .token = t, .roles = u},
                                         {.provider = AUTH_TOKEN, .token = t, .htpasswd = t},
                                         {.provider = AUTH_TOKEN, .token = text("")},
                                         {.provider = AUTH_TOKEN, .token = text("two words")},
                                         {.provider = AUTH_TOKEN, .token = text("one\ntwo")},
                                         {.provider = AUTH_BASIC},
                                         {.provider = AUTH_BASIC, .token = t},
                                         {.provider = AUTH_BASIC, .htpasswd = text("\n\n")},
                                         {.provider = AUTH_BASIC, .users = u}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        ck_assert_msg(make(&wrong[i]) == ERR_INVALID, "case %zu", i);
        ck_assert_ptr_null(auth);
        ck_assert_uint_gt(strlen(em.text), 0);
    }
}
END_TEST

#define ROLES "roles_mapping:\n  r: {actions: ['collection:get', 'db:get_database']}\n"

START_TEST(users_are_read)
{
    ck_ok(
        make_users("users:\n"
                   "- id: bob\n  tokens: [tok-1, \"tok-2\"]\n  tenant: acme\n  databases: [one, two]\n  role: reader\n"
                   "- {id: ann, tokens: [tok-3]}\n"
                   "- {id: eve, tokens: [tok-4], tenant: '*', databases: ['*'], role: writer}\n"
                   "- {id: nil, tokens: [tok-5], databases: []}\n"));
    size_t i;
    ck_assert_str_eq(who("Bearer tok-2", NULL), "bob");
    ck_assert_str_eq(who("Bearer tok-3", NULL), "ann");
    ck_assert_str_eq(who("Bearer tok-6", NULL), "");
    ck_assert(auth_find_user(auth, STR("bob"), &i));
    const struct auth_user *u = &auth->users[i];
    ck_assert(auth_covers_tenant(u, STR("acme")) && !auth_covers_tenant(u, STR("acm")) &&
              !auth_covers_tenant(u, STR("acme2")) && !auth_covers_tenant(u, STR("")));
    ck_assert(auth_covers_database(u, STR("one")) && auth_covers_database(u, STR("two")) &&
              !auth_covers_database(u, STR("on")) && !auth_covers_database(u, STR("")));
    ck_assert(!auth_is_unbounded(u) && u->actions == auth_role_actions(STR("reader")));
    ck_assert(auth_find_user(auth, STR("ann"), &i));
    ck_assert(auth_is_unbounded(&auth->users[i]) && auth->users[i].actions == auth_role_actions(STR("admin")));
    ck_assert(auth_find_user(auth, STR("eve"), &i));
    ck_assert(auth_is_unbounded(&auth->users[i]) && auth->users[i].actions == auth_role_actions(STR("writer")));
    ck_assert(auth_find_user(auth, STR("nil"), &i));
    ck_assert(!auth_is_unbounded(&auth->users[i]) && !auth_covers_database(&auth->users[i], STR("one")));
    auth_free(auth);

    ck_ok(make_users(ROLES "users: [{id: a, tokens: [t1], role: r}]"));
    ck_assert_uint_eq(auth->users[0].actions, ACTION_BIT(ACTION_GET) | ACTION_BIT(ACTION_GET_DATABASE));
    auth_free(auth);
}
END_TEST

START_TEST(files_with_mistakes_are_refused)
{
    static const struct {
        const char *yaml, *says;
    } wrong[] = {{"", "no user"},
                 {"[", "not YAML"},
                 {"- a", "file:1: expected \"key: value\""},
                 {"users: 3", "list of users"},
                 {"roles_mapping: {}", "list of users"},
                 {"users: [{id: a, tokens: [hush]}]\nuser: []", "file:2: a key that is not known"},
                 {"users:\n- {id: a, tokens: [hush], tennant: x}", "file:2: a key that is not known"},
                 {"users: [{id: a, tokens: [hush], id: b}]", "before"},
                 {"users: [{tokens: [hush]}]", "without an id"},
                 {"users: [{id: '', tokens: [hush]}]", "without an id"},
                 {"users: [{id: a}]", "without tokens"},
                 {"users: [{id: a, tokens: hush}]", "list of tokens"},
                 {"users: [{id: a, tokens: [[hush]]}]", "list of tokens"},
                 {"users: [{id: a, tokens: ['hush hush']}]", "file:1: a token must"},
                 {"users: [{id: a, tokens: ['']}]", "a token must"},
                 {"users: [{id: a, tokens: [hush]}, {id: a, tokens: [t2]}]", "there twice"},
                 {"users: [{id: a, tokens: [hush]}, {id: b, tokens: [hush]}]", "one user, once"},
                 {"users: [{id: a, tokens: [hush], tenant: [x]}]", "name of a tenant"},
                 {"users: [{id: a, tokens: [hush], tenant: ''}]", "name of a tenant"},
                 {"users: [{id: a, tokens: [hush], databases: x}]", "list of databases"},
                 {"users: [{id: a, tokens: [hush], databases: [{}]}]", "list of databases"},
                 {"users: [{id: a, tokens: [hush], role: boss}]", "no roles_mapping"},
                 {"users: [{id: a, tokens: [hush], role: [r]}]", "name of a role"},
                 {ROLES "users: [{id: a, tokens: [hush]}]", "without a role"},
                 {ROLES "users: [{id: a, tokens: [hush], role: admin}]", "not in roles_mapping"},
                 {"roles_mapping: {r: {actions: [x]}}\nusers: []", "an action that is not known"},
                 {"roles_mapping: {r: {action: []}}\nusers: []", "not known here"},
                 {"roles_mapping: {r: {}}\nusers: []", "list of actions"},
                 {"roles_mapping: [r]\nusers: []", "names of roles"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        ck_assert_msg(make_users(wrong[i].yaml) == ERR_INVALID, "%s", wrong[i].yaml);
        ck_assert_msg(strstr(em.text, wrong[i].says) != NULL, "%s: %s", wrong[i].yaml, em.text);
        ck_assert_msg(strstr(em.text, "hush") == NULL, "a secret shows: %s", em.text);
    }
}
END_TEST

START_TEST(a_file_of_roles_overrides)
{
    const struct auth_options o = {.provider = AUTH_TOKEN,
                                   .users = text("users: [{id: a, tokens: [t1]}, {id: b, tokens: [t2], tenant: x}]"),
                                   .roles = text(ROLES "users: [{id: b, role: r, tokens: [t2]}, {id: c, role: r}]")};
    size_t i;
    ck_ok(make(&o));
    ck_assert(auth_find_user(auth, STR("a"), &i));
    ck_assert_uint_eq(auth->users[i].actions, 0); /* not named there: nothing */
    ck_assert(auth_find_user(auth, STR("b"), &i));
    ck_assert_uint_eq(auth->users[i].actions, ACTION_BIT(ACTION_GET) | ACTION_BIT(ACTION_GET_DATABASE));
    ck_assert(!auth_covers_tenant(&auth->users[i], STR("y")));
    ck_assert_str_eq(who("Bearer t2", NULL), "b");
    auth_free(auth);
    struct auth_options no_role = o;
    no_role.roles = text("users: [{id: b}]");
    ck_assert_int_eq(make(&no_role), ERR_INVALID);
}
END_TEST

/* --- passwords --------------------------------------------------------------------------------------------------- */

/* "name:hash\n" of the password "p:w" (a colon belongs to it), at the lowest cost. */
static const char *htpasswd(const char *name)
{
    static char line[128];
    static struct crypt_data data;
    const char *hash = crypt_r("p:w", "$2y$04$abcdefghijklmnopqrstuu", &data);
    ck_assert_msg(hash != NULL && hash[0] == '$', "libcrypt has no bcrypt");
    (void)snprintf(line, sizeof line, "\n%s:%s\r\n", name, hash);
    return line;
}

START_TEST(passwords_are_verified_once)
{
    ck_ok(make(&(struct auth_options){.provider = AUTH_BASIC, .htpasswd = text(htpasswd("ann"))}));
    const struct auth_headers good = {header("Basic YW5uOnA6dw=="), {NULL, 0}};
    const struct auth_headers bad = {header("Basic YW5uOnA6eA=="), {NULL, 0}};
    const struct auth_user *u = NULL;
    ck_assert_int_eq(auth_identify_basic(auth, &good, &u), AUTH_UNVERIFIED);
    ck_assert_ptr_null(u);
    ck_assert_int_eq(auth_verify_basic(auth, &good, &u), AUTH_GOOD);
    ck_assert(str_eq(u->id, STR("ann")) && auth_is_unbounded(u) && u->actions == auth_role_actions(STR("admin")));
    u = NULL;
    ck_assert_int_eq(auth_identify_basic(auth, &good, &u), AUTH_GOOD);
    ck_assert(str_eq(u->id, STR("ann")));
    ck_assert_int_eq(auth_identify_basic(auth, &bad, &u), AUTH_UNVERIFIED);
    ck_assert_int_eq(auth_verify_basic(auth, &bad, &u), AUTH_BAD);
    ck_assert_int_eq(auth_identify_basic(auth, &bad, &u), AUTH_BAD); /* remembered too */
    ck_assert_str_eq(who("YW5uOnA6dw==", NULL), "ann");              /* the scheme may be missing */
    ck_assert_str_eq(who("basic YW5uOnA6dw==", NULL), "ann");
    ck_assert_str_eq(who("Basic Ym9iOnA6dw==", NULL), ""); /* bob:p:w */
    ck_assert_str_eq(who("Basic YW5uOnA6dwBg", NULL), ""); /* ann:p:w, NUL, more */
    static const char *const wrong[] = {"",
                                        "Basic",
                                        "Basic ",
                                        "Basic YW5u",
                                        "Basic =",
                                        "Basic YW5uOnA6dw",
                                        "Bearer YW5uOnA6dw==",
                                        "Basic YW5uOnA6dw== "};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const struct auth_headers h = {header(wrong[i]), {NULL, 0}};
        ck_assert_msg(auth_identify_basic(auth, &h, &u) == AUTH_BAD, "%s", wrong[i]);
    }
    auth_free(auth);
}
END_TEST

START_TEST(passwords_and_roles)
{
    const struct auth_options o = {.provider = AUTH_BASIC,
                                   .htpasswd = text(htpasswd("ann")),
                                   .users = text("users: [{id: ann, tenant: acme, role: reader}]")};
    size_t i;
    ck_ok(make(&o));
    ck_assert_str_eq(who("Basic YW5uOnA6dw==", NULL), "ann");
    ck_assert(auth_find_user(auth, STR("ann"), &i));
    ck_assert(!auth_is_unbounded(&auth->users[i]) && auth->users[i].actions == auth_role_actions(STR("reader")));
    auth_free(auth);
    struct auth_options other = o;
    other.users = text("users: [{id: someone, role: reader}]");
    ck_ok(make(&other));
    ck_assert_str_eq(who("Basic YW5uOnA6dw==", NULL), "ann");
    ck_assert(auth_find_user(auth, STR("ann"), &i));
    ck_assert_uint_eq(auth->users[i].actions, 0);
    ck_assert_str_eq(who("Basic c29tZW9uZTpwOnc=", NULL), ""); /* someone:p:w has no password */
    auth_free(auth);
}
END_TEST

START_TEST(htpasswd_mistakes_are_refused)
{
    static const char hash[] = "$2y$04$abcdefghijklmnopqrstuuHUvzOsSsR39OM0rvOFOYX45OS0zPIuu";
    static const struct {
        const char *format, *says;
    } wrong[] = {{"ann", "file:1: expected name:hash"},
                 {":%s", "expected name:hash"},
                 {"ann:hush", "not bcrypt"},
                 {"ann:$apr1$hush$hushhushhush", "not bcrypt"},
                 {"ann:$2y$04$hush", "not bcrypt"},
                 {"ann:$2y$31$abcdefghijklmnopqrstuuHUvzOsSsR39OM0rvOFOYX45OS0zPIuu", "not bcrypt"},
                 {"a:%s\nb:%s x", "file:2: user b: the hash is not bcrypt"},
                 {"a:%s\n\na:%s\n", "file:3: user a is there twice"}};
    char all[256];
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *f = wrong[i].format;
        size_t n = 0;
        for (; *f != '\0'; f++) { /* every %s is the hash */
            bool is_hash = f[0] == '%' && f[1] == 's';
            n += (size_t)snprintf(all + n, sizeof all - n, "%.*s", is_hash ? 60 : 1, is_hash ? hash : f);
            f += is_hash;
        }
        ck_assert_msg(make(&(struct auth_options){.provider = AUTH_BASIC, .htpasswd = text(all)}) == ERR_INVALID, "%s",
                      all);
        ck_assert_msg(strstr(em.text, wrong[i].says) != NULL, "%s: %s", all, em.text);
        ck_assert_ptr_null(strstr(em.text, "hush"));
    }
}
END_TEST

START_TEST(the_cache_is_bounded_and_forgets)
{
    static struct auth_cache c; /* zero: empty */
    struct auth_cache_entry e = {.is_good = true, .user = 7, .expires_s = 100}, found;
    ck_ok(auth_cache_init(&c, NULL));
    auth_cache_put(&c, &e, 50);
    ck_assert(auth_cache_get(&c, &e.digest, 99, &found) && found.user == 7 && found.is_good);
    ck_assert(!auth_cache_get(&c, &e.digest, 100, &found));
    for (uint8_t i = 1; i <= 10; i++) { /* wrong passwords of the same set do not drive it out */
        struct auth_cache_entry bad = {.expires_s = 60, .is_good = false};
        bad.digest.b[1] = i;
        auth_cache_put(&c, &bad, 50);
    }
    ck_assert(auth_cache_get(&c, &e.digest, 55, &found));
    for (uint8_t i = 1; i <= AUTH_CACHE_WAYS; i++) { /* right ones that live longer do */
        struct auth_cache_entry good = {.expires_s = 200u + i, .is_good = true, .user = i};
        good.digest.b[2] = i;
        auth_cache_put(&c, &good, 55);
    }
    ck_assert(!auth_cache_get(&c, &e.digest, 55, &found));
    for (uint8_t i = 1; i <= AUTH_CACHE_WAYS; i++) {
        struct auth_digest d = {{0}};
        d.b[2] = i;
        ck_assert(auth_cache_get(&c, &d, 55, &found) && found.user == i);
    }
    struct auth_cache_entry bad = {.expires_s = 60, .is_good = false};
    bad.digest.b[3] = 1;
    auth_cache_put(&c, &bad, 55); /* nowhere to go */
    ck_assert(!auth_cache_get(&c, &bad.digest, 55, &found));
    auth_cache_deinit(&c);
}
END_TEST

/* --- the routes -------------------------------------------------------------------------------------------------- */

START_TEST(actions_have_chromas_names)
{
    for (int a = ACTION_IDENTITY + 1; a < ACTION_COUNT_; a++) {
        const char *name = auth_action_name((enum auth_action)a);
        ck_assert_int_eq(auth_action_of(str_from_c(name)), a);
        ck_assert((auth_role_actions(STR("admin")) & ACTION_BIT(a)) != 0);
    }
    ck_assert_int_eq(auth_action_of(STR("")), ACTION_UNSET);
    ck_assert_int_eq(auth_action_of(STR("public")), ACTION_UNSET);
    auth_actions w = auth_role_actions(STR("writer")), r = auth_role_actions(STR("reader"));
    ck_assert((r & ~w) == 0 && r != w && auth_role_actions(STR("Admin")) == 0);
    ck_assert((r & (ACTION_BIT(ACTION_ADD) | ACTION_BIT(ACTION_DELETE) | ACTION_BIT(ACTION_CREATE_COLLECTION))) == 0);
    ck_assert((w & (ACTION_BIT(ACTION_RESET) | ACTION_BIT(ACTION_CREATE_TENANT))) == 0);
    ck_assert((w & ACTION_BIT(ACTION_UPSERT)) != 0);
}
END_TEST

START_TEST(every_route_says_what_it_needs)
{
    for (uint32_t i = 0; i < api_n_routes; i++) {
        const struct api_route *row = &api_routes[i];
        ck_assert_msg(row->action != ACTION_UNSET, "%s %s has no action", row->method, row->pattern);
        bool is_public = row->action == ACTION_PUBLIC;
        ck_assert_msg(!is_public || strstr(row->pattern, "/tenants") == NULL, "%s is public", row->pattern);
    }
}
END_TEST

static unsigned n_left;

static bool fail_late(void *ctx, size_t size)
{
    (void)ctx, (void)size;
    return n_left > 0 && n_left-- > 0;
}

START_TEST(short_memory_is_an_error)
{
    const struct auth_options o = {.provider = AUTH_BASIC,
                                   .htpasswd = text(htpasswd("ann")),
                                   .users = text("users: [{id: ann, tenant: acme, databases: [x, y], role: reader}]")};
    bool is_done = false;
    for (unsigned n = 0; !is_done; n++) {
        n_left = n;
        mem_set_hook(fail_late, NULL);
        enum err e = make(&o);
        mem_set_hook(NULL, NULL);
        ck_assert(e == ERR_OK || e == ERR_NOMEM);
        is_done = e == ERR_OK;
    }
    const struct auth_headers h = {header("Basic YW5uOnA6dw=="), {NULL, 0}};
    const struct auth_user *u = NULL;
    enum auth_result result = AUTH_SHORT;
    for (unsigned n = 0; result == AUTH_SHORT; n++) {
        n_left = n;
        mem_set_hook(fail_late, NULL);
        result = auth_verify_basic(auth, &h, &u);
        mem_set_hook(NULL, NULL);
    }
    ck_assert_int_eq(result, AUTH_GOOD);
    auth_free(auth);
}
END_TEST

TESTS(auth, nothing_is_needed_without_a_provider, a_token_is_found_in_its_headers, options_must_fit_together,
      users_are_read, files_with_mistakes_are_refused, a_file_of_roles_overrides, passwords_are_verified_once,
      passwords_and_roles, htpasswd_mistakes_are_refused, the_cache_is_bounded_and_forgets, actions_have_chromas_names,
      every_route_says_what_it_needs, short_memory_is_an_error)
