/* The floor: about the least that a 9P2000.L server can do.
 *
 *     floor SOCKET DIRECTORY
 *
 * One blocking thread for each client answers each request at once with the bare system calls. It is no server for
 * anybody: it trusts its clients, it lacks most messages, locks and limits, and a slow disk stops its client. It shows
 * what a machine has left when a server costs nothing but its system calls.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    Rlerror = 7, Tlopen = 12, Tlcreate = 14, Tgetattr = 24, Treaddir = 40, Tversion = 100,
    Tattach = 104, Twalk = 110, Tread = 116, Twrite = 118, Tclunk = 120, Tremove = 122
};
enum { FIDS = 1 << 18, LARGEST = 1 << 20, OVERHEAD = 24, SEND_FROM = 1 << 16 };

struct fid {
    int object; /* O_PATH; of a file that was created, its directory */
    int file;   /* open; 0, which is standard input, for none */
    char *made; /* the name of a file that was created, or NULL */
};

struct client {
    int sock;
    uint32_t msize;
    struct fid *fids;
    uint8_t *in, *out;
    size_t have, on;
};

static const char *directory;

/* This machine's byte order is taken for the protocol's: little endian. */
static uint16_t get16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static uint64_t get64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }

static void put(struct client *c, const void *value, size_t n) { memcpy(c->out + c->on, value, n); c->on += n; }
static void u8(struct client *c, uint8_t v) { c->out[c->on++] = v; }
static void u16(struct client *c, uint16_t v) { put(c, &v, 2); }
static void u32(struct client *c, uint32_t v) { put(c, &v, 4); }
static void u64(struct client *c, uint64_t v) { put(c, &v, 8); }

static void qid(struct client *c, const struct stat *s) {
    u8(c, S_ISDIR(s->st_mode) ? 0x80 : S_ISLNK(s->st_mode) ? 2 : 0);
    u32(c, s->st_mtim.tv_nsec ^ s->st_size);
    u64(c, s->st_ino);
}

static void copy_name(char *name, const uint8_t *p) {
    uint16_t n = get16(p);
    if (n > 255)
        n = 255;
    memcpy(name, p + 2, n);
    name[n] = 0;
}

static void drop(struct fid *f) {
    if (f->file)
        close(f->file);
    if (f->object)
        close(f->object);
    free(f->made);
    f->file = f->object = 0;
    f->made = NULL;
}

static int walk(struct client *c, const uint8_t *b) {
    struct fid *from = &c->fids[get32(b) % FIDS], *to = &c->fids[get32(b + 4) % FIDS];
    uint16_t count = get16(b + 8);
    const uint8_t *p = b + 10;
    int at = count ? from->object : dup(from->object);
    struct stat s;
    char name[256];
    u16(c, count);
    for (int i = 0; i < count; i++, p += 2 + get16(p)) {
        copy_name(name, p);
        int next = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        int error = errno;
        if (i)
            close(at);
        if (next < 0)
            return error;
        at = next;
        fstat(at, &s);
        qid(c, &s);
    }
    if (at < 0)
        return errno;
    to->object = at;
    to->file = 0;
    return 0;
}

static int lopen(struct client *c, struct fid *f, uint32_t flags) {
    char name[40];
    struct stat s;
    snprintf(name, sizeof name, "/proc/self/fd/%d", f->object);
    int file = open(name, (flags & O_ACCMODE) | (flags & 0200000 ? O_DIRECTORY : 0) | O_CLOEXEC);
    if (file < 0)
        return errno;
    f->file = file;
    fstat(file, &s);
    qid(c, &s);
    u32(c, 0);
    return 0;
}

static int lcreate(struct client *c, struct fid *f, const uint8_t *p) {
    char name[256];
    struct stat s;
    copy_name(name, p);
    p += 2 + get16(p);
    int file = openat(f->object, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, get32(p + 4));
    if (file < 0)
        return errno;
    f->file = file;
    f->made = strdup(name);
    fstat(file, &s);
    qid(c, &s);
    u32(c, 0);
    return 0;
}

static int attributes(struct client *c, const struct fid *f) {
    struct stat s;
    if (fstat(f->file ? f->file : f->object, &s))
        return errno;
    u64(c, 0x7ff);
    qid(c, &s);
    u32(c, s.st_mode), u32(c, s.st_uid), u32(c, s.st_gid);
    u64(c, s.st_nlink), u64(c, s.st_rdev), u64(c, s.st_size), u64(c, s.st_blksize), u64(c, s.st_blocks);
    u64(c, s.st_atim.tv_sec), u64(c, s.st_atim.tv_nsec);
    u64(c, s.st_mtim.tv_sec), u64(c, s.st_mtim.tv_nsec);
    u64(c, s.st_ctim.tv_sec), u64(c, s.st_ctim.tv_nsec);
    u64(c, 0), u64(c, 0), u64(c, 0), u64(c, 0);
    return 0;
}

static int listing(struct client *c, const struct fid *f, uint64_t cookie, uint32_t room) {
    uint8_t records[65536];
    size_t count_at = c->on, from = c->on + 4;
    uint32_t used;
    u32(c, 0);
    if (lseek(f->file, cookie, SEEK_SET) < 0)
        return errno;
    /* A record is at most 9/8 as large as the entry, so what the kernel gives has room, or is cut off. */
    size_t ask = room * 8ull / 9 < sizeof records ? room * 8ull / 9 : sizeof records;
    long size = syscall(SYS_getdents64, f->file, records, ask);
    if (size < 0)
        return errno;
    for (uint8_t *p = records; p < records + size; p += get16(p + 16)) {
        const char *name = (const char *)p + 19;
        size_t n = strlen(name);
        if (c->on - from + OVERHEAD + n > room)
            break;
        u8(c, p[18] == DT_DIR ? 0x80 : p[18] == DT_LNK ? 2 : 0);
        u32(c, 0);
        put(c, p, 8);     /* inode number */
        put(c, p + 8, 8); /* cookie */
        u8(c, p[18]);
        u16(c, n);
        put(c, name, n);
    }
    used = c->on - from;
    memcpy(c->out + count_at, &used, 4);
    return 0;
}

/* The body of the reply; an errno if there is none. */
static int answer(struct client *c, uint8_t type, const uint8_t *b) {
    struct fid *f = &c->fids[get32(b) % FIDS];
    struct stat s;
    uint32_t count;
    ssize_t done;
    switch (type) {
    case Tversion:
        c->msize = get32(b) < LARGEST ? get32(b) : LARGEST;
        u32(c, c->msize);
        put(c, b + 4, 2 + get16(b + 4));
        return 0;
    case Tattach:
        f->object = open(directory, O_PATH | O_CLOEXEC);
        f->file = 0;
        if (f->object < 0 || fstat(f->object, &s))
            return errno;
        qid(c, &s);
        return 0;
    case Twalk: return walk(c, b);
    case Tgetattr: return attributes(c, f);
    case Tlopen: return lopen(c, f, get32(b + 4));
    case Tlcreate: return lcreate(c, f, b + 4);
    case Treaddir:
        count = get32(b + 12);
        return listing(c, f, get64(b + 4), count < c->msize - 11 ? count : c->msize - 11);
    case Tread:
        count = get32(b + 12);
        done = pread(f->file, c->out + c->on + 4, count < c->msize - 11 ? count : c->msize - 11, get64(b + 4));
        if (done < 0)
            return errno;
        u32(c, done);
        c->on += done;
        return 0;
    case Twrite:
        done = pwrite(f->file, b + 16, get32(b + 12), get64(b + 4));
        if (done < 0)
            return errno;
        u32(c, done);
        return 0;
    case Tclunk: drop(f); return 0;
    case Tremove:
        count = f->made && unlinkat(f->object, f->made, 0) ? errno : f->made ? 0 : EOPNOTSUPP;
        drop(f);
        return count;
    }
    return EOPNOTSUPP;
}

static void send_replies(struct client *c) {
    for (size_t done = 0; done < c->on;) {
        ssize_t n = write(c->sock, c->out + done, c->on - done);
        if (n <= 0)
            break;
        done += n;
    }
    c->on = 0;
}

static void *serve(void *argument) {
    struct client *c = argument;
    c->msize = 8192;
    c->fids = calloc(FIDS, sizeof *c->fids);
    c->in = malloc(2 * LARGEST);
    c->out = malloc(SEND_FROM + 2 * LARGEST);
    for (ssize_t n; (n = read(c->sock, c->in + c->have, 2 * LARGEST - c->have)) > 0;) {
        size_t at = 0;
        uint32_t size;
        c->have += n;
        for (; c->have - at >= 7 && c->have - at >= (size = get32(c->in + at)) && size >= 7; at += size) {
            uint8_t *m = c->in + at;
            size_t start = c->on;
            uint32_t length;
            c->on += 4;
            u8(c, m[4] + 1);
            put(c, m + 5, 2);
            int error = answer(c, m[4], m + 7);
            if (error) {
                c->on = start + 4;
                u8(c, Rlerror);
                put(c, m + 5, 2);
                u32(c, error);
            }
            length = c->on - start;
            memcpy(c->out + start, &length, 4);
            if (c->on > SEND_FROM)
                send_replies(c);
        }
        send_replies(c);
        memmove(c->in, c->in + at, c->have - at);
        c->have -= at;
    }
    for (int i = 0; i < FIDS; i++)
        drop(&c->fids[i]);
    close(c->sock);
    free(c->fids), free(c->in), free(c->out), free(c);
    return NULL;
}

int main(int argc, char **argv) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct rlimit files;
    if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path) {
        fprintf(stderr, "usage: floor SOCKET DIRECTORY\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    directory = argv[2];
    strcpy(address.sun_path, argv[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) {
        perror(argv[1]);
        return 1;
    }
    for (;;) {
        struct client *c = calloc(1, sizeof *c);
        pthread_t thread;
        c->sock = accept(listener, NULL, NULL);
        if (c->sock < 0 || pthread_create(&thread, NULL, serve, c))
            return 1;
        pthread_detach(thread);
    }
}
