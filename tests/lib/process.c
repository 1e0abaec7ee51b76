#include "tests/lib/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    POLL_MS = 10,
    GRACE_MS = 5000,
    NOT_STARTED = 127, /* Exit code of a child that could not run its program, as of a shell. */
};

static void die(const char *what, const char *name)
{
    fprintf(stderr, "process: %s %s: %s\n", what, name, strerror(errno));
    abort();
}

static void sleep_ms(unsigned ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&pause, &pause) != 0 && errno == EINTR) {
    }
}

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* In the child: never returns. */
static void run_child(const char *const argv[], int log, pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(NOT_STARTED); /* The parent died before the line above. */
    }
    if (dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0) {
        _exit(NOT_STARTED);
    }
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (in >= 0) {
        (void)dup2(in, STDIN_FILENO);
    }
    char *copy[64]; /* execvp's type lacks a const that it honours. */
    size_t count = 0;
    while (argv[count] != NULL && count + 1 < sizeof copy / sizeof *copy) {
        copy[count] = strdup(argv[count]);
        count++;
    }
    copy[count] = NULL;
    if (copy[0] != NULL) {
        execvp(copy[0], copy);
    }
    fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(NOT_STARTED);
}

void qd_process_start(struct qd_process *process, const char *const argv[], const char *log_path)
{
    *process = (struct qd_process){0};
    int length = snprintf(process->log_path, sizeof process->log_path, "%s", log_path);
    if (length < 0 || (size_t)length >= sizeof process->log_path) {
        errno = ENAMETOOLONG;
        die("name", log_path);
    }
    int log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0) {
        die("open", log_path);
    }
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        die("fork for", argv[0]);
    }
    if (pid == 0) {
        run_child(argv, log, parent);
    }
    close(log);
    process->pid = pid;
}

/* Reap it if it has ended. Returns true when it has. */
static bool has_ended(struct qd_process *process)
{
    if (process->pid == 0) {
        return true;
    }
    int status = 0;
    pid_t pid = waitpid(process->pid, &status, WNOHANG);
    if (pid == 0 || (pid < 0 && errno == EINTR)) {
        return false;
    }
    process->pid = 0;
    process->status = status;
    return true;
}

char *qd_process_read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return NULL;
    }
    size_t size = 0;
    size_t room = 4096;
    char *text = malloc(room);
    while (text != NULL) {
        size_t got = fread(text + size, 1, room - size - 1, file);
        size += got;
        if (got == 0) {
            text[size] = '\0';
            break;
        }
        if (room - size == 1) {
            char *more = realloc(text, room * 2);
            if (more == NULL) {
                free(text);
            }
            text = more;
            room *= 2;
        }
    }
    fclose(file);
    return text;
}

/* The number after `before` in the log, 0 if none yet; any text there counts when !`number`. */
static uint16_t look(const struct qd_process *process, const char *before, bool number)
{
    char *text = qd_process_read_file(process->log_path);
    uint16_t found = 0;
    const char *at = text != NULL ? strstr(text, before) : NULL;
    while (at != NULL && found == 0) {
        const char *digits = at + strlen(before);
        char *end = NULL;
        unsigned long value = number ? strtoul(digits, &end, 10) : 1;
        /* A number at the very end of the log may still be growing. */
        if (!number || (end != digits && *end != '\0' && value <= UINT16_MAX)) {
            found = (uint16_t)value;
        }
        at = strstr(at + 1, before);
    }
    free(text);
    return found;
}

static uint16_t wait_for(struct qd_process *process, const char *before, bool number,
                         unsigned timeout_ms)
{
    uint64_t deadline = now_ms() + timeout_ms;
    for (;;) {
        bool ended = has_ended(process);
        uint16_t found = look(process, before, number);
        if (found != 0 || ended || now_ms() >= deadline) {
            return found;
        }
        sleep_ms(POLL_MS);
    }
}

bool qd_process_wait_text(struct qd_process *process, const char *text, unsigned timeout_ms)
{
    return wait_for(process, text, false, timeout_ms) != 0;
}

uint16_t qd_process_wait_port(struct qd_process *process, const char *before, unsigned timeout_ms)
{
    return wait_for(process, before, true, timeout_ms);
}

int qd_process_wait(struct qd_process *process, unsigned timeout_ms)
{
    uint64_t deadline = now_ms() + timeout_ms;
    while (!has_ended(process)) {
        if (now_ms() >= deadline) {
            return -1;
        }
        sleep_ms(POLL_MS);
    }
    return WIFSIGNALED(process->status) ? 128 + WTERMSIG(process->status)
                                        : WEXITSTATUS(process->status);
}

int qd_process_stop(struct qd_process *process, int signal, unsigned timeout_ms)
{
    if (process->pid != 0) {
        (void)kill(process->pid, signal);
    }
    return qd_process_wait(process, timeout_ms);
}

void qd_process_release(struct qd_process *process)
{
    if (process->pid != 0 && qd_process_stop(process, SIGTERM, GRACE_MS) < 0) {
        (void)qd_process_stop(process, SIGKILL, GRACE_MS);
    }
    if (process->log_path[0] != '\0' && getenv("QD_VERBOSE") != NULL) {
        char *text = qd_process_read_file(process->log_path);
        fprintf(stderr, "%s", text != NULL ? text : "");
        free(text);
    }
    process->log_path[0] = '\0';
}

const char *qd_process_program(const char *variable)
{
    const char *path = getenv(variable);
    if (path == NULL || *path == '\0') {
        fprintf(stderr, "process: %s is not set; run the test through ctest\n", variable);
        abort();
    }
    return path;
}
