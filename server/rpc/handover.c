#include "server/rpc/handover.h"

#include <assert.h>
#include <grpc/grpc_security.h>
#include <stdio.h>
#include <string.h>

/* An object of a C++ class without data before its virtual functions, and the class's table. */
struct fd_handler {
    const struct fd_handler_table *table;
};

struct fd_handler_table {
    void (*destroy)(struct fd_handler *self);
    void (*destroy_and_free)(struct fd_handler *self);
    void (*handle)(struct fd_handler *self, int listener_fd, int fd,
                   grpc_byte_buffer *pending_data);
};

bool qd_handover_supported(const char *g_stands_for)
{
    return strcmp(g_stands_for, "galaxy") == 0;
}

void qd_handover_init(struct qd_handover *handover, unsigned index)
{
    handover->handler = NULL;
    (void)snprintf(handover->name, sizeof(handover->name), "external:quotad%u", index);
}

/* gRPC copies and compares its arguments; what this one points to is not its own. */
static void *copy_nothing(void *pointer)
{
    return pointer;
}

static void destroy_nothing(void *pointer)
{
    (void)pointer;
}

static int compare_pointers(void *a, void *b)
{
    return (a > b) - (a < b);
}

grpc_arg qd_handover_arg(struct qd_handover *handover)
{
    static const grpc_arg_pointer_vtable table = {copy_nothing, destroy_nothing, compare_pointers};
    grpc_arg arg = {.type = GRPC_ARG_POINTER, .key = handover->name};

    arg.value.pointer.p = &handover->handler;
    arg.value.pointer.vtable = &table;
    return arg;
}

bool qd_handover_attach(struct qd_handover *handover, grpc_server *server,
                        grpc_server_credentials *credentials)
{
    assert(handover->handler == NULL);
    /* The port's number is 0, as when it failed; only then there is no handler. */
    (void)grpc_server_add_http2_port(server, handover->name, credentials);
    return handover->handler != NULL;
}

void qd_handover_give(struct qd_handover *handover, int fd)
{
    struct fd_handler *handler = handover->handler;

    handler->table->handle(handler, -1, fd, NULL);
}
