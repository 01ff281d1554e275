/* codes_effort.c - how sure a search is to be: from effort to margin, from margin to the rule that stops.
 *
 * FAILURE     none. A rule that is no number, in a damaged section, never stops.
 * INVARIANT   both functions grow with their argument, so that more effort never looks at less.
 */
#include "index/codes_internal.h"

/* Sections of before had no stop_few: the share of `stop` that was found to lose as much on rows with and without clumps. */
#define FEW_OF_STOP 0.9F

float codes_epsilon(uint32_t effort, uint32_t k)
{
    uint32_t least = k < EFFORT_DEFAULT ? k : EFFORT_DEFAULT;
    if (effort < least) effort = least;
    if (effort < EFFORT_MIN) effort = EFFORT_MIN;
    if (effort > EFFORT_MAX) effort = EFFORT_MAX;
    return CODES_EPSILON + (CODES_EPSILON - CODES_EPSILON_FEW) * log10f((float)effort / EFFORT_DEFAULT);
}

float codes_stop(const struct codes *c, float epsilon)
{
    if (!(c->stop < INFINITY)) return INFINITY;
    float few = c->stop_few > 0 && c->stop_few <= c->stop ? c->stop_few : FEW_OF_STOP * c->stop;
    return few + (c->stop - few) * ((epsilon - CODES_EPSILON_FEW) / (CODES_EPSILON - CODES_EPSILON_FEW));
}
