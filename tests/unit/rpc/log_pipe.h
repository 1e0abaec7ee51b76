/* What a test makes the server log, in place of stderr.
 *
 * Threads:  the test's own.
 */
#ifndef QD_TESTS_UNIT_RPC_LOG_PIPE_H
#define QD_TESTS_UNIT_RPC_LOG_PIPE_H

/* A suite's .init and .fini. */
void log_pipe_open(void);
void log_pipe_close(void);

/* What was logged since the last time; "": nothing. Until the next call. */
const char *log_pipe_read(void);

#endif /* QD_TESTS_UNIT_RPC_LOG_PIPE_H */
