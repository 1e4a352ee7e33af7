/* The peer of our journal reader: every entry of one unit, its message. Prints entries and seconds. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <systemd/sd-journal.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    sd_journal *journal;
    char match[256];
    const void *data;
    size_t length, bytes = 0;
    long entries = 0;

    if (argc != 2)
        return 64;
    double began = now();
    if (sd_journal_open(&journal, SD_JOURNAL_LOCAL_ONLY) < 0)
        return 2;
    snprintf(match, sizeof match, "_SYSTEMD_UNIT=%s", argv[1]);
    sd_journal_add_match(journal, match, 0);
    sd_journal_seek_head(journal);
    while (sd_journal_next(journal) > 0) {
        if (sd_journal_get_data(journal, "MESSAGE", &data, &length) >= 0)
            bytes += length;
        entries++;
    }
    printf("%ld %.6f\n", entries, now() - began);
    fprintf(stderr, "%zu bytes\n", bytes);
    sd_journal_close(journal);
    return 0;
}
