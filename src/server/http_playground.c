/* The playground: web/, as it is. It needs no credential; what it does, does. */
#include "server/http_internal.h"

#include "playground_page.h"   /* generated from web/ */
#include "playground_script.h" /* likewise */
#include "playground_style.h"  /* likewise */

#include <string.h>

enum MHD_Result http_get_page(struct request *r) {
    return http_send_text(r, MHD_HTTP_OK, "text/html; charset=utf-8", strdup(playground_page));
}

enum MHD_Result http_get_style(struct request *r) {
    return http_send_text(r, MHD_HTTP_OK, "text/css; charset=utf-8", strdup(playground_style));
}

enum MHD_Result http_get_script(struct request *r) {
    return http_send_text(r, MHD_HTTP_OK, "text/javascript; charset=utf-8",
                          strdup(playground_script));
}
