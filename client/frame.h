/* The frames of a quota stream: items around messages that are encoded already.
 *
 * Layer:    client. Threads: none. Memory: the caller's; bytes read are borrowed.
 *
 * A StreamQuotaRequest is `repeated StreamRequest items = 1`; an item is `uint64 id = 1` and one of
 * the fields 2 to 5, a message. Writing those few bytes around a request that was packed when its
 * call was made, and finding an answer's bytes without unpacking its neighbours, lets one packed
 * request serve stream and unary tries alike, and gives each answer memory of its own.
 */
#ifndef QD_CLIENT_FRAME_H
#define QD_CLIENT_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LQ_FRAME_ERROR = 6
}; /* field of StreamResponse: ItemError */

/* Bytes that an item takes in a batch. `field` is that of StreamRequest, 2 to 5. */
size_t lq_frame_item_size(uint64_t id, unsigned field, size_t message_size);

/* Write an item at `out`; returns its end. */
uint8_t *lq_frame_item_write(uint8_t *out, uint64_t id, unsigned field, const uint8_t *message,
                             size_t message_size);

struct lq_frame_item {
    uint64_t id;
    unsigned field; /* of StreamResponse: 2 to 5 an answer, 6 an error, 0 none */
    const uint8_t *message;
    size_t message_size;
};

struct lq_frame_reader {
    const uint8_t *at;
    const uint8_t *end;
};

/* Read the next item of a StreamQuotaResponse; unknown fields are passed over. Returns 1; 0 at the
 * end; -1 when the bytes are not a valid message. */
int lq_frame_next(struct lq_frame_reader *reader, struct lq_frame_item *ret_item);

#endif /* QD_CLIENT_FRAME_H */
