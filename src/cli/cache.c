/* `polyagent cache`: the compiled modules on disk. */
#include "cli/cli.h"

#include "config/config.h"
#include "sandbox/cache.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: polyagent cache list|verify|clear\n\n"
    "  list     the compiled modules and their sizes\n"
    "  verify   checks each one's MAC; exit code 1 if one is damaged (it would be made anew)\n"
    "  clear    removes all\n\n"
    "The cache is $POLYAGENT_CACHE_DIR, else polyagent in the user's cache directory.\n";

struct totals {
    unsigned entries, damaged;
    uint64_t bytes;
    bool check;
};

static void show(void *context, const char *name, uint64_t bytes, bool sound) {
    struct totals *totals = context;
    totals->entries++;
    totals->bytes += bytes;
    totals->damaged += sound ? 0 : 1;
    (void)printf("%.16s  %10.1f KiB%s\n", name, (double)bytes / 1024,
                 !totals->check ? ""
                 : sound        ? "  ok"
                                : "  DAMAGED");
}

int cli_cache_main(int argc, char **argv) {
    struct error err = {0};
    struct cache cache;
    struct config config;
    struct totals totals = {0};
    const char *verb = argc == 2 ? argv[1] : "";
    if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0) {
        (void)fputs(help, stdout);
        return 0;
    }
    totals.check = strcmp(verb, "verify") == 0;
    bool clear = strcmp(verb, "clear") == 0;
    if (!totals.check && !clear && strcmp(verb, "list") != 0) {
        return cli_fail("cache: say list, verify or clear; see polyagent cache --help");
    }
    if (config_load(&config, NULL, &err) != 0) return cli_fail("cache: %s", err.text);
    uint64_t most = (uint64_t)config.cache_bytes;
    config_fini(&config);
    int result = cache_open(&cache, NULL, &err);
    if (result == 0 && clear) {
        int removed = cache_clear(&cache, &err);
        if (removed >= 0) (void)printf("removed %d from %s\n", removed, cache.path);
        result = removed < 0 ? -1 : 0;
    } else if (result == 0) {
        result = cache_walk(&cache, totals.check, show, &totals, &err);
        (void)printf("%u modules, %.1f of at most %.1f MiB in %s\n", totals.entries,
                     (double)totals.bytes / 1048576, (double)most / 1048576, cache.path);
    }
    cache_close(&cache);
    if (result != 0) return cli_fail("%s", err.text);
    return totals.damaged > 0 ? 1 : 0;
}
