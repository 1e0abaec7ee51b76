/* What the floods of flood.c send: HTTP/2 frames by hand, some of them as no client would. */
#ifndef QD_TESTS_E2E_TOOL_FLOOD_H
#define QD_TESTS_E2E_TOOL_FLOOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that wait to be sent. */
struct flood_bytes {
    uint8_t *data;
    size_t size, room;
};

/* A connection of a flood. */
struct flood_peer {
    uint32_t stream; /* the next one's number */
    uint64_t begun;  /* chunks written so far */
    uint64_t due_ms; /* when a kind that keeps time says something again */
    struct flood_bytes out;
    size_t sent; /* of `out` */
};

/* One way to be a nuisance. */
struct flood_kind {
    const char *name;
    const char *text;
    /* Put what comes next in peer->out; the first call begins the connection. NULL: says nothing,
     * ever. False: that was all. */
    bool (*next)(struct flood_peer *peer);
    bool reads;   /* what the server says is read, and thrown away */
    bool returns; /* a connection that was closed is made again */
};

extern const struct flood_kind flood_kinds[];

void flood_preface(struct flood_bytes *out, uint32_t initial_window);
/* A whole call of CheckQuota (a dry run). */
void flood_call(struct flood_bytes *out, uint32_t stream);

#endif /* QD_TESTS_E2E_TOOL_FLOOD_H */
