/* SPDX-License-Identifier: MIT
 * Parts of an evaluation's page that no figure goes into. */
#ifndef TQKV_CLI_PAGE_H
#define TQKV_CLI_PAGE_H

#include <stdio.h>

/* A class of the style sheet, which has a colour, and what it stands for. */
typedef struct cli_page_family {
    const char *name, *what;
} cli_page_family;

enum { CLI_PAGE_FAMILIES = 9 };
extern const cli_page_family cli_page_families[CLI_PAGE_FAMILIES];

void cli_page_style(FILE *out);

/* What every word on the page means. */
void cli_page_terms(FILE *out);

#endif
