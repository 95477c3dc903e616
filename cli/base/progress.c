/* SPDX-License-Identifier: MIT
 * A progress bar on standard error: on a terminal only, and only for work of more than a second. */
#include "base/progress.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "measure/timing.h"

enum { BAR_CELLS = 40, LINE_CELLS = 72 };

static const double first_draw_s = 1.0;
static const double redraw_s = 0.1;

static struct {
    const char *label;
    size_t total;
    size_t done;
    double begun_s;
    double drawn_s;
    bool on_terminal;
    bool visible;
    bool colour;
} bar;

void cli_progress_begin(const char *label, size_t total) {
    const char *no_colour = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    const bool dumb = !terminal || strcmp(terminal, "dumb") == 0;

    cli_progress_end();
    bar.label = label;
    bar.total = total;
    bar.done = 0;
    bar.begun_s = measure_now();
    bar.drawn_s = 0.0;
    bar.on_terminal = isatty(STDERR_FILENO) == 1 && !dumb;
    bar.colour = !no_colour || no_colour[0] == '\0';
}

static void draw(void) {
    char cells[BAR_CELLS + 1];
    const double share = bar.total ? (double)bar.done / (double)bar.total : 1.0;
    const size_t full = (size_t)(share * BAR_CELLS);

    memset(cells, '.', BAR_CELLS);
    memset(cells, '#', full < BAR_CELLS ? full : BAR_CELLS);
    cells[BAR_CELLS] = '\0';
    fprintf(stderr, "\r%-12.12s %s[%s]%s %3d%%", bar.label, bar.colour ? "\033[32m" : "", cells,
            bar.colour ? "\033[0m" : "", (int)(100.0 * share));
    fflush(stderr);
    bar.visible = true;
}

static void draw_when_due(void) {
    const double now = measure_now();
    if (now - bar.begun_s >= first_draw_s && now - bar.drawn_s >= redraw_s) {
        bar.drawn_s = now;
        draw();
    }
}

void cli_progress_add(size_t units) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (!bar.on_terminal) return;
    pthread_mutex_lock(&lock);
    bar.done += units;
    draw_when_due();
    pthread_mutex_unlock(&lock);
}

void cli_progress_end(void) {
    if (bar.visible) {
        fprintf(stderr, "\r%*s\r", LINE_CELLS, "");
        fflush(stderr);
        bar.visible = false;
    }
    bar.on_terminal = false;
}
