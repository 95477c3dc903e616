/* SPDX-License-Identifier: MIT
 * Where labels go so that they cover neither each other nor what is drawn. */
#ifndef TQKV_CLI_PLOT_LABEL_H
#define TQKV_CLI_PLOT_LABEL_H

#include "eval/plot.h"

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
