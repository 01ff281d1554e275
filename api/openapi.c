/* openapi.c - the description of the interface: openapi.json and a page for people, both made from the route table.
 *
 * The page needs no network and no script: a table of what the server answers to.
 */
#include "api/openapi_answers.h"

#include <stdio.h>

#include "api/answer.h"
#include "api/routes.h"

/* Steps through the parameters of a pattern; false at the end. */
static bool next_param(const char **at, struct str *name)
{
    const char *open = strchr(*at, '{');
    if (open == NULL) return false;
    *name = str_of(open + 1, strcspn(open + 1, "}"));
    *at = name->p + name->n;
    return true;
}

/* Whether a route can answer so. What its handler alone knows is in openapi_answers.c. */
static bool has_error(const struct api_route *row, const struct openapi_answer *answer, unsigned status)
{
    char text[12];
    switch (status) {
    case 400:
        return row->body != BODY_NONE || answer->query[0] != '\0' || strchr(row->pattern, '{') != NULL;
    case 401:
    case 403:
        return row->action != ACTION_PUBLIC;
    case 413:
    case 415:
    case 422:
        return row->body != BODY_NONE;
    case 429:
        return route_names_tenant(row);
    case 500:
        return true;
    default:
        (void)snprintf(text, sizeof text, "%u", status);
        return strstr(answer->errors, text) != NULL;
    }
}

static void put_errors(struct buf *b, const struct api_route *row, const struct openapi_answer *answer)
{
    static const struct {
        unsigned status;
        const char *text;
    } errors[] = {{400, "The request is malformed, or what it asks for is not allowed"},
                  {401, "Credentials are missing or wrong"},
                  {403, "The caller may not do this, or nobody may"},
                  {404, "Something that the path names does not exist"},
                  {409, "There is one of this name"},
                  {413, "The body is larger than the server takes"},
                  {415, "The body is not said to be JSON"},
                  {422, "The body has the wrong shape"},
                  {429, "The tenant has too much in progress, or asks too often"},
                  {500, "Server error"},
                  {501, "Not to be had on a single node"},
                  {503, "The server cannot do its work"}};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (!has_error(row, answer, errors[i].status)) continue;
        buf_printf(b, ",\"%u\":{\"description\":\"%s\",\"content\":", errors[i].status, errors[i].text);
        if (errors[i].status == 413 && row->body == BODY_JSON_BARE)
            buf_lit(b, "{\"text/plain\":{\"schema\":{\"type\":\"string\"}}}}");
        else if (errors[i].status == 503 && row->handler == handle_healthcheck)
            buf_lit(b, "{\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/Health\"}}}}");
        else
            buf_lit(b, "{\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/ErrorResponse\"}}}}");
    }
}

static void put_parameters(struct buf *b, const struct api_route *row, const struct openapi_answer *answer)
{
    const char *at = row->pattern;
    struct str name;
    bool is_first = true;
    while (next_param(&at, &name)) {
        if (!is_first) buf_char(b, ',');
        is_first = false;
        buf_lit(b, "{\"name\":");
        json_put_string(b, name);
        buf_lit(b, ",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}}");
    }
    if (answer->query[0] == '\0') return;
    if (!is_first) buf_char(b, ',');
    buf_str(b, str_from_c(answer->query));
}

static void put_operation(struct buf *b, const struct api_route *row)
{
    const struct openapi_answer *answer = openapi_answer(row->id);
    size_t n_method = strlen(row->method);
    buf_char(b, '"');
    for (size_t i = 0; i < n_method; i++) buf_char(b, (char)(row->method[i] - 'A' + 'a'));
    buf_lit(b, "\":{\"tags\":[");
    json_put_string(b, str_from_c(row->tag));
    buf_lit(b, "],\"summary\":");
    json_put_string(b, str_from_c(row->summary));
    buf_lit(b, ",\"operationId\":");
    json_put_string(b, str_from_c(row->id));
    buf_lit(b, ",\"parameters\":[");
    put_parameters(b, row, answer);
    buf_char(b, ']');
    if (row->schema != NULL) {
        buf_lit(b, ",\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":");
        buf_str(b, str_from_c(row->schema));
        buf_lit(b, "}}}");
    }
    buf_lit(b, ",\"responses\":{");
    json_put_string(b, row->handler == handle_add ? STR("201") : STR("200"));
    if (answer->schema == NULL)
        buf_lit(b, ":{\"description\":\"Success\",\"content\":{\"text/plain\":{\"schema\":{\"type\":\"string\"}}}}");
    else
        buf_printf(b, ":{\"description\":\"Success\",\"content\":{\"application/json\":{\"schema\":%s}}}",
                   answer->schema);
    put_errors(b, row, answer);
    buf_char(b, '}');
    if (row->action != ACTION_PUBLIC)
        buf_lit(b, ",\"security\":[{\"ApiKeyAuth\":[]},{\"BearerAuth\":[]},{\"BasicAuth\":[]}]");
    buf_char(b, '}');
}

enum api_outcome handle_openapi(struct api_request *r)
{
    struct buf *b = &r->answer;
    const char *pattern = NULL;
    buf_lit(b, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"chroma-frontend\",\"description\":\"\",\"license\":"
               "{\"name\":\"\"},\"version\":\"1.0.0\"},\"paths\":{");
    for (uint32_t i = 0; i < api_n_routes; i++) {
        const struct api_route *row = &api_routes[i];
        if (row->tag == NULL) continue;
        if (pattern == NULL || strcmp(pattern, row->pattern) != 0) {
            if (pattern != NULL) buf_lit(b, "},");
            pattern = row->pattern;
            json_put_string(b, str_from_c(pattern));
            buf_lit(b, ":{");
        } else {
            buf_char(b, ',');
        }
        put_operation(b, row);
    }
    if (pattern != NULL) buf_char(b, '}');
    buf_lit(b, "},\"components\":{\"schemas\":{");
    for (const struct openapi_schema *part = openapi_schemas; part->name != NULL; part++)
        buf_printf(b, "%s\"%s\":%s", part == openapi_schemas ? "" : ",", part->name, part->schema);
    buf_lit(b, "},\"securitySchemes\":{\"ApiKeyAuth\":{\"type\":\"apiKey\",\"in\":\"header\",\"name\":"
               "\"x-chroma-token\"},\"BearerAuth\":{\"type\":\"http\",\"scheme\":\"bearer\"},"
               "\"BasicAuth\":{\"type\":\"http\",\"scheme\":\"basic\"}}}}");
    return api_ok(r, 200);
}

/* --- the page ---------------------------------------------------------------------------------------------------- */

enum api_outcome handle_docs(struct api_request *r)
{
    struct buf *b = &r->answer;
    buf_lit(b,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Chroma API</title>\n<style>"
            "body{font:16px/1.5 sans-serif;max-width:64em;margin:2em auto;padding:0 1em}"
            "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3em .6em;"
            "border-top:1px solid #ccc}code{font-size:90%}summary{cursor:pointer}pre{white-space:pre-wrap}"
            "</style>\n</head>\n<body>\n<h1>Chroma API</h1>\n<p>The same as <a href=\"/openapi.json\">openapi.json</a>,"
            " for reading.</p>\n<table>\n<tr><th>Method</th><th>Path</th><th>What it does</th></tr>\n");
    for (uint32_t i = 0; i < api_n_routes; i++) {
        const struct api_route *row = &api_routes[i];
        if (row->tag == NULL) continue;
        /* Nothing in the table needs escaping in HTML but the quotes of schemas, which are harmless in text. */
        buf_printf(b, "<tr><td>%s</td><td><code>%s</code></td><td>%s", row->method, row->pattern, row->summary);
        if (row->schema != NULL) buf_printf(b, "<details><summary>Body</summary><pre>%s</pre></details>", row->schema);
        buf_lit(b, "</td></tr>\n");
    }
    buf_lit(b, "</table>\n</body>\n</html>\n");
    if (b->err != ERR_OK) return api_fail(r, b->err, "The answer does not fit in memory");
    r->answer_type = STR("text/html; charset=utf-8");
    r->status = 200;
    return API_DONE;
}

/* The page needs no other file. */
enum api_outcome handle_docs_asset(struct api_request *r)
{
    return answer_empty(r, 404);
}

enum api_outcome handle_docs_redirect(struct api_request *r)
{
    r->location = STR("/docs/");
    return answer_empty(r, 303);
}
