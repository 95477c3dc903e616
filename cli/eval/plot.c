/* SPDX-License-Identifier: MIT
 * Plots as SVG inside an HTML page: axes, lines, dots and text. */
#include "eval/plot.h"

#include <math.h>

double cli_axis_at(const cli_axis *axis, double value) {
    const double share = axis->log ? log(value / axis->low) / log(axis->high / axis->low)
                                   : (value - axis->low) / (axis->high - axis->low);
    return axis->from + share * (axis->to - axis->from);
}

void cli_axis_round(cli_axis *axis, double low, double high) {
    const double base = axis->bytes ? 4.0 : 10.0;
    axis->low = pow(base, floor(log(low) / log(base) + 1e-9));
    axis->high = pow(base, ceil(log(high) / log(base) - 1e-9));
    if (axis->high <= axis->low) axis->high = axis->low * base;
}

void cli_plot_escaped(FILE *out, const char *text) {
    for (; *text; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc(*text, out);
        }
    }
}

void cli_plot_end(const cli_plot *plot) {
    fputs("</svg>\n", plot->out);
}

void cli_plot_text(FILE *out, const char *style, const char *anchor, double x, double y,
                   const char *text) {
    fprintf(out, "<text class=\"%s\" text-anchor=\"%s\" x=\"%.1f\" y=\"%.1f\">", style, anchor, x, y);
    cli_plot_escaped(out, text);
    fputs("</text>\n", out);
}

void cli_plot_line(const cli_plot *plot, const char *colour, size_t n, const double *x, const double *y) {
    fprintf(plot->out, "<polyline class=\"line %s\" points=\"", colour);
    for (size_t i = 0; i < n; i++) {
        fprintf(plot->out, "%s%.1f,%.1f", i ? " " : "", cli_axis_at(&plot->x, x[i]),
                cli_axis_at(&plot->y, y[i]));
    }
    fputs("\"/>\n", plot->out);
}

void cli_plot_dot(const cli_plot *plot, const char *colour, bool filled, double x, double y) {
    fprintf(plot->out, "<circle class=\"%s %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"/>\n",
            filled ? "dot" : "ring", colour, cli_axis_at(&plot->x, x), cli_axis_at(&plot->y, y),
            filled ? "4" : "3.5");
}

/* The step from a tick to the next: 1, 2 or 5 times a power of ten, for at most eight ticks. */
static double linear_step(const cli_axis *axis) {
    const double rough = (axis->high - axis->low) / 8.0, power = pow(10.0, floor(log10(rough)));
    const double share = rough / power;
    const double step = power * (share <= 1.0 ? 1.0 : share <= 2.0 ? 2.0 : share <= 5.0 ? 5.0 : 10.0);
    return axis->whole ? fmax(step, 1.0) : step;
}

static double first_tick(const cli_axis *axis) {
    if (axis->log) return axis->low;
    const double step = linear_step(axis);
    return ceil(axis->low / step - 1e-9) * step + 0.0; /* no minus zero */
}

/* A power of four of bytes; of others a decade, or two where decades lie close together. */
static double log_step(const cli_axis *axis) {
    static const double least = 27.0;
    if (axis->bytes) return 4.0;
    return fabs(axis->to - axis->from) < least * log10(axis->high / axis->low) ? 100.0 : 10.0;
}

static double next_tick(const cli_axis *axis, double tick) {
    if (axis->log) return tick * log_step(axis);
    return tick + linear_step(axis);
}

static void print_tick_value(FILE *out, const cli_axis *axis, double tick) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    if (axis->log && !axis->bytes) {
        fprintf(out, "10<tspan class=\"power\" dy=\"-5\">%.0f</tspan>", log10(tick));
        return;
    }
    for (; axis->bytes && tick >= 1024.0 && unit < 4; unit++)
        tick /= 1024.0;
    fprintf(out, "%g%s%s", tick, axis->bytes ? " " : "", axis->bytes ? units[unit] : "");
}

static void x_axis(const cli_plot *plot) {
    const cli_axis *x = &plot->x, *y = &plot->y;
    for (double t = first_tick(x); t <= x->high * (1.0 + 1e-9); t = next_tick(x, t)) {
        const double at = cli_axis_at(x, t);
        fprintf(plot->out, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>\n", at, y->from, y->to);
        fprintf(plot->out, "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">", at,
                y->from + 18.0);
        print_tick_value(plot->out, x, t);
        fputs("</text>\n", plot->out);
    }
    cli_plot_text(plot->out, "title", "middle", (x->from + x->to) / 2.0, y->from + 38.0, x->title);
}

static void y_axis(const cli_plot *plot) {
    const cli_axis *x = &plot->x, *y = &plot->y;
    for (double t = first_tick(y); t <= y->high * (1.0 + 1e-9); t = next_tick(y, t)) {
        const double at = cli_axis_at(y, t);
        fprintf(plot->out, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>\n", x->from, at, x->to);
        fprintf(plot->out, "<text class=\"tick\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">",
                x->from - 7.0, at + 4.5);
        print_tick_value(plot->out, y, t);
        fputs("</text>\n", plot->out);
    }
    /* Above the axis and level: a text that stands on its head is hard to read. */
    cli_plot_text(plot->out, "title", "start", 4.0, y->to - 14.0, y->title);
}

void cli_plot_begin(const cli_plot *plot, const char *what) {
    fprintf(plot->out, "<svg viewBox=\"0 0 %d %.0f\" role=\"img\" aria-label=\"", CLI_PLOT_WIDTH,
            plot->height);
    cli_plot_escaped(plot->out, what);
    fputs("\">\n", plot->out);
    x_axis(plot);
    if (plot->y.title) y_axis(plot);
}
