/* SPDX-License-Identifier: MIT
 * tqkv kernels: which instruction sets there are, which kernel serves each operation, and which devices
 * there are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/device.h"
#include "base/message.h"
#include "base/report.h"
#include "tqkv/cpu.h"

enum { JSON, N_OPTIONS };

static const cli_column kernel_columns[] = {{"operation", "operation", NULL}, {"isa", "kernel", NULL}};
static const cli_column level_columns[] = {{"isa", "level", NULL}, {"available", "available", NULL}};

/* Text: with its name cut, a device fits into a line of 80 columns. */
enum { NAME_CELLS = 36 };
static const cli_column device_columns[] = {{"device", "device", NULL},
                                            {"name", "name", NULL},
                                            {"capability", "capability", NULL},
                                            {"memory", "GiB", "%.1f"},
                                            {"served", "served", NULL}};

static void fill_kernels(cli_grid *grid, const tq_kernel_info *info, size_t n) {
    cli_grid_begin(grid, CLI_COLUMNS(kernel_columns));
    for (size_t i = 0; i < n; i++) {
        const cli_cell cells[] = {{.text = info[i].operation}, {.text = tq_isa_name(info[i].isa)}};
        cli_grid_row(grid, cells);
    }
}

static void add_device(cli_grid *grid, cli_device_info *info) {
    if (strlen(info->name) > NAME_CELLS) snprintf(info->name + NAME_CELLS - 3, 4, "...");
    const cli_cell cells[] = {{.text = info->device},
                              {.text = info->name},
                              {.text = info->capability},
                              {.number = info->memory_bytes / (1 << 30)},
                              {.text = info->served ? "yes" : "too old"}};
    cli_grid_row(grid, cells);
}

static int print_devices(void) {
    const size_t n = cli_count_devices();
    cli_grid grid;
    if (n == 0) {
        cli_print_line("%s", cli_has_cuda() ? "There is no CUDA device." : "This build has no CUDA.");
        return CLI_DONE;
    }
    cli_grid_begin(&grid, device_columns, sizeof device_columns / sizeof device_columns[0]);
    for (size_t i = 0; i < n; i++) {
        cli_device_info info;
        if (cli_describe_device(i, &info) == TQ_OK)
            add_device(&grid, &info);
        else
            cli_note("%s", tq_last_error()->message);
    }
    return cli_grid_print(&grid);
}

static int print_text(const tq_kernel_info *info, size_t n) {
    size_t n_levels;
    const tq_isa *levels = tq_isas(&n_levels);
    cli_grid grid;

    cli_grid_begin(&grid, level_columns, 2);
    for (size_t i = 0; i < n_levels; i++) {
        const cli_cell cells[] = {{.text = tq_isa_name(levels[i])},
                                  {.text = tq_isa_available(levels[i]) ? "yes" : "no"}};
        cli_grid_row(&grid, cells);
    }
    TRY(cli_grid_print(&grid));
    putchar('\n');
    fill_kernels(&grid, info, n);
    TRY(cli_grid_print(&grid));
    putchar('\n');
    return print_devices();
}

/* "available" is true or false, which cells cannot be. */
static json_t *levels_as_json(void) {
    size_t n;
    const tq_isa *levels = tq_isas(&n);
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++) {
        json_t *level = json_pack("{s:s, s:b}", "isa", tq_isa_name(levels[i]), "available",
                                  tq_isa_available(levels[i]));
        if (json_array_append_new(list, level) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* Null where the build has no CUDA. */
static json_t *devices_as_json(void) {
    json_t *list = cli_has_cuda() ? json_array() : json_null();
    for (size_t i = 0; list && i < cli_count_devices(); i++) {
        cli_device_info info;
        if (cli_describe_device(i, &info) != TQ_OK) {
            cli_note("%s", tq_last_error()->message);
            continue;
        }
        json_t *device = json_pack("{s:s, s:s, s:s, s:I, s:b}", "device", info.device, "name", info.name,
                                   "capability", info.capability, "memory_bytes",
                                   (json_int_t)info.memory_bytes, "served", info.served);
        if (json_array_append_new(list, device) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static int print_json(const tq_kernel_info *info, size_t n) {
    cli_report report;
    cli_grid grid;
    cli_report_begin(&report, true);
    cli_report_json(&report, "levels", levels_as_json());
    fill_kernels(&grid, info, n);
    cli_report_json(&report, "kernels", cli_grid_take_json(&grid));
    cli_report_json(&report, "devices", devices_as_json());
    return cli_report_end(&report);
}

static int print_kernels(bool as_json) {
    size_t n = 0;
    TRY(cli_check(NULL, tq_kernels_in_use(NULL, 0, &n)));
    tq_kernel_info *info = calloc(n, sizeof *info);
    int rc = info ? cli_check(NULL, tq_kernels_in_use(info, n, &n)) : cli_out_of_memory();
    if (rc == CLI_DONE) rc = as_json ? print_json(info, n) : print_text(info, n);
    free(info);
    return rc;
}

static const cli_option_spec specs[N_OPTIONS] = {[JSON] = {"json", 0, NULL, "print one JSON object"}};

static int run(const cli_args *args) {
    return print_kernels(args->options[JSON].given);
}

const cli_command cli_kernels_command = {
    .name = "kernels",
    .summary = "List instruction sets, the kernels in use and devices",
    .synopsis = "[--json]",
    .examples = "  tqkv kernels\n"
                "  TQKV_ISA=avx2 tqkv kernels\n",
    .specs = specs,
    .n_specs = N_OPTIONS,
    .run = run,
};
