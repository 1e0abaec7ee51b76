#include "server/rls/automaton.h"

#include <assert.h>
#include <string.h>

/* What a place of a value holds: a byte, or one of these. */
#define BEGIN   256U
#define END     257U
#define SYMBOLS 258U

/* Cells of rows for each state, if all states have that many: what fast look-ups may cost. */
#define CELLS_PER_STATE 16U

#define ROOT UINT32_C(0) /* nothing is met; nobody's child */

/* The beginning of a piece: that of its parent and one symbol more. */
struct state {
    uint32_t parent;
    uint32_t fail;  /* the longest other state that it ends with */
    uint32_t whole; /* the piece that this is, its number + 1; 0: none */
    uint32_t depth; /* symbols */
    uint32_t symbol;
};

/* A piece, once, whatever the number of wildcards that have it. */
struct piece {
    uint32_t len;     /* symbols */
    uint32_t starter; /* the first of the wildcards that begin with it, + 1; 0: none */
};

struct wildcard {
    const uint32_t *pieces;
    uint32_t count;
    uint32_t next;    /* with the same first piece, + 1 */
    bool is_anchored; /* its first piece is at the value's beginning */
};

struct qd_rls_automaton {
    struct state *states; /* from the shortest on */
    /* By state: the longest whole piece that it ends with, or is; ROOT: none. */
    const uint32_t *wholes;
    uint32_t *slots; /* of states by parent and symbol; ROOT: free, as at least half are */
    size_t mask;
    /* Of the first states: where each class of symbols leads, in one look. */
    const uint32_t *rows;
    size_t row_count;
    uint32_t classes;
    uint16_t class_of[SYMBOLS]; /* 0: in no piece */
    const struct piece *pieces;
    size_t piece_count;
    const struct wildcard *wildcards;
    size_t wildcard_count;
    size_t floating_count; /* those that are not anchored */
    size_t none;           /* what to answer if none of them matches */
};

/* --- states -------------------------------------------------------------------------------------
 */

static size_t slot_of(uint32_t parent, uint32_t symbol)
{
    return (size_t)((((uint64_t)parent << 9 | symbol) * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
}

/* Ends: half of the slots are free. */
static uint32_t *find_slot(const struct qd_rls_automaton *a, uint32_t parent, uint32_t symbol,
                           uint32_t *steps)
{
    for (size_t i = slot_of(parent, symbol) & a->mask;; i = (i + 1) & a->mask) {
        const struct state *child = &a->states[a->slots[i]];
        ++*steps;
        if (a->slots[i] == ROOT || (child->parent == parent && child->symbol == symbol)) {
            return &a->slots[i];
        }
    }
}

/* The longest state that the text so far, which is at `state`, and the symbol end with. */
static uint32_t follow(const struct qd_rls_automaton *a, uint32_t state, uint32_t symbol,
                       uint32_t *steps)
{
    for (;;) {
        if (state < a->row_count) {
            return a->rows[state * a->classes + a->class_of[symbol]];
        }
        uint32_t child = *find_slot(a, state, symbol, steps);
        if (child != ROOT || state == ROOT) {
            return child;
        }
        state = a->states[state].fail;
    }
}

static size_t table_size(size_t count)
{
    size_t size = 2;
    while (size < 2 * count) {
        size *= 2;
    }
    return size;
}

/* --- making one ---------------------------------------------------------------------------------
 */

/* A piece of one wildcard. */
struct part {
    struct qd_str text;
    bool has_begin;
    bool has_end;
    uint32_t state;
};

struct build {
    struct qd_arena *arena;
    struct qd_rls_automaton *a;
    size_t state_count;
    struct part *parts; /* of all wildcards, one after the other */
    size_t part_count;
    struct piece *pieces;
};

static size_t part_len(const struct part *part)
{
    return part->has_begin + part->text.len + part->has_end;
}

static uint32_t symbol_at(const struct part *part, size_t place)
{
    if (part->has_begin && place == 0) {
        return BEGIN;
    }
    place -= part->has_begin;
    return place == part->text.len ? END : (unsigned char)part->text.ptr[place];
}

static uint32_t add_state(struct build *b, uint32_t parent, uint32_t symbol, uint32_t *slot)
{
    struct qd_rls_automaton *a = b->a;
    uint32_t steps = 0;
    uint32_t state = (uint32_t)b->state_count++;
    struct state *s = &a->states[state];
    *s = (struct state){.parent = parent, .symbol = symbol, .depth = a->states[parent].depth + 1};
    /* Shorter states are all there already. */
    s->fail = parent != ROOT ? follow(a, a->states[parent].fail, symbol, &steps) : ROOT;
    *slot = state;
    return state;
}

/* All parts to states: the first symbol of each, the second of each, and so on. So states are
 * numbered from the shortest on. */
static void add_states(struct build *b, struct qd_arena *meanwhile)
{
    uint32_t steps = 0;
    size_t left = b->part_count;
    struct part **longer = qd_arena_array(meanwhile, left, sizeof *longer);
    for (size_t i = 0; i < left; i++) {
        longer[i] = &b->parts[i];
    }
    b->state_count = 1;
    for (size_t place = 0; left > 0; place++) {
        size_t kept = 0;
        for (size_t i = 0; i < left; i++) {
            struct part *part = longer[i];
            uint32_t symbol = symbol_at(part, place);
            uint32_t *slot = find_slot(b->a, part->state, symbol, &steps);
            part->state = *slot != ROOT ? *slot : add_state(b, part->state, symbol, slot);
            if (place + 1 < part_len(part)) {
                longer[kept++] = part;
            }
        }
        left = kept;
    }
}

/* The piece that a part is. */
static uint32_t piece_of(struct build *b, const struct part *part)
{
    struct state *state = &b->a->states[part->state];
    if (state->whole == 0) {
        b->pieces[b->a->piece_count].len = state->depth;
        state->whole = (uint32_t)++b->a->piece_count;
    }
    return state->whole - 1;
}

static void add_part(struct build *b, struct qd_str text, bool has_begin, bool has_end)
{
    if (text.len > 0) {
        b->parts[b->part_count++] =
            (struct part){.text = text, .has_begin = has_begin, .has_end = has_end};
    }
}

static void add_parts(struct build *b, const struct qd_rls_pattern *pattern)
{
    add_part(b, pattern->prefix, true, false);
    for (size_t i = 0; i < pattern->middle_count; i++) {
        add_part(b, pattern->middles[i], false, false);
    }
    add_part(b, pattern->suffix, false, true);
}

static size_t count_parts(const struct qd_rls_pattern *pattern)
{
    return (pattern->prefix.len > 0) + pattern->middle_count + (pattern->suffix.len > 0);
}

/* From the last to the first, so that those with the same first piece stand in order. */
static void make_wildcards(struct build *b, const struct qd_rls_pattern *const *patterns,
                           size_t count)
{
    struct wildcard *wildcards = qd_arena_array(b->arena, count, sizeof *wildcards);
    uint32_t *numbers = qd_arena_array(b->arena, b->part_count, sizeof *numbers);
    size_t end = b->part_count;
    for (size_t i = count; i-- > 0;) {
        struct wildcard *w = &wildcards[i];
        w->count = (uint32_t)count_parts(patterns[i]);
        end -= w->count;
        for (size_t k = 0; k < w->count; k++) {
            numbers[end + k] = piece_of(b, &b->parts[end + k]);
        }
        w->pieces = numbers + end;
        w->is_anchored = patterns[i]->prefix.len > 0;
        w->next = b->pieces[w->pieces[0]].starter;
        b->pieces[w->pieces[0]].starter = (uint32_t)i + 1;
        b->a->floating_count += !w->is_anchored;
    }
    assert(end == 0);
    b->a->wildcards = wildcards;
    b->a->wildcard_count = count;
}

/* A state's `fail` stands before it. */
static void link_wholes(struct build *b)
{
    const struct state *states = b->a->states;
    uint32_t *wholes = qd_arena_array(b->arena, b->state_count, sizeof *wholes);
    for (size_t i = 1; i < b->state_count; i++) {
        wholes[i] = states[i].whole != 0 ? (uint32_t)i : wholes[states[i].fail];
    }
    b->a->wholes = wholes;
}

static void make_table(struct qd_arena *arena, struct qd_rls_automaton *a, size_t state_count)
{
    size_t size = table_size(state_count);
    a->slots = qd_arena_array(arena, size, sizeof *a->slots);
    a->mask = size - 1;
}

/* The states were made with room for all parts as if they shared nothing. */
static void keep_states(struct build *b)
{
    struct qd_rls_automaton *a = b->a;
    uint32_t steps = 0;
    const struct state *made = a->states;
    a->states = qd_arena_array(b->arena, b->state_count, sizeof *a->states);
    memcpy(a->states, made, b->state_count * sizeof *made);
    make_table(b->arena, a, b->state_count);
    for (size_t i = 1; i < b->state_count; i++) {
        *find_slot(a, a->states[i].parent, a->states[i].symbol, &steps) = (uint32_t)i;
    }
}

/* What stands behind a wildcard that matches everything is never met. */
static size_t count_met(const struct qd_rls_pattern *const *patterns, size_t count)
{
    size_t met = 0;
    while (met < count && count_parts(patterns[met]) > 0) {
        met++;
    }
    return met;
}

static void make_classes(struct build *b)
{
    struct qd_rls_automaton *a = b->a;
    a->classes = 1;
    for (size_t i = 1; i < b->state_count; i++) {
        uint16_t *class = &a->class_of[a->states[i].symbol];
        if (*class == 0) {
            *class = (uint16_t)a->classes++;
        }
    }
}

/* A state leads to its children, and else where its `fail` leads, which stands before it. */
static void make_rows(struct build *b)
{
    struct qd_rls_automaton *a = b->a;
    make_classes(b);
    size_t width = a->classes;
    size_t room = b->state_count * CELLS_PER_STATE / width + 1;
    size_t count = room < b->state_count ? room : b->state_count;
    uint32_t *rows = qd_arena_array(b->arena, count * width, sizeof *rows);
    for (size_t i = 1; i < b->state_count; i++) {
        const struct state *child = &a->states[i];
        if (child->parent < count) {
            rows[child->parent * width + a->class_of[child->symbol]] = (uint32_t)i;
        }
    }
    for (size_t i = width; i < count * width; i++) {
        if (rows[i] == ROOT) {
            rows[i] = rows[a->states[i / width].fail * width + i % width];
        }
    }
    a->rows = rows;
    a->row_count = count;
}

const struct qd_rls_automaton *qd_rls_automaton_make(struct qd_arena *arena,
                                                     struct qd_arena *meanwhile,
                                                     const struct qd_rls_pattern *const *patterns,
                                                     size_t count)
{
    struct build b = {.arena = arena, .a = qd_arena_alloc(arena, sizeof *b.a)};
    size_t met = count_met(patterns, count);
    size_t parts = 0;
    size_t states = 1;
    b.a->none = met;
    for (size_t i = 0; i < met; i++) {
        parts += count_parts(patterns[i]);
    }
    b.parts = qd_arena_array(meanwhile, parts, sizeof *b.parts);
    for (size_t i = 0; i < met; i++) {
        add_parts(&b, patterns[i]);
    }
    assert(b.part_count == parts);
    for (size_t i = 0; i < parts; i++) {
        states += part_len(&b.parts[i]);
    }
    assert(states < UINT32_MAX / 2);
    b.a->states = qd_arena_array(meanwhile, states, sizeof *b.a->states);
    make_table(meanwhile, b.a, states);
    add_states(&b, meanwhile);
    b.pieces = qd_arena_array(arena, parts, sizeof *b.pieces);
    b.a->pieces = b.pieces;
    make_wildcards(&b, patterns, met);
    link_wholes(&b);
    keep_states(&b);
    make_rows(&b);
    return b.a;
}

/* --- matching -----------------------------------------------------------------------------------
 */

struct pass {
    const struct qd_rls_automaton *a;
    struct qd_rls_scratch *scratch;
    size_t best;    /* the first wildcard that has matched, or none */
    size_t waiting; /* how many may still match, but for anchored ones that have not set out */
    uint32_t *steps;
};

/* Its piece before the `piece`-th ends before place `from`. */
static void advance(struct pass *p, size_t wildcard, uint32_t piece, size_t from)
{
    const struct wildcard *w = &p->a->wildcards[wildcard];
    ++*p->steps;
    if (wildcard >= p->best) { /* one before it has matched */
        p->waiting--;
    } else if (piece == w->count) {
        p->best = wildcard;
        p->waiting--;
    } else {
        p->scratch->waiters[wildcard].from = from;
        p->scratch->waiters[wildcard].piece = piece;
        qd_rls_scratch_push(p->scratch, w->pieces[piece], wildcard);
    }
}

/* A piece that ends before place `end`. */
static void meet(struct pass *p, uint32_t number, size_t end)
{
    const struct piece *piece = &p->a->pieces[number];
    struct qd_rls_queue *queue = qd_rls_scratch_queue(p->scratch, number);
    ++*p->steps;
    while (queue->head != 0 && p->scratch->waiters[queue->head - 1].from + piece->len <= end) {
        size_t wildcard = qd_rls_scratch_pop(p->scratch, queue);
        advance(p, wildcard, p->scratch->waiters[wildcard].piece + 1, end);
    }
    if (queue->is_seen) {
        return;
    }
    queue->is_seen = true;
    for (uint32_t i = piece->starter; i != 0; i = p->a->wildcards[i - 1].next) {
        p->waiting += p->a->wildcards[i - 1].is_anchored;
        advance(p, i - 1, 1, end);
    }
}

/* One symbol more; `end` is the place behind it. */
static uint32_t go(struct pass *p, uint32_t state, uint32_t symbol, size_t end)
{
    const struct qd_rls_automaton *a = p->a;
    state = follow(a, state, symbol, p->steps);
    for (uint32_t whole = a->wholes[state]; whole != ROOT;
         whole = a->wholes[a->states[whole].fail]) {
        meet(p, a->states[whole].whole - 1, end);
    }
    return state;
}

/* From byte `i` on over those at which no piece ends, as far as there are rows: most of all bytes.
 * Returns the byte that it has come to. */
static size_t run(const struct qd_rls_automaton *a, struct qd_str value, size_t i, uint32_t *state)
{
    const uint32_t *rows = a->rows;
    const uint32_t *wholes = a->wholes;
    size_t width = a->classes;
    uint32_t at = *state;
    for (; i < value.len && at < a->row_count; i++) {
        uint32_t next = rows[at * width + a->class_of[(unsigned char)value.ptr[i]]];
        if (wholes[next] != ROOT) {
            break;
        }
        at = next;
    }
    *state = at;
    return i;
}

/* All symbols up to `place` are the beginning of an anchored piece. */
static bool is_at_begin(const struct qd_rls_automaton *a, uint32_t state, size_t place)
{
    return a->states[state].depth == place;
}

bool qd_rls_automaton_begin(const struct qd_rls_automaton *a, struct qd_rls_scratch *scratch)
{
    return qd_rls_scratch_begin(scratch, a->piece_count, a->wildcard_count);
}

size_t qd_rls_automaton_find(const struct qd_rls_automaton *a, struct qd_rls_scratch *scratch,
                             struct qd_str value, uint32_t *steps)
{
    struct pass p = {a, scratch, a->none, a->floating_count, steps};
    uint32_t state = go(&p, ROOT, BEGIN, 1);
    for (size_t i = 0; i < value.len;) {
        if (p.best == 0 || (p.waiting == 0 && !is_at_begin(a, state, i + 1))) {
            return p.best;
        }
        size_t next = p.waiting > 0 ? run(a, value, i, &state) : i;
        if (next == i) {
            state = go(&p, state, (unsigned char)value.ptr[i], i + 2);
            next++;
        }
        *steps += (uint32_t)(next - i);
        i = next;
    }
    (void)go(&p, state, END, value.len + 2);
    return p.best;
}
