/* test_config.c - the table of settings, and what fills it: YAML, environment, command line. */
#include "tests/lib/suite.h"

#include <stdio.h>

#include "api/auth.h"
#include "core/mem.h"
#include "server/cli.h"

static struct config c;
static struct errmsg em;

static void setup(void)
{
    memset(&em, 0, sizeof em);
    ck_ok(config_init(&c, &em));
}

static enum err yaml(const char *text)
{
    return config_read_yaml(&c, str_from_c(text), "t.yaml", &em);
}

static enum err env(char *const *environment)
{
    return config_read_environment(&c, environment, &em);
}

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s: tests run from the top of the tree", path);
    static char text[1 << 17];
    *n = fread(text, 1, sizeof text - 1, f);
    ck_assert_uint_lt(*n, sizeof text - 1);
    text[*n] = '\0';
    (void)fclose(f);
    return text;
}

START_TEST(defaults_are_those_of_the_table)
{
    setup();
    ck_assert_str_eq(c.persist_path, "./chroma");
    ck_assert_str_eq(c.listen_address, "0.0.0.0");
    ck_assert_uint_eq(c.port, 8000);
    ck_assert_uint_eq(c.max_payload_size_bytes, 41943040);
    ck_assert(!c.allow_reset && !c.ephemeral);
    ck_assert_uint_eq(c.n_cors_allow_origins, 0);
    ck_assert_int_eq(c.log_level, LOG_INFO);
    config_free(&c);
}
END_TEST

START_TEST(no_key_twice_and_every_key_found)
{
    for (size_t i = 0; i < config_n_keys; i++) {
        ck_assert_ptr_eq(config_find(str_from_c(config_keys[i].name)), &config_keys[i]);
        ck_assert(config_keys[i].type == CONFIG_NO_EFFECT || strlen(config_keys[i].help) > 20);
    }
    ck_assert_ptr_nonnull(config_find(STR("open_telemetry.filters")));
    ck_assert_ptr_null(config_find(STR("open_telemetry_endpoint")));
    ck_assert_ptr_null(config_find(STR("circuit_breaker")));
    ck_assert_ptr_null(config_find(STR("")));
}
END_TEST

START_TEST(chroma_conf_is_what_the_table_says)
{
    size_t n;
    const char *text = read_file("chroma.conf", &n);
    struct buf want = {0};
    config_write_example(&want);
    ck_assert_int_eq(want.err, ERR_OK);
    ck_assert_msg(str_eq(str_of(text, n), buf_view(&want)), "run: build/chroma help config > chroma.conf");
    buf_free(&want);
    setup(); /* and it is a configuration file */
    ck_ok(config_read_yaml(&c, str_of(text, n), "chroma.conf", &em));
    ck_assert_uint_eq(c.unknown.n, 0);
    ck_assert_uint_eq(c.warnings.n, 0);
    ck_assert_uint_eq(c.port, 8000);
    config_free(&c);
}
END_TEST

START_TEST(the_documentation_names_every_key)
{
    size_t n;
    const char *text = read_file("docs/configuration.md", &n);
    for (size_t i = 0; i < config_n_keys; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "`%s`", config_keys[i].name);
        ck_assert_msg(strstr(text, name) != NULL, "%s is not in docs/configuration.md", name);
        if (config_keys[i].type == CONFIG_NUMBER) {
            char row[256];
            (void)snprintf(row, sizeof row, "%s | %s |", name, config_keys[i].initial);
            ck_assert_msg(strstr(text, row) != NULL, "docs/configuration.md has no row \"%s\"", row);
        }
    }
}
END_TEST

START_TEST(yaml_sets_what_it_knows_and_names_the_rest)
{
    setup();
    ck_ok(yaml("port: 9001\n"
               "listen_address: \"127.0.0.1\"\n"
               "persist_path: '/data/x y'\n"
               "allow_reset: True\n"
               "cors_allow_origins: [\"http://a\", http://b]\n"
               "circuit_breaker:\n  requests: 7\n  other: 1\n"
               "open_telemetry:\n  endpoint: x\n  filters:\n    - {crate_name: y}\n"
               "sqlitedb: {hash_type: sha256}\n"
               "log_level: WARN\n"
               "max_payload_size_bytes:\n"
               "wrong_key: {a: [1, 2]}\n"
               "b: 1\n"));
    ck_assert_uint_eq(c.port, 9001);
    ck_assert_str_eq(c.listen_address, "127.0.0.1");
    ck_assert_str_eq(c.persist_path, "/data/x y");
    ck_assert(c.allow_reset);
    ck_assert_uint_eq(c.n_cors_allow_origins, 2);
    ck_assert(str_eq(c.cors_allow_origins[1], STR("http://b")));
    ck_assert_uint_eq(c.circuit_breaker_requests, 7);
    ck_assert_int_eq(c.log_level, LOG_WARN);
    ck_assert_uint_eq(c.max_payload_size_bytes, 41943040);
    ck_assert(str_eq(buf_view(&c.unknown), STR("circuit_breaker.other, wrong_key, b")));
    ck_assert(
        str_eq(buf_view(&c.warnings), STR("t.yaml:10: open_telemetry is accepted, but has no effect in this server\n"
                                          "t.yaml:13: sqlitedb is accepted, but has no effect in this server\n")));
    ck_ok(config_check(&c, &em));
    config_free(&c);
}
END_TEST

START_TEST(empty_yaml_changes_nothing)
{
    static const char *const texts[] = {"", "\n# nothing\n", "---\n", "~", "circuit_breaker:\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        setup();
        ck_ok(yaml(texts[i]));
        ck_assert_uint_eq(c.unknown.n, 0);
        ck_assert_uint_eq(c.port, 8000);
        config_free(&c);
    }
}
END_TEST

START_TEST(wrong_values_stop_with_place_and_range)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"port: abc\n", "t.yaml:1: port: expected a whole number from 0 to 65535, found \"abc\""},
        {"\n\nport: 65536\n", "t.yaml:3: port: expected a whole number from 0 to 65535, found \"65536\""},
        {"port: -1\n", "t.yaml:1: port: expected a whole number from 0 to 65535, found \"-1\""},
        {"port: 1e3\n", "found \"1e3\""},
        {"port: 99999999999999999999999\n", "found"},
        {"port: [1]\n", "t.yaml:1: port: expected a single value"},
        {"port: {a: 1}\n", "t.yaml:1: port: expected a single value"},
        {"allow_reset: maybe\n", "allow_reset: expected true or false, found \"maybe\""},
        {"log_level: loud\n", "log_level: expected debug, info, warn, error or none, found \"loud\""},
        {"persist_path: ''\n", "persist_path: must not be empty"},
        {"persist_path: \"a\\0b\"\n", "persist_path: must not contain a NUL byte"},
        {"cors_allow_origins: [[a]]\n", "cors_allow_origins: expected a list of texts"},
        {"loops: 2\n", "loops: expected"},
        {"port: 1\n  b: 2\n", "t.yaml:2: not YAML"},
        {"a: [1\n", "not YAML"},
        {"- a\n- b\n", "t.yaml: expected \"key: value\" lines"},
        {"text", "t.yaml: expected \"key: value\" lines"},
        {"? [a]\n: 1\n", "expected keys that are texts"},
        {"a: \xff\xff\n", "not YAML"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        setup();
        ck_assert_int_eq(yaml(cases[i].text), ERR_INVALID);
        ck_assert_msg(strstr(em.text, cases[i].says) != NULL, "case %zu says: %s", i, em.text);
        config_free(&c);
    }
}
END_TEST

START_TEST(aliases_cannot_blow_the_reader_up)
{
    setup();
    struct buf b = {0};
    buf_lit(&b, "a0: &a0 {x: 1}\n");
    for (int i = 1; i < 40; i++) buf_printf(&b, "a%d: &a%d {l: *a%d, r: *a%d}\n", i, i, i - 1, i - 1);
    buf_lit(&b, "circuit_breaker: *a39\n");
    ck_ok(config_read_yaml(&c, buf_view(&b), "t.yaml", &em));
    ck_assert_uint_le(c.unknown.n, 4096);
    buf_free(&b);
    config_free(&c);
}
END_TEST

START_TEST(environment_overrides)
{
    char *variables[] = {(char[]){"CHROMA_PORT=8001"},
                         (char[]){"CHROMA_CIRCUIT_BREAKER__REQUESTS=10"},
                         (char[]){"chroma_allow_reset=TRUE"},
                         (char[]){"CHROMA_CORS_ALLOW_ORIGINS=[\"http://a\",\"http://b\"]"},
                         (char[]){"CHROMA_LISTEN_ADDRESS="},
                         (char[]){"CHROMA_API_KEY=secret"},
                         (char[]){"CHROMA_TYPO=1"},
                         (char[]){"IS_PERSISTENT=TRUE"},
                         (char[]){"PATH=/bin"},
                         (char[]){"nonsense"},
                         NULL};
    setup();
    ck_ok(env(variables));
    ck_assert_uint_eq(c.port, 8001);
    ck_assert_uint_eq(c.circuit_breaker_requests, 10);
    ck_assert(c.allow_reset);
    ck_assert_uint_eq(c.n_cors_allow_origins, 2);
    ck_assert_str_eq(c.listen_address, "0.0.0.0");
    ck_assert(str_eq(buf_view(&c.unknown), STR("CHROMA_TYPO")));
    ck_assert(str_contains(buf_view(&c.warnings), STR("IS_PERSISTENT has no effect")));
    config_free(&c);
    static const struct {
        const char *text;
        uint32_t n;
    } lists[] = {{"CHROMA_CORS_ALLOW_ORIGINS=*", 1},
                 {"CHROMA_CORS_ALLOW_ORIGINS=http://a, http://b,", 2},
                 {"CHROMA_CORS_ALLOW_ORIGINS=[]", 0}};
    for (size_t i = 0; i < 3; i++) {
        char text[128];
        char *one[] = {text, NULL};
        (void)snprintf(text, sizeof text, "%s", lists[i].text);
        setup();
        ck_ok(env(one));
        ck_assert_uint_eq(c.n_cors_allow_origins, lists[i].n);
        config_free(&c);
    }
}
END_TEST

START_TEST(kubernetes_variables_are_no_settings)
{
    char *variables[] = {
        (char[]){"CHROMA_PORT=tcp://10.0.0.1:8000"},    (char[]){"CHROMA_PORT_8000_TCP=tcp://10.0.0.1:8000"},
        (char[]){"CHROMA_PORT_8000_TCP_ADDR=10.0.0.1"}, (char[]){"CHROMA_SERVICE_HOST=10.0.0.1"},
        (char[]){"CHROMA_SERVICE_PORT=8000"},           NULL};
    setup();
    ck_ok(env(variables));
    ck_assert_uint_eq(c.port, 8000);
    ck_assert_uint_eq(c.unknown.n + c.warnings.n, 0);
    config_free(&c);
}
END_TEST

START_TEST(authentication_that_cannot_be_given_stops_the_start)
{
    static const char *const names[] = {"CHROMA_SERVER_AUTHN_PROVIDER",
                                        "CHROMA_SERVER_AUTHZ_PROVIDER",
                                        "CHROMA_SERVER_AUTH_PROVIDER",
                                        "CHROMA_SERVER_AUTH_IGNORE_PATHS",
                                        "CHROMA_SERVER_SSL_CERTFILE",
                                        "chroma_server_auth_credentials",
                                        "CHROMA_SERVER_AUTH_TOKEN_TRANSPORT_HEADER"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[128];
        char *one[] = {text, NULL};
        setup();
        (void)snprintf(text, sizeof text, "%s=x", names[i]);
        ck_assert_int_eq(env(one), ERR_FORBIDDEN);
        ck_assert_ptr_nonnull(strstr(em.text, names[i]));
        (void)snprintf(text, sizeof text, "%s=", names[i]); /* as compose passes unset variables on */
        ck_ok(env(one));
        config_free(&c);
    }
}
END_TEST

/* Sets up, reads NAME=value texts (or NULL), checks; what went wrong is in em. */
static enum err env_checked(const char *a, const char *b, const char *d, const char *f)
{
    static char texts[4][160];
    const char *from[] = {a, b, d, f};
    char *all[] = {texts[0], texts[1], texts[2], texts[3], NULL};
    for (size_t i = 0; i < 4; i++) (void)snprintf(texts[i], sizeof texts[i], "%s", from[i] != NULL ? from[i] : "X=1");
    setup();
    enum err e = env(all);
    if (e == ERR_OK) e = config_check(&c, &em);
    return e;
}

#define OLD_TOKEN "CHROMA_SERVER_AUTHN_PROVIDER=chromadb.auth.token_authn.TokenAuthenticationServerProvider"
#define OLD_BASIC "CHROMA_SERVER_AUTHN_PROVIDER=chromadb.auth.basic_authn.BasicAuthenticationServerProvider"
#define OLD_ROLES "CHROMA_SERVER_AUTHZ_PROVIDER=chromadb.auth.simple_rbac_authz.SimpleRBACAuthorizationProvider"

START_TEST(old_authentication_is_taken_over)
{
    ck_ok(env_checked(OLD_TOKEN, "CHROMA_SERVER_AUTHN_CREDENTIALS=secret",
                      "CHROMA_AUTH_TOKEN_TRANSPORT_HEADER=X-Chroma-Token", NULL));
    ck_assert_int_eq(c.auth_provider, AUTH_TOKEN);
    ck_assert_int_eq(c.auth_token_header, AUTH_HEADER_CHROMA_TOKEN);
    ck_assert_str_eq(c.old_credentials, "secret");
    ck_assert_uint_eq(c.warnings.n + c.unknown.n, 0);
    config_free(&c);
    ck_ok(env_checked(OLD_BASIC, "chroma_server_authn_credentials_file=/x",
                      "CHROMA_OVERWRITE_SINGLETON_TENANT_DATABASE_ACCESS_FROM_AUTH=true", NULL));
    ck_assert_int_eq(c.auth_provider, AUTH_BASIC);
    ck_assert_str_eq(c.old_credentials_file, "/x");
    ck_assert(c.auth_replace_defaults);
    config_free(&c);
    ck_assert_int_eq(env_checked(OLD_ROLES, "CHROMA_SERVER_AUTHZ_CONFIG_FILE=/r", OLD_TOKEN, NULL), ERR_INVALID);
    config_free(&c); /* no credentials yet */
    ck_ok(env_checked(OLD_ROLES, "CHROMA_SERVER_AUTHZ_CONFIG_FILE=/r", OLD_TOKEN,
                      "CHROMA_SERVER_AUTHN_CREDENTIALS_FILE=/r"));
    ck_assert_str_eq(c.auth_roles_file, "/r");
    config_free(&c);
}
END_TEST

START_TEST(half_an_authentication_stops_the_start)
{
    const struct {
        const char *a, *b, *says;
    } cases[] = {{"CHROMA_SERVER_AUTHN_CREDENTIALS=hush", NULL, "auth.provider is none"},
                 {"CHROMA_SERVER_AUTHZ_CONFIG=hush", NULL, "auth.provider is none"},
                 {OLD_ROLES, NULL, "no file of roles"},
                 {OLD_TOKEN, NULL, "exactly one of"},
                 {OLD_BASIC, NULL, "auth.htpasswd_file"},
                 {OLD_BASIC, "CHROMA_AUTH__TOKEN=hush", "auth.provider is basic"},
                 {"CHROMA_AUTH__TOKEN=hush", NULL, "auth.provider is none"},
                 {"CHROMA_AUTH__PROVIDER=tokens", NULL, "expected one of none, token, basic"},
                 {"CHROMA_AUTH__TOKN=hush", NULL, "CHROMA_AUTH__TOKN: there is no such setting"},
                 {"CHROMA_AUTH_TOKEN_TRANSPORT_HEADER=x", NULL, "expected one of any"},
                 {"CHROMA_TLS__CERT_FILE=/x", NULL, "together"},
                 {"CHROMA_TLS__CERT=/x", NULL, "there is no such setting"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_int_eq(env_checked(cases[i].a, cases[i].b, NULL, NULL), ERR_INVALID);
        ck_assert_msg(strstr(em.text, cases[i].says) != NULL, "%s: %s", cases[i].a, em.text);
        ck_assert_ptr_null(strstr(em.text, "hush"));
        config_free(&c);
    }
    static const char *const files[] = {"auth: {tokn: hush}\n", "auth: hush\n", "tls: [hush]\n"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        setup();
        ck_assert_int_eq(yaml(files[i]), ERR_INVALID);
        ck_assert_ptr_null(strstr(em.text, "hush"));
        config_free(&c);
    }
    setup();
    ck_ok(yaml("auth:\n  provider: Token\n  token: hush\ntls:\n"));
    ck_ok(config_check(&c, &em));
    ck_assert_int_eq(c.auth_provider, AUTH_TOKEN);
    ck_assert_str_eq(c.auth_token, "hush");
    config_free(&c);
}
END_TEST

START_TEST(keys_together)
{
    setup();
    ck_ok(yaml("cors_allow_origins: ['*', 'http://a']\n"));
    ck_assert_int_eq(config_check(&c, &em), ERR_INVALID);
    ck_ok(yaml("cors_allow_origins: ['*']\n"));
    ck_ok(config_check(&c, &em));
    ck_ok(yaml("max_payload_size_bytes: 2000000000\n"));
    ck_assert_int_eq(config_check(&c, &em), ERR_INVALID);
    config_free(&c);
}
END_TEST

/* ------------------------------------------------------------------------------------------------ command line */

static enum err cli(const char *const *args, char *const *environment)
{
    static char *none[] = {NULL};
    char text[16][128];
    char *argv[16];
    int n = 0;
    bool wants_help;
    for (; args[n] != NULL; n++) {
        (void)snprintf(text[n], sizeof text[n], "%s", args[n]);
        argv[n] = text[n];
    }
    memset(&em, 0, sizeof em);
    return cli_read_run(n, argv, environment != NULL ? environment : none, &c, &wants_help, &em);
}
#define CLI(environment, ...) cli((const char *const[]){__VA_ARGS__, NULL}, environment)

START_TEST(flags_override_the_environment)
{
    char *variables[] = {(char[]){"CHROMA_PORT=8001"}, (char[]){"CHROMA_PERSIST_PATH=/env"}, NULL};
    ck_ok(CLI(variables, "--port", "9000", "--host=0.0.0.0"));
    ck_assert_uint_eq(c.port, 9000);
    ck_assert_str_eq(c.persist_path, "/env");
    ck_assert_str_eq(c.listen_address, "0.0.0.0");
    config_free(&c);
    ck_ok(CLI(NULL, "--path=/x", "--port=0"));
    ck_assert_str_eq(c.listen_address, "localhost"); /* without a file */
    ck_assert_uint_eq(c.port, 0);
    config_free(&c);
    ck_ok(CLI(NULL, "--ephemeral"));
    ck_assert(c.ephemeral);
    config_free(&c);
}
END_TEST

START_TEST(a_file_excludes_the_flags_it_replaces)
{
    char path[256], dir[192];
    (void)snprintf(dir, sizeof dir, "%s", tmp_dir());
    (void)snprintf(path, sizeof path, "%s/c.yaml", dir);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs("port: 9002\n", f), 0);
    (void)fclose(f);
    char *variables[] = {(char[]){"CHROMA_ALLOW_RESET=true"}, NULL};
    ck_ok(CLI(variables, path));
    ck_assert_uint_eq(c.port, 9002);
    ck_assert(c.allow_reset);
    ck_assert_str_eq(c.listen_address, "0.0.0.0"); /* with a file */
    config_free(&c);
    ck_ok(CLI(NULL, path, "--ephemeral"));
    config_free(&c);
    ck_assert_int_eq(CLI(NULL, path, "--port", "1"), ERR_SHAPE);
    ck_assert_int_eq(CLI(NULL, "--path", "x", path), ERR_SHAPE);
    ck_assert_int_eq(CLI(NULL, "--host=x", path), ERR_SHAPE);
    ck_assert_int_eq(CLI(NULL, path, path), ERR_SHAPE);
    (void)snprintf(path, sizeof path, "%s/absent.yaml", dir);
    ck_assert_int_eq(CLI(NULL, path), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(em.text, "absent.yaml does not exist"));
}
END_TEST

START_TEST(wrong_command_lines)
{
    ck_assert_int_eq(CLI(NULL, "--port"), ERR_SHAPE);
    ck_assert_int_eq(CLI(NULL, "--port", "99999"), ERR_SHAPE);
    ck_assert_str_eq(em.text, "--port: port: expected a whole number from 0 to 65535, found \"99999\"");
    ck_assert_int_eq(CLI(NULL, "--port="), ERR_SHAPE);
    ck_assert_int_eq(CLI(NULL, "--nonsense"), ERR_SHAPE);
    ck_assert_int_eq(CLI(NULL, "-p", "1"), ERR_SHAPE);
    ck_assert_int_eq(CLI(NULL, "--ephemeral=true"), ERR_SHAPE);
    ck_assert_int_eq(CLI(NULL, "--ephemeral", "--path", "x"), ERR_SHAPE);
    ck_assert_int_eq(CLI(NULL, "--path", ""), ERR_SHAPE);
}
END_TEST

/* Every allocation in turn fails: an error, no leak (asan sees it), no crash. */
static unsigned fail_at, n_seen;

static bool fail_once(void *ctx, size_t size)
{
    (void)ctx, (void)size;
    return ++n_seen != fail_at;
}

START_TEST(short_memory_is_an_error)
{
    for (fail_at = 1;; fail_at++) {
        n_seen = 0;
        mem_set_hook(fail_once, NULL);
        enum err e = CLI(NULL, "--path", "somewhere", "--host", "::1");
        mem_set_hook(NULL, NULL);
        if (e == ERR_OK)
            config_free(&c);
        else
            ck_assert_int_eq(e, ERR_NOMEM);
        if (n_seen < fail_at) break;
    }
    ck_assert_uint_gt(fail_at, 1);
}
END_TEST

TESTS(config, defaults_are_those_of_the_table, no_key_twice_and_every_key_found, chroma_conf_is_what_the_table_says,
      the_documentation_names_every_key, yaml_sets_what_it_knows_and_names_the_rest, empty_yaml_changes_nothing,
      wrong_values_stop_with_place_and_range, aliases_cannot_blow_the_reader_up, environment_overrides,
      kubernetes_variables_are_no_settings, authentication_that_cannot_be_given_stops_the_start,
      old_authentication_is_taken_over, half_an_authentication_stops_the_start, keys_together,
      flags_override_the_environment, a_file_excludes_the_flags_it_replaces, wrong_command_lines,
      short_memory_is_an_error)
