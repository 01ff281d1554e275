/* config_help.c - the table as text: chroma.conf, and the flags in the help.
 */
#include "server/config.h"

/* Every line of `text` behind `prefix`. */
static void put_lines(struct buf *out, const char *prefix, const char *text)
{
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");
        buf_printf(out, "%s%.*s\n", prefix, (int)n, text);
        text += n + (text[n] == '\n');
    }
}

static void put_words(struct buf *out, const struct config_key *k)
{
    buf_lit(out, "# One of ");
    for (size_t i = 0; k->words[i] != NULL; i++) buf_printf(out, "%s%s", i > 0 ? ", " : "", k->words[i]);
    buf_printf(out, ". Default: %s.\n", k->initial);
}

static void put_range(struct buf *out, const struct config_key *k)
{
    static const char *const kinds[] = {[CONFIG_TEXT] = "a text",
                                        [CONFIG_OPTIONAL] = "a text",
                                        [CONFIG_BOOL] = "true or false",
                                        [CONFIG_LIST] = "a list of texts",
                                        [CONFIG_RULES] = "a list of {patterns: [texts], score: number}",
                                        [CONFIG_LEVEL] = "debug, info, warn, error or none"};
    if (k->type == CONFIG_NUMBER)
        buf_printf(out, "# A whole number from %llu to %llu. Default: %s.\n", (unsigned long long)k->min,
                   (unsigned long long)k->max, k->initial);
    else if (k->type == CONFIG_WORD)
        put_words(out, k);
    else
        buf_printf(out, "# Takes %s. Default: %s.\n", kinds[k->type], k->initial != NULL ? k->initial : "none");
}

void config_write_example(struct buf *out)
{
    buf_lit(out,
            "# chroma.conf - every setting of the server, with its default. YAML.\n"
            "#\n"
            "#   chroma run chroma.conf\n"
            "#\n"
            "# Each key can also be set in the environment, which overrides this file: CHROMA_ and the key in upper\n"
            "# case, two underscores for a dot (CHROMA_PORT, CHROMA_CIRCUIT_BREAKER__REQUESTS). Keys that are not\n"
            "# known are named in a warning. This file is made by `chroma help config`.\n");
    const char *group = "";
    size_t group_n = 0;
    for (size_t i = 0; i < config_n_keys; i++) {
        const struct config_key *k = &config_keys[i];
        if (k->type == CONFIG_NO_EFFECT) continue;
        const char *dot = strchr(k->name, '.');
        size_t n = dot != NULL ? (size_t)(dot - k->name) : 0;
        buf_char(out, '\n');
        put_lines(out, "# ", k->help);
        put_range(out, k);
        if (n > 0 && (n != group_n || memcmp(group, k->name, n) != 0)) buf_printf(out, "%.*s:\n", (int)n, k->name);
        const char *space = k->initial != NULL ? " " : "", *value = k->initial != NULL ? k->initial : "";
        buf_printf(out, "%s%s:%s%s\n", n > 0 ? "  " : "", n > 0 ? dot + 1 : k->name, space, value);
        group = k->name;
        group_n = n;
    }
    buf_lit(out, "\n# Accepted because Chroma's own server has them, without effect here:\n");
    for (size_t i = 0; i < config_n_keys; i++)
        if (config_keys[i].type == CONFIG_NO_EFFECT) buf_printf(out, "#   %s\n", config_keys[i].name);
}

void config_write_flags(struct buf *out)
{
    for (size_t i = 0; i < config_n_keys; i++) {
        const struct config_key *k = &config_keys[i];
        if (k->flag == NULL) continue;
        const char *value = k->flag_value != NULL ? k->flag_value : "";
        int width = 18 - (int)strlen(k->flag) - 1;
        const char *text = strcmp(k->name, "listen_address") == 0 ? "localhost" : k->initial;
        buf_printf(out, "  %s %-*s %s (default %s)\n", k->flag, width > 0 ? width : 1, value, k->name, text);
    }
}
