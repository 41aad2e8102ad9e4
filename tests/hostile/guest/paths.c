/* paths CASE: goes for what lies outside /w (writable, descriptor 3) and /ro (read-only, 4). Each
 * success is told with the inode that it met, and each text read: the test outside knows which of
 * them must never be seen. */
#include "say.h"

enum { W = 3, RO = 4 };

static char text[64];

static void tell(const char *deed, const char *path, uint64_t inode) {
    printf("ok %s %s %llu\n", deed, path, (unsigned long long)inode);
}

static uint64_t inode_of(__wasi_fd_t fd) {
    __wasi_filestat_t st;
    return __wasi_fd_filestat_get(fd, &st) == 0 ? st.ino : 0;
}

/* Opens, tells, reads, and lists. */
static void open_and_look(const char *deed, __wasi_fd_t dir, const char *path, uint32_t lookup,
                          uint16_t oflags, uint64_t rights) {
    __wasi_fd_t fd;
    size_t size = 0;
    __wasi_iovec_t into = {(uint8_t *)text, sizeof text - 1};
    if (__wasi_path_open(dir, lookup, path, oflags, rights, ALL, 0, &fd) != 0) return;
    tell(deed, path, inode_of(fd));
    if (__wasi_fd_read(fd, &into, 1, &size) == 0 && size > 0) {
        text[size] = 0;
        printf("read %s: %.16s\n", path, text);
    }
    if (__wasi_fd_readdir(fd, (uint8_t *)text, sizeof text, 0, &size) == 0 && size > 24) {
        uint64_t inode;
        memcpy(&inode, text + 8, sizeof inode);
        tell("listed", path, inode);
    }
    (void)__wasi_fd_close(fd);
}

static void prepare(void) {
    static const char *const made[][2] = {{"../outside", "esc"},
                                          {"../outside/", "escs"},
                                          {"../outside/secret", "escf"},
                                          {"../outside/new", "dang"},
                                          {"..", "up"},
                                          {"loop", "loop"}};
    __wasi_fd_t fd;
    (void)__wasi_path_create_directory(W, "d");
    for (int i = 0; i < 2; i++) {
        if (__wasi_path_open(W, 0, i == 0 ? "file" : "d/f", __WASI_OFLAGS_CREAT, ALL, ALL, 0,
                             &fd) == 0) {
            (void)__wasi_fd_close(fd);
        }
    }
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        size_t size;
        if (__wasi_path_readlink(W, made[i][1], (uint8_t *)text, sizeof text, &size) == 0) continue;
        (void)__wasi_path_unlink_file(W, made[i][1]); /* something else was moved over it */
        (void)__wasi_path_remove_directory(W, made[i][1]);
        (void)__wasi_path_symlink(made[i][0], W, made[i][1]);
    }
}

/* Every call that takes a path, on this one. What it does to the inside does not matter. */
static void try_all(__wasi_fd_t dir, const char *path) {
    static const uint16_t oflags[] = {0,
                                      __WASI_OFLAGS_DIRECTORY,
                                      __WASI_OFLAGS_CREAT,
                                      __WASI_OFLAGS_CREAT | __WASI_OFLAGS_EXCL,
                                      __WASI_OFLAGS_TRUNC,
                                      __WASI_OFLAGS_CREAT | __WASI_OFLAGS_TRUNC};
    static const uint64_t read_only =
        __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_READDIR | __WASI_RIGHTS_FD_FILESTAT_GET;
    __wasi_filestat_t st;
    size_t size;
    for (uint32_t lookup = 0; lookup < 2; lookup++) {
        for (size_t i = 0; i < sizeof oflags / sizeof *oflags; i++) {
            open_and_look("open", dir, path, lookup, oflags[i], ALL);
            open_and_look("open", dir, path, lookup, oflags[i], read_only);
        }
        if (__wasi_path_filestat_get(dir, lookup, path, &st) == 0) tell("stat", path, st.ino);
        (void)__wasi_path_filestat_set_times(dir, lookup, path, 1000000000, 1000000000,
                                             __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM);
        (void)__wasi_path_link(dir, lookup, path, W, "y");
        if (__wasi_path_filestat_get(W, 0, "y", &st) == 0) {
            tell("link", path, st.ino);
            open_and_look("linked", W, "y", 1, 0, read_only);
        }
        (void)__wasi_path_unlink_file(W, "y");
    }
    (void)__wasi_path_readlink(dir, path, (uint8_t *)text, sizeof text, &size);
    (void)__wasi_path_create_directory(dir, path);
    (void)__wasi_path_symlink("target", dir, path);
    (void)__wasi_path_link(W, 0, "file", dir, path);
    (void)__wasi_path_rename(W, "file", dir, path);
    (void)__wasi_path_rename(W, "d", dir, path);
    if (__wasi_path_rename(dir, path, W, "x") == 0) {
        if (__wasi_path_filestat_get(W, 0, "x", &st) == 0) tell("rename", path, st.ino);
        (void)__wasi_path_rename(W, "x", dir, path);
    }
    (void)__wasi_path_remove_directory(dir, path);
    prepare();
}

/* Case 1: a thousand ways to write "..". */
static void dotdot(void) {
    static const char *const parts[] = {"..",        "../", "./..",  "d/../..", ".//..",
                                        "d/./../..", "up",  "up/up", "d/../up"};
    static const char *const ends[] = {"",
                                       "/",
                                       "/outside",
                                       "/outside/",
                                       "/outside/secret",
                                       "/outside/new",
                                       "/../etc/passwd",
                                       "/ro/../outside/secret",
                                       "//outside//secret",
                                       "/./outside/./dir"};
    char path[256];
    int count = 0;
    prepare();
    for (size_t a = 0; a < sizeof parts / sizeof *parts; a++) {
        for (size_t b = 0; b <= sizeof parts / sizeof *parts; b++) {
            for (size_t end = 0; end < sizeof ends / sizeof *ends; end++) {
                int more = b < sizeof parts / sizeof *parts;
                (void)snprintf(path, sizeof path, "%s%s%s%s", parts[a], more ? "/" : "",
                               more ? parts[b] : "", ends[end]);
                try_all(W, path);
                if (count++ % 8 == 0) try_all(RO, path);
            }
        }
    }
    printf("%d paths\n", count);
}

/* Case 2: the same errno, whether or not the name exists. */
static void absolute(void) {
    static const char *const paths[] = {"/etc/passwd",     "/etc/nothing-here", "/",           "//",
                                        "/proc/self/root", "/w/file",           "//etc/passwd"};
    __wasi_fd_t fd;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        printf("errno %d %s\n", __wasi_path_open(W, 1, paths[i], 0, ALL, ALL, 0, &fd), paths[i]);
        try_all(W, paths[i]);
        try_all(RO, paths[i]);
    }
}

/* Cases 3 to 6 and 9: links of its own, and of the host's making, with every end a path can have.
 */
static void links(void) {
    static const char *const names[] = {"esc",   "escs",  "escf",   "dang",    "up",   "loop",
                                        "h_abs", "h_etc", "h_proc", "h_slash", "h_rel"};
    static const char *const starts[] = {"", "./", "d/../", ".//", "d/./../"};
    static const char *const ends[] = {"",
                                       "/",
                                       "//",
                                       "/.",
                                       "/./",
                                       "/..",
                                       "/../outside",
                                       "/secret",
                                       "/dir",
                                       "/dir/",
                                       "/new",
                                       "/new/",
                                       "/../../etc/passwd"};
    char path[256];
    int count = 0;
    prepare();
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        for (size_t s = 0; s < sizeof starts / sizeof *starts; s++) {
            for (size_t e = 0; e < sizeof ends / sizeof *ends; e++, count++) {
                (void)snprintf(path, sizeof path, "%s%s%s", starts[s], names[n], ends[e]);
                try_all(W, path);
                try_all(RO, path);
            }
        }
    }
    printf("%d paths\n", count);
    printf("absolute link: %d %d\n", __wasi_path_symlink("/etc", W, "made"),
           __wasi_path_symlink("/", W, "made2"));
}

/* Case 10: nothing of a read-only mount changes, nor does a name of it get into a writable one. */
static void read_only(void) {
    static const uint16_t oflags[] = {__WASI_OFLAGS_TRUNC, __WASI_OFLAGS_CREAT,
                                      __WASI_OFLAGS_CREAT | __WASI_OFLAGS_TRUNC,
                                      __WASI_OFLAGS_CREAT | __WASI_OFLAGS_EXCL};
    static const uint64_t rights[] = {ALL, __WASI_RIGHTS_FD_READ, __WASI_RIGHTS_FD_WRITE, 0,
                                      ALL & ~__WASI_RIGHTS_FD_WRITE};
    static const char *const names[] = {"file", "dir/inner", "new", "./file", "dir/../file", "dir"};
    uint8_t byte = 'x';
    __wasi_ciovec_t out = {&byte, 1};
    size_t size;
    __wasi_fd_t fd;
    prepare();
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        for (size_t r = 0; r < sizeof rights / sizeof *rights; r++) {
            for (size_t f = 0; f < sizeof oflags / sizeof *oflags; f++) {
                for (uint32_t lookup = 0; lookup < 2; lookup++) {
                    if (__wasi_path_open(RO, lookup, names[n], oflags[f], rights[r], ALL, 0, &fd) !=
                        0)
                        continue;
                    printf("opened %s %u\n", names[n], oflags[f]);
                    (void)__wasi_fd_close(fd);
                }
            }
            if (__wasi_path_open(RO, 0, names[n], 0, __WASI_RIGHTS_FD_READ, rights[r], 0, &fd) != 0)
                continue;
            (void)__wasi_fd_fdstat_set_rights(fd, ALL, ALL);
            if (__wasi_fd_write(fd, &out, 1, &size) == 0 ||
                __wasi_fd_pwrite(fd, &out, 1, 0, &size) == 0 ||
                __wasi_fd_filestat_set_size(fd, 0) == 0 || __wasi_fd_allocate(fd, 0, 99) == 0 ||
                __wasi_fd_filestat_set_times(fd, 0, 0, __WASI_FSTFLAGS_MTIM) == 0) {
                printf("changed %s\n", names[n]);
            }
            (void)__wasi_fd_close(fd);
        }
        if (__wasi_path_link(RO, 0, names[n], W, "stolen") == 0 ||
            __wasi_path_link(W, 0, "file", RO, "planted") == 0 ||
            __wasi_path_rename(RO, names[n], W, "stolen") == 0 ||
            __wasi_path_rename(W, "file", RO, names[n]) == 0 ||
            __wasi_path_unlink_file(RO, names[n]) == 0 ||
            __wasi_path_remove_directory(RO, names[n]) == 0 ||
            __wasi_path_symlink("x", RO, "planted") == 0 ||
            __wasi_path_create_directory(RO, "planted") == 0 ||
            __wasi_path_filestat_set_times(RO, 1, names[n], 0, 0, __WASI_FSTFLAGS_MTIM) == 0) {
            printf("changed the name %s\n", names[n]);
        }
    }
    puts("done");
}

/* Case 11: rights shrink, and never come back. */
static void rights(void) {
    __wasi_fdstat_t st;
    __wasi_fd_t fd, dir;
    uint8_t byte = 'x';
    __wasi_ciovec_t out = {&byte, 1};
    size_t size;
    prepare();
    printf("open %d\n", __wasi_path_open(W, 0, "file", 0, ALL, ALL, 0, &fd));
    printf("shrink %d\n", __wasi_fd_fdstat_set_rights(fd, __WASI_RIGHTS_FD_READ, 0));
    printf("write %d\n", __wasi_fd_write(fd, &out, 1, &size));
    printf("grow %d\n",
           __wasi_fd_fdstat_set_rights(fd, __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_WRITE, 0));
    printf("size %d\n", __wasi_fd_filestat_set_size(fd, 9));
    (void)__wasi_fd_fdstat_get(fd, &st);
    printf("left %llu\n", (unsigned long long)st.fs_rights_base);
    printf("dir %d\n", __wasi_path_open(W, 0, "d", __WASI_OFLAGS_DIRECTORY,
                                        __WASI_RIGHTS_FD_READDIR, 0, 0, &dir));
    printf("through %d\n", __wasi_path_open(dir, 0, "f", 0, __WASI_RIGHTS_FD_READ, 0, 0, &fd));
    printf("make %d\n", __wasi_path_create_directory(dir, "sub"));
    printf("preopen %d\n", __wasi_fd_fdstat_set_rights(W, 0, 0));
    printf("later %d\n", __wasi_path_open(W, 0, "file", 0, __WASI_RIGHTS_FD_READ, 0, 0, &fd));
}

/* Case 7: this one flips d between a directory and a link to the outside; another run looks into
 * it. */
static void flip(int times) {
    (void)__wasi_path_symlink("../outside", W, "swap");
    (void)__wasi_path_create_directory(W, "race");
    for (int i = 0; i < times; i++) {
        (void)__wasi_path_rename(W, "race", W, "real");
        (void)__wasi_path_rename(W, "swap", W, "race");
        (void)__wasi_path_rename(W, "race", W, "swap");
        (void)__wasi_path_rename(W, "real", W, "race");
    }
    printf("flipped %d\n", times);
}

static void look(int times) {
    int seen = 0;
    __wasi_fd_t fd;
    for (int i = 0; i < times; i++) {
        if (__wasi_path_open(W, 1, "race/secret", 0, __WASI_RIGHTS_FD_READ, 0, 0, &fd) == 0) {
            tell("open", "race/secret", inode_of(fd));
            (void)__wasi_fd_close(fd);
        }
        if (__wasi_path_open(W, 1, "race/new", __WASI_OFLAGS_CREAT, ALL, ALL, 0, &fd) == 0) {
            (void)__wasi_fd_close(fd);
            seen++;
        }
        (void)__wasi_path_create_directory(W, "race/newdir");
        (void)__wasi_path_rename(W, "file", W, "race/file");
        (void)__wasi_path_link(W, 0, "race/secret", W, "stolen");
        (void)__wasi_path_filestat_set_times(W, 1, "race/secret", 0, 0, __WASI_FSTFLAGS_MTIM);
    }
    printf("looked %d, inside %d\n", times, seen);
}

/* Case 8: the directory that ".." is resolved in moves meanwhile. */
static void move(int times) {
    (void)__wasi_path_create_directory(W, "a");
    (void)__wasi_path_create_directory(W, "a/b");
    (void)__wasi_path_create_directory(W, "a/b/c");
    for (int i = 0; i < times; i++) {
        (void)__wasi_path_rename(W, "a/b/c", W, "c");
        (void)__wasi_path_rename(W, "c", W, "a/b/c");
    }
    printf("moved %d\n", times);
}

static void climb(int times) {
    static const char *const paths[] = {"a/b/c/../../../outside/secret",
                                        "a/b/c/../../../../outside/secret", "a/b/c/../../../file",
                                        "c/../../outside/secret"};
    __wasi_fd_t fd;
    for (int i = 0; i < times; i++) {
        const char *path = paths[i % 4];
        if (__wasi_path_open(W, 1, path, 0, __WASI_RIGHTS_FD_READ, 0, 0, &fd) != 0) continue;
        tell("open", path, inode_of(fd));
        (void)__wasi_fd_close(fd);
    }
    printf("climbed %d\n", times);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    int times = argc > 2 ? atoi(argv[2]) : 1000;
    setvbuf(stdout, NULL, _IOFBF, 65536);
    if (strcmp(what, "dotdot") == 0)
        dotdot();
    else if (strcmp(what, "absolute") == 0)
        absolute();
    else if (strcmp(what, "links") == 0)
        links();
    else if (strcmp(what, "read_only") == 0)
        read_only();
    else if (strcmp(what, "rights") == 0)
        rights();
    else if (strcmp(what, "flip") == 0)
        flip(times);
    else if (strcmp(what, "look") == 0)
        look(times);
    else if (strcmp(what, "move") == 0)
        move(times);
    else if (strcmp(what, "climb") == 0)
        climb(times);
    else
        return 64;
    return 0;
}
