/* name.c - the rules for names of databases and collections.
 *
 * A name may have one '+' that separates a topology from the rest; then both halves follow the rules. The checks run
 * in the contract's order and the first that fails is the message. Only ASCII passes the character rule, so that bytes
 * are characters wherever a length is compared.
 */
#include "api/name.h"

#include <arpa/inet.h>

enum { NAME_MIN = 3, NAME_MAX = 512 };

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool has_good_characters(struct str s)
{
    if (s.n < NAME_MIN || s.n > NAME_MAX || !is_alnum(s.p[0]) || !is_alnum(s.p[s.n - 1])) return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '.' && s.p[i] != '_' && s.p[i] != '-') return false;
    return true;
}

static bool is_address(struct str s)
{
    char text[INET6_ADDRSTRLEN + 1];
    unsigned char address[sizeof(struct in6_addr)];
    if (s.n >= sizeof text) return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

/* "<text><name>", where the name may hold any byte. */
static struct str with_name(struct arena *a, const char *text, struct str name)
{
    size_t n = strlen(text);
    char *p = arena_alloc(a, n + name.n + 1);
    if (p == NULL) return (struct str){NULL, 0};
    memcpy(p, text, n);
    if (name.n > 0) memcpy(p + n, name.p, name.n);
    p[n + name.n] = '\0';
    return str_of(p, n + name.n);
}

static bool check_part(struct str s, struct arena *a, struct str *message)
{
    if (!has_good_characters(s)) {
        *message = with_name(a,
                             "Expected a name containing 3-512 characters from [a-zA-Z0-9._-], starting and ending "
                             "with a character in [a-zA-Z0-9]. Got: ",
                             s);
        return false;
    }
    if (memmem(s.p, s.n, "..", 2) != NULL) {
        *message = with_name(a, "Expected a name that does not contains two consecutive periods (..). Got ", s);
        return false;
    }
    if (is_address(s)) {
        *message = with_name(a, "Expected a name that is not a valid ip address. Got ", s);
        return false;
    }
    return true;
}

bool name_check(struct str name, struct arena *a, struct str *message)
{
    const char *plus = name.n > 0 ? memchr(name.p, '+', name.n) : NULL;
    if (plus == NULL) return check_part(name, a, message);
    if (name.n > NAME_MAX) {
        *message = arena_printf(a, "Expected a name containing 3-512 characters. Got: %zu", name.n);
        return false;
    }
    struct str left = str_of(name.p, (size_t)(plus - name.p));
    struct str right = str_of(plus + 1, name.n - left.n - 1);
    if (right.n > 0 && memchr(right.p, '+', right.n) != NULL) {
        *message = STR("Expected a name to contain at most one topology:  Got two `+` characters.");
        return false;
    }
    return check_part(left, a, message) && check_part(right, a, message);
}

size_t name_length(struct str name)
{
    size_t n = 0;
    for (size_t i = 0; i < name.n; i++) n += ((unsigned char)name.p[i] & 0xc0) != 0x80;
    return n;
}
