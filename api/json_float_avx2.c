/* json_float_avx2.c - four floats at a time to their shortest decimals, for answers that carry embeddings.
 *
 * METHOD  the rule of json_float.c (which multiple of ten, or else which integer, lies in the rounding interval scaled by
 * 10^p) decided in doubles instead of exact integers. The float has 24 bits and 10^p, p <= 22, is a double without
 * error, so the scaled value m < 2^28 is off by at most 2^-25, the half interval w is exact, and m - w, m + w are off by
 * at most 2^-24. Where a comparison is decided by less than MARGIN, far more than that, the lane is in doubt; so are
 * numbers outside the range of the powers, powers of two (their interval is lopsided), denormals and what is no number.
 * A lane in doubt is written by the exact path: both paths give the same text for every float.
 * If m itself is rounded across an integer, the two candidates move by one, and the nearer one in them is the same.
 * No step branches on the digits, which a processor cannot predict: nine are always made, eight of them in one word.
 *
 * INVARIANT  called only where the processor has AVX2.
 */
#include "api/json_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))

enum { P_MAX = 22 };
static const double powers[P_MAX + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                         1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
static const double MARGIN = 1.0 / (1 << 20);

/* Nine digits, the first one not zero, and where the point stands counted from the first. */
struct nine {
    uint64_t first[4]; /* 1 to 9 */
    uint64_t rest[4];  /* one digit a byte, the lowest byte comes first */
    int32_t point[4];
    int in_doubt; /* bit i: lane i */
};

TARGET static inline __m256d is_close(__m256d x)
{
    __m256d magnitude = _mm256_andnot_pd(_mm256_set1_pd(-0.0), x);
    return _mm256_cmp_pd(magnitude, _mm256_set1_pd(MARGIN), _CMP_NGE_UQ);
}

TARGET static inline __m256d is_positive(__m256d x)
{
    return _mm256_cmp_pd(x, _mm256_setzero_pd(), _CMP_GT_OQ);
}

TARGET static inline __m256d truncated(__m256d x)
{
    return _mm256_round_pd(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
}

/* m scaled, w its half interval: the decimal of the rule, below 2 * 10^8; adds to *doubt. */
TARGET static inline __m256d choose(__m256d m, __m256d w, __m256d *doubt)
{
    const __m256d half = _mm256_set1_pd(0.5), one = _mm256_set1_pd(1);
    const __m256d ten = _mm256_set1_pd(10);
    __m256d lower = _mm256_sub_pd(m, w), upper = _mm256_add_pd(m, w);
    __m256d s = truncated(m);
    __m256d t = truncated(_mm256_mul_pd(_mm256_add_pd(s, half), _mm256_set1_pd(0.1)));
    t = _mm256_mul_pd(t, ten);
    __m256d t_up = _mm256_add_pd(t, ten), s_up = _mm256_add_pd(s, one);

    __m256d a = _mm256_sub_pd(t, lower), b = _mm256_sub_pd(upper, t_up);
    __m256d c = _mm256_sub_pd(s, lower), d = _mm256_sub_pd(upper, s_up);
    __m256d e = _mm256_sub_pd(_mm256_sub_pd(m, s), half);
    __m256d close = _mm256_or_pd(_mm256_or_pd(is_close(a), is_close(b)), _mm256_or_pd(is_close(c), is_close(d)));
    *doubt = _mm256_or_pd(*doubt, _mm256_or_pd(close, is_close(e)));

    __m256d is_tens_up = is_positive(b), is_tens = _mm256_xor_pd(is_positive(a), is_tens_up);
    __m256d is_up = is_positive(d), is_one = _mm256_xor_pd(is_positive(c), is_up);
    is_up = _mm256_blendv_pd(is_positive(e), is_up, is_one);
    __m256d units = _mm256_blendv_pd(s, s_up, is_up), tens = _mm256_blendv_pd(t, t_up, is_tens_up);
    return _mm256_blendv_pd(units, tens, is_tens);
}

/* nine < 10^9 in each lane. Divisions by constants are multiplications that are exact in the range of their lane. */
TARGET static inline void split_digits(__m256i nine, struct nine *out)
{
    __m256i first = _mm256_srli_epi64(_mm256_mul_epu32(nine, _mm256_set1_epi64x(0x55e63b89)), 57); /* / 10^8 */
    __m256i v = _mm256_sub_epi64(nine, _mm256_mul_epu32(first, _mm256_set1_epi64x(100000000)));
    __m256i high = _mm256_srli_epi64(_mm256_mul_epu32(v, _mm256_set1_epi64x(0xd1b71759)), 45); /* / 10^4 */
    __m256i low = _mm256_sub_epi64(v, _mm256_mul_epu32(high, _mm256_set1_epi64x(10000)));
    __m256i x = _mm256_or_si256(high, _mm256_slli_epi64(low, 32));
    high = _mm256_srli_epi32(_mm256_mullo_epi32(x, _mm256_set1_epi32(10486)), 20); /* / 100 of x < 10^4 */
    low = _mm256_sub_epi32(x, _mm256_mullo_epi32(high, _mm256_set1_epi32(100)));
    x = _mm256_or_si256(high, _mm256_slli_epi32(low, 16));
    high = _mm256_srli_epi16(_mm256_mullo_epi16(x, _mm256_set1_epi16(103)), 10); /* / 10 of x < 100 */
    low = _mm256_sub_epi16(x, _mm256_mullo_epi16(high, _mm256_set1_epi16(10)));
    x = _mm256_or_si256(high, _mm256_slli_epi16(low, 8));
    _mm256_storeu_si256((__m256i *)(void *)out->first, first);
    _mm256_storeu_si256((__m256i *)(void *)out->rest, x);
}

TARGET static inline void four_floats(const float *v, struct nine *out)
{
    __m128i bits = _mm_loadu_si128((const __m128i *)(const void *)v);
    __m128i size = _mm_and_si128(bits, _mm_set1_epi32(0x7fffffff));
    __m128i fraction = _mm_and_si128(size, _mm_set1_epi32(0x7fffff));
    __m128i q = _mm_sub_epi32(_mm_srli_epi32(size, 23), _mm_set1_epi32(150)); /* size = c * 2^q */
    __m128i k = _mm_srai_epi32(_mm_mullo_epi32(q, _mm_set1_epi32(1262611)), 22);
    __m128i p = _mm_sub_epi32(_mm_setzero_si128(), k);
    __m128i rare = _mm_or_si128(_mm_cmpgt_epi32(_mm_set1_epi32(0x00800000), size),
                                _mm_cmpgt_epi32(size, _mm_set1_epi32(0x7f7fffff)));
    rare = _mm_or_si128(rare, _mm_cmpgt_epi32(p, _mm_set1_epi32(P_MAX)));
    rare = _mm_or_si128(rare, _mm_cmpgt_epi32(_mm_setzero_si128(), p));
    rare = _mm_or_si128(rare, _mm_cmpeq_epi32(fraction, _mm_setzero_si128()));
    /* A rare lane goes on as 1.5, so that whatever is computed of it is in range. */
    size = _mm_blendv_epi8(size, _mm_set1_epi32(0x3fc00000), rare);
    p = _mm_blendv_epi8(p, _mm_set1_epi32(7), rare);

    __m256d scale = _mm256_i32gather_pd(powers, p, 8);
    __m256d m = _mm256_mul_pd(_mm256_cvtps_pd(_mm_castsi128_ps(size)), scale);
    /* 2^(q - 1) as a double: the exponent, biased by 1023 instead of 127, 24 lower */
    __m256i exponent = _mm256_cvtepu32_epi64(_mm_and_si128(size, _mm_set1_epi32(0x7f800000)));
    __m256i half_ulp =
        _mm256_add_epi64(_mm256_slli_epi64(exponent, 29), _mm256_set1_epi64x((int64_t)(1023 - 127 - 24) << 52));
    __m256d doubt = _mm256_castsi256_pd(_mm256_cvtepi32_epi64(rare));
    __m256d chosen = choose(m, _mm256_mul_pd(_mm256_castsi256_pd(half_ulp), scale), &doubt);
    out->in_doubt = _mm256_movemask_pd(doubt);

    __m128i digits = _mm256_cvttpd_epi32(chosen); /* 7 to 9 of them; brought to nine */
    __m128i has_8 = _mm_cmpgt_epi32(digits, _mm_set1_epi32(9999999));
    __m128i has_9 = _mm_cmpgt_epi32(digits, _mm_set1_epi32(99999999));
    __m128i n = _mm_sub_epi32(_mm_sub_epi32(_mm_set1_epi32(7), has_8), has_9);
    __m128i factor = _mm_blendv_epi8(_mm_set1_epi32(100), _mm_set1_epi32(10), has_8);
    factor = _mm_blendv_epi8(factor, _mm_set1_epi32(1), has_9);
    _mm_storeu_si128((__m128i *)(void *)out->point, _mm_sub_epi32(n, p));
    split_digits(_mm256_cvtepu32_epi64(_mm_mullo_epi32(digits, factor)), out);
}

TARGET char *json_put_four_avx2(char *to, const float *v)
{
    const uint64_t zeros = UINT64_C(0x3030303030303030); /* as text */
    struct nine d;
    four_floats(v, &d);
    for (int i = 0; i < 4; i++) {
        int point = d.point[i];
        char first = (char)('0' + d.first[i]);
        uint64_t rest = d.rest[i] | zeros;
        /* digits without the zeros at the end; the first one counts always */
        int n = 8 - __builtin_clzll(d.rest[i] | 1) / 8 + (d.rest[i] != 0);
        if ((d.in_doubt >> i & 1) != 0 || point > 8 || point <= -6) {
            to = json_put_float_at(to, v[i]);
        } else {
            uint32_t bits;
            memcpy(&bits, &v[i], sizeof bits);
            *to = '-';
            to += bits >> 31;
            if (point <= 0) { /* 0.00123 */
                memcpy(to, &zeros, sizeof zeros);
                to[1] = '.';
                to += 2 - point;
                *to = first;
                memcpy(to + 1, &rest, sizeof rest);
                to += n;
            } else { /* 12.3, 12.0: all digits, then those behind the point once more, one place on */
                char text[17];
                text[0] = first;
                memcpy(text + 1, &rest, sizeof rest);
                memcpy(text + 9, &zeros, sizeof zeros);
                memcpy(to, text, 8);
                to[point] = '.';
                memcpy(to + point + 1, text + point, 8);
                to += point + 1 + (n > point ? n - point : 1);
            }
        }
        *to++ = ',';
    }
    return to;
}

#endif
