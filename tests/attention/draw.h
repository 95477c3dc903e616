/* SPDX-License-Identifier: MIT
 * Random plans of scenes. */
#ifndef TESTS_ATTENTION_DRAW_H
#define TESTS_ATTENTION_DRAW_H

#include "scene.h"

/* Of the seven v2 formats, the four v1 formats and the two dense stores, by number: sides of a pair. */
enum { STORES = 14, V2_STORES = 7, ENCODED_STORES = 11 };
void set_store(side_plan *p, unsigned number);

/* A number from 0 to most, small ones as likely as large ones. */
size_t draw_size(rng *r, size_t most);

/* Plans of one segment: shapes below, contiguous, no centre, no sinks. */
scene_plan plain_plan(uint32_t heads, uint32_t kv_heads, uint32_t dim, size_t queries, size_t length);

/* Splits positions 0 .. length-1 into 1 to MOST_SEGMENTS segments in random order, with random stores
 * that may be in one call. */
void draw_segments(scene_plan *p, size_t length, rng *r);

/* Random layouts, rings and pages for all views of the plan. */
void draw_layouts(scene_plan *p, rng *r);

/* None, or one for a segment or for every few positions. */
void draw_centres(scene_plan *p, rng *r);

/* All of it, of any shape whose float64 model takes about `work` multiplications at most. */
void draw_plan(scene_plan *p, double work, rng *r);

/* Random position, masks, softcap and scale. */
void draw_masks(tq_attention_params *p, size_t length, rng *r);

#endif
