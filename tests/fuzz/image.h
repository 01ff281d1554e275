/* image.h - changes of a valid file's bytes that an input describes: several at a time, each at a place in one of its
 * parts, by preference near the front, where the numbers are that others depend on.
 */
#ifndef TESTS_FUZZ_IMAGE_H
#define TESTS_FUZZ_IMAGE_H

#include "tests/fuzz/fuzz.h"

struct image {
    uint8_t *p;
    size_t n;
};

enum { IMAGE_CHANGES_MAX = 16 };

/* One change within [at, at + length). INPUT: how, where (two bytes: at the front; four: anywhere), with what. */
static inline void image_change(struct image *m, size_t at, size_t length, struct input *in)
{
    static const uint64_t numbers[] = {
        0,          1,        2,       31,         32,         0x7f,       0x80,
        0xff,       0xffff,   0x10000, 0x7fffffff, 0x80000000, 0xffffffff, UINT64_C(0x100000000),
        UINT64_MAX, INT64_MAX};
    uint8_t how = input_u8(in);
    if (length == 0 || at > m->n || length > m->n - at) return;
    size_t place = (how & 1) == 0 ? input_u8(in) | (size_t)input_u8(in) << 8 : input_u32(in);
    if ((how & 2) != 0) place &= ~(size_t)3; /* most numbers are aligned */
    place %= length;
    uint8_t *to = m->p + at + place;
    size_t left = length - place, width = (size_t)1 << (how >> 2 & 3);
    if (width > left) width = left;
    uint64_t v = 0;
    memcpy(&v, to, width);
    switch (how >> 4 & 3) {
    case 0:
        v ^= UINT64_C(1) << (input_u8(in) % (8 * width));
        break;
    case 1:
        v += (uint64_t)(int64_t)(int8_t)input_u8(in);
        break;
    case 2:
        v = numbers[input_u8(in) % 16];
        break;
    default:
        v = input_u32(in);
        break;
    }
    memcpy(to, &v, width);
}

#endif
