/* What service.c and service_run.c share. */
#ifndef PA_SERVER_SERVICE_INTERNAL_H
#define PA_SERVER_SERVICE_INTERNAL_H

#include "server/service.h"

/* The result with the request's id, or NULL when memory runs out; it is taken over. */
json_t *service_with_id(json_t *result, const struct service_caller *caller);

/* Takes over the workspace, which is removed in a thread; `later`: its run may still be writing, as
 * its worker is only being killed. */
void service_remove_folder(struct service *service, const char *tenant, struct workspace *workspace,
                           bool later);

#endif
