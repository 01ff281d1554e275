/* auth_action.c - see auth_action.h.
 */
#include "api/auth_action.h"

enum { A = 1, W = 2, R = 4 };

struct action_row {
    const char *name;
    unsigned roles;
};

static const struct action_row action_rows[ACTION_COUNT_] = {[ACTION_UNSET] = {"", 0},
                                                             [ACTION_PUBLIC] = {"public", 0},
                                                             [ACTION_IDENTITY] = {"identity", 0},
#define ACTION_ROW_(code, text, who) [ACTION_##code] = {text, who},
                                                             AUTH_ACTION_TABLE(ACTION_ROW_)
#undef ACTION_ROW_
};

enum auth_action auth_action_of(struct str name)
{
    for (int i = ACTION_IDENTITY + 1; i < ACTION_COUNT_; i++)
        if (str_eq(name, str_from_c(action_rows[i].name))) return (enum auth_action)i;
    return ACTION_UNSET;
}

const char *auth_action_name(enum auth_action action)
{
    return action_rows[action].name;
}

auth_actions auth_role_actions(struct str role)
{
    static const struct {
        const char *name;
        unsigned bit;
    } roles[] = {{"admin", A}, {"writer", W}, {"reader", R}};
    auth_actions all = 0;
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        for (int a = 0; a < ACTION_COUNT_ && str_eq(role, str_from_c(roles[i].name)); a++)
            if ((action_rows[a].roles & roles[i].bit) != 0) all |= ACTION_BIT(a);
    return all;
}
