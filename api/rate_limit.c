/* rate_limit.c - token buckets, each one number: the moment at which the bucket will be full again (the "theoretical arrival
 * time" of the generic cell rate algorithm, ITU-T I.371). A token pushes that moment back by the time in which one comes in;
 * it may not be pushed further from now than a whole burst takes.
 *
 * INVARIANT  a compare-and-swap on the one number is the whole change, so concurrent takers never take more than there is.
 */
#include "api/limits_internal.h"

bool rate_take(struct rate_bucket *b, const struct rate_rule *rule, uint64_t now_ns, uint64_t *wait_ns)
{
    CHECK(rule->per_second > 0 && rule->per_second <= RATE_MAX && rule->burst <= RATE_MAX && "the rule was checked");
    const uint64_t token_ns = 1000000000 / rule->per_second;
    const uint64_t whole_ns = token_ns * (rule->burst > 0 ? rule->burst : rule->per_second);
    uint64_t full_at = atomic_load_explicit(&b->full_at_ns, memory_order_relaxed), next;
    do {
        next = (full_at > now_ns ? full_at : now_ns) + token_ns;
        if (next - now_ns > whole_ns) {
            *wait_ns = next - now_ns - whole_ns;
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&b->full_at_ns, &full_at, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}
