#include "proto/reflect.h"

#include <stdlib.h>
#include <string.h>

#include "proto/reflect_data.h"

static int compare_file(const void *key, const void *element)
{
    const struct qd_reflect_file *file = element;

    return strcmp(key, file->name);
}

static int compare_symbol(const void *key, const void *element)
{
    const struct qd_reflect_symbol *symbol = element;

    return strcmp(key, symbol->name);
}

const struct qd_reflect_file *qd_reflect_file_by_name(const char *name)
{
    return bsearch(name, qd_reflect_data_files, qd_reflect_data_file_count,
                   sizeof(qd_reflect_data_files[0]), compare_file);
}

const struct qd_reflect_file *qd_reflect_file_by_symbol(const char *symbol)
{
    const struct qd_reflect_symbol *found =
        bsearch(symbol, qd_reflect_data_symbols, qd_reflect_data_symbol_count,
                sizeof(qd_reflect_data_symbols[0]), compare_symbol);

    return found ? found->file : NULL;
}

const char *const *qd_reflect_services(size_t *ret_count)
{
    *ret_count = qd_reflect_data_service_count;
    return qd_reflect_data_services;
}

const struct qd_reflect_file *qd_reflect_files(size_t *ret_count)
{
    *ret_count = qd_reflect_data_file_count;
    return qd_reflect_data_files;
}
