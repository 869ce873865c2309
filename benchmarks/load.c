/* A raw load generator for 9P2000.L servers.
 *
 *     load ADDRESS ANAME MSIZE KIND DEPTH SECONDS [PATH]
 *
 * ADDRESS is unix:PATH or tcp:HOST:PORT. DEPTH operations are kept in flight on one connection; each is a chain of
 * requests, the next of which is sent when the reply to the one before has come:
 *
 *     getattr   Tgetattr of PATH
 *     walk      Twalk to PATH, Tclunk
 *     open      Twalk to PATH, Tlopen, Tclunk
 *     read4k    Tread of 4096 bytes at a random page of PATH
 *     read      Tread of as much as a message takes, from the start of PATH to its end and again
 *     write     Twrite of as much as a message takes to the new file "written", from 0 to 256 MiB and again
 *     readdir   Twalk to PATH, Tlopen, Treaddir to the end, Tclunk; every entry counts as an operation
 *     create    Twalk to the root, Tlcreate, Tremove (not Tunlinkat, which not every server has)
 *
 * After a tenth of the time, which is not measured, it runs for SECONDS and prints one line of JSON. Reads and writes
 * are of iounit bytes if the server names one, else of msize - 24, as Linux does.
 *
 *     load ADDRESS ANAME MSIZE hold COUNT 0 PATH
 *
 * walks COUNT fids, each to another of the files PATH/000/000, PATH/000/001, ..., prints a line, and keeps them until
 * its standard input ends.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    Rlerror = 7, Tlopen = 12, Tlcreate = 14, Tgetattr = 24, Treaddir = 40, Tversion = 100,
    Tattach = 104, Twalk = 110, Tread = 116, Twrite = 118, Tclunk = 120, Tremove = 122
};
enum { ROOT = 0, FILE_FID = 1, FIRST_FID = 100, MAX_DEPTH = 1024, PAGE = 4096 };
#define NONE 0xffffffffu
#define WRAP (256ull << 20)

struct kind {
    const char *name;
    uint8_t chain[5]; /* the requests of one operation */
    char opens;       /* what happens before: 'w' walk to PATH, 'r' and open it for reading, 'p' likewise,
                         to read pages, 'c' create a file */
};

static const struct kind kinds[] = {
    {"getattr", {Tgetattr}, 'w'},
    {"walk", {Twalk, Tclunk}, 0},
    {"open", {Twalk, Tlopen, Tclunk}, 0},
    {"read4k", {Tread}, 'p'},
    {"read", {Tread}, 'r'},
    {"write", {Twrite}, 'c'},
    {"readdir", {Twalk, Tlopen, Treaddir, Tclunk}, 0},
    {"create", {Twalk, Tlcreate, Tremove}, 0},
};

struct slot { /* one operation in flight; its number is the tag */
    int step;
    uint64_t cookie;  /* of readdir */
    uint64_t started; /* nanoseconds */
};

static const struct kind *kind;
static const char *path = "";
static struct slot slots[MAX_DEPTH];
static int sock;
static uint32_t msize, chunk;
static uint64_t size, position, operations, bytes, everything;
static int measuring;

static void fail(const char *what) {
    fprintf(stderr, "load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* --- latencies: 32 buckets for each power of two, so that a percentile is within 3 % */

static uint64_t buckets[64 * 32], samples;

static void sample(uint64_t ns) {
    int shift = ns < 32 ? 0 : 58 - __builtin_clzll(ns);
    buckets[shift * 32 + (ns >> shift)]++;
    samples++;
}

static double percentile(double part) {
    uint64_t left = samples * part;
    for (int i = 0; i < 64 * 32; i++) {
        if (buckets[i] > left) {
            int shift = i < 64 ? 0 : i / 32 - 1;
            return ((uint64_t)(i - shift * 32) << shift) / 1e3;
        }
        left -= buckets[i];
    }
    return 0;
}

/* --- requests */

static uint8_t out[1 << 16];
static size_t on, start;

static void u8(uint8_t v) { out[on++] = v; }
static void u16(uint16_t v) { v = htole16(v); memcpy(out + on, &v, 2); on += 2; }
static void u32(uint32_t v) { v = htole32(v); memcpy(out + on, &v, 4); on += 4; }
static void u64(uint64_t v) { v = htole64(v); memcpy(out + on, &v, 8); on += 8; }
static void string(const char *s, size_t n) { u16(n); memcpy(out + on, s, n); on += n; }

static void begin(uint8_t type, uint16_t tag) {
    start = on;
    u32(0);
    u8(type);
    u16(tag);
}

static void end(uint32_t payload) {
    uint32_t n = htole32(on - start + payload);
    memcpy(out + start, &n, 4);
}

static void names(const char *p) {
    size_t count_at = on;
    uint16_t count = 0;
    u16(0);
    while (*p) {
        size_t n = strcspn(p, "/");
        if (n) {
            string(p, n);
            count++;
        }
        p += n + (p[n] == '/');
    }
    count = htole16(count);
    memcpy(out + count_at, &count, 2);
}

static void send_all(const void *payload, size_t n) {
    struct iovec v[2] = {{out, on}, {(void *)payload, n}}, *p = v;
    int left = 2;
    while (left) {
        ssize_t done = writev(sock, p, left);
        if (done < 0)
            fail("cannot send");
        while (left && (size_t)done >= p->iov_len) {
            done -= p->iov_len;
            p++, left--;
        }
        if (left) {
            p->iov_base = (char *)p->iov_base + done;
            p->iov_len -= done;
        }
    }
    on = 0;
}

/* --- replies */

static uint8_t *in;
static size_t have, at, room;

static uint16_t get16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return le16toh(v); }
static uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return le32toh(v); }
static uint64_t get64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return le64toh(v); }

/* The next reply; what there is to send leaves before it waits. */
static uint8_t *reply(void) {
    for (;;) {
        size_t missing = 7;
        if (have - at >= 7) {
            missing = get32(in + at);
            if (missing < 7 || missing > msize)
                errno = 0, fail("the server sent something that is not a message");
            if (have - at >= missing) {
                uint8_t *message = in + at;
                at += missing;
                return message;
            }
        }
        if (at == have)
            at = have = 0;
        if (at + missing > room) {
            memmove(in, in + at, have - at);
            have -= at;
            at = 0;
        }
        if (on)
            send_all(NULL, 0);
        ssize_t got = read(sock, in + have, room - have);
        if (got <= 0)
            errno = got ? errno : 0, fail("the server ended the connection");
        have += got;
    }
}

/* Send what was begun and wait for its reply. */
static uint8_t *call(void) {
    uint8_t type = out[start + 4];
    end(0);
    uint8_t *r = reply();
    if (r[4] == Rlerror) {
        errno = get32(r + 7);
        fail(path);
    }
    if (r[4] != type + 1)
        errno = 0, fail("a reply of another type than the request");
    return r;
}

/* --- operations */

static uint64_t next_offset(uint64_t limit) {
    if (position + chunk > limit)
        position = 0;
    position += chunk;
    return position - chunk;
}

static uint64_t random_page(void) {
    static uint64_t state = 0x9e3779b97f4a7c15ull;
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return state * 0x2545f4914f6cdd1dull % (size / PAGE) * PAGE;
}

static void request(int tag) {
    static uint8_t payload[16 << 20];
    struct slot *s = &slots[tag];
    uint8_t type = kind->chain[s->step];
    uint32_t fid = kind->opens ? FILE_FID : FIRST_FID + tag;
    char name[16];
    int n = snprintf(name, sizeof name, "new-%d", tag);
    if (on > sizeof out - 8192)
        send_all(NULL, 0);
    begin(type, tag);
    switch (type) {
    case Tgetattr: u32(fid); u64(0x7ff); break;
    case Twalk: u32(ROOT); u32(fid); names(kind->chain[1] == Tlcreate ? "" : path); break;
    case Tlopen: u32(fid); u32(kind->chain[2] == Treaddir ? 0200000 : 0); break;
    case Tlcreate: u32(fid); string(name, n); u32(02); u32(0644); u32(getgid()); break;
    case Treaddir: u32(fid); u64(s->cookie); u32(msize - 24); break;
    case Tclunk:
    case Tremove: u32(fid); break;
    case Tread:
        u32(fid);
        u64(kind->opens == 'p' ? random_page() : next_offset(size));
        u32(chunk);
        break;
    case Twrite:
        u32(fid);
        u64(next_offset(WRAP));
        u32(chunk);
        end(chunk);
        send_all(payload, chunk);
        return;
    }
    end(0);
}

/* The entries of an Rreaddir; the last one's cookie is where to go on. */
static uint64_t entries(const uint8_t *p, uint32_t n, uint64_t *cookie) {
    const uint8_t *stop = p + n;
    uint64_t count = 0;
    for (; p + 24 <= stop; p += 24 + get16(p + 22), count++)
        *cookie = get64(p + 13);
    return count;
}

/* Take a reply. True when the operation that it belongs to is complete. */
static int advance(const uint8_t *r) {
    struct slot *s = &slots[get16(r + 5)];
    uint8_t type = kind->chain[s->step];
    uint64_t done = 0;
    if (r[4] != type + 1) {
        errno = r[4] == Rlerror ? get32(r + 7) : 0;
        fail("a request failed");
    }
    if (type == Tread || type == Twrite || type == Treaddir)
        bytes += measuring ? get32(r + 7) : 0;
    if (type == Treaddir) {
        uint64_t t = now();
        if (measuring)
            sample(t - s->started);
        s->started = t;
        done = entries(r + 11, get32(r + 7), &s->cookie);
        if (!done)
            s->step++;
    } else {
        s->step++;
    }
    if (kind->chain[s->step]) {
        operations += measuring ? done : 0;
        everything += done;
        return 0;
    }
    if (!strcmp(kind->name, "readdir")) {
        s->cookie = 0;
    } else {
        operations += measuring;
        everything++;
        if (measuring)
            sample(now() - s->started);
    }
    s->step = 0;
    return 1;
}

static void run(int depth, double seconds) {
    uint64_t begun = now(), from = begun + seconds * 1e8, until = from + seconds * 1e9, t = begun;
    int flying = depth;
    for (int i = 0; i < depth; i++) {
        slots[i].started = t;
        request(i);
    }
    while (flying) {
        uint8_t *r = reply();
        int tag = get16(r + 5);
        int complete = advance(r);
        if (complete || kind->chain[slots[tag].step] == Treaddir) {
            t = now();
            if (!measuring && t >= from && t < until)
                measuring = 1, from = t;
            if (measuring && t >= until)
                measuring = 0, until = t;
        }
        if (complete) {
            slots[tag].started = t;
            if (t >= until) {
                flying--;
                continue;
            }
        }
        request(tag);
    }
    double took = (until - from) / 1e9;
    printf("{\"kind\": \"%s\", \"depth\": %d, \"msize\": %u, \"seconds\": %.4f, \"operations\": %llu, \"all\": %llu, "
           "\"bytes\": %llu, \"ops_s\": %.1f, \"mb_s\": %.2f, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f}\n",
           kind->name, depth, msize, took, (unsigned long long)operations, (unsigned long long)everything,
           (unsigned long long)bytes, operations / took, bytes / took / 1e6, percentile(.5), percentile(.9),
           percentile(.99));
}

/* Walk many fids, a batch at a time, and keep them. */
static void hold(uint32_t count) {
    char file[4096];
    for (uint32_t i = 0; i < count;) {
        uint32_t batch = count - i < 64 ? count - i : 64;
        for (uint32_t j = 0; j < batch; j++, i++) {
            snprintf(file, sizeof file, "%s/%03u/%03u", path, i / 1000, i % 1000);
            if (on > sizeof out - 8192)
                send_all(NULL, 0);
            begin(Twalk, j);
            u32(ROOT);
            u32(FIRST_FID + i);
            names(file);
            end(0);
        }
        for (uint32_t j = 0; j < batch; j++) {
            uint8_t *r = reply();
            if (r[4] != Twalk + 1) {
                errno = r[4] == Rlerror ? get32(r + 7) : 0;
                fail("a walk failed");
            }
        }
    }
    puts("{\"held\": true}");
    fflush(stdout);
    while (getchar() != EOF)
        ;
}

/* --- beginning */

static int dial(const char *address) {
    if (!strncmp(address, "unix:", 5)) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        if (strlen(address + 5) >= sizeof a.sun_path)
            errno = ENAMETOOLONG, fail(address);
        strcpy(a.sun_path, address + 5);
        int s = socket(AF_UNIX, SOCK_STREAM, 0);
        if (s < 0 || connect(s, (struct sockaddr *)&a, sizeof a))
            fail(address);
        return s;
    }
    char host[256];
    const char *port = strrchr(address, ':');
    if (strncmp(address, "tcp:", 4) || port < address + 4 || port - address - 4 >= (long)sizeof host)
        errno = 0, fail("an address is unix:PATH or tcp:HOST:PORT");
    snprintf(host, sizeof host, "%.*s", (int)(port - address - 4), address + 4);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(host, port + 1, &hints, &found))
        errno = 0, fail("there is no such host");
    int s = socket(found->ai_family, SOCK_STREAM, 0), yes = 1;
    if (s < 0 || connect(s, found->ai_addr, found->ai_addrlen))
        fail(address);
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return s;
}

static void attach(const char *aname) {
    begin(Tversion, 0xffff);
    u32(msize);
    string("9P2000.L", 8);
    uint8_t *r = call();
    uint32_t agreed = get32(r + 7);
    if (get16(r + 11) != 8 || memcmp(r + 13, "9P2000.L", 8) || agreed > msize || agreed < 4096)
        errno = 0, fail("the server does not speak 9P2000.L");
    msize = agreed;
    begin(Tattach, 0);
    u32(ROOT);
    u32(NONE);
    string("root", 4);
    string(aname, strlen(aname));
    u32(getuid());
    call();
}

static void prepare(void) {
    uint32_t iounit = 0;
    if (!kind->opens)
        return;
    begin(Twalk, 0);
    u32(ROOT);
    u32(FILE_FID);
    names(kind->opens == 'c' ? "" : path);
    call();
    if (kind->opens == 'r' || kind->opens == 'p') {
        begin(Tgetattr, 0);
        u32(FILE_FID);
        u64(0x7ff);
        size = get64(call() + 7 + 8 + 13 + 4 + 4 + 4 + 8 + 8);
        begin(Tlopen, 0);
        u32(FILE_FID);
        u32(0);
        iounit = get32(call() + 7 + 13);
    } else if (kind->opens == 'c') {
        begin(Tlcreate, 0);
        u32(FILE_FID);
        string("written", 7);
        u32(02 | 01000);
        u32(0644);
        u32(getgid());
        iounit = get32(call() + 7 + 13);
    }
    chunk = iounit && iounit < msize - 24 ? iounit : msize - 24;
    if (kind->opens == 'p')
        chunk = PAGE;
    if (kind->opens != 'w' && kind->opens != 'c' && size < chunk)
        errno = 0, fail("the file to read is too small");
}

int main(int argc, char **argv) {
    if (argc < 7)
        errno = 0, fail("usage: load ADDRESS ANAME MSIZE KIND DEPTH SECONDS [PATH]");
    int depth = atoi(argv[5]);
    double seconds = atof(argv[6]);
    msize = strtoul(argv[3], NULL, 10);
    path = argc > 7 ? argv[7] : "";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].name, argv[4]))
            kind = &kinds[i];
    if (msize < 4096 || msize > 16 << 20 || depth < 1 || strlen(path) > 2000)
        errno = 0, fail("msize is 4096 to 16777216, depth at least 1, and a path has at most 2000 bytes");
    if (kind ? depth > MAX_DEPTH || seconds <= 0 : strcmp(argv[4], "hold"))
        errno = 0, fail("no such kind of load, a depth of more than 1024, or no time");
    room = msize * 2 < 1 << 18 ? 1 << 18 : msize * 2;
    in = malloc(room);
    if (!in)
        fail("no memory");
    sock = dial(argv[1]);
    attach(argv[2]);
    if (!kind) {
        hold(depth);
        return 0;
    }
    prepare();
    run(depth, seconds);
    return 0;
}
