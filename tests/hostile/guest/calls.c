/* calls CASE [N]: storms of calls, and calls whose numbers make no sense. Descriptor 3 is a
 * writable directory. */
#include "say.h"

#define IMPORT(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))

/* The calls as they cross the boundary: numbers only, which the C library's declarations would not
 * let pass. */
IMPORT(fd_write) uint32_t raw_write(uint32_t fd, uint32_t iovs, uint32_t count, uint32_t done);
IMPORT(fd_read) uint32_t raw_read(uint32_t fd, uint32_t iovs, uint32_t count, uint32_t done);
IMPORT(poll_oneoff) uint32_t raw_poll(uint32_t in, uint32_t out, uint32_t count, uint32_t events);
IMPORT(random_get) uint32_t raw_random(uint32_t at, uint32_t size);
IMPORT(fd_readdir)
uint32_t raw_readdir(uint32_t fd, uint32_t at, uint32_t size, uint64_t cookie, uint32_t used);

enum { W = 3, MIB = 1 << 20 };

static uint8_t data[2 * MIB];
static uint32_t word;

static uint32_t at(const void *p) {
    return (uint32_t)(uintptr_t)p;
}

static __wasi_fd_t make(const char *name) {
    __wasi_fd_t fd = UINT32_MAX;
    __wasi_errno_t e = __wasi_path_open(W, 0, name, __WASI_OFLAGS_CREAT, ALL, ALL, 0, &fd);
    if (e != 0) printf("make %s: errno %d\n", name, e);
    return fd;
}

/* Case 12. */
static void renumber(int times) {
    static const uint32_t odd[] = {0,    1,    2,     3,          4,          5,         99,
                                   1023, 1024, 65535, 0x7fffffff, 0x80000000, 0xffffffff};
    int bad = 0, done = 0;
    (void)make("f");
    for (int i = 0; i < times; i++) {
        __wasi_fd_t a, b;
        if (__wasi_path_open(W, 0, "f", 0, ALL, ALL, 0, &a) != 0 ||
            __wasi_path_open(W, 0, "f", 0, ALL, ALL, 0, &b) != 0)
            break;
        if (__wasi_fd_renumber(a, b) != 0 || __wasi_fd_close(b) != 0 ||
            __wasi_fd_close(a) != __WASI_ERRNO_BADF)
            break;
        done++;
    }
    for (size_t i = 3; i < sizeof odd / sizeof *odd; i++) {
        for (size_t k = 3; k < sizeof odd / sizeof *odd; k++)
            bad += __wasi_fd_renumber(odd[i], odd[k]) == __WASI_ERRNO_BADF;
    }
    printf("renumbered %d, refused %d\n", done, bad);
    printf("self %d, preopen over stdin %d\n", __wasi_fd_renumber(1, 1), __wasi_fd_renumber(3, 0));
    fflush(stdout);
    (void)__wasi_fd_renumber(2, 1);
}

/* Case 13. */
static void flood(int times) {
    int opened = 0;
    __wasi_errno_t e = 0, last = 0;
    __wasi_fd_t fd;
    (void)make("f");
    for (int i = 0; i < times; i++) {
        e = __wasi_path_open(W, 0, "f", 0, ALL, ALL, 0, &fd);
        if (e == 0)
            opened++;
        else
            last = e;
    }
    printf("opened %d, then errno %d\n", opened, last);
}

/* Case 15: many buffers, all the same one; a count that cannot be. */
static void buffers(void) {
    static __wasi_ciovec_t list[4096];
    static const uint32_t counts[] = {1024,          1025,       4096,       1 << 28,
                                      (1 << 29) + 1, 0x7fffffff, 0x80000000, 0xffffffff};
    __wasi_fd_t fd = make("f");
    for (size_t i = 0; i < 4096; i++)
        list[i] = (__wasi_ciovec_t){data, sizeof data};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        word = 0;
        uint32_t e = raw_write(fd, at(list), counts[i], at(&word));
        printf("write %u: %u %u\n", counts[i], e, word);
        (void)__wasi_fd_filestat_set_size(fd, 0);
    }
    list[0].buf_len = 0xffffffff;
    printf("long: %u\n", raw_write(fd, at(list), 1, at(&word)));
    list[0].buf = (const uint8_t *)0xfffffff0u;
    printf("past the end: %u\n", raw_read(fd, at(list), 1, at(&word)));
    /* The list as what is read into: it is changed while it is used. */
    list[0] = (__wasi_ciovec_t){(uint8_t *)list, sizeof list};
    (void)__wasi_fd_filestat_set_size(fd, sizeof list);
    (void)__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &(__wasi_filesize_t){0});
    printf("into itself: %u\n", raw_read(fd, at(list), 1024, at(&word)));
}

/* Case 16. */
static void polls(void) {
    static const uint32_t counts[] = {0,        1,          1024,       1025,
                                      10000000, 0x7fffffff, 0x80000000, 0xffffffff};
    memset(data, 0, sizeof data); /* clocks, at once */
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        printf("poll %u: %u\n", counts[i],
               raw_poll(at(data), at(data) + MIB, counts[i], at(&word)));
    memset(data, 0, sizeof data);
    printf("overlapping: %u\n", raw_poll(at(data), at(data) + 8, 100, at(&word)));
    memset(data, 0, sizeof data);
    printf("count among the events: %u\n", raw_poll(at(data), at(data), 100, at(data) + 64));
    uint32_t end = (uint32_t)__builtin_wasm_memory_size(0) << 16;
    (void)__builtin_wasm_memory_grow(0, 16);
    printf("grown: %u\n", raw_poll(end, end + 48, 1, end + 96));
    end = (uint32_t)__builtin_wasm_memory_size(0) << 16;
    printf("at the end: %u %u\n", raw_poll(end - 47, at(data), 1, at(&word)),
           raw_poll(at(data), end - 31, 1, at(&word)));
}

/* Case 17: until the end of time, by each clock. */
static void asleep(void) {
    static const uint32_t clocks[] = {1, 0, 2, 3, 4, 99, 0x7fffffff, 0xffffffff};
    static const uint64_t times[] = {UINT64_MAX, (uint64_t)1 << 63, ((uint64_t)1 << 63) - 1,
                                     (uint64_t)-5};
    for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        for (size_t k = 0; k < sizeof times / sizeof *times; k++) {
            for (uint16_t absolute = 0; absolute < 2; absolute++) {
                __wasi_subscription_t in = {.userdata = 7};
                __wasi_event_t out;
                __wasi_size_t got;
                if (clocks[i] <= 1 && i + k + absolute == 0) continue; /* the last one, below */
                in.u.tag = __WASI_EVENTTYPE_CLOCK;
                in.u.u.clock = (__wasi_subscription_clock_t){clocks[i], times[k], 0, absolute};
                if (clocks[i] > 1) (void)__wasi_poll_oneoff(&in, &out, 1, &got);
            }
        }
    }
    puts("odd clocks done");
    fflush(stdout);
    __wasi_subscription_t in = {
        .u = {.tag = __WASI_EVENTTYPE_CLOCK, .u.clock = {1, UINT64_MAX, 0, 0}}};
    __wasi_event_t out;
    __wasi_size_t got;
    for (;;)
        (void)__wasi_poll_oneoff(&in, &out, 1, &got);
}

/* Case 18. */
static void randoms(void) {
    printf("4 GiB: %u\n", raw_random(0, 0xffffffff));
    printf("past the end: %u\n", raw_random(at(data), 0x80000000));
    fflush(stdout);
    for (;;)
        (void)raw_random(at(data), sizeof data);
}

static int all_zero(const uint8_t *p, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        if (p[i] != 0) return 0;
    }
    return 1;
}

/* Case 19: listings into buffers of each size; then the gaps of every structure that the host
 * writes. */
static void leaks(void) {
    int filled = 0, leaked = 0;
    for (int i = 0; i < 50; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "%.*s%d", i % 20, "name-of-some-length-", i);
        (void)__wasi_fd_close(make(name));
    }
    for (uint32_t size = 0; size < 200; size++) {
        uint64_t cookie = 0;
        for (int turn = 0; turn < 300; turn++) {
            memset(data, 0xa5, 512);
            if (raw_readdir(W, at(data), size, cookie, at(&word)) != 0 || word > size) break;
            for (uint32_t i = word; i < 512; i++)
                leaked += data[i] != 0xa5; /* beyond what it says */
            if (word < 24) break;
            memcpy(&cookie, data, sizeof cookie);
            filled++;
            if (turn % 50 == 49) (void)__wasi_path_unlink_file(W, "0"); /* it changes meanwhile */
        }
        for (int i = 0; i < 10; i++)
            (void)raw_readdir(W, at(data), size, ((uint64_t)next_random() << 32) | next_random(),
                              at(&word));
    }
    printf("listed %d, beyond %d\n", filled > 0, leaked);

    int zero = 1;
    __wasi_subscription_t in = {.userdata = 7,
                                .u = {.tag = __WASI_EVENTTYPE_CLOCK, .u.clock = {1, 1, 0, 0}}};
#define FRESH memset(data, 0xa5, 128)
    FRESH, (void)__wasi_fd_filestat_get(W, (__wasi_filestat_t *)data),
        zero &= all_zero(data, 17, 24);
    FRESH, (void)__wasi_fd_fdstat_get(W, (__wasi_fdstat_t *)data),
        zero &= all_zero(data, 1, 2) && all_zero(data, 4, 8);
    FRESH, (void)__wasi_fd_prestat_get(W, (__wasi_prestat_t *)data), zero &= all_zero(data, 1, 4);
    FRESH, (void)__wasi_poll_oneoff(&in, (__wasi_event_t *)data, 1, &(__wasi_size_t){0}),
        zero &= all_zero(data, 11, 16);
    printf("gaps %s\n", zero ? "are zero" : "leak");
}

/* Case 23. */
static void output(int one_byte) {
    memset(data, 'x', sizeof data);
    __wasi_ciovec_t out = {data, one_byte ? 1 : sizeof data};
    while (__wasi_fd_write(1, &out, 1, &(__wasi_size_t){0}) == 0) {
    }
}

/* GHSA-gqmc-89g8-p25r: without streams, writing costs the host nothing. */
static void closed(int times) {
    __wasi_ciovec_t out = {data, sizeof data};
    __wasi_size_t size;
    int refused = 0;
    for (__wasi_fd_t fd = 0; fd < 3; fd++)
        (void)__wasi_fd_close(fd);
    for (int i = 0; i < times; i++) {
        for (__wasi_fd_t fd = 0; fd < 3; fd++)
            refused += __wasi_fd_write(fd, &out, 1, &size) == __WASI_ERRNO_BADF;
    }
    __wasi_proc_exit(refused == 3 * times ? 0 : 1);
}

/* Case 24. */
static void disk(void) {
    __wasi_fd_t fd = make("big");
    __wasi_ciovec_t out = {data, sizeof data};
    __wasi_size_t size;
    uint64_t total = 0;
    printf("sparse: %d\n", __wasi_fd_filestat_set_size(fd, (uint64_t)1 << 40));
    printf("allocated: %d\n", __wasi_fd_allocate(fd, 0, (uint64_t)1 << 40));
    printf("far away: %d\n", __wasi_fd_pwrite(fd, &out, 1, (uint64_t)1 << 40, &size));
    printf("overflow: %d\n", __wasi_fd_allocate(fd, (uint64_t)1 << 62, (uint64_t)1 << 62));
    while (__wasi_fd_write(fd, &out, 1, &size) == 0 && size > 0)
        total += size;
    printf("wrote %llu\n", (unsigned long long)total);
}

/* Case 25: names that nobody wants, folders in folders, and files without end. */
static void inodes(int times) {
    static const char *const names[] = {"new\nline", "esc\x1b[2Jape", "-rf", " ",
                                        "\xc3\xa9",  "a\\b",          "con", "*"};
    char name[300];
    int made = 0, deep = 0;
    memset(name, 'n', 255), name[255] = 0;
    (void)__wasi_fd_close(make(name));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)__wasi_fd_close(make(names[i]));
    printf("no UTF-8: %d\n", __wasi_path_create_directory(W, "\xff\xfe"));
    __wasi_fd_t dir = W, next;
    while (deep < times && __wasi_path_create_directory(dir, "d") == 0 &&
           __wasi_path_open(dir, 0, "d", __WASI_OFLAGS_DIRECTORY, ALL & ~__WASI_RIGHTS_FD_WRITE,
                            ALL, 0, &next) == 0) {
        if (dir != W) (void)__wasi_fd_close(dir);
        dir = next;
        deep++;
    }
    for (int i = 0; i < times; i++) {
        __wasi_fd_t fd;
        (void)snprintf(name, sizeof name, "%d", i);
        if (__wasi_path_open(W, 0, name, __WASI_OFLAGS_CREAT, ALL, ALL, 0, &fd) != 0) break;
        (void)__wasi_fd_close(fd);
        made++;
    }
    printf("deep %d, made %d\n", deep, made);
}

/* Times that no clock shows (GHSA-mr2v-56j5-cmfc). */
static void times(void) {
    static const uint64_t odd[] = {0, 1, (uint64_t)1 << 63, ((uint64_t)1 << 63) - 1, UINT64_MAX};
    __wasi_filestat_t st;
    __wasi_fd_t fd = make("f");
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        __wasi_errno_t e = __wasi_fd_filestat_set_times(
            fd, odd[i], odd[i], __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM);
        printf("time %d: %d\n", (int)i, e == 0 ? __wasi_fd_filestat_get(fd, &st) : 0);
    }
    printf("old: %d\n", __wasi_path_filestat_get(W, 0, "from-1960", &st));
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    int n = argc > 2 ? atoi(argv[2]) : 1000;
    if (strcmp(what, "renumber") == 0)
        renumber(n);
    else if (strcmp(what, "flood") == 0)
        flood(n);
    else if (strcmp(what, "buffers") == 0)
        buffers();
    else if (strcmp(what, "polls") == 0)
        polls();
    else if (strcmp(what, "asleep") == 0)
        asleep();
    else if (strcmp(what, "randoms") == 0)
        randoms();
    else if (strcmp(what, "leaks") == 0)
        leaks();
    else if (strcmp(what, "output") == 0)
        output(n);
    else if (strcmp(what, "closed") == 0)
        closed(n);
    else if (strcmp(what, "disk") == 0)
        disk();
    else if (strcmp(what, "inodes") == 0)
        inodes(n);
    else if (strcmp(what, "times") == 0)
        times();
    else
        return 64;
    return 0;
}
