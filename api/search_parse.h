/* search_parse.h - what search_parse.c and search_rank.c share. Internal to those two. */
#ifndef API_SEARCH_PARSE_H
#define API_SEARCH_PARSE_H

#include "api/search.h"

/* {operator: operand}: an object of exactly one member, whose name is one of these. */
struct search_operators {
    const char *const *names;
    unsigned n;
    const char *expected;                   /* completes "unknown variant `x`, expected " */
    const char *(*operand)(unsigned which); /* "struct" or "newtype": what a bare name lacks. NULL: it lacks nothing. */
};

/* Stands before the operand, or (*is_bare) behind a bare name. False: the reader has failed, as upstream's parser does. */
bool search_enter_operator(struct json_reader *j, const struct search_operators *ops, unsigned *which, bool *is_bare);
bool search_leave_operator(struct json_reader *j);

/* json_next_field for a struct of which members may be left out: an array of the first ones is fine too. */
int search_next_field(struct json_reader *j, struct json_fields *f);
bool search_need_first(struct json_reader *j, const struct json_fields *f); /* the first member was there */

bool search_read_rank(struct json_reader *j, struct search_payload *p, struct rank **rank);

#endif
