/* Writes a descriptor set as the C tables of proto/reflect_data.h. Build time only. */
#ifndef QD_PROTO_TOOLS_EMBED_H
#define QD_PROTO_TOOLS_EMBED_H

#include "set.h"

/* Returns 0, or -1 after a sentence on stderr. */
int qd_embed_write(const struct qd_set *set, FILE *out);

#endif /* QD_PROTO_TOOLS_EMBED_H */
