#include "tests/e2e/tool/flood.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FRAME_MAX     16384U
#define CHUNK_FRAMES  200
#define STREAM_LAST   0x7fffff00U
#define STREAMS       10000U
#define SLOW_CALLS    5000U
#define MODEST_CALLS  300U /* of the 1,000 that a connection may have */
#define BUSY_WATCHES  450U
#define HASTY_CALLS   60U /* at once */
#define HASTY_MS      20  /* what each of them is given */
#define METADATA_SIZE (1U << 20)

enum frame {
    DATA = 0,
    HEADERS = 1,
    RST_STREAM = 3,
    SETTINGS = 4,
    PING = 6,
    CONTINUATION = 9,
};

enum flag {
    END_STREAM = 1,
    END_HEADERS = 4,
};

/* --- bytes --- */

static void put(struct flood_bytes *out, const void *data, size_t size)
{
    if (out->room < out->size + size) {
        out->room = (out->size + size) * 2;
        out->data = realloc(out->data, out->room);
        if (out->data == NULL) {
            perror("flood");
            exit(1);
        }
    }
    memcpy(out->data + out->size, data, size);
    out->size += size;
}

static void put_u32(struct flood_bytes *out, uint32_t value)
{
    uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                        (uint8_t)value};

    put(out, bytes, 4);
}

static void frame(struct flood_bytes *out, enum frame type, unsigned flags, uint32_t stream,
                  const void *payload, size_t size)
{
    uint8_t head[5] = {(uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size, (uint8_t)type,
                       (uint8_t)flags};

    put(out, head, sizeof(head));
    put_u32(out, stream);
    put(out, payload, size);
}

void flood_preface(struct flood_bytes *out, uint32_t initial_window)
{
    uint8_t setting[6] = {0,
                          4,
                          (uint8_t)(initial_window >> 24),
                          (uint8_t)(initial_window >> 16),
                          (uint8_t)(initial_window >> 8),
                          (uint8_t)initial_window};

    put(out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    frame(out, SETTINGS, 0, 0, setting, sizeof(setting));
}

/* --- calls --- */

static size_t header(uint8_t *block, const char *name, const char *value)
{
    size_t name_len = strlen(name), len = strlen(value);

    block[0] = 0; /* literal, not indexed */
    block[1] = (uint8_t)name_len;
    memcpy(block + 2, name, name_len);
    block[2 + name_len] = (uint8_t)len;
    memcpy(block + 3 + name_len, value, len);
    return 3 + name_len + len;
}

#define CHECK_PATH  "/quota.v1.QuotaService/CheckQuota"
#define REPORT_PATH "/quota.v1.QuotaService/ReportUsage"
#define WATCH_PATH  "/grpc.health.v1.Health/Watch"

static size_t call_headers(uint8_t *block, const char *path)
{
    size_t n = 0;

    block[n++] = 0x83; /* :method POST */
    block[n++] = 0x86; /* :scheme http */
    n += header(block + n, ":path", path);
    n += header(block + n, ":authority", "quotad");
    n += header(block + n, "content-type", "application/grpc");
    n += header(block + n, "te", "trailers");
    return n;
}

/* tenant "acme", model "m", dry_run */
static const uint8_t call_message[] = {0,   0,   0,   0,    11, 0x0a, 4,    'a',
                                       'c', 'm', 'e', 0x12, 1,  'm',  0x60, 1};

static void begin(struct flood_bytes *out, uint32_t stream, const char *path)
{
    uint8_t block[256];

    frame(out, HEADERS, END_HEADERS, stream, block, call_headers(block, path));
}

static void begin_call(struct flood_bytes *out, uint32_t stream)
{
    begin(out, stream, CHECK_PATH);
}

void flood_call(struct flood_bytes *out, uint32_t stream)
{
    begin_call(out, stream);
    frame(out, DATA, END_STREAM, stream, call_message, sizeof(call_message));
}

/* Post-paid usage of tenant "acme", model "m", each under an id of its own: it is booked on disk.
 */
static void report(struct flood_bytes *out, uint32_t stream)
{
    static uint32_t number;
    uint8_t message[] = {0,   0,    0, 0,   20, 0x12, 4, 'b', 'u', 'l', 'k', 0x1a, 1,
                         'm', 0x42, 9, 'r', 0,  0,    0, 0,   0,   0,   0,   0};

    number++;
    for (size_t i = 0; i < 8; i++) {
        message[sizeof(message) - 1 - i] = (uint8_t) "0123456789abcdef"[number >> 4 * i & 15];
    }
    begin(out, stream, REPORT_PATH);
    frame(out, DATA, END_STREAM, stream, message, sizeof(message));
}

/* A stream that stays open: it is told whenever the node's state changes. */
static void watch(struct flood_bytes *out, uint32_t stream)
{
    static const uint8_t message[5] = {0};

    begin(out, stream, WATCH_PATH);
    frame(out, DATA, END_STREAM, stream, message, sizeof(message));
}

static void reset(struct flood_bytes *out, uint32_t stream)
{
    static const uint8_t cancel[4] = {0, 0, 0, 8};

    frame(out, RST_STREAM, 0, stream, cancel, sizeof(cancel));
}

/* --- kinds --- */

/* Once for each connection: false when it has begun already. */
static bool begins(struct flood_peer *peer, uint32_t initial_window)
{
    if (peer->begun++ > 0) {
        return false;
    }
    peer->stream = 1;
    flood_preface(&peer->out, initial_window);
    return true;
}

static bool half_preface(struct flood_peer *peer)
{
    put(&peer->out, "PRI * HTTP/2.0\r\n", 16);
    return false;
}

/* The head of a TLS record, and of a ClientHello of 508 bytes; they never come. */
static bool client_hello(struct flood_peer *peer)
{
    static const uint8_t head[] = {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3};

    put(&peer->out, head, sizeof(head));
    return false;
}

static bool no_settings(struct flood_peer *peer)
{
    put(&peer->out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    return false;
}

static bool garbage(struct flood_peer *peer)
{
    static uint64_t state = 88172645463325252U;
    uint64_t words[512];

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words[i] = state;
    }
    if (peer->begun++ % 2 == 0) { /* half of them get past the preface */
        flood_preface(&peer->out, 65535);
    }
    put(&peer->out, words, sizeof(words));
    return true;
}

static bool idle(struct flood_peer *peer)
{
    (void)begins(peer, 65535);
    return false;
}

static bool resets(struct flood_peer *peer, void (*call)(struct flood_bytes *, uint32_t))
{
    (void)begins(peer, 65535);
    for (int i = 0; i < CHUNK_FRAMES; i++) {
        call(&peer->out, peer->stream);
        reset(&peer->out, peer->stream);
        peer->stream += 2;
    }
    return peer->stream < STREAM_LAST;
}

static bool resets_of_headers(struct flood_peer *peer)
{
    return resets(peer, begin_call);
}

static bool resets_of_calls(struct flood_peer *peer)
{
    return resets(peer, flood_call);
}

static bool resets_of_reports(struct flood_peer *peer)
{
    return resets(peer, report);
}

static bool pings(struct flood_peer *peer)
{
    static const uint8_t payload[8] = {1};

    (void)begins(peer, 65535);
    for (int i = 0; i < CHUNK_FRAMES; i++) {
        frame(&peer->out, PING, 0, 0, payload, sizeof(payload));
    }
    return true;
}

static bool settings(struct flood_peer *peer)
{
    static const uint8_t window[6] = {0, 4, 0, 0, 0xff, 0xff};

    (void)begins(peer, 65535);
    for (int i = 0; i < CHUNK_FRAMES; i++) {
        frame(&peer->out, SETTINGS, 0, 0, window, sizeof(window));
    }
    return true;
}

/* A header block that goes on and on: first a `start`, then frames of `fill` only. */
static bool endless_headers(struct flood_peer *peer, const uint8_t *start, size_t size,
                            uint8_t fill)
{
    uint8_t block[FRAME_MAX];

    memset(block, fill, sizeof(block));
    if (begins(peer, 65535)) {
        frame(&peer->out, HEADERS, 0, 1, start, size);
    }
    frame(&peer->out, CONTINUATION, 0, 1, block, sizeof(block));
    return true;
}

/* CVE-2023-33953: a number's length, in as many bytes of nothing as one likes. */
static bool hpack_number(struct flood_peer *peer)
{
    static const uint8_t start[] = {0, 0x7f};

    return endless_headers(peer, start, sizeof(start), 0x80);
}

/* The same: a header's name of 2 GiB, by 16 KiB. */
static bool hpack_string(struct flood_peer *peer)
{
    static const uint8_t start[] = {0, 0x7f, 0x80, 0xff, 0xff, 0xff, 0x07};

    return endless_headers(peer, start, sizeof(start), 'a');
}

/* The same: small headers without an end. 0x83 is :method POST. */
static bool hpack_headers(struct flood_peer *peer)
{
    static const uint8_t start[] = {0x83};

    return endless_headers(peer, start, sizeof(start), 0x83);
}

/* A call with a megabyte of metadata, again and again. */
static bool metadata(struct flood_peer *peer)
{
    uint8_t block[FRAME_MAX];
    size_t n = call_headers(block, CHECK_PATH);
    char value[101];

    (void)begins(peer, 65535);
    memset(value, 'v', sizeof(value));
    value[100] = '\0';
    for (uint32_t total = 0; total < METADATA_SIZE; total += FRAME_MAX) {
        while (n + 200 < sizeof(block)) {
            n += header(block + n, "x-flood", value);
        }
        bool last = total + FRAME_MAX >= METADATA_SIZE;
        frame(&peer->out, total == 0 ? HEADERS : CONTINUATION, last ? END_HEADERS : 0U,
              peer->stream, block, n);
        n = 0;
    }
    frame(&peer->out, DATA, END_STREAM, peer->stream, call_message, sizeof(call_message));
    peer->stream += 2;
    return peer->stream < STREAM_LAST;
}

/* So many calls, and no more. */
static bool calls(struct flood_peer *peer, uint32_t window, uint32_t count,
                  void (*call)(struct flood_bytes *, uint32_t))
{
    (void)begins(peer, window);
    for (int i = 0; i < CHUNK_FRAMES && peer->stream < count * 2; i++) {
        call(&peer->out, peer->stream);
        peer->stream += 2;
    }
    return peer->stream < count * 2;
}

/* Calls whose answers find no room on their way. */
static bool slow(struct flood_peer *peer)
{
    return calls(peer, 0, SLOW_CALLS, flood_call);
}

static bool slow_reports(struct flood_peer *peer)
{
    return calls(peer, 0, SLOW_CALLS, report);
}

/* The same, and no connection has many. */
static bool modest(struct flood_peer *peer)
{
    return calls(peer, 0, MODEST_CALLS, flood_call);
}

/* A gateway that has more to do than others: what it is told it takes. */
static bool busy(struct flood_peer *peer)
{
    return calls(peer, 65535, BUSY_WATCHES, watch);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void pause_ms(long ms)
{
    struct timespec pause = {0, ms * 1000000};

    (void)nanosleep(&pause, NULL);
}

/* A call with two kilobytes of headers: a token, a trace, a baggage. */
static void long_call(struct flood_bytes *out, uint32_t stream)
{
    uint8_t block[4096];
    size_t n = call_headers(block, CHECK_PATH);
    char value[101];

    memset(value, 'v', sizeof(value));
    value[100] = '\0';
    for (int i = 0; i < 20; i++) {
        n += header(block + n, "x-context", value);
    }
    frame(out, HEADERS, END_HEADERS, stream, block, n);
    frame(out, DATA, END_STREAM, stream, call_message, sizeof(call_message));
}

/* A gateway whose calls have short deadlines: what is not answered by then it asks anew. */
static bool hasty(struct flood_peer *peer)
{
    if (begins(peer, 65535)) {
        peer->due_ms = now_ms();
    }
    if (now_ms() < peer->due_ms) {
        pause_ms(1);
        return true;
    }
    peer->due_ms = now_ms() + HASTY_MS; /* what was missed is not made up for */
    for (uint32_t i = 0; i < HASTY_CALLS; i++, peer->stream += 2) {
        if (peer->stream > HASTY_CALLS * 2) {
            reset(&peer->out, peer->stream - HASTY_CALLS * 2);
        }
        long_call(&peer->out, peer->stream);
    }
    return peer->stream < STREAM_LAST;
}

/* Calls that are begun, and wait for their message. */
static bool streams(struct flood_peer *peer)
{
    return calls(peer, 65535, STREAMS, begin_call);
}

static bool watches(struct flood_peer *peer)
{
    return calls(peer, 65535, STREAMS, watch);
}

const struct flood_kind flood_kinds[] = {
    {"silent", "says nothing", NULL, true, true},
    {"half-preface", "half of HTTP/2's preface, then nothing", half_preface, true, true},
    {"client-hello", "the head of a TLS ClientHello, then nothing", client_hello, true, true},
    {"no-settings", "the preface without SETTINGS, then nothing", no_settings, true, true},
    {"idle", "HTTP/2's beginning, then nothing", idle, true, true},
    {"garbage", "random bytes", garbage, true, true},
    {"reset", "HEADERS and RST_STREAM, again and again", resets_of_headers, true, true},
    {"reset-call", "whole calls and RST_STREAM", resets_of_calls, true, true},
    {"reset-report", "whole reports, each of another request, and RST_STREAM", resets_of_reports,
     true, true},
    {"ping", "PING", pings, true, true},
    {"ping-unread", "PING, without reading the answers", pings, false, true},
    {"settings", "SETTINGS", settings, true, true},
    {"settings-unread", "SETTINGS, without reading the answers", settings, false, true},
    {"hpack-number", "a number of endless length in a header block", hpack_number, true, true},
    {"hpack-string", "a header's name of 2 GiB", hpack_string, true, true},
    {"hpack-headers", "a header block without an end", hpack_headers, true, true},
    {"metadata", "calls with a megabyte of metadata", metadata, true, true},
    {"slow", "calls whose answers nobody takes", slow, false, true},
    {"slow-report", "reports whose answers nobody takes", slow_reports, false, true},
    {"modest", "300 calls on a connection, whose answers nobody takes", modest, false, true},
    {"busy", "no flood: 450 Health.Watch on a connection, which are read", busy, true, true},
    {"hasty", "no flood: 3,000 calls a second with deadlines of 20 ms, which are read", hasty, true,
     false},
    {"watch", "10,000 Health.Watch at once on a connection", watches, true, true},
    {"streams", "10,000 calls at once on a connection", streams, true, true},
    {NULL, NULL, NULL, false, false},
};
