/* A WASI world over a temporary tree, called as a guest would, without an engine.
 *
 *     TREE/rw  mounted writable at descriptor 3    TREE/ro  mounted read-only at descriptor 4
 *     TREE/outside  must never be seen or changed: TREE/outside/secret holds "secret"
 *
 * rw and ro each hold: file ("hello"), dir/inner ("inner"), to_file -> file, to_dir -> dir,
 * dangling -> nowhere, loop -> loop, escape -> ../outside, escape_file -> ../outside/secret. */
#ifndef PA_TESTS_WASI_FIXTURE_H
#define PA_TESTS_WASI_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "wasi/wasi.h"

enum { RW = 3, RO = 4, FIRST_FREE = 5, MEMORY_BYTES = 1 << 20 };
/* Where the fixture puts things in guest memory. */
enum { AT_PATH = 0x1000, AT_PATH2 = 0x3000, AT_OUT = 0x5000, AT_IOV = 0x6000, AT_DATA = 0x8000 };

struct world {
    char tree[64];
    struct guest_memory memory;
    struct wasi *wasi;
    struct buffer output[2];
    struct wasi_output_counts counts[2];
    struct wasi_growth growth;
    struct wasi_config config; /* change it and call world_restart() */
    struct wasi_mount_config mounts[2];
};

int world_setup(void **state);
int world_teardown(void **state);
void world_restart(struct world *w);

/* Calls a function by its name. */
#define CALL(w, name, ...) call_n(w, name, (const uint64_t[10]){__VA_ARGS__})
wasi_errno call_n(struct world *w, const char *name, const uint64_t args[10]);

/* Puts a path into guest memory; its length. */
uint64_t put_path(struct world *w, uint32_t at, const char *path);
uint32_t get_u32(struct world *w, uint32_t at);
uint64_t get_u64(struct world *w, uint32_t at);

/* path_open with the path; the errno, and the descriptor in *fd. */
wasi_errno open_path(struct world *w, uint32_t dir, const char *path, uint32_t lookup,
                     uint32_t oflags, uint64_t rights, uint16_t fdflags, uint32_t *fd);
/* The same with usual rights, which must succeed. */
uint32_t open_ok(struct world *w, uint32_t dir, const char *path, uint32_t oflags);
/* fd_write / fd_read of one buffer. *done = the count that the guest sees. */
wasi_errno write_text(struct world *w, uint32_t fd, const char *text, uint32_t *done);
wasi_errno read_text(struct world *w, uint32_t fd, uint32_t size, char *out, uint32_t *done);

/* Looks at the host: a file's text ("" if there is none), whether a name exists (links count). */
const char *host_text(struct world *w, const char *path);
bool host_exists(struct world *w, const char *path);
/* Fails the test if anything in TREE/outside is not as it was. */
void assert_outside_untouched(struct world *w);

#define ALL_RIGHTS (WASI_RIGHTS_FILE | WASI_RIGHTS_DIRECTORY)

#endif
