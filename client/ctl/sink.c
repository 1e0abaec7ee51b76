#include "client/ctl/sink.h"

#define DIGITS_MAX 20 /* of UINT64_MAX */

void ctl_sink_flush(struct ctl_sink *sink)
{
    (void)fwrite(sink->bytes, 1, sink->used, sink->out);
    sink->used = 0;
}

void ctl_sink_put_long(struct ctl_sink *sink, const char *bytes, size_t size)
{
    ctl_sink_flush(sink);
    if (size > sizeof sink->bytes) {
        (void)fwrite(bytes, 1, size, sink->out);
    } else {
        ctl_sink_put(sink, bytes, size);
    }
}

void ctl_sink_put_unsigned(struct ctl_sink *sink, uint64_t number)
{
    char digits[DIGITS_MAX];
    size_t at = DIGITS_MAX;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    ctl_sink_put(sink, digits + at, DIGITS_MAX - at);
}

void ctl_sink_put_signed(struct ctl_sink *sink, int64_t number)
{
    if (number < 0) {
        ctl_sink_put_char(sink, '-');
    }
    ctl_sink_put_unsigned(sink, number < 0 ? -(uint64_t)number : (uint64_t)number);
}
