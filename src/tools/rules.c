#include "tools/registry.h"
#include "tools/tools.h"

#include <stdlib.h>

int tool_rules_init(struct tool_rules *rules, const struct config *config, struct error *err) {
    size_t count = 0;
    while (config->allowed_paths[count] != NULL)
        count++;
    *rules = (struct tool_rules){.limits = config->limits,
                                 .ceilings = &config->ceilings,
                                 .module_paths = (const char *const *)config->module_paths,
                                 .env = (const char *const *)config->env_vars,
                                 .config = config,
                                 .mount_count = count};
    if (registry_path(config->registry, rules->registry, sizeof rules->registry, err) != 0)
        return -1;
    if (!python_find(config->interpreter[0] != 0 ? config->interpreter : NULL, rules->interpreter,
                     sizeof rules->interpreter)) {
        rules->interpreter[0] = 0;
    }
    rules->mounts = calloc(count + 1, sizeof *rules->mounts);
    if (rules->mounts == NULL) return error_set(err, PA_INTERNAL, "the settings: out of memory");
    for (size_t i = 0; i < count; i++) {
        rules->mounts[i] = (struct pa_mount){.host_path = config->allowed_paths[i],
                                             .guest_path = config->allowed_paths[i],
                                             .writable = !config->fs_readonly};
    }
    return 0;
}

void tool_rules_fini(struct tool_rules *rules) {
    free(rules->mounts);
    rules->mounts = NULL;
}
