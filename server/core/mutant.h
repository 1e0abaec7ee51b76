/* Mutants: build-time switches that break one rule, so that a test can be seen to notice.
 *
 * Layer:    core (pure); also used by the other server folders. Included by .c files only.
 * Threads:  none. Memory: none; in a normal build every switch is the constant 0 and costs nothing.
 *
 * `QD_MUTANT(D2)` is 0, or 1 in a file compiled with -DQD_MUTANT_D2_ON. A rule with several mutants
 * gives each a lower-case suffix: `QD_MUTANT(D2_parent)` and -DQD_MUTANT_D2_parent_ON.
 *
 *     if (denied && !QD_MUTANT(D2)) -- D2: a denied check charges nothing --
 *         return verdict;
 *
 * tests/mutants/run.sh finds every switch by its text, builds each mutant and requires a test whose
 * name cites the rule to fail. Never set a switch anywhere else. */
#ifndef QD_CORE_MUTANT_H
#define QD_CORE_MUTANT_H

#define QD_MUTANT(name) QD_MUTANT_EXPAND_(QD_MUTANT_##name##_ON)

/* An undefined switch stays a name, so that pasting makes no known macro and the third argument is
 * 0; a defined one is 1, QD_MUTANT_PROBE_1 is two arguments, and the third is 1. */
#define QD_MUTANT_EXPAND_(value) QD_MUTANT_PASTE_(value)
#define QD_MUTANT_PASTE_(value)  QD_MUTANT_PICK_(QD_MUTANT_PROBE_##value, 1, 0, 0)
#define QD_MUTANT_PROBE_1        0, 0
#define QD_MUTANT_PICK_(...)     QD_MUTANT_THIRD_(__VA_ARGS__)

#define QD_MUTANT_THIRD_(first, second, third, ...) third

#endif /* QD_CORE_MUTANT_H */
