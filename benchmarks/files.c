/* Loads on the files of a mounted directory.
 *
 *     files KIND PATH SECONDS [SIZE]
 *
 * One operation after the other, by a single process that starts no other:
 *
 *     read     SIZE bytes of the file PATH, from its start to its end and again
 *     write    SIZE bytes to the file PATH, from 0 to 64 MiB and again
 *     random   SIZE bytes at a random multiple of SIZE in the file PATH
 *     stat     stat(2) of one file after the other in the directory PATH
 *     readdir  the directory PATH from its start to its end, opened and closed each time; each entry is an operation
 *
 * Prints one line of JSON. The end is noticed by the coarse clock, which costs no system call and, in a virtual
 * machine, no visit to a device.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WRAP (64ll << 20)
#define MOST 100000

static const char *path;
static size_t size;
static char *buffer;
static int file = -1;
static int64_t length, position;
static uint64_t operations, bytes;
static char *names[MOST];
static size_t count, next;

static void fail(const char *what)
{
    fprintf(stderr, "files: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void open_file(int flags)
{
    struct stat st;
    file = open(path, flags, 0644);
    if (file < 0 || fstat(file, &st))
        fail(path);
    length = st.st_size;
    if (!(flags & O_CREAT) && length < (int64_t)size) {
        fprintf(stderr, "files: %s has less than %zu bytes\n", path, size);
        exit(1);
    }
}

static void moved(ssize_t done)
{
    if (done < 0)
        fail(path);
    operations++;
    bytes += (uint64_t)done;
    position += done;
}

static void read_next(void)
{
    if (position + (int64_t)size > length)
        position = 0;
    moved(pread(file, buffer, size, position));
}

static void write_next(void)
{
    if (position >= WRAP)
        position = 0;
    moved(pwrite(file, buffer, size, position));
}

static void read_somewhere(void)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    position = (int64_t)(state % (uint64_t)(length / (int64_t)size)) * (int64_t)size;
    moved(pread(file, buffer, size, position));
}

static void stat_next(void)
{
    struct stat st;
    if (stat(names[next], &st))
        fail(names[next]);
    next = (next + 1) % count;
    operations++;
}

static uint64_t list(int keep)
{
    uint64_t found = 0;
    DIR *directory = opendir(path);
    struct dirent *entry;
    if (!directory)
        fail(path);
    while (errno = 0, entry = readdir(directory)) {
        found++;
        if (keep && entry->d_name[0] != '.' && count < MOST)
            names[count++] = strdup(entry->d_name);
    }
    if (errno)
        fail(path);
    closedir(directory);
    return found;
}

static void list_again(void)
{
    operations += list(0);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: files KIND PATH SECONDS [SIZE]\n");
        return 2;
    }
    const char *kind = argv[1];
    path = argv[2];
    int64_t limit = (int64_t)(atof(argv[3]) * 1e9);
    size = argc > 4 ? strtoul(argv[4], NULL, 10) : 4096;
    if (size == 0 || posix_memalign((void **)&buffer, 4096, size))
        fail("SIZE");
    memset(buffer, 'x', size);

    void (*operation)(void);
    if (!strcmp(kind, "read")) {
        open_file(O_RDONLY);
        operation = read_next;
    } else if (!strcmp(kind, "write")) {
        open_file(O_WRONLY | O_CREAT);
        operation = write_next;
    } else if (!strcmp(kind, "random")) {
        open_file(O_RDONLY);
        operation = read_somewhere;
    } else if (!strcmp(kind, "stat")) {
        list(1);
        if (!count || chdir(path))
            fail(path);
        operation = stat_next;
    } else if (!strcmp(kind, "readdir")) {
        operation = list_again;
    } else {
        fprintf(stderr, "files: there is no load %s\n", kind);
        return 2;
    }

    int64_t started = now(CLOCK_MONOTONIC), end = now(CLOCK_MONOTONIC_COARSE) + limit;
    do
        operation();
    while (now(CLOCK_MONOTONIC_COARSE) < end);
    double seconds = (double)(now(CLOCK_MONOTONIC) - started) / 1e9;
    printf("{\"operations\": %llu, \"bytes\": %llu, \"seconds\": %.6f}\n", (unsigned long long)operations,
           (unsigned long long)bytes, seconds);
    return 0;
}
