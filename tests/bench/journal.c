/* The peer of our journal reader. `journal UNIT`: every entry of one unit, its message. `journal UNIT all`: the same
 * matches as ours (the unit's own lines, PID 1's and journald's about it) and every field. Prints entries and seconds. */
#include <stdio.h>
#include <time.h>
#include <systemd/sd-journal.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void match(sd_journal *journal, const char *field, const char *value) {
    char text[512];
    snprintf(text, sizeof text, "%s=%s", field, value);
    sd_journal_add_match(journal, text, 0);
}

int main(int argc, char **argv) {
    sd_journal *journal;
    const void *data;
    size_t length, bytes = 0;
    long entries = 0;

    if (argc < 2)
        return 64;
    double began = now();
    if (sd_journal_open(&journal, SD_JOURNAL_LOCAL_ONLY) < 0)
        return 2;
    match(journal, "_SYSTEMD_UNIT", argv[1]);
    if (argc > 2) {
        sd_journal_add_disjunction(journal);
        match(journal, "_PID", "1");
        match(journal, "UNIT", argv[1]);
        sd_journal_add_disjunction(journal);
        match(journal, "OBJECT_SYSTEMD_UNIT", argv[1]);
    }
    sd_journal_seek_head(journal);
    while (sd_journal_next(journal) > 0) {
        if (argc > 2) {
            sd_journal_restart_data(journal);
            while (sd_journal_enumerate_data(journal, &data, &length) > 0)
                bytes += length;
        } else if (sd_journal_get_data(journal, "MESSAGE", &data, &length) >= 0) {
            bytes += length;
        }
        entries++;
    }
    printf("%ld %.6f\n", entries, now() - began);
    fprintf(stderr, "%zu bytes\n", bytes);
    sd_journal_close(journal);
    return 0;
}
