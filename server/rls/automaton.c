#include "server/rls/automaton.h"

#include "server/rls/tree.h"

#include <assert.h>
#include <string.h>

/* What a place of a value holds: a byte, or one of these. */
#define BEGIN   256U
#define END     257U
#define SYMBOLS 258U

/* Cells of rows for each state, if all states have that many: what fast look-ups may cost. */
#define CELLS_PER_STATE 16U

#define ROOT QD_RLS_ROOT

/* Looks behind stages that are fair, for each byte so far. See set_all_out. */
#define FAIR_LOOKS 4U

/* The beginning of a piece: that of its parent and one symbol more. */
struct state {
    uint32_t fail;  /* the longest other state that it ends with */
    uint32_t whole; /* the piece that this is, its number + 1; 0: none */
    uint32_t depth; /* symbols */
};

/* A piece, once, whatever the number of wildcards that have it. */
struct piece {
    uint32_t len;     /* symbols */
    bool is_anchored; /* at the value's beginning */
    bool is_later;    /* of some wildcard it is not the first */
};

/* The beginning of a wildcard: that of its parent and one piece more. */
struct stage {
    uint32_t child; /* the last of its children; ROOT: none */
    uint32_t next;  /* with the same parent; ROOT: none */
    uint32_t child_count;
    uint32_t least; /* the first wildcard that begins so */
    uint32_t whole; /* the first one that this is, or none */
};

struct qd_rls_automaton {
    struct qd_rls_tree beginnings; /* of pieces; the labels are symbols */
    struct state *states;          /* by beginning, from the shortest on */
    /* By state: the longest whole piece that it ends with, or is; ROOT: none. */
    const uint32_t *wholes;
    /* Of the first states: where each class of symbols leads, in one look. */
    const uint32_t *rows;
    size_t row_count;
    uint32_t classes;
    uint16_t class_of[SYMBOLS]; /* 0: in no piece */
    const struct piece *pieces;
    size_t piece_count;
    struct qd_rls_tree ways; /* of wildcards; the labels are pieces */
    struct stage *stages;    /* by way */
    size_t floating_count;   /* first pieces that are not anchored */
    size_t none;             /* what to answer if no wildcard matches */
};

/* --- states -------------------------------------------------------------------------------------
 */

/* The longest state that the text so far, which is at `state`, and the symbol end with. */
static uint32_t follow(const struct qd_rls_automaton *a, uint32_t state, uint32_t symbol,
                       uint32_t *steps)
{
    for (;;) {
        if (state < a->row_count) {
            return a->rows[state * a->classes + a->class_of[symbol]];
        }
        uint32_t child = *qd_rls_tree_slot(&a->beginnings, state, symbol, steps);
        if (child != ROOT || state == ROOT) {
            return child;
        }
        state = a->states[state].fail;
    }
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
    uint32_t state = qd_rls_tree_add(&a->beginnings, parent, symbol, slot);
    struct state *s = &a->states[state];
    s->depth = a->states[parent].depth + 1;
    /* Shorter states are all there already. */
    s->fail = parent != ROOT ? follow(a, a->states[parent].fail, symbol, &steps) : ROOT;
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
    for (size_t place = 0; left > 0; place++) {
        size_t kept = 0;
        for (size_t i = 0; i < left; i++) {
            struct part *part = longer[i];
            uint32_t symbol = symbol_at(part, place);
            uint32_t *slot = qd_rls_tree_slot(&b->a->beginnings, part->state, symbol, &steps);
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
        b->pieces[b->a->piece_count] =
            (struct piece){.len = state->depth, .is_anchored = part->has_begin};
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

static uint32_t add_stage(struct build *b, uint32_t parent, uint32_t piece, uint32_t *slot)
{
    struct qd_rls_automaton *a = b->a;
    struct stage *from = &a->stages[parent];
    uint32_t stage = qd_rls_tree_add(&a->ways, parent, piece, slot);
    a->stages[stage].next = from->child;
    from->child = stage;
    from->child_count++;
    b->pieces[piece].is_later |= parent != ROOT;
    a->floating_count += parent == ROOT && !b->pieces[piece].is_anchored;
    return stage;
}

/* All wildcards to stages, the first one first. */
static void add_stages(struct build *b, const struct qd_rls_pattern *const *patterns, size_t count)
{
    const struct part *part = b->parts;
    uint32_t steps = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = ROOT;
        for (size_t left = count_parts(patterns[i]); left > 0; left--) {
            uint32_t piece = piece_of(b, part++);
            uint32_t *slot = qd_rls_tree_slot(&b->a->ways, at, piece, &steps);
            bool is_new = *slot == ROOT;
            at = is_new ? add_stage(b, at, piece, slot) : *slot;
            if (is_new) {
                b->a->stages[at].least = i;
                b->a->stages[at].whole = (uint32_t)count;
            }
        }
        struct stage *last = &b->a->stages[at];
        last->whole = i < last->whole ? i : last->whole;
    }
}

/* A state's `fail` stands before it. */
static void link_wholes(struct build *b)
{
    const struct state *states = b->a->states;
    uint32_t *wholes = qd_arena_array(b->arena, b->a->beginnings.count, sizeof *wholes);
    for (size_t i = 1; i < b->a->beginnings.count; i++) {
        wholes[i] = states[i].whole != 0 ? (uint32_t)i : wholes[states[i].fail];
    }
    b->a->wholes = wholes;
}

static void *copy(struct qd_arena *arena, const void *from, size_t count, size_t size)
{
    return memcpy(qd_arena_array(arena, count, size), from, count * size);
}

/* Both trees were made with room for all parts as if they shared nothing. */
static void keep(struct build *b)
{
    struct qd_rls_automaton *a = b->a;
    qd_rls_tree_keep(b->arena, &a->beginnings);
    qd_rls_tree_keep(b->arena, &a->ways);
    a->states = copy(b->arena, a->states, a->beginnings.count, sizeof *a->states);
    a->stages = copy(b->arena, a->stages, a->ways.count, sizeof *a->stages);
    a->pieces = copy(b->arena, b->pieces, a->piece_count, sizeof *a->pieces);
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

static void make_classes(struct qd_rls_automaton *a)
{
    a->classes = 1;
    for (uint32_t i = 1; i < a->beginnings.count; i++) {
        uint16_t *class = &a->class_of[a->beginnings.twigs[i].label];
        if (*class == 0) {
            *class = (uint16_t)a->classes++;
        }
    }
}

/* A state leads to its children, and else where its `fail` leads, which stands before it. */
static void make_rows(struct build *b)
{
    struct qd_rls_automaton *a = b->a;
    make_classes(a);
    size_t width = a->classes;
    size_t states = a->beginnings.count;
    size_t room = states * CELLS_PER_STATE / width + 1;
    size_t count = room < states ? room : states;
    uint32_t *rows = qd_arena_array(b->arena, count * width, sizeof *rows);
    for (uint32_t i = 1; i < states; i++) {
        const struct qd_rls_twig *child = &a->beginnings.twigs[i];
        if (child->parent < count) {
            rows[child->parent * width + a->class_of[child->label]] = i;
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
    qd_rls_tree_make(meanwhile, states, &b.a->beginnings);
    b.a->states = qd_arena_array(meanwhile, states, sizeof *b.a->states);
    add_states(&b, meanwhile);
    b.pieces = qd_arena_array(meanwhile, parts, sizeof *b.pieces);
    qd_rls_tree_make(meanwhile, parts + 1, &b.a->ways);
    b.a->stages = qd_arena_array(meanwhile, parts + 1, sizeof *b.a->stages);
    add_stages(&b, patterns, met);
    keep(&b);
    link_wholes(&b);
    make_rows(&b);
    return b.a;
}

/* --- matching -----------------------------------------------------------------------------------
 */

struct pass {
    const struct qd_rls_automaton *a;
    struct qd_rls_scratch *scratch;
    size_t best;    /* the first wildcard that has matched, or none */
    size_t waiting; /* stages that may be reached next, but for anchored ones */
    size_t looks;
    bool all_set_out;
    uint32_t *steps;
};

/* Its children wait for their pieces. This stage is the `rank`-th of those that were reached:
 * behind it a piece was looked for if its `looked` is more than that, and the child is reached. */
static void set_out(struct pass *p, uint32_t stage, uint32_t from, uint32_t rank)
{
    const struct qd_rls_automaton *a = p->a;
    for (uint32_t i = a->stages[stage].child; i != ROOT; i = a->stages[i].next) {
        uint32_t piece = a->ways.twigs[i].label;
        ++*p->steps;
        if (qd_rls_scratch_queue(p->scratch, piece)->looked <= rank) {
            qd_rls_scratch_push(p->scratch, piece, i, from);
        }
    }
}

/* Two ways to find what goes on where a piece ends. As a rule each stage that was reached is asked
 * for a child by the piece, once: what waits elsewhere costs nothing, be it thousands. But a value
 * that meets many pieces and reaches many stages would make the product of both. Where that has
 * become more than a few looks a byte, the children of all that is reached wait in the queues of
 * their pieces, from here on: each stage once, whatever the value. */
static void set_all_out(struct pass *p)
{
    struct qd_rls_scratch *scratch = p->scratch;
    p->all_set_out = true;
    for (uint32_t i = 1; i < scratch->reached_count; i++) {
        set_out(p, scratch->reached[i].stage, scratch->reached[i].from, i);
    }
    scratch->reached_count = 1; /* the root */
}

/* Its last piece ends before place `end`. */
static void reach(struct pass *p, uint32_t number, uint32_t end)
{
    const struct stage *stage = &p->a->stages[number];
    p->waiting -= !p->a->pieces[p->a->ways.twigs[number].label].is_anchored;
    p->best = stage->whole < p->best ? stage->whole : p->best;
    if (stage->least >= p->best) { /* nothing behind it is before the best */
        return;
    }
    p->waiting += stage->child_count;
    if (p->all_set_out) {
        set_out(p, number, end, UINT32_MAX);
    } else {
        qd_rls_scratch_reach(p->scratch, number, end);
    }
}

/* A piece that ends before place `end`. */
static void meet(struct pass *p, uint32_t number, uint32_t end)
{
    const struct piece *piece = &p->a->pieces[number];
    struct qd_rls_scratch *scratch = p->scratch;
    struct qd_rls_queue *queue = qd_rls_scratch_queue(scratch, number);
    uint32_t count = piece->is_later ? scratch->reached_count : 1;
    ++*p->steps;
    while (queue->looked < count && scratch->reached[queue->looked].from + piece->len <= end) {
        uint32_t from = scratch->reached[queue->looked++].stage;
        uint32_t stage = *qd_rls_tree_slot(&p->a->ways, from, number, p->steps);
        p->looks++;
        if (stage != ROOT) {
            reach(p, stage, end);
        }
    }
    while (queue->head != 0 && scratch->waiters[queue->head].from + piece->len <= end) {
        reach(p, qd_rls_scratch_pop(scratch, queue), end);
    }
    if (p->looks > (size_t)FAIR_LOOKS * end && !p->all_set_out) {
        set_all_out(p);
    }
}

/* One symbol more; `end` is the place behind it. */
static uint32_t go(struct pass *p, uint32_t state, uint32_t symbol, uint32_t end)
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
    return qd_rls_scratch_begin(scratch, a->piece_count, a->ways.count);
}

size_t qd_rls_automaton_find(const struct qd_rls_automaton *a, struct qd_rls_scratch *scratch,
                             struct qd_str value, uint32_t *steps)
{
    struct pass p = {
        .a = a, .scratch = scratch, .best = a->none, .waiting = a->floating_count, .steps = steps};
    assert(value.len <= UINT32_MAX / 4);
    uint32_t state = go(&p, ROOT, BEGIN, 1);
    for (size_t i = 0; i < value.len;) {
        if (p.best == 0 || (p.waiting == 0 && !is_at_begin(a, state, i + 1))) {
            return p.best;
        }
        size_t next = p.waiting > 0 ? run(a, value, i, &state) : i;
        if (next == i) {
            state = go(&p, state, (unsigned char)value.ptr[i], (uint32_t)i + 2);
            next++;
        }
        *steps += (uint32_t)(next - i);
        i = next;
    }
    (void)go(&p, state, END, (uint32_t)value.len + 2);
    return p.best;
}
