/* config_yaml.c - the configuration file: YAML mappings become dotted names, scalars become values.
 *
 * HAPPY PATH  libyaml loads the document; the walk descends into mappings whose dotted name is no key itself but begins
 *             one ("circuit_breaker"), and sets every key it knows.
 * FAILURE     text that is no YAML, a list where a value belongs, a value out of range: ERR_INVALID with file and line.
 *             An unknown key is remembered and skipped with all below it.
 * INVARIANT   only prefixes of known keys are descended into, so depth and work are bounded by the table, whatever
 *             aliases the file plays with.
 */
#include "server/config.h"

#include <stdio.h>
#include <yaml.h>

enum { NAME_MAX_BYTES = 128, LIST_MAX = 256 };

struct reader {
    struct config *config;
    yaml_document_t document;
    const char *name;
    struct errmsg *em;
};

static struct str scalar_of(const yaml_node_t *n)
{
    return str_of((const char *)n->data.scalar.value, n->data.scalar.length);
}

static bool is_null(const yaml_node_t *n)
{
    struct str s = scalar_of(n);
    bool is_plain = n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return is_plain && (s.n == 0 || str_eq(s, STR("~")) || str_eq(s, STR("null")));
}

/* Whether some key lies below this name. */
static bool is_group(struct str name)
{
    for (size_t i = 0; i < config_n_keys; i++)
        if (str_starts(str_from_c(config_keys[i].name), name) && config_keys[i].name[name.n] == '.') return true;
    return false;
}

static enum err reject(const struct reader *r, const yaml_node_t *n, struct str key, const char *text)
{
    return errmsg_set(r->em, ERR_INVALID, "%s:%zu: %.*s: %s", r->name, n->start_mark.line + 1, STR_ARG(key), text);
}

static enum err read_list(struct reader *r, const struct config_key *key, const yaml_node_t *n)
{
    struct str items[LIST_MAX], name = str_from_c(key->name);
    uint32_t count = 0;
    for (const yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        const yaml_node_t *item = yaml_document_get_node(&r->document, *i);
        if (item == NULL || item->type != YAML_SCALAR_NODE) return reject(r, n, name, "expected a list of texts");
        if (count == LIST_MAX) return reject(r, n, name, "the list is too long");
        items[count++] = scalar_of(item);
    }
    return config_set_list(r->config, key, items, count, r->em);
}

static enum err read_patterns(struct reader *r, const yaml_node_t *list, struct scorecard_rule *rule)
{
    const struct str name = STR("scorecard");
    if (list->type != YAML_SEQUENCE_NODE) return reject(r, list, name, "patterns: expected a list of texts");
    const yaml_node_item_t *first = list->data.sequence.items.start, *end = list->data.sequence.items.top;
    if (end - first > LIST_MAX) return reject(r, list, name, "the list is too long");
    struct str *patterns = arena_array(&r->config->arena, (size_t)(end - first) + 1, sizeof *patterns);
    if (patterns == NULL) return errmsg_set(r->em, ERR_NOMEM, "scorecard");
    for (const yaml_node_item_t *i = first; i < end; i++) {
        const yaml_node_t *item = yaml_document_get_node(&r->document, *i);
        if (item == NULL || item->type != YAML_SCALAR_NODE)
            return reject(r, list, name, "patterns: expected a list of texts");
        if (item->data.scalar.length > SCORECARD_PATTERN_MAX)
            return reject(r, item, name, "a pattern of more than 63 characters");
        struct str copy = arena_str(&r->config->arena, scalar_of(item));
        if (copy.p == NULL) return errmsg_set(r->em, ERR_NOMEM, "scorecard");
        patterns[rule->n_patterns++] = copy;
    }
    rule->patterns = patterns;
    return ERR_OK;
}

/* {patterns: [...], score: n}; both are needed, and there is nothing else. */
static enum err read_rule(struct reader *r, const yaml_node_t *map, struct scorecard_rule *rule)
{
    const struct str name = STR("scorecard");
    bool has_patterns = false, has_score = false;
    if (map->type != YAML_MAPPING_NODE) return reject(r, map, name, "expected a list of {patterns: [...], score: n}");
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(&r->document, p->key);
        const yaml_node_t *value = yaml_document_get_node(&r->document, p->value);
        if (key == NULL || value == NULL || key->type != YAML_SCALAR_NODE)
            return reject(r, map, name, "expected a list of {patterns: [...], score: n}");
        bool is_patterns = str_eq(scalar_of(key), STR("patterns")), is_score = str_eq(scalar_of(key), STR("score"));
        if ((is_patterns && has_patterns) || (is_score && has_score)) return reject(r, key, name, "a key twice");
        if (is_patterns) {
            enum err e = read_patterns(r, value, rule);
            if (e != ERR_OK) return e;
            has_patterns = true;
        } else if (is_score) {
            if (value->type != YAML_SCALAR_NODE || !config_parse_number(scalar_of(value), &rule->score))
                return reject(r, value, name, "score: expected a whole number");
            has_score = true;
        } else {
            return reject(r, key, name, "a key other than patterns and score");
        }
    }
    return has_patterns && has_score ? ERR_OK : reject(r, map, name, "a rule needs patterns and score");
}

static enum err read_rules(struct reader *r, const yaml_node_t *n)
{
    if (n->type != YAML_SEQUENCE_NODE) return reject(r, n, STR("scorecard"), "expected a list of rules");
    const yaml_node_item_t *first = n->data.sequence.items.start, *end = n->data.sequence.items.top;
    if (end - first > LIST_MAX) return reject(r, n, STR("scorecard"), "the list is too long");
    struct scorecard_rule *rules = arena_array(&r->config->arena, (size_t)(end - first) + 1, sizeof *rules);
    if (rules == NULL) return errmsg_set(r->em, ERR_NOMEM, "scorecard");
    size_t count = 0;
    for (const yaml_node_item_t *i = first; i < end; i++) {
        const yaml_node_t *item = yaml_document_get_node(&r->document, *i);
        if (item == NULL) return reject(r, n, STR("scorecard"), "expected a list of rules");
        enum err e = read_rule(r, item, &rules[count++]);
        if (e != ERR_OK) return e;
    }
    r->config->scorecard = rules;
    r->config->n_scorecard = count;
    return ERR_OK;
}

static enum err read_value(struct reader *r, const struct config_key *key, const yaml_node_t *n)
{
    char place[256];
    (void)snprintf(place, sizeof place, "%s:%zu: ", r->name, n->start_mark.line + 1);
    if (key->type == CONFIG_NO_EFFECT) return config_set(r->config, key, STR(""), place, r->em);
    bool is_absent = n->type == YAML_SCALAR_NODE && is_null(n);
    if (key->type == CONFIG_RULES && !is_absent) return read_rules(r, n);
    if (n->type == YAML_SEQUENCE_NODE && key->type == CONFIG_LIST) return read_list(r, key, n);
    if (n->type != YAML_SCALAR_NODE) return reject(r, n, str_from_c(key->name), "expected a single value");
    if (is_absent) return ERR_OK; /* "port:" with nothing behind it keeps the default, as a null does */
    if (key->type == CONFIG_LIST) {
        struct str item = scalar_of(n);
        return config_set_list(r->config, key, &item, 1, r->em);
    }
    return config_set(r->config, key, scalar_of(n), place, r->em);
}

/* Recursion is as deep as the longest dotted key of the table. */
static enum err read_mapping(struct reader *r, const yaml_node_t *map, struct str prefix)
{
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(&r->document, p->key);
        const yaml_node_t *value = yaml_document_get_node(&r->document, p->value);
        if (key == NULL || value == NULL || key->type != YAML_SCALAR_NODE)
            return reject(r, map, prefix, "expected keys that are texts");
        char text[NAME_MAX_BYTES];
        struct str own = scalar_of(key);
        int n = snprintf(text, sizeof text, "%.*s%s%.*s", STR_ARG(prefix), prefix.n > 0 ? "." : "", STR_ARG(own));
        struct str name = str_of(text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
        const struct config_key *known = config_find(name);
        enum err e = ERR_OK;
        if (known != NULL)
            e = read_value(r, known, value);
        else if (is_group(name) && value->type == YAML_MAPPING_NODE)
            e = read_mapping(r, value, name);
        else if (config_is_guarded(name) && !(value->type == YAML_SCALAR_NODE && is_null(value)))
            return reject(r, key, name, "there is no such setting");
        else if (!is_group(name) || !is_null(value))
            buf_printf(&r->config->unknown, "%s%.*s", r->config->unknown.n > 0 ? ", " : "", STR_ARG(name));
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

static enum err load(struct reader *r, struct str text)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return errmsg_set(r->em, ERR_NOMEM, "read %s", r->name);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
    enum err e = ERR_OK;
    if (!yaml_parser_load(&parser, &r->document))
        e = parser.error == YAML_MEMORY_ERROR
                ? errmsg_set(r->em, ERR_NOMEM, "read %s", r->name)
                : errmsg_set(r->em, ERR_INVALID, "%s:%zu: not YAML: %s", r->name, parser.problem_mark.line + 1,
                             parser.problem != NULL ? parser.problem : "unreadable text");
    yaml_parser_delete(&parser);
    return e;
}

enum err config_read_yaml(struct config *c, struct str text, const char *name, struct errmsg *em)
{
    struct reader r = {.config = c, .name = name, .em = em};
    enum err e = load(&r, text);
    if (e != ERR_OK) return e;
    const yaml_node_t *root = yaml_document_get_root_node(&r.document);
    bool is_empty = root == NULL || (root->type == YAML_SCALAR_NODE && is_null(root));
    if (!is_empty)
        e = root->type == YAML_MAPPING_NODE ? read_mapping(&r, root, STR(""))
                                            : errmsg_set(em, ERR_INVALID, "%s: expected \"key: value\" lines", name);
    yaml_document_delete(&r.document);
    return e;
}

static enum err set_split(struct config *c, const struct config_key *key, struct str text, struct errmsg *em)
{
    struct str items[LIST_MAX];
    uint32_t n = 0;
    for (size_t from = 0; from <= text.n;) {
        const char *comma = text.n > from ? memchr(text.p + from, ',', text.n - from) : NULL;
        size_t to = comma != NULL ? (size_t)(comma - text.p) : text.n;
        struct str item = str_of(text.p + from, to - from);
        while (item.n > 0 && item.p[0] == ' ') item = str_of(item.p + 1, item.n - 1);
        while (item.n > 0 && item.p[item.n - 1] == ' ') item.n--;
        if (item.n > 0 && n == LIST_MAX) return errmsg_set(em, ERR_INVALID, "%s: the list is too long", key->name);
        if (item.n > 0) items[n++] = item;
        from = to + 1;
    }
    return config_set_list(c, key, items, n, em);
}

/* The text of a value that is a list; `read` takes its root. */
static enum err read_text(struct config *c, const struct config_key *key, struct str text, const char *place,
                          enum err (*read)(struct reader *, const struct config_key *, const yaml_node_t *),
                          struct errmsg *em)
{
    char name[96];
    (void)snprintf(name, sizeof name, "%.94s", place);
    struct reader r = {.config = c, .name = name, .em = em};
    enum err e = load(&r, text);
    if (e != ERR_OK) return e;
    const yaml_node_t *root = yaml_document_get_root_node(&r.document);
    e = root != NULL && root->type == YAML_SEQUENCE_NODE
            ? read(&r, key, root)
            : errmsg_set(em, ERR_INVALID, "%s%s: expected a list", place, key->name);
    yaml_document_delete(&r.document);
    return e;
}

enum err config_set_yaml_list(struct config *c, const struct config_key *key, struct str text, const char *place,
                              struct errmsg *em)
{
    if (text.n == 0 || text.p[0] != '[') return set_split(c, key, text, em);
    return read_text(c, key, text, place, read_list, em);
}

static enum err read_rules_of(struct reader *r, const struct config_key *key, const yaml_node_t *n)
{
    (void)key; /* there is one such key */
    return read_rules(r, n);
}

enum err config_set_yaml_rules(struct config *c, const struct config_key *key, struct str text, const char *place,
                               struct errmsg *em)
{
    return read_text(c, key, text, place, read_rules_of, em);
}
