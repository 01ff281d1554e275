/* section.h - builds one section in a file in memory, and maps it, for tests of the indexes. */
#ifndef TESTS_SECTION_H
#define TESTS_SECTION_H

#include "index/sink.h"
#include "tests/unit/index/must.h"

struct section {
    struct vfs *vfs;
    struct vfs_file *file;
    struct sink sink;
    struct bytes map;
};

static inline void section_begin(struct section *s)
{
    *s = (struct section){0};
    must_ok(vfs_mem_new(&s->vfs, NULL));
    must_ok(s->vfs->open(s->vfs->ctx, "section", VFS_WRITE | VFS_CREATE, &s->file, NULL));
    must_ok(sink_init(&s->sink, s->vfs, s->file, 0, NULL));
    sink_begin(&s->sink, 64);
}

static inline struct bytes section_end(struct section *s)
{
    must_ok(sink_flush(&s->sink, NULL));
    must_ok(s->vfs->map(s->file, &s->map, NULL));
    return s->map;
}

static inline void section_free(struct section *s)
{
    if (s->map.p != NULL) s->vfs->unmap(s->vfs->ctx, s->map);
    sink_deinit(&s->sink);
    s->vfs->close(s->file);
    vfs_mem_free(s->vfs);
}

#endif
