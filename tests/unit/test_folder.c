/* Promise: whatever a guest has put into its folder, nothing outside is read, written, copied or
 * removed. */
#include "tools/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    char root[64], inside[80], secret[80];
    int dir;
};

static struct place make(void) {
    struct place p;
    (void)snprintf(p.root, sizeof p.root, "/tmp/polyagent-folder-XXXXXX");
    assert_non_null(mkdtemp(p.root));
    (void)snprintf(p.inside, sizeof p.inside, "%s/in", p.root);
    (void)snprintf(p.secret, sizeof p.secret, "%s/secret", p.root);
    assert_int_equal(mkdir(p.inside, 0700), 0);
    int fd = open(p.secret, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "secret", 6), 6);
    (void)close(fd);
    p.dir = open(p.inside, O_RDONLY | O_DIRECTORY);
    assert_true(p.dir >= 0);
    assert_int_equal(symlinkat("../secret", p.dir, "link"), 0);
    assert_int_equal(symlinkat("..", p.dir, "up"), 0);
    return p;
}

static void end(struct place *p) {
    struct stat st;
    (void)close(p->dir);
    folder_empty(AT_FDCWD, p->inside);
    assert_int_equal(stat(p->secret, &st), 0); /* it is there, and as it was */
    assert_int_equal(st.st_size, 6);
    folder_remove(AT_FDCWD, p->root);
    assert_int_not_equal(stat(p->root, &st), 0);
}

/* How files are put, with room for so much. */
static struct folder_put how_to(const struct place *p, uint64_t free_bytes, uint64_t free_names) {
    char path[96];
    (void)snprintf(path, sizeof path, "%s/staging", p->root);
    assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
    return (struct folder_put){.staging = open(path, O_RDONLY | O_DIRECTORY),
                               .replace = true,
                               .sync = true,
                               .free_bytes = free_bytes,
                               .free_names = free_names};
}

static enum pa_status put(const struct place *p, const char *name, const char *text, bool replace) {
    struct buffer bytes = {.data = (uint8_t *)(uintptr_t)text, .size = strlen(text)};
    struct folder_put how = how_to(p, UINT64_MAX, UINT64_MAX);
    struct error err = {0};
    how.replace = replace;
    (void)folder_put(p->dir, name, &bytes, &how, &err);
    (void)close(how.staging);
    return err.code;
}

static int fill(const struct place *p, struct folder_put *how, const char *json) {
    struct error err = {0};
    json_t *files = json_loads(json, 0, NULL);
    assert_non_null(files);
    int result = folder_fill(p->dir, files, how, &err);
    assert_true(result == 0 || err.text[0] != 0);
    json_decref(files);
    return result;
}

static bool holds(const struct place *p, const char *name, const char *text) {
    struct buffer bytes = {0};
    struct error err = {0};
    bool same = folder_read(p->dir, name, 1000, &bytes, &err) == 0 && bytes.size == strlen(text) &&
                memcmp(bytes.data, text, bytes.size) == 0;
    buffer_fini(&bytes);
    return same;
}

static void test_files_come_all_or_none(void **state) {
    struct place p = make();
    struct folder_put how = how_to(&p, 3 * 4096, 6);
    uint64_t bytes, names;
    (void)state;
    assert_int_equal(fill(&p, &how, "{\"a\": \"one\", \"d/b\": \"two\"}"), 0);
    assert_int_equal(how.bytes, 3 * 4096);
    assert_int_equal(how.names, 3); /* a folder is a name as well */
    static const char *const refused[] = {
        "{\"a\": \"new\", \"e/f/g\": \"x\", \"d\": \"a folder\"}",
        "{\"a\": \"new\", \"e/f/g\": \"x\", \"e/f\": \"y\"}",
        "{\"a\": \"new\", \"e\": \"x\", \"e.g\": \"\", \"e/f\": \"y\"}",
        "{\"a\": \"new\", \"e/f\": \"x\", \"e/f.\": \"\", \"/workspace/e/f\": \"y\"}",
        "{\"a\": \"new\", \"e/f/g\": \"x\", \"../out\": \"y\"}",
        "{\"a\": \"new\", \"e/f/g\": \"x\", \"h\": {\"base64\": \"!\"}}",
        "{\"a\": \"new\", \"e/f/g\": \"x\", \"up/h\": \"y\"}",
        "{\"a\": \"new\", \"e/1/2/3/4\": \"x\", \"f/1\": \"too many names\"}",
        "{\"a\": \"new\", \"b\": \"1\", \"c\": \"2\", \"d/e\": \"3\", \"f\": \"too many bytes\"}"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_equal(fill(&p, &how, refused[i]), -1);
        assert_true(holds(&p, "a", "one"));
        assert_int_equal(folder_usage(p.dir, UINT64_MAX, &bytes, &names), 0);
        assert_int_equal(names, 5); /* with "link" and "up" */
        assert_true(folder_usage(how.staging, UINT64_MAX, &bytes, &names) == 0 && names == 0);
    }
    assert_int_equal(fill(&p, &how, "{\"a\": \"longer\", \"d/b\": \"\"}"), 0);
    assert_int_equal(how.bytes, -4096);
    assert_int_equal(how.names, 0);
    assert_true(holds(&p, "a", "longer") && holds(&p, "d/b", ""));
    (void)close(how.staging);
    end(&p);
}

static void test_nothing_in_it(void **state) {
    struct place p = make();
    (void)state;
    assert_false(folder_is_bare(AT_FDCWD, p.inside));
    folder_empty(AT_FDCWD, p.inside);
    assert_true(folder_is_bare(AT_FDCWD, p.inside));
    assert_false(folder_is_bare(AT_FDCWD, "/nonexistent"));
    end(&p);
}

static void test_paths(void **state) {
    static const char *const good[] = {"a", "a/b", "/workspace/a", ".hidden", "a..b/c"};
    static const char *const bad[] = {"",     "/",   "/a", "..",         "a/../b",
                                      "a//b", "./a", "a/", "/workspace", "/workspace/../x"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_non_null(folder_path(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (folder_path(bad[i]) != NULL) fail_msg("a path: '%s'", bad[i]);
}

static void test_the_deepest_path(void **state) {
    char path[2 * FOLDER_MAX_DEPTH + 4] = "";
    struct place p = make();
    uint64_t bytes, names;
    (void)state;
    for (int i = 0; i < FOLDER_MAX_DEPTH; i++)
        (void)strcat(path, "a/");
    (void)strcat(path, "a");
    assert_int_equal(put(&p, path, "text", false), PA_OK);
    assert_int_equal(folder_usage(p.dir, UINT64_MAX, &bytes, &names),
                     0); /* is one that can be counted */
    assert_int_equal(bytes % 4096, 0);
    assert_int_equal(names, FOLDER_MAX_DEPTH + 1 + 2);
    (void)strcat(path, "/a");
    assert_int_equal(put(&p, path, "text", true), PA_INVALID_ARGUMENT);
    end(&p);
}

static void test_writing_and_reading(void **state) {
    struct place p = make();
    struct buffer bytes = {0};
    struct error err = {0};
    uint64_t size, names;
    (void)state;
    assert_int_equal(put(&p, "d/e/f", "one", false), PA_OK);
    assert_int_equal(put(&p, "d/e/f", "two", false), PA_INVALID_ARGUMENT); /* it is there */
    assert_int_equal(put(&p, "d/e/f", "three", true), PA_OK);
    assert_int_equal(put(&p, "d/e", "x", true), PA_INVALID_ARGUMENT); /* a folder is */
    assert_int_equal(folder_read(p.dir, "d/e/f", 100, &bytes, &err), 0);
    assert_int_equal(bytes.size, 5);
    buffer_fini(&bytes);
    assert_int_equal(folder_read(p.dir, "d/e/f", 4, &bytes, &err), -1);
    assert_int_equal(err.code, PA_INVALID_ARGUMENT);
    assert_int_equal(folder_usage(p.dir, UINT64_MAX, &size, &names), 0);
    assert_int_equal(size, 5 * 4096);
    assert_int_equal(names, 5); /* d, e, f and the links */
    end(&p);
}

static void test_links_lead_nowhere(void **state) {
    static const char *const outside[] = {"link", "up/secret", "up/in/link"};
    struct place p = make();
    struct buffer bytes = {0};
    struct stat st;
    (void)state;
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        struct error err = {0};
        assert_int_equal(folder_read(p.dir, outside[i], 100, &bytes, &err), -1);
        assert_int_equal(err.code, PA_NOT_FOUND);
    }
    assert_int_equal(put(&p, "up/new", "x", true), PA_INVALID_ARGUMENT);
    assert_int_equal(put(&p, "link", "mine", true), PA_OK); /* a file takes the link's place */
    assert_int_equal(fstatat(p.dir, "link", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISREG(st.st_mode));
    end(&p);
}

static void test_copies(void **state) {
    struct place p = make();
    struct error err = {0};
    char target[PATH_MAX];
    struct stat st;
    (void)state;
    assert_int_equal(put(&p, "d/f", "text", false), PA_OK);
    assert_int_equal(mkfifoat(p.dir, "fifo", 0600), 0); /* left out, and not waited for */
    assert_int_equal(mkdirat(p.dir, "../copy", 0700), 0);
    int to = openat(p.dir, "../copy", O_RDONLY | O_DIRECTORY);
    assert_int_equal(folder_copy(p.dir, to, &err), 0);
    assert_int_equal(fstatat(to, "d/f", &st, 0), 0);
    assert_int_equal(st.st_size, 4);
    assert_int_equal(readlinkat(to, "link", target, sizeof target), 9); /* as a link */
    assert_int_not_equal(fstatat(to, "fifo", &st, 0), 0);
    (void)close(to);
    end(&p);
}

/* Thousands of names for one large file are no way to fill a disk by a copy. */
static void test_a_file_of_several_names_is_copied_once(void **state) {
    struct place p = make();
    struct error err = {0};
    struct stat st, other;
    uint64_t bytes, names, copied, copied_names;
    (void)state;
    assert_int_equal(put(&p, "d/f", "text", false), PA_OK);
    assert_int_equal(linkat(p.dir, "d/f", p.dir, "a", 0), 0);
    assert_int_equal(linkat(p.dir, "d/f", p.dir, "d/g", 0), 0);
    assert_int_equal(folder_usage(p.dir, UINT64_MAX, &bytes, &names), 0);
    assert_int_equal(bytes / 4096, 3); /* the folder, the file, the links of the place */
    assert_int_equal(mkdirat(p.dir, "../copy", 0700), 0);
    int to = openat(p.dir, "../copy", O_RDONLY | O_DIRECTORY);
    assert_int_equal(folder_copy(p.dir, to, &err), 0);
    assert_int_equal(fstatat(to, "d/f", &st, 0), 0);
    assert_int_equal(fstatat(to, "a", &other, 0), 0);
    assert_int_equal(st.st_nlink, 3);
    assert_int_equal(st.st_ino, other.st_ino);
    assert_int_equal(folder_usage(to, UINT64_MAX, &copied, &copied_names), 0);
    assert_true(copied == bytes && copied_names == names);
    (void)close(to);
    end(&p);
}

/* Folders in each other, more than a path has room for, with files beside and at the end. */
static void dig(int top, int levels, const char *name) {
    int dir = dup(top);
    for (int i = 0; i < levels; i++) {
        assert_int_equal(mkdirat(dir, name, 0755), 0);
        int next = openat(dir, name, O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
        (void)close(dir);
        dir = next;
        int fd = openat(dir, "file", O_WRONLY | O_CREAT, 0644);
        assert_int_equal(write(fd, "text", 4), 4);
        (void)close(fd);
    }
    (void)close(dir);
}

static void test_no_depth_is_too_much(void **state) {
    static const int levels[] = {1, FOLDER_MAX_DEPTH, FOLDER_MAX_DEPTH + 1, 2000};
    char name[201];
    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        struct place p = make();
        struct error err = {0};
        uint64_t bytes, names;
        bool fits = levels[i] <= FOLDER_MAX_DEPTH;
        dig(p.dir, levels[i], name);
        dig(p.dir, 1, "0"); /* a name that emptying might want */
        assert_int_equal(folder_usage(p.dir, UINT64_MAX, &bytes, &names), fits ? 0 : -ELOOP);
        if (fits) assert_int_equal(names, 2 * (levels[i] + 1) + 2);
        assert_int_equal(mkdirat(p.dir, "../copy", 0700), 0);
        int to = openat(p.dir, "../copy", O_RDONLY | O_DIRECTORY);
        assert_int_equal(folder_copy(p.dir, to, &err), fits ? 0 : -1); /* never a part */
        if (fits) {
            uint64_t copied, copied_names;
            assert_int_equal(folder_usage(to, UINT64_MAX, &copied, &copied_names), 0);
            assert_true(copied == bytes && copied_names == names);
        } else {
            assert_non_null(strstr(err.text, "folders in each other"));
        }
        json_t *list = folder_list(p.dir);
        assert_int_not_equal(json_array_size(list), 0);
        json_decref(list);
        (void)close(to);
        end(&p); /* nothing of it is left */
    }
}

static void test_moves(void **state) {
    struct place p = make();
    struct error err = {0};
    struct stat st;
    uint64_t bytes, names;
    (void)state;
    assert_int_equal(put(&p, "d/f", "text", false), PA_OK);
    assert_int_equal(mkdirat(p.dir, "../other", 0700), 0);
    int to = openat(p.dir, "../other", O_RDONLY | O_DIRECTORY);
    assert_int_equal(folder_move(p.dir, to, &err), 0);
    assert_int_equal(fstatat(to, "d/f", &st, 0), 0);
    assert_int_equal(folder_usage(p.dir, UINT64_MAX, &bytes, &names), 0);
    assert_int_equal(names, 0);
    (void)close(to);
    end(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_files_come_all_or_none),
        cmocka_unit_test(test_nothing_in_it),
        cmocka_unit_test(test_the_deepest_path),
        cmocka_unit_test(test_writing_and_reading),
        cmocka_unit_test(test_links_lead_nowhere),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_a_file_of_several_names_is_copied_once),
        cmocka_unit_test(test_no_depth_is_too_much),
        cmocka_unit_test(test_moves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
