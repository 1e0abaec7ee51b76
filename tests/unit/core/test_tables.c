/* The tables under the slice against plain arrays: slab, index, names. */
#include "server/core/hash.h"
#include "server/core/index.h"
#include "server/core/names.h"
#include "server/core/slab.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(tables, .timeout = 60);

Test(tables, D12_a_slab_hands_out_each_record_once)
{
    enum {
        CAPACITY = 100
    };
    static uint64_t records[CAPACITY * 3];
    bool live[CAPACITY] = {false};
    struct qd_slab slab;
    struct qd_prng g;
    unsigned count = 0;
    qd_slab_init(&slab, records, 24, CAPACITY);
    qd_prng_init(&g, qd_prng_seed("D12_a_slab_hands_out_each_record_once", 1));
    for (unsigned i = 0; i < 100000; i++) {
        if (qd_prng_chance(&g, 1, 2)) {
            uint32_t index = qd_slab_take(&slab);
            cr_assert_eq(index == QD_SLAB_NONE, count == CAPACITY);
            if (index != QD_SLAB_NONE) {
                cr_assert(index < CAPACITY && !live[index]);
                live[index] = true;
                count++;
                memset(qd_slab_at(&slab, index), 0xff, 24);
            }
        } else {
            uint32_t index = (uint32_t)qd_prng_below(&g, CAPACITY);
            if (live[index]) {
                qd_slab_give(&slab, index);
                live[index] = false;
                count--;
            }
        }
        cr_assert_eq(slab.live, count);
    }
}

/* Few distinct hashes, so that every kind of collision and wrap-around occurs. */
Test(tables, D12_an_index_agrees_with_a_list)
{
    enum {
        CAPACITY = 60,
        VALUES = 100
    };
    uint64_t slots[CAPACITY + CAPACITY / 2 + 2];
    uint32_t hash_of[VALUES];
    bool in[VALUES] = {false};
    struct qd_index index;
    struct qd_prng g;
    memset(slots, 0, sizeof(slots));
    cr_assert_eq(qd_index_slots(CAPACITY), sizeof(slots) / sizeof(slots[0]));
    qd_index_init(&index, slots, CAPACITY);
    qd_prng_init(&g, qd_prng_seed("D12_an_index_agrees_with_a_list", 2));
    for (unsigned v = 0; v < VALUES; v++) {
        hash_of[v] = qd_prng_chance(&g, 1, 3) ? UINT32_MAX - (uint32_t)qd_prng_below(&g, 3)
                                              : (uint32_t)qd_prng_next(&g);
    }
    for (unsigned i = 0; i < 200000; i++) {
        uint32_t value = (uint32_t)qd_prng_below(&g, VALUES);
        if (in[value]) {
            qd_index_remove(&index, hash_of[value], value);
            in[value] = false;
        } else {
            bool room = index.count < CAPACITY;
            cr_assert_eq(qd_index_insert(&index, hash_of[value], value), room);
            in[value] = room;
        }
        uint32_t wanted = (uint32_t)qd_prng_below(&g, VALUES);
        struct qd_index_walk walk = {0};
        uint32_t found;
        bool seen = false;
        while ((found = qd_index_next(&index, hash_of[wanted], &walk)) != QD_INDEX_NONE) {
            cr_assert(in[found] && hash_of[found] == hash_of[wanted]);
            seen = seen || found == wanted;
        }
        cr_assert_eq(seen, in[wanted]);
    }
}

Test(tables, D12_names_are_shared_counted_and_given_back)
{
    enum {
        GRANULES = 32 * 64,
        TEXTS = 300
    };
    static uint8_t arena[GRANULES * QD_NAME_GRANULE];
    static uint8_t order[GRANULES];
    struct qd_names names;
    struct qd_prng g;
    char texts[TEXTS][1200];
    uint32_t handles[TEXTS] = {0};
    unsigned users[TEXTS] = {0};
    uint64_t *slots = calloc(qd_index_slots(GRANULES), sizeof(slots[0]));
    qd_names_init(&names, arena, order, GRANULES, slots, 5);
    qd_prng_init(&g, qd_prng_seed("D12_names_are_shared_counted_and_given_back", 3));
    for (unsigned i = 0; i < TEXTS; i++) {
        size_t size = 8 + qd_prng_below(&g, i < 250 ? 60 : 1100);
        memset(texts[i], 'a' + (int)(i % 26), size);
        snprintf(texts[i], 8, "%06u", i);
        texts[i][6] = '/';
        texts[i][size] = '\0';
    }
    unsigned refused = 0;
    for (unsigned i = 0; i < 200000; i++) {
        unsigned t = (unsigned)qd_prng_below(&g, TEXTS);
        struct qd_str text = {.ptr = texts[t], .len = strlen(texts[t])};
        if (qd_prng_chance(&g, 1, 2)) {
            uint32_t handle = qd_names_intern(&names, text);
            refused += handle == 0;
            if (handle != 0) {
                cr_assert(users[t] == 0 || handles[t] == handle);
                handles[t] = handle;
                users[t]++;
                struct qd_str back = qd_names_text(&names, handle);
                size_t kept = text.len < QD_NAME_BYTES_MAX ? text.len : QD_NAME_BYTES_MAX;
                cr_assert_eq(back.len, kept);
                cr_assert_eq(memcmp(back.ptr, text.ptr, kept), 0);
            }
        } else if (users[t] > 0) {
            qd_names_drop(&names, handles[t]);
            users[t]--;
        }
    }
    for (unsigned t = 0; t < TEXTS; t++) {
        while (users[t]-- > 0) {
            qd_names_drop(&names, handles[t]);
        }
    }
    cr_expect_eq(names.used, 0);
    cr_expect_eq(names.index.count, 0);
    /* All neighbours have joined: the largest blocks are whole again. */
    unsigned whole = 0;
    for (unsigned at = 0; at < GRANULES; at += 32) {
        whole += order[at] == QD_NAME_ORDERS;
    }
    cr_expect_eq(whole, names.high / 32);
    cr_expect_gt(refused + names.high, 0U);
    free(slots);
}

/* Two texts of one length, and two of different ones, whose hashes share the index's 32 bits. */
static void find_names(uint64_t seed, bool same_size, char ret_a[32], char ret_b[32])
{
    enum {
        PLACES = 1 << 20
    };
    static uint32_t seen[PLACES];
    memset(seen, 0, sizeof(seen));
    for (uint32_t i = 0; i < 2000000; i++) {
        char text[32];
        int size = snprintf(text, sizeof(text), i % 2 == 0 ? "n%07u" : "name%07u", i);
        uint32_t hash = (uint32_t)qd_hash64_bytes(text, (size_t)size, seed);
        uint32_t *place = &seen[hash % PLACES];
        if (*place != 0 && ((*place - 1) % 2 == i % 2) == same_size) {
            char other[32];
            uint32_t j = *place - 1;
            size = snprintf(other, sizeof(other), j % 2 == 0 ? "n%07u" : "name%07u", j);
            if ((uint32_t)qd_hash64_bytes(other, (size_t)size, seed) == hash) {
                memcpy(ret_a, other, sizeof(other));
                memcpy(ret_b, text, sizeof(text));
                return;
            }
        }
        *place = i + 1;
    }
    cr_assert_fail("no two collide");
}

Test(tables, D12_names_that_share_a_hash_stay_apart)
{
    enum {
        GRANULES = 64
    };
    static uint8_t arena[GRANULES * QD_NAME_GRANULE];
    static uint8_t order[GRANULES];
    static uint64_t slots[2 * GRANULES];
    cr_assert_leq(qd_index_slots(GRANULES), 2 * GRANULES);
    for (unsigned same = 0; same < 2; same++) {
        struct qd_names names;
        char a[32];
        char b[32];
        memset(order, 0, sizeof(order));
        memset(slots, 0, sizeof(slots));
        qd_names_init(&names, arena, order, GRANULES, slots, 5);
        find_names(5, same == 1, a, b);
        struct qd_str text_a = {a, strlen(a)};
        struct qd_str text_b = {b, strlen(b)};
        uint32_t first = qd_names_intern(&names, text_a);
        uint32_t second = qd_names_intern(&names, text_b);
        cr_assert(first != 0 && second != 0);
        cr_expect_neq(first, second);
        cr_expect_eq(qd_names_intern(&names, text_a), first);
        cr_expect_eq(qd_names_intern(&names, text_b), second);
        cr_expect_eq(memcmp(qd_names_text(&names, second).ptr, b, strlen(b)), 0);
        qd_names_drop(&names, first);
        qd_names_drop(&names, first);
        cr_expect_eq(qd_names_intern(&names, text_b), second);
    }
}

Test(tables, D12_no_name_is_a_handle_of_0_that_everybody_lets_be)
{
    enum {
        GRANULES = 32
    };
    static uint8_t arena[GRANULES * QD_NAME_GRANULE];
    static uint8_t order[GRANULES];
    static uint64_t slots[2 * GRANULES];
    struct qd_names names;
    qd_names_init(&names, arena, order, GRANULES, slots, 5);
    cr_expect_eq(qd_names_intern(&names, (struct qd_str){NULL, 0}), 0);
    qd_names_hold(&names, 0);
    qd_names_drop(&names, 0);
    cr_expect_eq(qd_names_text(&names, 0).len, 0);
    cr_expect_null(qd_names_text(&names, 0).ptr);
    cr_expect_eq(names.used, 0);
}
