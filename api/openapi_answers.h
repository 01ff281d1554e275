/* openapi_answers.h - what openapi.json says of answers, beside the route table: the shape of a success, the query
 * parameters, and which failures a route has of its own. Internal to api/. Immutable; any thread.
 */
#ifndef API_OPENAPI_ANSWERS_H
#define API_OPENAPI_ANSWERS_H

struct openapi_answer {
    const char *id;     /* of the route */
    const char *schema; /* JSON schema of a success; NULL: a text that is no JSON */
    const char *query;  /* parameters after '?', as JSON objects with a comma between them; "": none */
    const char
        *errors; /* statuses above 400 that its handler gives, "404 409"; those of all routes are not among them */
};

/* Of a route that is not in the table: any JSON, nothing special. */
const struct openapi_answer *openapi_answer(const char *id);

struct openapi_schema {
    const char *name, *schema;
};

/* The members of components.schemas; after the last one a row of NULLs. */
extern const struct openapi_schema openapi_schemas[];

#endif
