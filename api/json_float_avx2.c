/* json_float_avx2.c - eight floats at a time to their shortest decimals, for answers that carry embeddings.
 *
 * METHOD  the rule of json_float.c (which multiple of ten, or else which integer, lies in the rounding interval scaled by
 * 10^p) decided in doubles instead of exact integers. The scaled interval is at least one and less than ten units long, so
 * at most one multiple of ten lies in it, and it is the one nearest to the scaled value m; if none does, the integer nearest
 * to m lies in it and is the answer. The float has 24 bits and 10^p is a double without error, so m < 2^28 is off by
 * at most 2^-25 and half the interval, w, is exact. Where a comparison is decided by less than MARGIN, far more than that,
 * the lane is in doubt. So are powers of two (their interval is lopsided), and numbers of sizes that `scales` leaves out:
 * below 2^-16, from 2^23 on, denormals and what is no number.
 * A lane in doubt is written by the exact path: both paths give the same text for every float.
 *
 * TEXT  of m nine digits are made, with a zero in front where it has eight (it has seven only below 2^-9, where zeros before it
 * are written anyway). Where point and digits go depends on the power,
 * on the sign and on whether the first digit is zero; a shuffle from a table of these puts them there, and 16 bytes are
 * stored, of which the zeros at the end are overwritten by what follows. No step branches on the digits, which a processor
 * cannot predict.
 *
 * Eight at a time, because the way from a float to its digits is a chain of some forty steps: two chains run beside each other.
 *
 * INVARIANT  called only where the processor has AVX2 and LZCNT.
 */
#include "api/json_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx2,lzcnt")))

/* --- forms -------------------------------------------------------------------------------------------------------- */

/* How a number looks that is nine digits / 10^p: a comma, a sign if it is negative, digits with a point among them. With
 * p = 9 and more there are zeros in front. With less than 8 a first digit that is zero is left out. */
struct form {
    _Alignas(64) uint8_t
        from[16];      /* text byte i: digit from[i] - 7 of the nine, counted from 0; below 7: a zero; 0x80: no digit */
    uint8_t marks[16]; /* or'ed to it: '0' under digits, and what else is there */
    uint8_t lengths[16]; /* of the text, by how many of the last eight digits are zeros behind all others */
};

/* The digits begin at `first` (0: the first one; -1: a zero before it; 1: the second); the point comes after n of them. */
#define FROM(i, neg, first, n)                                                                                         \
    ((i) <= (neg) || (i) == (neg) + 1 + (n) ? 0x80 : 7 + (first) + (i)-1 - (neg) - ((i) > (neg) + 1 + (n)))
#define MARK(i, neg, n) ((i) == 0 ? ',' : (i) <= (neg) ? '-' : (i) == (neg) + 1 + (n) ? '.' : '0')
/* at least one digit behind the point */
#define LENGTH(i, neg, first, n) (2 + (neg) + ((i) < 9 && 9 - (i) - (first) > (n) ? 9 - (i) - (first) : (n) + 1))
#define SIXTEEN(F, ...)                                                                                                \
    {                                                                                                                  \
        F(0, __VA_ARGS__), F(1, __VA_ARGS__), F(2, __VA_ARGS__), F(3, __VA_ARGS__), F(4, __VA_ARGS__),                 \
            F(5, __VA_ARGS__), F(6, __VA_ARGS__), F(7, __VA_ARGS__), F(8, __VA_ARGS__), F(9, __VA_ARGS__),             \
            F(10, __VA_ARGS__), F(11, __VA_ARGS__), F(12, __VA_ARGS__), F(13, __VA_ARGS__), F(14, __VA_ARGS__),        \
            F(15, __VA_ARGS__)                                                                                         \
    }
#define FORM(neg, first, n)                                                                                            \
    {                                                                                                                  \
        SIXTEEN(FROM, neg, first, n), SIXTEEN(MARK, neg, n), SIXTEEN(LENGTH, neg, first, n)                            \
    }
/* positive or not, first digit zero or not: it is 0 or 1 */
#define FORMS(first_if_zero, n_if_zero, first, n)                                                                      \
    {                                                                                                                  \
        {FORM(0, first_if_zero, n_if_zero), FORM(0, first, n)},                                                        \
        {                                                                                                              \
            FORM(1, first_if_zero, n_if_zero), FORM(1, first, n)                                                       \
        }                                                                                                              \
    }
enum { P_MAX = 12 };
static const struct form forms[P_MAX + 1][2][2] = {
    FORMS(1, 8, 0, 9),   FORMS(1, 7, 0, 8),   FORMS(1, 6, 0, 7),   FORMS(1, 5, 0, 6), FORMS(1, 4, 0, 5),
    FORMS(1, 3, 0, 4),   FORMS(1, 2, 0, 3),   FORMS(1, 1, 0, 2),   FORMS(0, 1, 0, 1), FORMS(-1, 1, -1, 1),
    FORMS(-2, 1, -2, 1), FORMS(-3, 1, -3, 1), FORMS(-4, 1, -4, 1),
};

/* --- sizes -------------------------------------------------------------------------------------------------------- */

enum { EXPONENT_MIN = 111, EXPONENT_MAX = 149, N_EXPONENTS = EXPONENT_MAX - EXPONENT_MIN + 1 };

/* One a binary exponent, biased, from EXPONENT_MIN on: v = c * 2^q. */
struct scale {
    _Alignas(32) double power; /* 10^p with 1 <= 2^q * 10^p < 10 */
    double half;               /* 2^(q-1) * 10^p: w */
    const struct form *forms;  /* of p */
};

#define SCALE(biased, p)                                                                                               \
    {                                                                                                                  \
        1e##p, 1e##p / (double)(UINT64_C(1) << (151 - (biased))), &forms[p][0][0]                                      \
    }
static const struct scale scales[N_EXPONENTS] = {
    SCALE(111, 12), SCALE(112, 12), SCALE(113, 12), SCALE(114, 11), SCALE(115, 11), SCALE(116, 11), SCALE(117, 10),
    SCALE(118, 10), SCALE(119, 10), SCALE(120, 10), SCALE(121, 9),  SCALE(122, 9),  SCALE(123, 9),  SCALE(124, 8),
    SCALE(125, 8),  SCALE(126, 8),  SCALE(127, 7),  SCALE(128, 7),  SCALE(129, 7),  SCALE(130, 7),  SCALE(131, 6),
    SCALE(132, 6),  SCALE(133, 6),  SCALE(134, 5),  SCALE(135, 5),  SCALE(136, 5),  SCALE(137, 4),  SCALE(138, 4),
    SCALE(139, 4),  SCALE(140, 4),  SCALE(141, 3),  SCALE(142, 3),  SCALE(143, 3),  SCALE(144, 2),  SCALE(145, 2),
    SCALE(146, 2),  SCALE(147, 1),  SCALE(148, 1),  SCALE(149, 1),
};
_Static_assert(sizeof(struct form) == 64 && sizeof(struct scale) == 32, "places in tables are found by shifting");
static const double MARGIN = 1.0 / (1 << 20);

/* --- digits ------------------------------------------------------------------------------------------------------- */

struct four {
    __m256i low, high; /* nine digits of the lanes 0 and 2, 1 and 3: byte 7 is the first, byte 15 the last */
    __m256i first;     /* 0 or 1, the first digit; 64 bits a lane */
    unsigned is_set;   /* bit 8 * lane + k: digit k + 1 is not zero */
    unsigned in_doubt; /* bit: lane */
};

TARGET static inline __m256d magnitude(__m256d x)
{
    return _mm256_andnot_pd(_mm256_set1_pd(-0.0), x);
}

TARGET static inline __m256d nearest(__m256d x)
{
    return _mm256_round_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* m scaled, w its half interval: the decimal of the rule, below 2 * 10^8; *doubt: lanes that are decided too narrowly. */
TARGET static inline __m256d choose(__m256d m, __m256d w, __m256d *doubt)
{
    const __m256d margin = _mm256_set1_pd(MARGIN);
    __m256d unit = nearest(m);
    __m256d ten = _mm256_mul_pd(nearest(_mm256_mul_pd(m, _mm256_set1_pd(0.1))), _mm256_set1_pd(10));
    __m256d beyond = _mm256_sub_pd(magnitude(_mm256_sub_pd(m, ten)), w); /* negative: `ten` is inside */
    __m256d to_half = _mm256_sub_pd(_mm256_set1_pd(0.5), magnitude(_mm256_sub_pd(m, unit)));
    *doubt = _mm256_cmp_pd(_mm256_min_pd(magnitude(beyond), to_half), margin, _CMP_LT_OQ);
    return _mm256_blendv_pd(unit, ten, beyond);
}

/* nine < 2 * 10^8 in each lane. Divisions by constants are multiplications that are exact in the range of their lane. */
TARGET static inline void split_digits(__m256i nine, struct four *out)
{
    __m256i first = _mm256_srli_epi64(_mm256_mul_epu32(nine, _mm256_set1_epi64x(0x55e63b89)), 57); /* / 10^8 */
    __m256i v = _mm256_sub_epi64(nine, _mm256_mul_epu32(first, _mm256_set1_epi64x(100000000)));
    __m256i high = _mm256_srli_epi64(_mm256_mul_epu32(v, _mm256_set1_epi64x(0xd1b71759)), 45); /* / 10^4 */
    __m256i low = _mm256_sub_epi64(v, _mm256_mul_epu32(high, _mm256_set1_epi64x(10000)));
    __m256i x = _mm256_or_si256(high, _mm256_slli_epi64(low, 32));
    high = _mm256_srli_epi32(_mm256_mulhi_epu16(x, _mm256_set1_epi32(5243)), 3); /* / 100 of x < 10^4 */
    low = _mm256_sub_epi32(x, _mm256_mullo_epi16(high, _mm256_set1_epi32(100)));
    x = _mm256_or_si256(high, _mm256_slli_epi32(low, 16));
    high = _mm256_mulhi_epu16(x, _mm256_set1_epi16(6554)); /* / 10 of x < 100 */
    low = _mm256_sub_epi16(x, _mm256_mullo_epi16(high, _mm256_set1_epi16(10)));
    x = _mm256_or_si256(high, _mm256_slli_epi16(low, 8));
    __m256i zero = _mm256_setzero_si256();
    out->is_set = ~(unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(x, zero));
    out->first = first;
    first = _mm256_slli_epi64(first, 56);
    out->low = _mm256_unpacklo_epi64(first, x);
    out->high = _mm256_unpackhi_epi64(first, x);
}

/* at[]: offsets in `scales` in bytes. */
static inline const struct scale *scale_at(uint32_t at)
{
    return (const struct scale *)(const void *)((const char *)scales + at);
}

TARGET static inline void four_floats(__m128 size, const uint32_t *at, struct four *out)
{
    __m256d a = _mm256_castpd128_pd256(_mm_load_pd(&scale_at(at[0])->power));
    __m256d b = _mm256_castpd128_pd256(_mm_load_pd(&scale_at(at[1])->power));
    a = _mm256_insertf128_pd(a, _mm_load_pd(&scale_at(at[2])->power), 1);
    b = _mm256_insertf128_pd(b, _mm_load_pd(&scale_at(at[3])->power), 1);
    __m256d power = _mm256_unpacklo_pd(a, b), w = _mm256_unpackhi_pd(a, b), doubt;
    __m256d chosen = choose(_mm256_mul_pd(_mm256_cvtps_pd(size), power), w, &doubt);
    out->in_doubt = (unsigned)_mm256_movemask_pd(doubt);
    split_digits(_mm256_cvtepu32_epi64(_mm256_cvttpd_epi32(chosen)), out);
}

struct eight {
    struct four part[2];
    uint32_t at[8];              /* in `scales`, bytes; any for lanes in doubt */
    _Alignas(32) uint64_t of[8]; /* the form among those of the scale, bytes */
    unsigned in_doubt;           /* bit: lane */
};

TARGET static inline void eight_floats(const float *v, struct eight *out)
{
    __m256i bits = _mm256_loadu_si256((const __m256i *)(const void *)v);
    __m256i size = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
    __m256i place = _mm256_sub_epi32(_mm256_srli_epi32(size, 23), _mm256_set1_epi32(EXPONENT_MIN));
    __m256i common = _mm256_cmpeq_epi32(place, _mm256_min_epu32(place, _mm256_set1_epi32(N_EXPONENTS - 1)));
    __m256i whole = _mm256_cmpeq_epi32(_mm256_slli_epi32(bits, 9), _mm256_setzero_si256()); /* a power of two */
    unsigned rare = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_andnot_si256(whole, common))) ^ 0xff;
    _mm256_storeu_si256((__m256i *)(void *)out->at, _mm256_slli_epi32(_mm256_and_si256(place, common), 5));

    __m256 sizes = _mm256_castsi256_ps(size);
    four_floats(_mm256_castps256_ps128(sizes), out->at, &out->part[0]);
    four_floats(_mm256_extractf128_ps(sizes, 1), out->at + 4, &out->part[1]);
    out->in_doubt = rare | out->part[0].in_doubt | out->part[1].in_doubt << 4;

    __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(bits, 31), 7); /* two forms on */
    for (int i = 0; i < 2; i++) {
        __m256i four = _mm256_cvtepu32_epi64(i == 0 ? _mm256_castsi256_si128(sign) : _mm256_extracti128_si256(sign, 1));
        four = _mm256_or_si256(four, _mm256_slli_epi64(out->part[i].first, 6));
        _mm256_store_si256((__m256i *)(void *)(out->of + 4 * i), four);
    }
}

/* --- text --------------------------------------------------------------------------------------------------------- */

/* Lane i, which is not in doubt. */
TARGET static inline char *put_lane(char *to, const struct eight *d, unsigned i)
{
    const struct four *part = &d->part[i / 4];
    __m256i half = i % 2 == 0 ? part->low : part->high;
    __m128i text = i % 4 < 2 ? _mm256_castsi256_si128(half) : _mm256_extracti128_si256(half, 1);
    const struct form *form = (const struct form *)(const void *)((const char *)scale_at(d->at[i])->forms + d->of[i]);
    text = _mm_shuffle_epi8(text, _mm_load_si128((const __m128i *)(const void *)form->from));
    text = _mm_or_si128(text, _mm_load_si128((const __m128i *)(const void *)form->marks));
    _mm_storeu_si128((__m128i *)(void *)to, text);
    return to + form->lengths[_lzcnt_u32(part->is_set >> (i % 4 * 8) & 0xff) - 24];
}

/* Eight lanes of which some are in doubt. Apart, so that the others need not be where a call leaves them. */
TARGET static __attribute__((noinline)) char *put_doubtful(char *to, const float *v, const struct eight *d)
{
    for (unsigned i = 0; i < 8; i++) {
        if ((d->in_doubt >> i & 1) == 0) {
            to = put_lane(to, d, i);
        } else {
            *to++ = ',';
            to = json_put_float_at(to, v[i]);
        }
    }
    return to;
}

TARGET char *json_put_eights_avx2(char *to, const float *v, uint32_t n)
{
    for (const float *end = v + n; v < end; v += 8) {
        struct eight d;
        eight_floats(v, &d);
        if (__builtin_expect(d.in_doubt != 0, 0)) {
            const struct eight copy = d;
            to = put_doubtful(to, v, &copy);
            continue;
        }
        to = put_lane(to, &d, 0);
        to = put_lane(to, &d, 1);
        to = put_lane(to, &d, 2);
        to = put_lane(to, &d, 3);
        to = put_lane(to, &d, 4);
        to = put_lane(to, &d, 5);
        to = put_lane(to, &d, 6);
        to = put_lane(to, &d, 7);
    }
    return to;
}

#endif
