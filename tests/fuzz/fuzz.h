/* fuzz.h - what every fuzz target starts with.
 *
 * A target is one function that takes any bytes. It may refuse them, but whatever it finds wrong, in the
 * product or between the product and the model beside it, ends the process: must() panics, and the sanitizers abort.
 * The main program is libFuzzer's (`make fuzz`) or driver.c (`make fuzz-ci`).
 *
 * The models of the unit tests (tests/unit/index/fragment_model.h ...) are used here too. They take their checks from
 * must.h, which is Check's; the guard below puts these in its place.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include "core/bytes.h"
#include "core/err.h"
#include "core/vfs.h"
#include "tests/lib/rng.h"

#define TESTS_MUST_H             /* see above */
#define must(condition)          ((condition) ? (void)0 : panic("must: %s", #condition))
#define must_msg(condition, ...) ((condition) ? (void)0 : panic(__VA_ARGS__))
#define must_ok(expr)                                                                                                  \
    do {                                                                                                               \
        enum err must_e_ = (expr);                                                                                     \
        must_msg(must_e_ == ERR_OK, "%s: %s", #expr, err_text(must_e_));                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n); /* libFuzzer's name for it */

/* What is left of an input. Everything taken beyond its end is zero or empty. */
struct input {
    const uint8_t *p;
    size_t n;
};

static inline uint8_t input_u8(struct input *in)
{
    if (in->n == 0) return 0;
    in->n--;
    return *in->p++;
}

static inline uint32_t input_u32(struct input *in)
{
    uint32_t v = input_u8(in);
    v |= (uint32_t)input_u8(in) << 8;
    v |= (uint32_t)input_u8(in) << 16;
    return v | (uint32_t)input_u8(in) << 24;
}

/* Below n; one byte where that is enough. 0 for n == 0. */
static inline uint32_t input_below(struct input *in, uint32_t n)
{
    return n == 0 ? 0 : (n <= 256 ? input_u8(in) : input_u32(in)) % n;
}

static inline struct str input_text(struct input *in, size_t n)
{
    if (n > in->n) n = in->n;
    struct str s = {(const char *)in->p, n};
    in->p += n;
    in->n -= n;
    return s;
}

/* Up to the next `end`, which is taken too, or all that is left. */
static inline struct str input_until(struct input *in, char end)
{
    const uint8_t *at = in->n > 0 ? memchr(in->p, end, in->n) : NULL;
    if (at == NULL) return input_text(in, in->n);
    struct str s = input_text(in, (size_t)(at - in->p));
    (void)input_u8(in);
    return s;
}

#endif
