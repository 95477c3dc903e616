/* SPDX-License-Identifier: MIT
 * Results on standard output: for people as aligned text, for programs as one JSON object.
 *
 * A sub-command adds its results once; which of the two is printed is decided here. */
#ifndef TQKV_CLI_REPORT_H
#define TQKV_CLI_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct libscols_table;

/* Names and values. A label of NULL: JSON only. */
typedef struct cli_report {
    bool as_json;
    bool failed; /* out of memory somewhere; printing says so */
    json_t *object;
    struct libscols_table *table;
} cli_report;

void cli_report_begin(cli_report *report, bool as_json);
void cli_report_text(cli_report *report, const char *key, const char *label, const char *value);

/* Words of a file that may hold U+0000, for the text alone. */
void cli_report_words(cli_report *report, const char *label, const char *text, size_t length);

void cli_report_count(cli_report *report, const char *key, const char *label, size_t value);
void cli_report_flag(cli_report *report, const char *key, const char *label, bool value);

/* Infinite and undefined numbers are null in JSON, which has no word for them. */
void cli_report_real(cli_report *report, const char *key, const char *label, double value);

/* Adds to the JSON object what the text shows in another way; takes the value over. */
void cli_report_json(cli_report *report, const char *key, json_t *value);

/* Prints, frees, and makes sure that it arrived. CLI_DONE, or CLI_FAILED after a message. */
int cli_report_end(cli_report *report);

/* As cli_report_end(), without printing: after another failure. */
void cli_report_drop(cli_report *report);

/* A table of rows, for people, for programs, or for both. The first column is flush left, the others
 * flush right. */
typedef struct cli_column {
    const char *key;     /* member of the row's JSON object; NULL: in the text alone */
    const char *heading; /* of the text's column; NULL: in JSON alone */
    const char *format; /* for printf() of a double; "%zu": a whole number; NULL: the column holds text */
} cli_column;

typedef struct cli_cell {
    const char *text; /* NULL shows as null in JSON */
    double number;
} cli_cell;

#define CLI_COLUMNS(columns) (columns), sizeof(columns) / sizeof(columns)[0]

typedef struct cli_grid {
    const cli_column *columns;
    size_t n_columns;
    bool failed;
    json_t *rows;
    struct libscols_table *table;
} cli_grid;

void cli_grid_begin(cli_grid *grid, const cli_column *columns, size_t n_columns);

/* One cell a column. A number that is not finite shows as "-", and as null in JSON. */
void cli_grid_row(cli_grid *grid, const cli_cell *cells);

/* Prints the text and frees the grid. CLI_DONE, or CLI_FAILED after a message. */
int cli_grid_print(cli_grid *grid);

/* Prints a JSON object a row, each on its line, and forgets the rows. CLI_DONE, or CLI_FAILED after a
 * message. */
int cli_grid_print_lines(cli_grid *grid);

/* Frees a grid that is not to be printed. */
void cli_grid_drop(cli_grid *grid);

/* Moves the rows as an array into a report or list and frees the grid; NULL when memory ran out. */
json_t *cli_grid_take_json(cli_grid *grid);

/* A number in JSON: null if it is not finite; whole if its format is "%zu". */
json_t *cli_json_number(const char *format, double value);

#endif
