/* Promise: workers are bounded together by a control group of version 1 or 2, wherever one can be
 * had; else it is clearly not there. Version 2 is tried on a tree of ordinary files, as few
 * machines give the tests a real one; version 1 by tests/e2e/test_serve.py. */
#include "supervisor/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

static char root[32];
static char group[64], self[64]; /* names of what is made in it */

static void put(const char *dir, const char *file) {
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s/%s", root, dir, file);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
}

static void assert_holds(const char *dir, const char *file, const char *expected) {
    char path[256], text[64] = "";
    (void)snprintf(path, sizeof path, "%s/%s/%s", root, dir, file);
    FILE *stream = fopen(path, "re");
    assert_non_null(stream);
    (void)!fgets(text, sizeof text, stream);
    (void)fclose(stream);
    assert_string_equal(text, expected);
}

/* A hierarchy of version 2 with this process in its root; `ready` if controllers are on already.
 * Skips where the kernel has this process elsewhere. */
static void make_tree(bool ready) {
    char path[256], line[512];
    bool in_root = false;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        in_root = in_root || strcmp(line, "0::/\n") == 0;
    if (file != NULL) (void)fclose(file);
    if (!in_root) skip();
    (void)snprintf(group, sizeof group, "polyagent-%d", getpid());
    (void)snprintf(self, sizeof self, "polyagent-self-%d", getpid());
    (void)strcpy(root, "/tmp/polyagent-test-XXXXXX");
    assert_non_null(mkdtemp(root));
    put("", "cgroup.controllers");
    put("", "cgroup.subtree_control");
    put("", "cgroup.procs");
    for (int i = 0; i < 2; i++) {
        const char *name = i == 0 ? group : self;
        (void)snprintf(path, sizeof path, "%s/%s", root, name);
        assert_int_equal(mkdir(path, 0700), 0);
        put(name, "cgroup.procs");
    }
    if (ready) {
        put(group, "pids.max");
        put(group, "memory.max");
        put(group, "cpu.weight");
    }
}

static void remove_tree(void) {
    char command[64];
    (void)snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
}

static void test_a_prepared_group_gets_the_limits(void **state) {
    (void)state;
    make_tree(true);
    struct cgroup *cgroup = cgroup_new(root, false, 123456, 77);
    assert_non_null(cgroup);
    assert_holds(group, "pids.max", "77");
    assert_holds(group, "memory.max", "123456");
    char weight[16]; /* an ordinary process's on each core */
    (void)snprintf(weight, sizeof weight, "%d", 100 * (get_nprocs() > 100 ? 100 : get_nprocs()));
    assert_holds(group, "cpu.weight", weight);
    assert_true(cgroup_weighs(cgroup));
    assert_int_equal(cgroup_add(cgroup, 4242), 0);
    assert_holds(group, "cgroup.procs", "4242");
    assert_holds("", "cgroup.subtree_control", ""); /* nothing of the parent's was touched */
    cgroup_free(cgroup);
    remove_tree();
}

/* Memory and processes are bounded all the same. */
static void test_a_group_without_a_weight(void **state) {
    char path[256];
    (void)state;
    make_tree(true);
    (void)snprintf(path, sizeof path, "%s/%s/cpu.weight", root, group);
    assert_int_equal(unlink(path), 0);
    struct cgroup *cgroup = cgroup_new(root, false, 123456, 77);
    assert_non_null(cgroup);
    assert_holds(group, "memory.max", "123456");
    assert_false(cgroup_weighs(cgroup));
    cgroup_free(cgroup);
    remove_tree();
}

/* Where the kernel gives no controllers, there is no layer, and we are where we were. */
static void test_without_controllers_there_is_no_layer(void **state) {
    char pid[16];
    (void)state;
    (void)snprintf(pid, sizeof pid, "%d", getpid());
    make_tree(false);
    assert_null(cgroup_new(root, false, 0, 77));
    assert_holds(self, "cgroup.procs", ""); /* it was not allowed to move */
    assert_null(cgroup_new(root, true, 0, 77));
    assert_holds(self, "cgroup.procs", pid); /* it moved, */
    assert_holds("", "cgroup.procs", pid);   /* and came back */
    remove_tree();
}

static void test_no_hierarchy_is_no_layer(void **state) {
    (void)state;
    assert_null(cgroup_new("/nonexistent", true, 0, 77));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_prepared_group_gets_the_limits),
        cmocka_unit_test(test_a_group_without_a_weight),
        cmocka_unit_test(test_without_controllers_there_is_no_layer),
        cmocka_unit_test(test_no_hierarchy_is_no_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
