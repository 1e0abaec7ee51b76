/* What a file looks like: whether it has changed is told by that, without reading it. For all that
 * is read again: the policy and its imports, credentials, rate limits, certificates.
 *
 * Layer:    policy (blocks). Threads: any. Memory: none.
 *
 * Not inotify: it holds on to the file that a link once led to, and Kubernetes changes a ConfigMap
 * by turning a link on the way there.
 */
#ifndef QD_POLICY_LOOK_H
#define QD_POLICY_LOOK_H

#include <stdint.h>

/* Of what the path leads to: its place, size and times, or that there is nothing; and of `seed`:
 * what was looked at before. */
uint64_t qd_look_at(const char *path, uint64_t seed);

#endif /* QD_POLICY_LOOK_H */
