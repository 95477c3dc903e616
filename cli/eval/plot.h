/* SPDX-License-Identifier: MIT
 * Plots as SVG inside an HTML page: axes, lines, dots, and labels that do not cover each other.
 *
 * Colours are classes that the page's style sheet defines, so that they suit light and dark. Points are
 * in the plot's own units, 480 wide, which the page scales: so few that letters stay legible on a phone.
 */
#ifndef TQKV_CLI_PLOT_H
#define TQKV_CLI_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { CLI_PLOT_WIDTH = 480 };

/* Values low to high lie at from to to. */
typedef struct cli_axis {
    const char *title;
    bool log;   /* low is above zero */
    bool bytes; /* log: ticks are KiB and MiB */
    bool whole; /* ticks at whole numbers only */
    double low, high;
    double from, to;
} cli_axis;

typedef struct cli_plot {
    FILE *out;
    double height;
    cli_axis x, y; /* y.from is below, and larger than y.to */
} cli_plot;

double cli_axis_at(const cli_axis *axis, double value);

/* Widens a log axis to whole decades (bytes: powers of four) around values from low to high. */
void cli_axis_round(cli_axis *axis, double low, double high);

/* Opens the picture, with grid, ticks and titles; no y axis without a title. `what` is its description
 * for those who cannot see it. */
void cli_plot_begin(const cli_plot *plot, const char *what);
void cli_plot_end(const cli_plot *plot);

void cli_plot_line(const cli_plot *plot, const char *colour, size_t n, const double *x, const double *y);
void cli_plot_dot(const cli_plot *plot, const char *colour, bool filled, double x, double y);

/* anchor: "start", "middle" or "end" of the text stands at the point. */
void cli_plot_text(FILE *out, const char *style, const char *anchor, double x, double y,
                   const char *text);

/* &, <, > and quotes as HTML wants them. */
void cli_plot_escaped(FILE *out, const char *text);

/* A letter of the page's 13-unit font: generous, since browsers choose the face. */
#define CLI_LETTER_WIDTH 7.7

/* A text and the point it belongs to. */
typedef struct cli_label {
    char text[160];
    const char *colour;
    double x, y;       /* the point, in the plot's units */
    double left, base; /* where the text starts; filled in by the functions below */
} cli_label;

/* Stacks labels of line ends at their own height, or as near as they can stand `step` apart between
 * heights top and bottom, `gap` to the right of their points. Sorts them. */
void cli_labels_stack(cli_label *labels, size_t n, double top, double bottom, double step, double gap);

/* Finds each label a free place around its point, off all of the points and obstacles. */
typedef struct cli_point {
    double x, y;
} cli_point;
void cli_labels_scatter(cli_label *labels, size_t n, const cli_plot *plot, const cli_point *obstacles,
                        size_t n_obstacles);

/* Draws the texts, and a thin line to the point where a label stands away from it. */
void cli_labels_draw(const cli_label *labels, size_t n, const cli_plot *plot);

#endif
