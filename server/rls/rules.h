/* The configuration of envoyproxy/ratelimit: its YAML files, unmodified, as a set of domains to
 * match against (I3). What the files may say is in README.md.
 *
 * Layer:    rls (may block on reading files; never called with a lock held)
 * Units:    per field; windows in qd_rls_unit.
 * Threads:  any number of threads may load at the same time. A loaded set is immutable: all threads
 *           read it without locks, and whoever publishes it says when nobody looks at it any more.
 * Memory:   a set owns everything that hangs from it; it is freed at once with qd_rls_rules_free.
 *
 * Bounds (X2): all below and, for each file, those of server/policy/node.h. What is over a bound is
 * an error in its file.
 */
#ifndef QD_RLS_RULES_H
#define QD_RLS_RULES_H

#include "server/core/types.h"
#include "server/policy/problem.h"
#include "server/rls/unit.h"

struct qd_rls_value; /* value.h */

#define QD_RLS_FILES_MAX      1000
#define QD_RLS_FOLDERS_MAX    8     /* below each other */
#define QD_RLS_NAMES_MAX      10000 /* in one folder, whatever they are */
#define QD_RLS_FILE_BYTES_MAX (16U << 20)
#define QD_RLS_BYTES_MAX      (64U << 20) /* of all files together */
#define QD_RLS_NODES_MAX      500000U     /* descriptors of all files, aliases counted each time */
#define QD_RLS_DEPTH_MAX      16          /* descriptors below each other */
#define QD_RLS_TEXT_MAX       2048        /* bytes of a domain, key, value or name */
#define QD_RLS_REPLACES_MAX   64          /* of one rule */
#define QD_RLS_METADATA_MAX   256         /* values of one rule */
/* Bytes of the wildcards in all files. Those of a key that has few at one level, and none of them
 * with more than a beginning and an end ("a*z"), do not count: they are tried one by one. */
#define QD_RLS_WILDCARD_BYTES_MAX (4U << 20)
#define QD_RLS_TRIED_MAX          8

/* One rate_limit with what its descriptor says of it. */
struct qd_rls_rule {
    const char *path;      /* "domain.key_value.key": as it stands in the file, wildcards too */
    uint32_t line;         /* of its descriptor */
    enum qd_rls_unit unit; /* UNKNOWN only if `unlimited` */
    uint32_t requests_per_unit; /* 0 denies whatever asks for something */
    bool unlimited;
    bool shadow_mode;
    bool quota_mode;
    bool detailed_metric;
    bool named_by_file; /* its name in metrics is its path: no value of a request belongs into it */
    const char *name;   /* NULL: none */
    const char *const *replaces; /* names of other rules (point 11), none of them its own */
    size_t replace_count;
    const struct qd_rls_value *metadata; /* a struct; NULL: none (point 13) */
};

/* One key and value of a request's descriptor. The value may be empty. */
struct qd_rls_entry {
    struct qd_str key;
    struct qd_str value;
};

struct qd_rls_level; /* level.h */
struct qd_rls_node;

/* One file's domain, or that of several files that are merged. */
struct qd_rls_domain {
    struct qd_str name;                     /* NUL-terminated */
    const char *file;                       /* the first */
    const struct qd_rls_rule *const *rules; /* in the files' order, from the top downwards */
    size_t rule_count;
    const struct qd_rls_level *top;         /* of match.h */
    const struct qd_rls_node *const *nodes; /* the top descriptors, in the files' order */
    size_t node_count;
    uint32_t column; /* of the first of them in its file */
};

/* What became of one file. */
struct qd_rls_file {
    const char *path;
    /* What the file itself says; NULL: it is wrong, and nothing of it is in the set. */
    const struct qd_rls_domain *domain;
};

struct qd_rls_rules;

/* Load every *.yaml and *.yml file of `dir` and of the folders below it, in the order of their
 * paths; hidden ones (".x") are left out.
 *
 * A file with an error is reported with its place and is not in the set; the others are. Of two
 * files with the same domain the second is wrong, or, with `merge_domains` (the reference server's
 * MERGE_DOMAIN_CONFIG), their top descriptors stand beside each other, and a file with one that an
 * earlier file has is wrong. NULL, with a problem, if the folder cannot be read, is over a bound,
 * or memory ran out. Afterwards ask qd_rls_rules_failed_count: a reload that finds any keeps the
 * old set (P1: nothing of a bad configuration takes effect). `problems` may have warnings besides.
 */
struct qd_rls_rules *qd_rls_rules_load_dir(const char *dir, bool merge_domains,
                                           struct qd_problems *problems)
    __attribute__((warn_unused_result));

/* The same from one file in memory; `name` stands for it in messages. */
struct qd_rls_rules *qd_rls_rules_load_bytes(const char *name, const void *bytes, size_t size,
                                             struct qd_problems *problems)
    __attribute__((warn_unused_result));

/* NULL is fine. No reader may still hold it. */
void qd_rls_rules_free(struct qd_rls_rules *rules);

/* All files that were read, by path, and how many of them are wrong. */
size_t qd_rls_rules_file_count(const struct qd_rls_rules *rules);
const struct qd_rls_file *qd_rls_rules_file(const struct qd_rls_rules *rules, size_t index);
size_t qd_rls_rules_failed_count(const struct qd_rls_rules *rules);
/* A hash of the files' paths and texts. */
struct qd_hash128 qd_rls_rules_content(const struct qd_rls_rules *rules);

/* The domain of a name, or NULL (point 2). One look into a hash table. */
const struct qd_rls_domain *qd_rls_rules_domain(const struct qd_rls_rules *rules,
                                                struct qd_str name);

/* Whether `by` replaces `other` when both match in one request (point 11): one of its `replaces` is
 * the other's name. */
bool qd_rls_rule_replaces(const struct qd_rls_rule *by, const struct qd_rls_rule *other);

#endif /* QD_RLS_RULES_H */
