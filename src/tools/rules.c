#include "tools/registry.h"
#include "tools/tools.h"

#include <stdio.h>
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
    bool complete = true;
    for (size_t i = 0; i < TOOL_COUNT; i++) {
        rules->schemas[i] = json_loads(tools[i].input_schema, 0, NULL);
        complete = complete && rules->schemas[i] != NULL;
    }
    if (!complete) {
        tool_rules_fini(rules);
        return error_set(err, PA_INTERNAL, "the tools' schemas: out of memory");
    }
    if (interpreters_load(&rules->interpreters, err) != 0) {
        tool_rules_fini(rules);
        return -1;
    }
    if (registry_path(config->registry, rules->registry, sizeof rules->registry, err) != 0) {
        tool_rules_fini(rules);
        return -1;
    }
    for (size_t i = 0; i < TOOL_COUNT; i++) {
        const struct language *language = tools[i].language;
        const char *given =
            language == &language_python && config->interpreter[0] != 0      ? config->interpreter
            : language == &language_javascript && config->javascript[0] != 0 ? config->javascript
                                                                             : NULL;
        if (given == NULL && language != NULL && language->variable != NULL)
            given = getenv(language->variable);
        if (language != NULL && given != NULL)
            (void)snprintf(rules->own_interpreters[i], sizeof rules->own_interpreters[i], "%s",
                           given);
    }
    rules->mounts = calloc(count + 1, sizeof *rules->mounts);
    if (rules->mounts == NULL) {
        tool_rules_fini(rules);
        return error_set(err, PA_INTERNAL, "the settings: out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        rules->mounts[i] = (struct pa_mount){.host_path = config->allowed_paths[i],
                                             .guest_path = config->allowed_paths[i],
                                             .writable = !config->fs_readonly};
    }
    return 0;
}

void tool_rules_fini(struct tool_rules *rules) {
    for (size_t i = 0; i < TOOL_COUNT; i++)
        json_decref(rules->schemas[i]);
    interpreters_fini(&rules->interpreters);
    free(rules->mounts);
    *rules = (struct tool_rules){.mounts = NULL};
}

/* A limit among the properties of a schema. */
struct shown_limit {
    const char *name;
    uint64_t preset, ceiling; /* 0: none */
};

static int show_limit(json_t *properties, const struct shown_limit *limit) {
    json_t *property = json_object_get(properties, limit->name);
    const json_t *most = json_object_get(property, "maximum");
    uint64_t ceiling = limit->ceiling > limit->preset ? limit->ceiling : limit->preset;
    if (property == NULL) return 0;
    if (limit->preset > 0 &&
        json_object_set_new(property, "default", json_integer((json_int_t)limit->preset)) != 0)
        return -1;
    if (limit->ceiling == 0 || (most != NULL && json_number_value(most) <= (double)ceiling))
        return 0;
    return json_object_set_new(property, "maximum", json_integer((json_int_t)ceiling));
}

json_t *tool_schema(const struct tool_rules *rules, const struct tool *tool) {
    static const struct pa_limits none = {0};
    const struct pa_limits *most = rules->ceilings != NULL ? rules->ceilings : &none;
    const struct pa_limits *usual = &rules->limits;
    const struct shown_limit limits[] = {
        {"memory_limit_bytes", usual->memory_limit_bytes, most->memory_limit_bytes},
        {"max_fuel", usual->max_fuel, most->max_fuel},
        {"execution_timeout_ms", usual->execution_timeout_ms, most->execution_timeout_ms},
        {"cpu_time_ms", usual->cpu_time_ms, most->cpu_time_ms},
        {"output_limit_bytes", usual->output_limit_bytes, most->output_limit_bytes}};
    json_t *schema = json_deep_copy(rules->schemas[tool - tools]);
    json_t *properties = json_object_get(schema, "properties");
    for (size_t i = 0; schema != NULL && i < sizeof limits / sizeof *limits; i++) {
        if (show_limit(properties, &limits[i]) == 0) continue;
        json_decref(schema);
        schema = NULL;
    }
    return schema;
}
