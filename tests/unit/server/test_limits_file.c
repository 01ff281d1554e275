/* test_limits_file.c - the file of tenants that have limits of their own, and the limits in the configuration. */
#include "tests/lib/suite.h"

#include <stdio.h>

#include "server/limits_file.h"

static struct config c;
static struct limits_file f;
static struct errmsg em;

static void setup(const char *config)
{
    memset(&em, 0, sizeof em);
    f = (struct limits_file){0};
    ck_ok(config_init(&c, &em));
    ck_assert_msg(config_read_yaml(&c, str_from_c(config), "t.yaml", &em) == ERR_OK, "%s", em.text);
}

static void teardown(void)
{
    limits_file_close(&f);
    config_free(&c);
}

static enum err read(const char *text)
{
    return limits_file_read(&f, &c, str_from_c(text), "l.yaml", &em);
}

START_TEST(what_a_tenant_does_not_set_it_has_from_the_configuration)
{
    setup("rate_limit: {reads_per_second: 7, writes_burst: 3}\nquota: {num_records: 11, num_collections: 12}\n");
    ck_ok(read("tenants:\n"
               "  acme:\n"
               "    rate_limit: {writes_per_second: 5}\n"
               "    quota: {num_records: 0, id_size_bytes: 9}\n"
               "  'other tenant':\n"
               "    quota: {num_collections: 1}\n"));
    ck_assert_uint_eq(f.options.n_overrides, 2);
    const struct tenant_override *a = &f.options.overrides[0], *o = &f.options.overrides[1];
    ck_assert(str_eq(a->tenant, STR("acme")) && str_eq(o->tenant, STR("other tenant")));
    ck_assert_uint_eq(a->rules.reads.per_second, 7);
    ck_assert_uint_eq(a->rules.writes.per_second, 5);
    ck_assert_uint_eq(a->rules.writes.burst, 3);
    ck_assert_uint_eq(a->rules.quotas[QUOTA_RECORDS], 0);
    ck_assert_uint_eq(a->rules.quotas[QUOTA_ID_BYTES], 9);
    ck_assert_uint_eq(a->rules.quotas[QUOTA_COLLECTIONS], 12);
    ck_assert_uint_eq(o->rules.quotas[QUOTA_RECORDS], 11);
    ck_assert_uint_eq(o->rules.quotas[QUOTA_COLLECTIONS], 1);
    teardown();
}
END_TEST

START_TEST(an_empty_file_sets_nothing)
{
    static const char *const texts[] = {"", "# nothing\n", "tenants: {}\n", "{}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        setup("");
        ck_ok(read(texts[i]));
        ck_assert_uint_eq(f.options.n_overrides, 0);
        teardown();
    }
}
END_TEST

START_TEST(what_is_not_understood_stops_the_start)
{
    static const char *const texts[][2] = {
        {"tenant: {}\n", "l.yaml:1: expected tenants"},
        {"tenants: []\n", "l.yaml:1: expected names of tenants"},
        {"tenants: {}\ntenants: {}\n", "l.yaml:2: tenants are there twice"},
        {"tenants:\n  a: {}\n  a: {}\n", "l.yaml: the tenant \"a\" is there twice"},
        {"tenants:\n  a: {quotas: {}}\n", "l.yaml:2: expected rate_limit or quota"},
        {"tenants:\n  a: {quota: {num_recods: 1}}\n", "l.yaml:2: there is no such limit"},
        {"tenants:\n  a: {quota: {num_records: -1}}\n", "l.yaml:2: quota.num_records: expected a whole number from 0"},
        {"tenants:\n  a: {quota: {num_records: [1]}}\n", "l.yaml:2: quota.num_records: expected a whole number from 0"},
        {"tenants:\n  a: {rate_limit: {reads_per_second: 1000001}}\n",
         "l.yaml:2: rate_limit.reads_per_second: expected"},
        {"tenants:\n  a: 3\n", "l.yaml:2: expected \"key: value\" lines"},
        {"- a\n", "l.yaml:1: expected \"key: value\" lines"},
        {"a: [\n", "l.yaml:2: not YAML"}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        setup("");
        ck_assert_int_eq(read(texts[i][0]), ERR_INVALID);
        ck_assert_msg(strstr(em.text, texts[i][1]) == em.text, "%s: %s", texts[i][0], em.text);
        teardown();
    }
}
END_TEST

START_TEST(a_file_that_is_named_must_be_there)
{
    setup("limits_file: /nonexistent/limits.yaml\n");
    ck_assert_int_eq(limits_file_open(&f, &c, &em), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(em.text, "/nonexistent/limits.yaml"));
    config_free(&c);

    char path[512], config[600];
    ck_assert(vfs_join(path, sizeof path, tmp_dir(), "limits.yaml"));
    FILE *file = fopen(path, "w");
    ck_assert(file != NULL && fputs("tenants: {a: {quota: {num_databases: 4}}}", file) >= 0 && fclose(file) == 0);
    (void)snprintf(config, sizeof config, "limits_file: %s\nusage: {store_interval_s: 3}\n", path);
    setup(config);
    ck_assert_msg(limits_file_open(&f, &c, &em) == ERR_OK, "%s", em.text);
    ck_assert_uint_eq(f.options.overrides[0].rules.quotas[QUOTA_DATABASES], 4);
    ck_assert_uint_eq(f.options.store_interval_s, 3);
    ck_assert(!f.options.has_scorecard);
    teardown();
}
END_TEST

START_TEST(the_scorecard_is_read)
{
    setup("scorecard_enabled: true\n"
          "scorecard:\n"
          "  - patterns: [\"op:write\", 'tenant:*']\n"
          "    score: 8\n"
          "  - {score: 0, patterns: []}\n");
    ck_ok(limits_file_open(&f, &c, &em));
    ck_assert(f.options.has_scorecard);
    ck_assert_uint_eq(f.options.n_scorecard, 2);
    ck_assert_uint_eq(f.options.scorecard[0].n_patterns, 2);
    ck_assert(str_eq(f.options.scorecard[0].patterns[1], STR("tenant:*")));
    ck_assert_uint_eq(f.options.scorecard[0].score, 8);
    ck_assert_uint_eq(f.options.scorecard[1].n_patterns, 0);
    teardown();

    char rules[] = "CHROMA_SCORECARD=[{patterns: [op:read], score: 1}]", enabled[] = "CHROMA_SCORECARD_ENABLED=true";
    char *environment[] = {rules, enabled, NULL};
    setup("scorecard:\n");
    ck_assert_uint_eq(c.n_scorecard, 0);
    ck_ok(config_read_environment(&c, environment, &em));
    ck_assert(c.scorecard_enabled);
    ck_assert_uint_eq(c.n_scorecard, 1);
    teardown();
}
END_TEST

START_TEST(a_wrong_scorecard_stops_the_start)
{
    char long_one[200], just[200];
    (void)snprintf(long_one, sizeof long_one, "scorecard: [{patterns: [%064d], score: 1}]", 0);
    (void)snprintf(just, sizeof just, "scorecard: [{patterns: [%063d], score: 1}]", 0);
    const char *texts[] = {long_one,
                           "scorecard: 3",
                           "scorecard: {patterns: [a], score: 1}",
                           "scorecard: [a]",
                           "scorecard: [{patterns: [a]}]",
                           "scorecard: [{score: 1}]",
                           "scorecard: [{patterns: a, score: 1}]",
                           "scorecard: [{patterns: [[a]], score: 1}]",
                           "scorecard: [{patterns: [a], score: -1}]",
                           "scorecard: [{patterns: [a], score: 1, more: 1}]",
                           "scorecard: [{patterns: [a], patterns: [b], score: 1}]",
                           "quota: {num_recods: 1}",
                           "rate_limit: {reads: 1}",
                           "quota: {num_records: x}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        setup("");
        ck_assert_msg(config_read_yaml(&c, str_from_c(texts[i]), "t.yaml", &em) == ERR_INVALID, "%s", texts[i]);
        ck_assert_msg(strstr(em.text, "t.yaml:1") != NULL, "%s", em.text);
        teardown();
    }
    setup(just);
    teardown();
}
END_TEST

TESTS(limits_file, what_a_tenant_does_not_set_it_has_from_the_configuration, an_empty_file_sets_nothing,
      what_is_not_understood_stops_the_start, a_file_that_is_named_must_be_there, the_scorecard_is_read,
      a_wrong_scorecard_stops_the_start)
