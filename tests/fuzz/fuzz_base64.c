/* fuzz_base64.c - base64 of embeddings beside a decoder that is too simple to be wrong. */
#include "api/base64.h"

#include "tests/fuzz/fuzz.h"

static int digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* Bit by bit. False: not the one spelling of anything. */
static bool decode(struct str text, struct buf *out)
{
    size_t n = text.n, n_pad = 0;
    while (n > 0 && text.p[n - 1] == '=') n--, n_pad++;
    if (text.n % 4 != 0 || n_pad > 2) return false;
    unsigned bits = 0, n_bits = 0;
    for (size_t i = 0; i < n; i++) {
        int v = digit(text.p[i]);
        if (v < 0) return false;
        bits = bits << 6 | (unsigned)v;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            buf_char(out, (char)(bits >> n_bits));
            bits &= (1u << n_bits) - 1;
        }
    }
    return bits == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct str text = {(const char *)p, n};
    struct buf ours = {0}, model = {0};
    struct errmsg em = {{0}};
    buf_str(&ours, STR("before"));
    enum err e = base64_decode(text, &ours, &em);
    bool is_good = decode(text, &model);
    must(e == ERR_OK || e == ERR_INVALID);
    must((e == ERR_OK) == is_good);
    if (is_good)
        must(ours.n == 6 + model.n && (model.n == 0 || memcmp(ours.p + 6, model.p, model.n) == 0));
    else
        must(ours.n == 6 && em.text[0] != '\0');
    buf_free(&ours);
    buf_free(&model);
    return 0;
}
