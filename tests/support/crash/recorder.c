/* Preloaded into a process that writes a ledger: records all that it does to the files in the folder GR_FOLDER, in
   order, into the file GR_RECORD, to which the process itself adds what was acknowledged. See disks.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)

static const char *folder(void) {
    static const char *found;
    if (!found) found = getenv("GR_FOLDER");
    return found ? found : "/nowhere";
}

/* What lies in the folder, but for shared memory: that is not on any disk. */
static int ours(const char *path) {
    size_t length = strlen(folder());
    if (strncmp(path, folder(), length) != 0 || (path[length] != '/' && path[length] != 0)) return 0;
    size_t all = strlen(path);
    return all < 4 || strcmp(path + all - 4, "-shm") != 0;
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return ours(path);
}

static void absolute(int dir, const char *path, char *whole) {
    char base[PATH_MAX] = "";
    if (path[0] == '/') snprintf(whole, PATH_MAX, "%s", path);
    else if (dir != AT_FDCWD && (path_of(dir, base), 1)) snprintf(whole, PATH_MAX, "%s/%s", base, path);
    else snprintf(whole, PATH_MAX, "%s/%s", getcwd(base, sizeof base) ? base : "", path);
}

/* what, file (inode), place or number, length of path, length of data; then path and data: one write, so one step */
static void note(char what, uint64_t inode, uint64_t where, const char *path, const void *data, size_t size) {
    static int log = -1;
    static __typeof__(&open64) really;
    if (!really) really = dlsym(RTLD_NEXT, "open64");
    if (log < 0) log = really(getenv("GR_RECORD"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    char head[25] = {what};
    uint32_t lengths[2] = {strlen(path), size};
    memcpy(head + 1, &inode, 8);
    memcpy(head + 9, &where, 8);
    memcpy(head + 17, lengths, 8);
    struct iovec parts[3] = {{head, 25}, {(void *)path, lengths[0]}, {(void *)data, size}};
    if (writev(log, parts, 3) != (ssize_t)(25 + lengths[0] + size)) abort();
}

static void note_file(char what, int fd, uint64_t where, const void *data, size_t size) {
    char path[PATH_MAX];
    struct stat found;
    if (path_of(fd, path) && fstat(fd, &found) == 0) note(what, found.st_ino, where, path, data, size);
}

static int note_open(int dir, const char *path, int flags, int fd, int existed) {
    char whole[PATH_MAX];
    struct stat found;
    if (fd < 0) return fd;
    absolute(dir, path, whole);
    if (!ours(whole) || fstat(fd, &found) != 0) return fd;
    if ((flags & O_CREAT) && !existed) note('C', found.st_ino, 0, whole, NULL, 0);
    else if (flags & O_TRUNC) note('T', found.st_ino, 0, whole, NULL, 0);
    return fd;
}

#define OPEN(name, dir, parameters, ...) \
    int name parameters { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        int existed = faccessat(dir, path, F_OK, 0) == 0; \
        return note_open(dir, path, flags, real(__VA_ARGS__, mode), existed); \
    }

OPEN(open, AT_FDCWD, (const char *path, int flags, ...), path, flags)
OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), path, flags)
OPEN(openat, dir, (int dir, const char *path, int flags, ...), dir, path, flags)
OPEN(openat64, dir, (int dir, const char *path, int flags, ...), dir, path, flags)

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t where) {
    REAL(pwrite64);
    note_file('W', fd, where, data, size);
    return real(fd, data, size, where);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t where) {
    REAL(pwrite);
    note_file('W', fd, where, data, size);
    return real(fd, data, size, where);
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    char path[PATH_MAX];
    if (!path_of(fd, path)) return real(fd, data, size);
    struct stat found;
    int end = (fcntl(fd, F_GETFL) & O_APPEND) && fstat(fd, &found) == 0;
    note_file('W', fd, end ? found.st_size : lseek(fd, 0, SEEK_CUR), data, size);
    return real(fd, data, size);
}

/* Copies inside the kernel would go unseen: who uses them falls back on read and write. */
ssize_t sendfile64(int out, int in, off64_t *where, size_t size) {
    REAL(sendfile64);
    char path[PATH_MAX];
    if (!path_of(out, path)) return real(out, in, where, size);
    errno = ENOTSOCK;
    return -1;
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    REAL(copy_file_range);
    char path[PATH_MAX];
    if (!path_of(out, path)) return real(in, from, out, to, size, flags);
    errno = EXDEV;
    return -1;
}

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    note_file('T', fd, size, NULL, 0);
    return real(fd, size);
}

int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    note_file('T', fd, size, NULL, 0);
    return real(fd, size);
}

/* Only what was written before a sync began is durable when it ends. */
static int synced(int fd, int (*real)(int)) {
    static atomic_uint_fast64_t last;
    uint64_t number = ((uint64_t)getpid() << 32) | atomic_fetch_add(&last, 1);
    note_file('s', fd, number, NULL, 0);
    int result = real(fd);
    if (result == 0) note_file('S', fd, number, NULL, 0);
    return result;
}

int fdatasync(int fd) { REAL(fdatasync); return synced(fd, real); }
int fsync(int fd) { REAL(fsync); return synced(fd, real); }

static int named(char what, int dir, const char *path, int other_dir, const char *other, int result) {
    char whole[PATH_MAX], whole_other[PATH_MAX] = "";
    if (result != 0) return result;
    absolute(dir, path, whole);
    if (other) absolute(other_dir, other, whole_other);
    if (ours(whole)) note(what, 0, 0, whole, whole_other, strlen(whole_other));
    return result;
}

int unlink(const char *path) { REAL(unlink); return named('U', AT_FDCWD, path, 0, NULL, real(path)); }
int rmdir(const char *path) { REAL(rmdir); return named('U', AT_FDCWD, path, 0, NULL, real(path)); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); return named('M', AT_FDCWD, path, 0, NULL, real(path, mode)); }
int unlinkat(int dir, const char *path, int flags) { REAL(unlinkat); return named('U', dir, path, 0, NULL, real(dir, path, flags)); }
int mkdirat(int dir, const char *path, mode_t mode) { REAL(mkdirat); return named('M', dir, path, 0, NULL, real(dir, path, mode)); }
int link(const char *from, const char *to) { REAL(link); return named('L', AT_FDCWD, from, AT_FDCWD, to, real(from, to)); }
int rename(const char *from, const char *to) { REAL(rename); return named('R', AT_FDCWD, from, AT_FDCWD, to, real(from, to)); }
int linkat(int dir, const char *from, int to_dir, const char *to, int flags) {
    REAL(linkat);
    return named('L', dir, from, to_dir, to, real(dir, from, to_dir, to, flags));
}
int renameat(int dir, const char *from, int to_dir, const char *to) {
    REAL(renameat);
    return named('R', dir, from, to_dir, to, real(dir, from, to_dir, to));
}
