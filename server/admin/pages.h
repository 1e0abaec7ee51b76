/* The pages of the admin port: /livez, /readyz, /metrics, /debug/config, /rlconfig.
 *
 * Layer:    admin
 * Threads:  the HTTP port's; they read what any thread may.
 */
#ifndef QD_ADMIN_PAGES_H
#define QD_ADMIN_PAGES_H

#include "server/admin/http.h"
#include "server/admin/loop.h"

/* The context of each page is a const struct qd_loop_config. */
extern const struct qd_http_page qd_pages[];

#endif /* QD_ADMIN_PAGES_H */
