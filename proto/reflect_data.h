/* The tables that proto/tools writes and reflect.c searches. Private to proto/.
 *
 * Invariant: files, symbols and services are sorted by strcmp of their names, without doubles.
 */
#ifndef QD_PROTO_REFLECT_DATA_H
#define QD_PROTO_REFLECT_DATA_H

#include "proto/reflect.h"

struct qd_reflect_symbol {
    const char *name;
    const struct qd_reflect_file *file;
};

extern const struct qd_reflect_file qd_reflect_data_files[];
extern const size_t qd_reflect_data_file_count;
extern const struct qd_reflect_symbol qd_reflect_data_symbols[];
extern const size_t qd_reflect_data_symbol_count;
extern const char *const qd_reflect_data_services[];
extern const size_t qd_reflect_data_service_count;

#endif /* QD_PROTO_REFLECT_DATA_H */
