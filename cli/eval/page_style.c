/* SPDX-License-Identifier: MIT
 * How the page of an evaluation looks: for light and dark, for desks and phones. */
#include "eval/page.h"

/* On a narrow screen a row of a table is a card of labelled figures, so that no column is out of sight.
 */
static const char style[] =
    ":root{color-scheme:light "
    "dark;--ink:#1b1f24;--soft:#5b6470;--rule:#d9dee4;--page:#fff;--mark:#fdf1e2;"
    "--usual:#b34700;--dense:#5b6470;--v2:#0b62b0;--helped:#0a7285;--v1:#7d6200;--blocks:#16794c;"
    "--turned:#8a3f9c;--lent:#b0306a;--mixed:#a8243a}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#a3adb8;--rule:#363d46;--page:#14171b;"
    "--mark:#33261a;--usual:#ffab66;--dense:#a3adb8;--v2:#6db3f2;--helped:#5fd0e0;--v1:#d8bd5a;"
    "--blocks:#5fcf98;--turned:#d39ae3;--lent:#f58fbd;--mixed:#f38a9b}}\n"
    "body{margin:0 auto;max-width:60rem;padding:1rem;background:var(--page);color:var(--ink);"
    "font:16px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}\n"
    "h2{font-size:1.15rem;margin:2.25rem 0 .25rem}\n"
    "h1,p{overflow-wrap:anywhere}p,dl{margin:.4rem 0;max-width:46rem}.soft{color:var(--soft)}\n"
    ".said{border-left:3px solid var(--usual);padding-left:.7rem;margin:.75rem 0}\n"
    ".key span{white-space:nowrap;margin-right:.9rem;font-weight:600}\n"
    "dt{font-weight:600;margin-top:.6rem}dd{margin:0}\n"
    "svg{display:block;width:100%;max-width:38rem;height:auto;margin-top:.75rem;"
    "font:13px system-ui,sans-serif}\n"
    "table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums;margin:.75rem 0}\n"
    "th,td{padding:.2rem .5rem;text-align:right;border-bottom:1px solid var(--rule)}\n"
    "td{white-space:nowrap}.name{text-align:left;font-weight:600}\n"
    "th{color:var(--soft);font-weight:600;vertical-align:bottom}\n"
    "tr.usual td{background:var(--mark)}\n"
    "@media(max-width:56rem){table,tbody{display:block}thead{display:none}\n"
    "tr{display:grid;grid-template-columns:1fr 1fr;column-gap:1.25rem;padding:.5rem;"
    "border-bottom:1px solid var(--rule)}tr.usual{background:var(--mark)}\n"
    "td{display:flex;justify-content:space-between;padding:0;border:0;column-gap:.5rem}"
    "td.name{grid-column:1/-1;white-space:normal;overflow-wrap:anywhere;justify-content:start}\n"
    "td:not(.name)::before{content:attr(data-label);color:var(--soft)}"
    "td.beside::before{content:'beside'}}\n"
    ".grid{stroke:var(--rule);stroke-width:1;fill:none}.tick{fill:var(--soft);font-size:12px}\n"
    ".power{font-size:9px}.title{fill:var(--soft)}.line{fill:none;stroke-width:1.6;stroke-opacity:.75}\n"
    ".ring{fill:var(--page);stroke-width:1.6}.lead{stroke:var(--soft);stroke-width:.7;fill:none}\n"
    ".label{stroke:none}.label.usual{font-weight:700}.line.usual{stroke-width:2.6;stroke-opacity:1}\n";

const cli_page_family cli_page_families[CLI_PAGE_FAMILIES] = {
    {"usual", "the default"},
    {"v2", "tq formats"},
    {"helped", "tq formats with helpers"},
    {"mixed", "one side, or two formats"},
    {"v1", "v1 formats"},
    {"blocks", "blocks"},
    {"turned", "rotated blocks"},
    {"lent", "blocks with helpers"},
    {"dense", "float32, float16"},
};

void cli_page_style(FILE *out) {
    fprintf(out, "<style>\n%s", style);
    for (size_t i = 0; i < CLI_PAGE_FAMILIES; i++) {
        const char *family = cli_page_families[i].name;
        fprintf(out,
                ".line.%s,.ring.%s{stroke:var(--%s)}.dot.%s,.label.%s{fill:var(--%s)}"
                ".name.%s,.key .%s{color:var(--%s)}\n",
                family, family, family, family, family, family, family, family, family);
    }
    fputs("</style>\n", out);
}
