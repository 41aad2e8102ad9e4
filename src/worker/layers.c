#include "worker/layers.h"

#include "worker/landlock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[LAYER_COUNT] = {
    "wasm",          "process",       "user_namespace", "mount_namespace",  "pid_namespace",
    "net_namespace", "ipc_namespace", "uts_namespace",  "cgroup_namespace", "cgroup",
    "rlimits",       "no_new_privs",  "not_dumpable",   "no_capabilities",  "uid",
    "landlock",      "seccomp"};

const char *layer_name(unsigned number) {
    return number < LAYER_COUNT ? names[number] : NULL;
}

static int find(const char *name, size_t length, uint32_t *mask) {
    for (unsigned i = 0; i < LAYER_COUNT; i++) {
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0) {
            *mask |= UINT32_C(1) << i;
            return 0;
        }
    }
    return -1;
}

int layers_parse(const char *text, uint32_t *mask, struct error *err) {
    *mask = 0;
    if (strcmp(text, "none") == 0) return 0;
    if (strcmp(text, "all") == 0) {
        *mask = LAYERS_ALL;
        return 0;
    }
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, ",");
        if (find(at, length, mask) != 0) {
            return error_set(err, PA_INVALID_ARGUMENT,
                             "'%.*s' is no isolation layer; polyagent doctor lists them",
                             (int)(length < 100 ? length : 100), at);
        }
        at += length;
        if (*at == 0) return 0;
    }
}

void layers_format(uint32_t mask, char *out, size_t size) {
    size_t at = 0;
    if (size > 0) out[0] = 0;
    for (unsigned i = 0; i < LAYER_COUNT; i++) {
        if (!(mask & UINT32_C(1) << i) || at >= size) continue;
        int put = snprintf(out + at, size - at, "%s%s", at > 0 ? "," : "", names[i]);
        at += put > 0 ? (size_t)put : 0;
    }
}

static int from_environment(const char *variable, uint32_t *mask, struct error *err) {
    const char *text = getenv(variable);
    if (text == NULL || layers_parse(text, mask, err) == 0) return 0;
    return error_prefix(err, "%s", variable);
}

int layer_policy_default(struct layer_policy *policy, struct error *err) {
    policy->enabled = LAYERS_ALL;
    policy->required = LAYER_SECCOMP | LAYER_NO_NEW_PRIVS | LAYER_RLIMITS;
    if (landlock_abi() > 0) policy->required |= LAYER_LANDLOCK;
    if (from_environment("POLYAGENT_WASI_ISOLATION_LAYERS", &policy->enabled, err) != 0) return -1;
    return from_environment("POLYAGENT_WASI_ISOLATION_REQUIRED", &policy->required, err);
}
