/* driver.c - runs a fuzz target without libFuzzer: over all files of its corpus, then over random changes of them for
 * some seconds. For machines that have gcc only; it looks at no coverage.
 *
 * fuzz_NAME [-seconds=N] [-seed=N] [-max_len=N] [-artifact=FILE] FILE_OR_DIRECTORY...
 *
 * Ends with "N inputs" and status 0; a target that finds something aborts. The input at hand always lies in FILE,
 * which is mapped, so that it is there after an abort, and is removed when all went well. An input may take INPUT_S
 * seconds.
 */
#include "core/mem.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

enum { MAX_LEN = 1 << 20, FILES_MAX = 4096, INPUT_S = 30 };

struct driver {
    uint64_t seconds, seed, max_len;
    const char *artifact;
    struct bytes files[FILES_MAX];
    uint32_t n_files;
    uint64_t n_inputs;
    uint8_t *shown; /* the artifact, mapped */
    int shown_fd;
};

static struct driver driver; /* the program is this */

static void add_file(struct driver *d, const char *path)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (f == NULL || fstat(fileno(f), &st) != 0) panic("%s: cannot be read", path);
    size_t n = (size_t)st.st_size;
    if (d->n_files == FILES_MAX || n > MAX_LEN) panic("%s: too many files, or too long a one", path);
    uint8_t *p = mem_alloc(n + 1);
    if (p == NULL || fread(p, 1, n, f) != n) panic("%s: cannot be read", path);
    (void)fclose(f);
    d->files[d->n_files++] = (struct bytes){p, n};
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void add_path(struct driver *d, const char *path)
{
    struct dirent **names;
    struct stat st;
    char file[512];
    if (stat(path, &st) != 0) panic("%s: is not there", path);
    if (!S_ISDIR(st.st_mode)) {
        add_file(d, path);
        return;
    }
    int n = scandir(path, &names, NULL, by_name); /* sorted: the same seed means the same inputs */
    for (int i = 0; i < n; i++) {
        if (names[i]->d_name[0] != '.' && vfs_join(file, sizeof file, path, names[i]->d_name)) add_file(d, file);
        free(names[i]);
    }
    if (n >= 0) free(names);
}

static void run_one(struct driver *d, const uint8_t *p, size_t n)
{
    /* A copy of exactly its size, so that reading beyond the end is noticed. */
    uint8_t *copy = mem_alloc(n > 0 ? n : 1);
    if (copy == NULL) panic("out of memory");
    if (n > 0) memcpy(copy, p, n);
    if (ftruncate(d->shown_fd, (off_t)n) != 0) panic("%s: cannot be written", d->artifact);
    if (n > 0) memcpy(d->shown, p, n);
    (void)alarm(INPUT_S);
    (void)LLVMFuzzerTestOneInput(copy, n);
    (void)alarm(0);
    mem_free(copy);
    d->n_inputs++;
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

static void insert(uint8_t *p, size_t *n, size_t max, size_t at, const uint8_t *bytes, size_t n_bytes)
{
    if (n_bytes > max - *n) n_bytes = max - *n;
    memmove(p + at + n_bytes, p + at, *n - at);
    memcpy(p + at, bytes, n_bytes);
    *n += n_bytes;
}

static void change(const struct driver *d, struct rng *r, uint8_t *p, size_t *n, size_t max)
{
    static const uint32_t numbers[] = {0, 1, 0xff, 0x7f, 0x80, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x10000};
    size_t at = rng_below(r, (uint32_t)*n + 1), left = *n - at, span = 1 + rng_below(r, 16);
    if (span > left) span = left;
    uint8_t bytes[64];
    switch (rng_below(r, 10)) {
    case 0:
        if (left > 0) p[at] ^= (uint8_t)(1u << rng_below(r, 8));
        break;
    case 1:
        if (left > 0) p[at] = (uint8_t)rng_next(r);
        break;
    case 2:
        if (left > 0) p[at] = (uint8_t)(p[at] + rng_below(r, 9) - 4);
        break;
    case 3: { /* a number that is at some edge */
        uint32_t v = numbers[rng_below(r, sizeof numbers / sizeof numbers[0])] + rng_below(r, 3) - 1;
        size_t width = (size_t)1 << rng_below(r, 3);
        if (left >= width) memcpy(p + at, &v, width);
        break;
    }
    case 4: /* taken out */
        memmove(p + at, p + at + span, left - span);
        *n -= span;
        break;
    case 5: /* once more */
        if (span > 0) memcpy(bytes, p + at, span);
        insert(p, n, max, rng_below(r, (uint32_t)*n + 1), bytes, span);
        break;
    case 6:
        for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)rng_next(r);
        insert(p, n, max, at, bytes, 1 + rng_below(r, 8));
        break;
    case 7: { /* one of the characters that texts are made of */
        static const char marks[] = "[]{}\",:0123456789-.eE\\u$#*+?|()^n \n";
        if (left > 0) p[at] = (uint8_t)marks[rng_below(r, sizeof marks - 1)];
        break;
    }
    case 8:
        *n = at;
        break;
    default: { /* part of another one */
        const struct bytes *o = &d->files[rng_below(r, d->n_files)];
        size_t from = rng_below(r, (uint32_t)o->n + 1), len = rng_below(r, (uint32_t)(o->n - from) + 1);
        insert(p, n, max, at, (const uint8_t *)o->p + from, len < 256 ? len : 256);
        break;
    }
    }
}

static uint64_t now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec;
}

static void run_changes(struct driver *d)
{
    struct rng r = {d->seed};
    uint8_t *p = mem_alloc(MAX_LEN);
    if (p == NULL) panic("out of memory");
    for (uint64_t until = now_s() + d->seconds; now_s() < until;) {
        const struct bytes *f = &d->files[rng_below(&r, d->n_files)];
        size_t n = f->n < d->max_len ? f->n : d->max_len;
        if (n > 0) memcpy(p, f->p, n);
        for (uint32_t left = 1 + rng_below(&r, 4); left > 0; left--) change(d, &r, p, &n, d->max_len);
        run_one(d, p, n);
    }
    mem_free(p);
}

static void too_slow(int signal_number)
{
    static const char text[] = "an input takes too long\n";
    (void)signal_number;
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
    abort();
}

static bool option(const char *arg, const char *name, const char **value)
{
    size_t n = strlen(name);
    if (strncmp(arg, name, n) != 0) return false;
    *value = arg + n;
    return true;
}

int main(int argc, char **argv)
{
    struct driver *d = &driver;
    const char *v;
    *d = (struct driver){.seed = 1, .max_len = 4096, .artifact = "fuzz-input"};
    for (int i = 1; i < argc; i++) {
        if (option(argv[i], "-seconds=", &v))
            d->seconds = strtoull(v, NULL, 10);
        else if (option(argv[i], "-seed=", &v))
            d->seed = strtoull(v, NULL, 10);
        else if (option(argv[i], "-max_len=", &v))
            d->max_len = strtoull(v, NULL, 10);
        else if (option(argv[i], "-artifact=", &v))
            d->artifact = v;
        else
            add_path(d, argv[i]);
    }
    if (d->n_files == 0 || d->max_len > MAX_LEN) {
        (void)fprintf(stderr, "usage: %s [-seconds=N] [-seed=N] [-max_len=N] [-artifact=FILE] CORPUS...\n", argv[0]);
        return 2;
    }
    (void)signal(SIGALRM, too_slow);
    d->shown_fd = open(d->artifact, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (d->shown_fd < 0) panic("%s: cannot be written", d->artifact);
    d->shown = mmap(NULL, MAX_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, d->shown_fd, 0);
    if (d->shown == MAP_FAILED) panic("%s: cannot be mapped", d->artifact);
    for (uint32_t i = 0; i < d->n_files; i++) run_one(d, d->files[i].p, d->files[i].n);
    if (d->seconds > 0) run_changes(d);
    (void)printf("%llu inputs, %u of them files, seed %llu\n", (unsigned long long)d->n_inputs, d->n_files,
                 (unsigned long long)d->seed);
    for (uint32_t i = 0; i < d->n_files; i++) mem_free((void *)(uintptr_t)d->files[i].p);
    (void)munmap(d->shown, MAX_LEN);
    (void)close(d->shown_fd);
    (void)remove(d->artifact);
    return 0;
}
