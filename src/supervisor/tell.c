#include "supervisor/tell.h"

#include "base/log.h"

#include <sodium.h>

static const char *state_name(const struct zygote_process *zygote) {
    return zygote->setup.header.flags & PACKET_WARM ? "interpreter" : "plain";
}

void tell_code(const struct code *code, const char *component, const char *message,
               const char *why) {
    char digest[2 * sizeof code->digest + 1];
    if (!log_enabled(LOG_DEBUG, component)) return;
    (void)sodium_bin2hex(digest, sizeof digest, code->digest, sizeof code->digest);
    log_event(LOG_DEBUG, component, message, {"module", digest, 0},
              {"variant", NULL, (double)code->variant}, {"why", why, 0});
}

void tell_zygote(const struct zygote_process *zygote, const char *message, const char *why) {
    if (!log_enabled(LOG_DEBUG, "supervisor")) return;
    log_event(LOG_DEBUG, "supervisor", message, {"pid", NULL, (double)zygote->pid},
              {"kind", state_name(zygote), 0}, {"runs", NULL, (double)zygote->runs},
              {"why", why, 0});
}

void tell_run(const struct supervisor_run *run, const char *message) {
    const struct supervisor *s = run->supervisor;
    if (!log_enabled(LOG_DEBUG, "supervisor")) return;
    log_event(
        LOG_DEBUG, "supervisor", message, {"tenant", run->tenant->name, 0},
        {"running", NULL, (double)s->running}, {"queued", NULL, (double)s->queued},
        {"waited_ms", NULL, (double)(clock_now_ns() - run->submitted_ns) / (double)NS_PER_MS});
}

void tell_verdict(const struct supervisor_run *run, const struct run_report *report) {
    if (!log_enabled(LOG_DEBUG, "supervisor")) return;
    log_event(LOG_DEBUG, "supervisor", "verdict", {"status", pa_status_name(report->status), 0},
              {"exit_code", NULL, report->exit_code},
              {"cpu_ms", NULL, (double)report->cpu_ns / (double)NS_PER_MS},
              {"cache", run->cache_hit ? "hit" : "miss", 0}, {"error", report->message, 0});
}

void tell_worker(const siginfo_t *info, uint64_t cpu_ns) {
    if (!log_enabled(LOG_DEBUG, "worker")) return;
    log_event(LOG_DEBUG, "worker", "ended", {"pid", NULL, (double)info->si_pid},
              {"by", info->si_code == CLD_EXITED ? "exit code" : "signal", 0},
              {"number", NULL, (double)info->si_status},
              {"cpu_ms", NULL, (double)cpu_ns / (double)NS_PER_MS});
}
