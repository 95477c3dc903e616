/* SPDX-License-Identifier: MIT
 * Results on standard output: for people as aligned text, for programs as one JSON object. */
#include "base/report.h"

#include <libsmartcols.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/message.h"
#include "tqkv/status.h"

/* What makes a float32 come back the same; more would show noise of the double sums. Of what is timed
 * fewer mean something. */
enum { JSON_DIGITS = 9, LINE_DIGITS = 6 };

json_t *cli_json_number(const char *format, double value) {
    if (format && strcmp(format, "%zu") == 0) return json_integer((json_int_t)value);
    return isfinite(value) ? json_real(value) : json_null();
}

/* Never cut to the terminal's width: a path that is cut cannot be copied. */
static struct libscols_table *new_table(void) {
    struct libscols_table *table = scols_new_table();
    if (table) {
        scols_table_set_termforce(table, SCOLS_TERMFORCE_NEVER);
        scols_table_set_column_separator(table, "  ");
        scols_table_set_stream(table, stdout);
    }
    return table;
}

void cli_report_begin(cli_report *report, bool as_json) {
    *report = (cli_report){.as_json = as_json};
    if (as_json) {
        report->object = json_object();
        report->failed = !report->object;
        return;
    }
    report->table = new_table();
    report->failed = !report->table || scols_table_enable_noheadings(report->table, 1) != 0 ||
                     !scols_table_new_column(report->table, "name", 0, 0) ||
                     !scols_table_new_column(report->table, "value", 0, 0);
}

/* Names and words out of files may hold anything: the table's copy is made fit for a terminal. */
static bool set_cell(struct libscols_line *line, size_t i, const char *text) {
    char *copy = strdup(text);
    if (copy && scols_line_refer_data(line, i, tq_printable(copy)) == 0) return true;
    free(copy);
    return false;
}

static void add_line(cli_report *report, const char *label, const char *value) {
    if (report->failed || !label) return;
    struct libscols_line *line = scols_table_new_line(report->table, NULL);
    report->failed = !line || !set_cell(line, 0, label) || !set_cell(line, 1, value);
}

void cli_report_json(cli_report *report, const char *key, json_t *value) {
    if (!report->as_json || report->failed) {
        json_decref(value);
        return;
    }
    report->failed = json_object_set_new(report->object, key, value) != 0;
}

/* File names are bytes, JSON strings are UTF-8: bytes that are not become question marks. */
static json_t *json_text(const char *value) {
    json_t *text = json_string(value);
    if (text) return text;
    char shown[4096];
    snprintf(shown, sizeof shown, "%s", value);
    for (char *c = shown; *c; c++)
        *c = (*c & 0x80) ? '?' : *c;
    return json_string(shown);
}

void cli_report_text(cli_report *report, const char *key, const char *label, const char *value) {
    if (report->as_json) {
        cli_report_json(report, key, json_text(value));
        return;
    }
    add_line(report, label, value);
}

void cli_report_words(cli_report *report, const char *label, const char *text, size_t length) {
    char *copy = malloc(length + 1);
    report->failed = report->failed || !copy;
    if (report->failed) {
        free(copy);
        return;
    }
    for (size_t i = 0; i < length; i++)
        copy[i] = text[i] ? text[i] : '?';
    copy[length] = '\0';
    add_line(report, label, copy);
    free(copy);
}

void cli_report_count(cli_report *report, const char *key, const char *label, size_t value) {
    char text[32];
    if (report->as_json) {
        cli_report_json(report, key, json_integer((json_int_t)value));
        return;
    }
    snprintf(text, sizeof text, "%zu", value);
    add_line(report, label, text);
}

void cli_report_flag(cli_report *report, const char *key, const char *label, bool value) {
    if (report->as_json) {
        cli_report_json(report, key, json_boolean(value));
        return;
    }
    add_line(report, label, value ? "yes" : "no");
}

void cli_report_real(cli_report *report, const char *key, const char *label, double value) {
    char text[32];
    if (report->as_json) {
        cli_report_json(report, key, cli_json_number(NULL, value));
        return;
    }
    snprintf(text, sizeof text, "%.6g", value);
    add_line(report, label, text);
}

void cli_report_drop(cli_report *report) {
    json_decref(report->object);
    scols_unref_table(report->table);
    report->object = NULL;
    report->table = NULL;
}

int cli_report_end(cli_report *report) {
    bool failed = report->failed;
    if (!failed && report->as_json) {
        /* A full disk shows in the stream's error flag; the return value does not tell it apart. */
        (void)json_dumpf(report->object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(JSON_DIGITS));
        putchar('\n');
    } else if (!failed) {
        failed = scols_print_table(report->table) < 0;
    }
    cli_report_drop(report);
    return failed ? cli_out_of_memory() : cli_flush_output();
}

void cli_grid_begin(cli_grid *grid, const cli_column *columns, size_t n_columns) {
    *grid = (cli_grid){
        .columns = columns, .n_columns = n_columns, .rows = json_array(), .table = new_table()};
    grid->failed = !grid->rows || !grid->table;
    for (size_t i = 0, at = 0; !grid->failed && i < n_columns; i++)
        if (columns[i].heading)
            grid->failed =
                !scols_table_new_column(grid->table, columns[i].heading, 0, at++ ? SCOLS_FL_RIGHT : 0);
}

/* The cell as the text has it. */
static bool add_to_line(struct libscols_line *line, size_t at, const char *format, const cli_cell *cell) {
    char number[32] = "-";
    if (!format) return set_cell(line, at, cell->text);
    if (strcmp(format, "%zu") == 0)
        snprintf(number, sizeof number, "%.0f", cell->number);
    else if (isfinite(cell->number))
        snprintf(number, sizeof number, format, cell->number);
    return set_cell(line, at, number);
}

static json_t *json_cell(const char *format, const cli_cell *cell) {
    if (format) return cli_json_number(format, cell->number);
    return cell->text ? json_text(cell->text) : json_null();
}

void cli_grid_row(cli_grid *grid, const cli_cell *cells) {
    struct libscols_line *line = grid->failed ? NULL : scols_table_new_line(grid->table, NULL);
    json_t *object = json_object();

    grid->failed = !line || !object;
    for (size_t i = 0, at = 0; !grid->failed && i < grid->n_columns; i++) {
        const cli_column *c = &grid->columns[i];
        grid->failed =
            (c->heading && !add_to_line(line, at, c->format, &cells[i])) ||
            (c->key && json_object_set_new(object, c->key, json_cell(c->format, &cells[i])) != 0);
        at += c->heading != NULL;
    }
    if (grid->failed)
        json_decref(object);
    else
        grid->failed = json_array_append_new(grid->rows, object) != 0;
}

void cli_grid_drop(cli_grid *grid) {
    json_decref(grid->rows);
    scols_unref_table(grid->table);
    grid->rows = NULL;
    grid->table = NULL;
}

int cli_grid_print(cli_grid *grid) {
    const bool failed = grid->failed || scols_print_table(grid->table) < 0;
    cli_grid_drop(grid);
    return failed ? cli_out_of_memory() : cli_flush_output();
}

int cli_grid_print_lines(cli_grid *grid) {
    if (grid->failed) return cli_out_of_memory();
    for (size_t i = 0; i < json_array_size(grid->rows); i++) {
        /* A full disk shows when the output is flushed. */
        (void)json_dumpf(json_array_get(grid->rows, i), stdout,
                         JSON_COMPACT | JSON_REAL_PRECISION(LINE_DIGITS));
        putchar('\n');
    }
    json_array_clear(grid->rows);
    return cli_flush_output();
}

json_t *cli_grid_take_json(cli_grid *grid) {
    json_t *rows = grid->failed ? NULL : json_incref(grid->rows);
    cli_grid_drop(grid);
    return rows;
}
