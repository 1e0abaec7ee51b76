#include "server/rpc/call.h"
const struct qd_method qd_usage_methods[] = {{NULL, QD_METHOD_INLINE, 0, NULL, NULL}};
