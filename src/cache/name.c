/* SPDX-License-Identifier: MIT
 * Names of ways to keep keys and values, such as "tq6/tq4+centre+recent=64". */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tqkv/cache.h"

enum { WORD_SIZE = 16 };

/* What is read: all of it, and the rest. */
typedef struct reader {
    const char *name, *at;
} reader;

/* Takes what stands before any of `ends`. A word that is cut off is none that anybody knows. */
static const char *take_word(reader *r, const char *ends, char word[WORD_SIZE]) {
    const char *begin = r->at;
    const size_t length = strcspn(begin, ends), kept = length < WORD_SIZE ? length : WORD_SIZE - 1;
    memcpy(word, begin, kept);
    word[kept] = '\0';
    r->at += length;
    return begin;
}

static uint64_t place(const reader *r, const char *at) {
    return (uint64_t)(at - r->name);
}

static tq_status take_format(reader *r, tq_format *format) {
    char word[WORD_SIZE];
    const char *begin = take_word(r, "/+", word);
    if (tq_format_from_name(word, format) == TQ_OK) return TQ_OK;
    return tq_fail(TQ_E_FORMAT, place(r, begin), "name",
                   "there is no format '%s'; there are tq2 to tq8, tq4-v1, tq5-v1, tq6-v1 and tq8-v1",
                   word);
}

/* What stands behind a suffix's '='. */
static tq_status take_count(reader *r, size_t *count) {
    char *end = NULL;
    const char *begin = r->at;
    const size_t length = strcspn(begin, "+");
    errno = 0;
    const unsigned long long number = strtoull(begin, &end, 10);
    /* strtoull() takes blanks and signs too. */
    if (begin[0] < '0' || begin[0] > '9' || end != begin + length || errno != 0 || number == 0 ||
        number > SIZE_MAX)
        return tq_fail(TQ_E_POSITION, place(r, begin), "name",
                       "'%.*s' is not a number of positions, 1 or more", (int)(length < 40 ? length : 40),
                       begin);
    *count = (size_t)number;
    r->at = end;
    return TQ_OK;
}

static tq_status set_rule(const reader *r, const char *begin, tq_norm_rule rule, tq_cache_layer *layer) {
    if (layer->k.norm_rule != TQ_NORM_DEFAULT)
        return tq_fail(TQ_E_NORM_RULE, place(r, begin), "name", "more than one norm rule");
    if (TQ_IS_V1(layer->k.format) || TQ_IS_V1(layer->v.format))
        return tq_fail(TQ_E_NORM_RULE, place(r, begin), "name",
                       "v1 formats have no centre, and no norm rule to choose");
    layer->k.norm_rule = layer->v.norm_rule = rule;
    return TQ_OK;
}

/* Where a suffix's number goes, and what it is if none is given. */
static size_t *count_of(const char *word, tq_cache_config *c, size_t *usual) {
    const struct {
        const char *word;
        size_t *count, usual;
    } known[] = {{"centre", &c->centre_stretch, TQ_DEFAULT_CENTRE_STRETCH},
                 {"recent", &c->recent, TQ_DEFAULT_RECENT},
                 {"sinks", &c->sinks, TQ_DEFAULT_SINKS}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(word, known[i].word) == 0) {
            *usual = known[i].usual;
            return known[i].count;
        }
    return NULL;
}

/* A stretch, or all positions; and as many of its keys as are learned from. */
static tq_status take_stretch(reader *r, tq_cache_config *c) {
    char word[WORD_SIZE];
    const reader before = *r;
    c->learn_centre = TQ_DEFAULT_LEARN_CENTRE;
    take_word(r, "+", word);
    if (strcmp(word, "all") == 0) {
        c->centre_stretch = 0;
        return TQ_OK;
    }
    *r = before;
    TRY(take_count(r, &c->centre_stretch));
    if (c->centre_stretch < c->learn_centre) c->learn_centre = c->centre_stretch;
    return TQ_OK;
}

static tq_status take_suffix(reader *r, tq_cache_config *c) {
    char word[WORD_SIZE];
    tq_norm_rule rule;
    size_t usual = 0;
    const char *begin = r->at++;
    take_word(r, "+=", word);
    size_t *count = count_of(word, c, &usual);
    const bool centre = count == &c->centre_stretch;
    if (count != NULL && (centre ? c->learn_centre : *count) != 0)
        return tq_fail(TQ_E_POSITION, place(r, begin), "name", "'+%s' is there twice", word);
    if (centre && TQ_IS_V1(c->layer.k.format))
        return tq_fail(TQ_E_FORMAT, place(r, begin), "name",
                       "v1 formats have no centre, and no norm rule to choose");
    if (count != NULL) {
        *count = usual;
        if (centre) c->learn_centre = TQ_DEFAULT_LEARN_CENTRE;
        if (*r->at != '=') return TQ_OK;
        r->at++;
        return centre ? take_stretch(r, c) : take_count(r, count);
    }
    if (*r->at != '=' && tq_norm_rule_from_name(word, &rule) == TQ_OK)
        return set_rule(r, begin, rule, &c->layer);
    const size_t length = 1 + strcspn(begin + 1, "+");
    return tq_fail(TQ_E_FORMAT, place(r, begin), "name",
                   "'%.*s' is no suffix here; there are +centre[=L], +recent[=R], +sinks[=S], +plain, "
                   "+matched and +unbiased",
                   (int)(length < 40 ? length : 40), begin);
}

tq_status tq_cache_config_from_name(const char *name, tq_cache_config *config) {
    if (name == NULL || config == NULL)
        return tq_fail(TQ_E_NULL, 0, name == NULL ? "name" : "config", "an argument is NULL");
    reader r = {name, name};
    tq_cache_config c;
    TRY(tq_take_struct("config", config, &c, sizeof c));
    c.learn_centre = c.centre_stretch = c.recent = c.sinks = 0;
    c.layer.k.norm_rule = c.layer.v.norm_rule = TQ_NORM_DEFAULT;
    TRY(take_format(&r, &c.layer.k.format));
    c.layer.v.format = c.layer.k.format;
    if (*r.at == '/') {
        r.at++;
        TRY(take_format(&r, &c.layer.v.format));
    }
    if (*r.at == '/')
        return tq_fail(TQ_E_FORMAT, place(&r, r.at), "name",
                       "a third format; there are those of keys and of values");
    while (*r.at == '+')
        TRY(take_suffix(&r, &c));
    return tq_give_struct("config", &c, sizeof c, config);
}
