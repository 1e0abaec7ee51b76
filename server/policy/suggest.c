#include "server/policy/suggest.h"

#include <string.h>
#include <strings.h>

#define WORD_MAX 63

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX + 1];
    size_t n = strlen(a);
    size_t m = strlen(b);
    size_t *before = rows[0];
    size_t *last = rows[1];
    size_t *row = rows[2];
    for (size_t j = 0; j <= m; j++) {
        last[j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t replace = last[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = smallest(last[j] + 1, row[j - 1] + 1, replace);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < row[j]) {
                row[j] = before[j - 2] + 1;
            }
        }
        size_t *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[m];
}

void qd_suggest_init(struct qd_suggest *s, const char *word)
{
    *s = (struct qd_suggest){.word = word};
    size_t len = strlen(word);
    s->distance = len > WORD_MAX ? 0 : 1 + (len + 2) / 3; /* at most a third wrong, one up */
}

void qd_suggest_offer(struct qd_suggest *s, const char *candidate)
{
    size_t len = strlen(s->word);
    size_t other = strlen(candidate);
    if (len > WORD_MAX || other > WORD_MAX || other == 0) {
        return;
    }
    size_t gap = len > other ? len - other : other - len;
    if (gap >= s->distance) {
        return;
    }
    size_t distance = strcasecmp(s->word, candidate) == 0 ? 0 : edit_distance(s->word, candidate);
    if (distance < s->distance && distance < other) {
        s->distance = distance;
        s->best = candidate;
    }
}
