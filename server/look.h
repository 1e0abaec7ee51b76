/* What a file looks like: whether it has changed is told by that, without reading it.
 *
 * Layer:    composition (main.c)
 * Threads:  any.
 * Memory:   none.
 *
 * Not inotify: a ConfigMap changes by a link on the way there.
 */
#ifndef QD_SERVER_LOOK_H
#define QD_SERVER_LOOK_H

#include <stdint.h>

/* Of the file's place, size and times, and of `seed`: what was looked at before. */
uint64_t qd_look_at(const char *path, uint64_t seed);

#endif /* QD_SERVER_LOOK_H */
