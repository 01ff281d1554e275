/* fuzz_config.c - everything that is read at the start, and the first line of a request.
 *
 * INPUT  a character, then the text: 'y' configuration, 'l' file of limits, 'u' users and roles, 'h' htpasswd, 's'
 *        the scorecard's rules (YAML); 'e' an environment, 'f' flags (NUL between the variables, and between the
 *        flags); 't' a request target.
 * HOLDS  a refusal says why; what is refused leaves nothing behind (leaks).
 */
#include "tests/fuzz/fuzz.h"
/* the check above goes first: see fuzz.h */
#include "api/auth.h"
#include "api/http_token.h"
#include "core/mem.h"
#include "server/cli.h"
#include "server/limits_file.h"
#include "server/target.h"

enum { WORDS_MAX = 20 };

static void check_refusal(enum err e, const struct errmsg *em)
{
    if (e == ERR_OK) return;
    must(e == ERR_INVALID || e == ERR_FORBIDDEN || e == ERR_SHAPE || e == ERR_NOT_FOUND || e == ERR_IO ||
         e == ERR_NOMEM);
    must(em->text[0] != '\0' && strlen(em->text) < sizeof em->text);
}

static void read_target(struct str text)
{
    struct str path, query;
    if (split_target(text, &path, &query)) {
        must(path.n + query.n <= text.n + 1);
        must(!str_contains(path, STR("?")) && !str_contains(path, STR("#")) && !str_contains(query, STR("#")));
    }
    bool is_token = text.n > 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        is_token = is_token && c > ' ' && c < 0x7f && strchr("\"(),/:;<=>?@[\\]{}", c) == NULL;
    }
    must(http_is_token(text) == is_token);
    (void)is_http_version(text);
}

/* Words of the text as C strings; the text is copied. */
static char *cut(struct str text, char **words, int *n)
{
    char *copy = mem_alloc(text.n + 1);
    must(copy != NULL);
    if (text.n > 0) memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    *n = 0;
    for (size_t at = 0; at < text.n && *n < WORDS_MAX; at += strlen(copy + at) + 1) words[(*n)++] = copy + at;
    words[*n] = NULL;
    return copy;
}

/* A path is a file that is read: only names that cannot be there. */
static bool names_a_file(char *const *words, int n)
{
    for (int i = 0; i < n; i++)
        if (words[i][0] != '-' || strchr(words[i], '/') != NULL) return true;
    return false;
}

static void read_flags(struct str text)
{
    char *words[WORDS_MAX + 1], *none[1] = {NULL};
    int n;
    struct config c;
    struct errmsg em = {{0}};
    bool wants_help;
    char *copy = cut(text, words, &n);
    if (!names_a_file(words, n)) {
        enum err e = cli_read_run(n, words, none, &c, &wants_help, &em);
        check_refusal(e, &em);
        if (e == ERR_OK) config_free(&c);
    }
    mem_free(copy);
}

static void read_auth(struct str text, bool is_htpasswd)
{
    struct auth *auth = NULL;
    struct errmsg em = {{0}};
    struct auth_options o = {.provider = is_htpasswd ? AUTH_BASIC : AUTH_TOKEN};
    *(is_htpasswd ? &o.htpasswd : &o.users) = (struct auth_text){text, "file"};
    enum err e = auth_new(&auth, &o, &em);
    check_refusal(e, &em);
    if (e == ERR_OK) auth_free(auth);
}

static void read_config(char kind, struct str text)
{
    struct config c;
    struct limits_file f = {0};
    struct errmsg em = {{0}};
    char *words[WORDS_MAX + 1], *copy = NULL;
    int n;
    enum err e = config_init(&c, &em);
    must(e == ERR_OK);
    if (kind == 'y') {
        e = config_read_yaml(&c, text, "file", &em);
    } else if (kind == 's') {
        e = config_set_yaml_rules(&c, config_find(STR("scorecard")), text, "file: ", &em);
    } else if (kind == 'l') {
        e = limits_file_read(&f, &c, text, "file", &em);
    } else {
        copy = cut(text, words, &n);
        e = config_read_environment(&c, words, &em);
    }
    check_refusal(e, &em);
    if (e == ERR_OK) {
        e = config_check(&c, &em);
        check_refusal(e, &em);
    }
    limits_file_close(&f);
    config_free(&c);
    mem_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct input in = {p, n};
    char kind = (char)input_u8(&in);
    struct str text = input_text(&in, in.n);
    switch (kind) {
    case 't':
        read_target(text);
        break;
    case 'f':
        read_flags(text);
        break;
    case 'u':
    case 'h':
        read_auth(text, kind == 'h');
        break;
    case 'y':
    case 's':
    case 'l':
    case 'e':
        read_config(kind, text);
        break;
    default:
        break;
    }
    return 0;
}
