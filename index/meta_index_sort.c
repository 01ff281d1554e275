/* meta_index_sort.c - sorts (value, row) pairs by value: a radix sort of bytes, lowest first, that skips bytes in which
 * all keys agree. Stable, so rows that came ascending stay so under each value. Few pairs are sorted by insertion.
 */
#include "index/meta_index_internal.h"

enum { INSERTION_MAX = 64 };

static void sort_few(uint64_t *keys, uint32_t *rows, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint64_t key = keys[i];
        uint32_t row = rows[i];
        size_t k = i;
        for (; k > 0 && keys[k - 1] > key; k--) {
            keys[k] = keys[k - 1];
            rows[k] = rows[k - 1];
        }
        keys[k] = key;
        rows[k] = row;
    }
}

void sort_pairs(uint64_t *keys, uint32_t *rows, size_t n, uint64_t *scratch_keys, uint32_t *scratch_rows)
{
    if (n <= INSERTION_MAX) {
        sort_few(keys, rows, n);
        return;
    }
    uint64_t differs = 0;
    bool is_sorted = true;
    for (size_t i = 1; i < n; i++) {
        differs |= keys[i] ^ keys[0];
        is_sorted = is_sorted && keys[i - 1] <= keys[i];
    }
    if (is_sorted) return;
    uint64_t *from = keys, *to = scratch_keys;
    uint32_t *from_rows = rows, *to_rows = scratch_rows;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        if ((differs >> shift & 0xff) == 0) continue;
        size_t places[256] = {0}, sum = 0;
        for (size_t i = 0; i < n; i++) places[from[i] >> shift & 0xff]++;
        for (int b = 0; b < 256; b++) {
            size_t count = places[b];
            places[b] = sum;
            sum += count;
        }
        for (size_t i = 0; i < n; i++) {
            size_t place = places[from[i] >> shift & 0xff]++;
            to[place] = from[i];
            to_rows[place] = from_rows[i];
        }
        uint64_t *swap = from;
        from = to;
        to = swap;
        uint32_t *swap_rows = from_rows;
        from_rows = to_rows;
        to_rows = swap_rows;
    }
    if (from != keys) {
        memcpy(keys, from, n * sizeof *keys);
        memcpy(rows, from_rows, n * sizeof *rows);
    }
}
