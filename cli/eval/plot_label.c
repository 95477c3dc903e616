/* SPDX-License-Identifier: MIT
 * Where labels go so that they cover neither each other nor what is drawn. */
#include "eval/plot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of that font. */
static const double ascent = 10.5, descent = 3.5;

typedef struct box {
    double left, right, top, bottom;
} box;

static double width_of(const cli_label *label) {
    return CLI_LETTER_WIDTH * (double)strlen(label->text);
}

static box box_of(const cli_label *label) {
    return (box){label->left, label->left + width_of(label), label->base - ascent, label->base + descent};
}

static int by_height(const void *a, const void *b) {
    const cli_label *x = a, *y = b;
    return (x->y > y->y) - (x->y < y->y);
}

/* Labels that touch stand as one stack around the mean of their heights: each new one joins the stack
 * above it for as long as the two overlap. */
void cli_labels_stack(cli_label *labels, size_t n, double top, double bottom, double step, double gap) {
    qsort(labels, n, sizeof *labels, by_height);
    for (size_t i = 0; i < n; i++) {
        size_t first = i, count = 1;
        double middle = labels[i].y;
        labels[i].left = labels[i].x + gap;
        for (;;) {
            const double half = 0.5 * step * (double)(count - 1);
            middle = fmin(fmax(middle, top + half), bottom - half);
            if (first == 0 || middle - half >= labels[first - 1].base + step) break;
            /* The stack above ends just before `first`; its labels lie `step` apart. */
            size_t start = first - 1;
            while (start > 0 && labels[start].base - labels[start - 1].base <= step * 1.001)
                start--;
            double sum = 0.0;
            for (size_t j = start; j <= i; j++)
                sum += labels[j].y;
            first = start;
            count = i - start + 1;
            middle = sum / (double)count;
        }
        for (size_t j = first; j <= i; j++)
            labels[j].base = middle + step * ((double)(j - first) - 0.5 * (double)(count - 1));
    }
    for (size_t i = 0; i < n; i++)
        labels[i].base += 4.5; /* the middle of the letters stands at the height */
}

static double overlap(box a, box b) {
    const double x = fmin(a.right, b.right) - fmax(a.left, b.left);
    const double y = fmin(a.bottom, b.bottom) - fmax(a.top, b.top);
    return x > 0.0 && y > 0.0 ? x * y : 0.0;
}

/* How bad it is to stand there: what it covers, and how far from its point it is. */
static double badness(const cli_label *labels, size_t index, const cli_plot *plot,
                      const cli_point *obstacles, size_t n_obstacles) {
    const box b = box_of(&labels[index]);
    double bad = 0.0;
    for (size_t i = 0; i < index; i++)
        bad += 100.0 * overlap(b, box_of(&labels[i]));
    for (size_t i = 0; i < n_obstacles; i++) {
        const double x = obstacles[i].x, y = obstacles[i].y;
        bad += 20.0 * overlap(b, (box){x - 5.0, x + 5.0, y - 5.0, y + 5.0});
    }
    const double middle = (b.left + b.right) / 2.0, height = (b.top + b.bottom) / 2.0;
    bad += hypot(middle - labels[index].x, height - labels[index].y);
    const bool outside = b.left < plot->x.from || b.right > CLI_PLOT_WIDTH || b.top < plot->y.to ||
                         b.bottom > plot->y.from;
    return outside ? bad + 1e6 : bad;
}

static void move_label(cli_label *label, double angle, double distance) {
    const double c = cos(angle), s = sin(angle), half = width_of(label) / 2.0;
    /* The box's edge, not its middle, stands at the distance. */
    label->left = label->x + c * (distance + half) - half;
    label->base = label->y + s * (distance + 7.0) + 4.5;
}

void cli_labels_scatter(cli_label *labels, size_t n, const cli_plot *plot, const cli_point *obstacles,
                        size_t n_obstacles) {
    enum { ANGLES = 16, DISTANCES = 6 };
    const double turn = 6.283185307179586 / ANGLES;
    for (size_t i = 0; i < n; i++) {
        double least = HUGE_VAL;
        cli_label best = labels[i];
        for (int k = 0; k < ANGLES * DISTANCES; k++) {
            move_label(&labels[i], turn * (double)(k % ANGLES), 8.0 + 11.0 * (double)(k / ANGLES));
            const double bad = badness(labels, i, plot, obstacles, n_obstacles);
            if (bad < least) {
                least = bad;
                best = labels[i];
            }
        }
        labels[i] = best;
    }
}

void cli_labels_draw(const cli_label *labels, size_t n, const cli_plot *plot) {
    for (size_t i = 0; i < n; i++) {
        const cli_label *l = &labels[i];
        const box b = box_of(l);
        const double x = fmin(fmax(l->x, b.left), b.right), y = fmin(fmax(l->y, b.top), b.bottom);
        if (hypot(x - l->x, y - l->y) > 13.0) {
            fprintf(plot->out, "<path class=\"lead\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", l->x, l->y,
                    x - (x > l->x ? 2.0 : 0.0), x > l->x ? l->base - 4.5 : y);
        }
        char style[48];
        snprintf(style, sizeof style, "label %s", l->colour);
        cli_plot_text(plot->out, style, "start", l->left, l->base, l->text);
    }
}
