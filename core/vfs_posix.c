/* vfs_posix.c - files of the operating system behind the table of vfs.h.
 *
 * FAILURE  every call is retried on EINTR, short reads and writes are continued; everything else is reported with the
 *          path where it is known. Nothing here retries a failed sync.
 * The lock is an open-file-description lock: it belongs to the descriptor, so it dies with the process and is not lost
 * when some other descriptor of the same file is closed.
 */
#include "core/vfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/mem.h"

struct vfs_file {
    int fd;
};

static enum err not_found_or_errno(struct errmsg *em, int err_no, const char *what, const char *path)
{
    enum err e = errmsg_errno(em, err_no, "%s %s", what, path);
    return err_no == ENOENT || err_no == ENOTDIR ? ERR_NOT_FOUND : e;
}

static enum err wrap_fd(int fd, struct vfs_file **out, struct errmsg *em)
{
    struct vfs_file *f = mem_alloc(sizeof *f);
    if (f == NULL) {
        (void)close(fd);
        return errmsg_set(em, ERR_NOMEM, "open a file");
    }
    f->fd = fd;
    *out = f;
    return ERR_OK;
}

static int open_retrying(const char *path, int flags, mode_t mode)
{
    int fd;
    do fd = open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static enum err posix_open(void *ctx, const char *path, int flags, struct vfs_file **out, struct errmsg *em)
{
    (void)ctx;
    int o = (flags & VFS_WRITE) != 0 ? O_RDWR : O_RDONLY;
    if ((flags & VFS_CREATE) != 0) o |= O_CREAT;
    if ((flags & VFS_EXCLUSIVE) != 0) o |= O_EXCL;
    if ((flags & VFS_TRUNCATE) != 0) o |= O_TRUNC;
    int fd = open_retrying(path, o, 0640);
    if (fd < 0) {
        int err_no = errno;
        if (err_no == EEXIST) return errmsg_set(em, ERR_EXISTS, "open %s: it exists", path);
        return not_found_or_errno(em, err_no, "open", path);
    }
    return wrap_fd(fd, out, em);
}

static void posix_close(struct vfs_file *f)
{
    if (f == NULL) return;
    (void)close(f->fd);
    mem_free(f);
}

static enum err posix_pread(struct vfs_file *f, void *p, size_t n, uint64_t offset, struct errmsg *em)
{
    char *to = p;
    while (n > 0) {
        ssize_t got = pread(f->fd, to, n, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errmsg_errno(em, errno, "read at %llu", (unsigned long long)offset);
        if (got == 0) return errmsg_set(em, ERR_CORRUPT, "the file ends at %llu", (unsigned long long)offset);
        to += got;
        n -= (size_t)got;
        offset += (uint64_t)got;
    }
    return ERR_OK;
}

static enum err posix_pwrite(struct vfs_file *f, const void *p, size_t n, uint64_t offset, struct errmsg *em)
{
    const char *from = p;
    while (n > 0) {
        ssize_t put = pwrite(f->fd, from, n, (off_t)offset);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return errmsg_errno(em, errno, "write at %llu", (unsigned long long)offset);
        from += put;
        n -= (size_t)put;
        offset += (uint64_t)put;
    }
    return ERR_OK;
}

static enum err posix_size(struct vfs_file *f, uint64_t *size, struct errmsg *em)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0) return errmsg_errno(em, errno, "stat");
    *size = (uint64_t)st.st_size;
    return ERR_OK;
}

static enum err posix_truncate(struct vfs_file *f, uint64_t size, struct errmsg *em)
{
    int rc;
    do rc = ftruncate(f->fd, (off_t)size);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? ERR_OK : errmsg_errno(em, errno, "truncate");
}

static enum err posix_allocate(struct vfs_file *f, uint64_t size, struct errmsg *em)
{
    int rc;
    do rc = posix_fallocate(f->fd, 0, (off_t)size);
    while (rc == EINTR);
    return rc == 0 ? ERR_OK : errmsg_errno(em, rc, "allocate %llu bytes", (unsigned long long)size);
}

static enum err posix_sync(struct vfs_file *f, bool data_only, struct errmsg *em)
{
    int rc = data_only ? fdatasync(f->fd) : fsync(f->fd);
    return rc == 0 ? ERR_OK : errmsg_errno(em, errno, "sync");
}

static void posix_forget(struct vfs_file *f, uint64_t offset, uint64_t n)
{
    (void)posix_fadvise(f->fd, (off_t)offset, (off_t)n, POSIX_FADV_DONTNEED);
}

static enum err posix_map(struct vfs_file *f, struct bytes *map, struct errmsg *em)
{
    uint64_t size = 0;
    enum err e = posix_size(f, &size, em);
    if (e != ERR_OK) return e;
    if (size == 0) {
        *map = (struct bytes){NULL, 0};
        return ERR_OK;
    }
    void *p = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, f->fd, 0);
    if (p == MAP_FAILED) return errmsg_errno(em, errno, "map %llu bytes", (unsigned long long)size);
    *map = (struct bytes){p, (size_t)size};
    return ERR_OK;
}

static void posix_unmap(void *ctx, struct bytes map)
{
    (void)ctx;
    if (map.p != NULL) (void)munmap((void *)(uintptr_t)map.p, map.n);
}

static enum err posix_rename(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    (void)ctx;
    return rename(from, to) == 0 ? ERR_OK : not_found_or_errno(em, errno, "rename", from);
}

static enum err posix_exchange(void *ctx, const char *a, const char *b, struct errmsg *em)
{
    (void)ctx;
    if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0) return ERR_OK;
    int err_no = errno;
    enum err e = not_found_or_errno(em, err_no, "exchange", a);
    return err_no == EINVAL || err_no == ENOSYS || err_no == EOPNOTSUPP ? ERR_UNSUPPORTED : e;
}

/* What file systems answer that have no hard links, have no more of them for this file, or keep the two places apart. */
static bool cannot_link(int err_no)
{
    return err_no == EPERM || err_no == EOPNOTSUPP || err_no == ENOSYS || err_no == EMLINK || err_no == EXDEV;
}

static enum err posix_link(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    (void)ctx;
    if (link(from, to) == 0) return ERR_OK;
    int err_no = errno;
    enum err e = not_found_or_errno(em, err_no, "link", from);
    if (err_no == EEXIST) return errmsg_set(em, ERR_EXISTS, "link %s: it exists", to);
    return cannot_link(err_no) ? ERR_UNSUPPORTED : e;
}

static enum err posix_remove(void *ctx, const char *path, struct errmsg *em)
{
    (void)ctx;
    return unlink(path) == 0 ? ERR_OK : not_found_or_errno(em, errno, "remove", path);
}

static enum err posix_sync_dir(void *ctx, const char *path, struct errmsg *em);

/* What was made in the directory that holds `path` survives a power cut. */
static enum err sync_parent(char *path, struct errmsg *em)
{
    char *slash = strrchr(path, '/');
    if (slash == NULL) return posix_sync_dir(NULL, ".", em);
    if (slash == path) return posix_sync_dir(NULL, "/", em);
    *slash = '\0';
    enum err e = posix_sync_dir(NULL, path, em);
    *slash = '/';
    return e;
}

static enum err posix_make_dir(void *ctx, const char *path, struct errmsg *em)
{
    (void)ctx;
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) return errmsg_set(em, ERR_IO, "make directory: the path is too long");
    for (size_t i = 1; i <= n; i++) { /* every prefix that ends before a '/', then the whole */
        if (path[i] != '/' && path[i] != '\0') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        bool is_new = mkdir(part, 0750) == 0;
        if (!is_new && errno != EEXIST) return errmsg_errno(em, errno, "make directory %s", part);
        if (is_new) {
            enum err e = sync_parent(part, em);
            if (e != ERR_OK) return e;
        }
    }
    struct stat st;
    if (stat(path, &st) != 0) return errmsg_errno(em, errno, "make directory %s", path);
    return S_ISDIR(st.st_mode) ? ERR_OK : errmsg_set(em, ERR_IO, "%s is not a directory", path);
}

static enum err posix_remove_dir(void *ctx, const char *path, struct errmsg *em)
{
    (void)ctx;
    return rmdir(path) == 0 ? ERR_OK : not_found_or_errno(em, errno, "remove directory", path);
}

static enum err posix_sync_dir(void *ctx, const char *path, struct errmsg *em)
{
    (void)ctx;
    int fd = open_retrying(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) return not_found_or_errno(em, errno, "open directory", path);
    enum err e = fsync(fd) == 0 ? ERR_OK : errmsg_errno(em, errno, "sync directory %s", path);
    (void)close(fd);
    return e;
}

static enum err posix_list(void *ctx, const char *path, vfs_visit visit, void *visit_ctx, struct errmsg *em)
{
    (void)ctx;
    enum err e = ERR_OK;
    DIR *d = opendir(path);
    if (d == NULL) return not_found_or_errno(em, errno, "list", path);
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(d);
        if (entry == NULL) {
            if (errno != 0) e = errmsg_errno(em, errno, "list %s", path);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        bool is_dir = entry->d_type == DT_DIR;
        if (entry->d_type == DT_UNKNOWN) {
            struct stat st;
            is_dir = fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
        }
        e = visit(visit_ctx, str_from_c(entry->d_name), is_dir);
        if (e != ERR_OK) break;
    }
    (void)closedir(d);
    return e;
}

static enum err posix_lock_dir(void *ctx, const char *path, struct vfs_file **lock, struct errmsg *em)
{
    (void)ctx;
    char name[PATH_MAX];
    if (!vfs_join(name, sizeof name, path, "LOCK")) return errmsg_set(em, ERR_IO, "lock: the path is too long");
    int fd = open_retrying(name, O_RDWR | O_CREAT, 0640);
    if (fd < 0) return errmsg_errno(em, errno, "open %s", name);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
        int err_no = errno;
        (void)close(fd);
        if (err_no == EAGAIN || err_no == EACCES)
            return errmsg_set(em, ERR_LOCKED, "%s is in use by another process", path);
        return errmsg_errno(em, err_no, "lock %s", name);
    }
    return wrap_fd(fd, lock, em);
}

static enum err posix_lock(struct vfs_file *f, uint64_t offset, uint64_t n, bool wanted, struct errmsg *em)
{
    struct flock range = {
        .l_type = wanted ? F_WRLCK : F_UNLCK,
        .l_whence = SEEK_SET,
        .l_start = (off_t)offset,
        .l_len = (off_t)n,
    };
    if (fcntl(f->fd, F_OFD_SETLK, &range) == 0) return ERR_OK;
    int err_no = errno;
    if (err_no == EAGAIN || err_no == EACCES)
        return errmsg_set(em, ERR_LOCKED, "the file is in use by another process");
    return errmsg_errno(em, err_no, "lock");
}

const struct vfs *vfs_posix(void)
{
    static const struct vfs table = {
        .open = posix_open,
        .close = posix_close,
        .pread = posix_pread,
        .pwrite = posix_pwrite,
        .size = posix_size,
        .truncate = posix_truncate,
        .allocate = posix_allocate,
        .sync = posix_sync,
        .forget = posix_forget,
        .map = posix_map,
        .unmap = posix_unmap,
        .rename = posix_rename,
        .exchange = posix_exchange,
        .link = posix_link,
        .remove = posix_remove,
        .make_dir = posix_make_dir,
        .remove_dir = posix_remove_dir,
        .sync_dir = posix_sync_dir,
        .list = posix_list,
        .lock_dir = posix_lock_dir,
        .lock = posix_lock,
    };
    return &table;
}

bool vfs_join(char *out, size_t cap, const char *dir, const char *name)
{
    int n = snprintf(out, cap, "%s/%s", dir, name);
    return n >= 0 && (size_t)n < cap;
}
