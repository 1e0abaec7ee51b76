/* The connections of a port that libmicrohttpd serves: how many there are, and of whom (X2, X3).
 *
 * Layer:    net
 * Units:    ns of the monotonic clock.
 * Threads:  notify and answered on the daemon's own thread, which must be a single one; sweep on
 *           any other, once a second or so.
 * Memory:   what new allocates. The counters of `cut` are the caller's and outlive the gate.
 *
 * libmicrohttpd's own timeout is for silence: a byte a second keeps a connection for ever, and a
 * sidecar shares its address with what else runs beside it, so that a bound for an address alone
 * would turn away the wrong one. So who comes and is one too many makes another give way, of the
 * same address, if the address has three quarters of the places, else of all: one whose request has
 * not come in whole for a fifth of a second, or else one that has idled for two seconds, as it may
 * find its connection closed at any time over HTTP. Where all ask and are answered, the newcomer is
 * turned away: cutting one of a pool's that is about to ask would only make another newcomer of it.
 * And a connection that goes without an answer for QD_GATE_PATIENCE_S is cut, however busy it is.
 *
 * Not bounded: who makes connections faster than others are answered. Each lives only as long as it
 * takes to make as many as there are places.
 */
#ifndef QD_NET_GATE_H
#define QD_NET_GATE_H

#include <microhttpd.h>
#include <stdatomic.h>
#include <stdint.h>

#define QD_GATE_PLACES_MIN 2U  /* one of them for who comes while another gives way */
#define QD_GATE_IDLE_S     10U /* for libmicrohttpd: until silence ends a connection */
#define QD_GATE_PATIENCE_S 20U /* silence, and 10 s for a request and its answer */

/* Why a connection was cut. */
enum qd_gate_cut {
    QD_GATE_CROWDED, /* another one came, and had no place */
    QD_GATE_SLOW,    /* it went without an answer for too long */
    QD_GATE_CUTS
};

struct qd_gate;

/* For a daemon with MHD_OPTION_CONNECTION_LIMIT `places` (at least QD_GATE_PLACES_MIN); one of them
 * stays free. cut[QD_GATE_CUTS] are added to. NULL: out of memory. */
struct qd_gate *qd_gate_new(uint32_t places, _Atomic uint64_t *cut);

/* After the daemon and whoever sweeps have stopped. NULL is fine. */
void qd_gate_free(struct qd_gate *gate);

/* For MHD_OPTION_NOTIFY_CONNECTION, with the gate as its context. */
void qd_gate_notify(void *context, struct MHD_Connection *connection, void **socket_context,
                    enum MHD_ConnectionNotificationCode code);

/* From MHD_OPTION_NOTIFY_COMPLETED: a request has its whole answer. */
void qd_gate_answered(struct qd_gate *gate, struct MHD_Connection *connection);

/* Cut who has waited too long. The context is the gate. */
void qd_gate_sweep(void *context);

#endif /* QD_NET_GATE_H */
