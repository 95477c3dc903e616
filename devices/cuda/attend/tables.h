/* SPDX-License-Identifier: MIT
 * What a byte of codes is as float16: the tables of tq_attend(). */
#ifndef TQ_CUDA_TABLES_H
#define TQ_CUDA_TABLES_H

#include "format/tables.h"

enum { TQ_ATTEND_ENTRIES = 256, TQ_ATTEND_WORDS = 4 };

/* Entries of four words: two of one float16 a centroid, two where each has a second one for what the
 * first leaves. Of 2 bits an entry is four codes, of 3 bits two (the low bits, two each, then the high
 * ones), of 4 bits two, of more bits one, twice or high and low. Index bits beyond those do not count.
 * All are centroids times a factor, which is returned, between 1 and 2: the one that makes rounding to
 * float16 least. */
float tq_attend_fill_table(const tq_codebook_tables *book,
                           uint32_t table[TQ_ATTEND_ENTRIES][TQ_ATTEND_WORDS]);

#endif
