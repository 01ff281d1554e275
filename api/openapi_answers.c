/* openapi_answers.c - see openapi_answers.h. The shapes are those of docs/compatibility.md and the recorded contract;
 * tests/e2e/test_openapi.py holds real answers to them.
 */
#include "api/openapi_answers.h"

#include <stddef.h>
#include <string.h>

#define REF(name)           "{\"$ref\":\"#/components/schemas/" name "\"}"
#define LIST(item)          "{\"type\":\"array\",\"items\":" item "}"
#define LIST_OR_NULL(item)  "{\"type\":[\"array\",\"null\"],\"items\":" item "}"
#define EMPTY               "{\"type\":\"object\",\"maxProperties\":0}"
#define TEXT                "{\"type\":\"string\"}"
#define TEXT_OR_NULL        "{\"type\":[\"string\",\"null\"]}"
#define COUNT               "{\"type\":\"integer\",\"minimum\":0}"
#define COUNT_OR_NULL       "{\"type\":[\"integer\",\"null\"],\"minimum\":0}"
#define NUMBER              "{\"type\":\"number\"}"
#define NUMBER_OR_NULL      "{\"type\":[\"number\",\"null\"]}"
#define TRUTH               "{\"type\":\"boolean\"}"
#define UUID                "{\"type\":\"string\",\"format\":\"uuid\"}"
#define ANY_OBJECT          "{\"type\":\"object\"}"
#define OBJECT_OR_NULL      "{\"type\":[\"object\",\"null\"]}"
#define OBJECT(need, props) "{\"type\":\"object\",\"required\":[" need "],\"properties\":{" props "}}"

#define IN_QUERY(name, schema, text)                                                                                   \
    "{\"name\":\"" name "\",\"in\":\"query\",\"required\":false,\"description\":\"" text "\",\"schema\":" schema "}"
#define U32 "{\"type\":\"integer\",\"minimum\":0,\"maximum\":4294967295}"
#define PAGE                                                                                                           \
    IN_QUERY("limit", U32, "At most so many; all if absent") "," IN_QUERY("offset", U32, "So many are left out first")
#define READ_LEVEL IN_QUERY("read_level", REF("ReadLevel"), "Changes nothing: every answered write is seen")

static const struct openapi_answer answers[] = {
    {"root", REF("Heartbeat"), "", ""},
    {"heartbeat", REF("Heartbeat"), "", ""},
    {"healthcheck", REF("Health"), "", "503"},
    {"version", TEXT, "", ""},
    {"pre_flight_checks", REF("PreFlightChecks"), "", ""},
    {"metrics", NULL, "", ""},
    {"get_user_identity", REF("Identity"), "", ""},
    {"reset", TRUTH, "", ""},
    {"create_tenant", EMPTY, "", "409"},
    {"get_tenant", REF("Tenant"), "", "404"},
    {"update_tenant", EMPTY, "", ""},
    {"get_tenant_usage", REF("Usage"), "", "404"},
    {"get_usage", OBJECT("\"tenants\"", "\"tenants\":" LIST(REF("Usage"))), "", ""},
    {"list_databases", LIST(REF("Database")), PAGE, ""},
    {"create_database", EMPTY, "", "409"},
    {"get_database", REF("Database"), "", "404"},
    {"delete_database", EMPTY, "", "404"},
    {"create_collection", REF("Collection"), "", "409"},
    {"list_collections", LIST(REF("Collection")), PAGE, ""},
    {"count_collections", COUNT, "", ""},
    {"get_collection_by_id", REF("Collection"), "", "404"},
    {"get_collection", REF("Collection"), "", "404"},
    {"update_collection", EMPTY, "", "404 409"},
    {"delete_collection", EMPTY, "", "404"},
    {"get_collection_by_crn", REF("Collection"), "", "404"},
    {"fork_collection", REF("Collection"), "", "404 409"},
    {"fork_count", OBJECT("\"count\"", "\"count\":" COUNT), "", "404"},
    {"indexing_status", REF("IndexingStatus"), "", "404"},
    {"attach_function", ANY_OBJECT, "", "501"},
    {"get_attached_function", ANY_OBJECT, "", "404"},
    {"detach_function", ANY_OBJECT, "", "501"},
    {"collection_add", EMPTY, "", "404"},
    {"collection_update", EMPTY, "", "404"},
    {"collection_upsert", EMPTY, "", "404"},
    {"collection_delete", OBJECT("\"deleted\"", "\"deleted\":" COUNT), "", "404"},
    {"collection_get", REF("GetAnswer"), "", "404"},
    {"collection_query", REF("QueryAnswer"), "", "404"},
    {"collection_search", REF("SearchAnswer"), "", "404"},
    {"collection_count", COUNT, READ_LEVEL, "404"},
};

const struct openapi_answer *openapi_answer(const char *id)
{
    static const struct openapi_answer unknown = {"", "{}", "", ""};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        if (strcmp(answers[i].id, id) == 0) return &answers[i];
    return &unknown;
}

#define VECTOR          LIST_OR_NULL(NUMBER)
#define P(name, schema) "\"" name "\":" schema

/* clang-format off */
const struct openapi_schema openapi_schemas[] = {
    {"Heartbeat", OBJECT("\"nanosecond heartbeat\"", P("nanosecond heartbeat", COUNT))},
    {"Health", OBJECT("\"is_executor_ready\",\"is_log_client_ready\"",
                      P("is_executor_ready", TRUTH) "," P("is_log_client_ready", TRUTH))},
    {"PreFlightChecks", OBJECT("\"max_batch_size\",\"supports_base64_encoding\"",
                               P("max_batch_size", COUNT) "," P("supports_base64_encoding", TRUTH))},
    {"Identity", OBJECT("\"user_id\",\"tenant\",\"databases\"",
                        P("user_id", TEXT) "," P("tenant", TEXT) "," P("databases", LIST(TEXT)))},
    {"Tenant", OBJECT("\"name\"", P("name", TEXT) "," P("resource_name", TEXT_OR_NULL))},
    {"Usage", "{\"type\":\"object\",\"required\":[\"tenant\"],\"properties\":{" P("tenant", TEXT)
              "},\"additionalProperties\":" COUNT "}"},
    {"Database", OBJECT("\"id\",\"name\",\"tenant\"", P("id", UUID) "," P("name", TEXT) "," P("tenant", TEXT))},
    {"Collection", OBJECT(
        "\"id\",\"name\",\"configuration_json\",\"schema\",\"metadata\",\"dimension\",\"tenant\",\"database\","
        "\"log_position\",\"version\"",
        P("id", UUID) "," P("name", TEXT) "," P("configuration_json", REF("Configuration")) ","
        P("schema", REF("Schema")) "," P("metadata", OBJECT_OR_NULL) "," P("dimension", COUNT_OR_NULL) ","
        P("tenant", TEXT) "," P("database", TEXT) "," P("log_position", COUNT) "," P("version", COUNT))},
    {"Configuration", OBJECT("\"hnsw\",\"spann\",\"embedding_function\"",
        P("hnsw", OBJECT_OR_NULL) "," P("spann", OBJECT_OR_NULL) "," P("embedding_function", OBJECT_OR_NULL))},
    {"Schema", OBJECT("\"defaults\",\"keys\"", P("defaults", ANY_OBJECT) "," P("keys", ANY_OBJECT))},
    {"IndexingStatus", OBJECT("\"op_indexing_progress\",\"num_unindexed_ops\",\"num_indexed_ops\",\"total_ops\"",
        P("op_indexing_progress", NUMBER) "," P("num_unindexed_ops", COUNT) "," P("num_indexed_ops", COUNT) ","
        P("total_ops", COUNT))},
    {"ReadLevel", "{\"type\":\"string\",\"enum\":[\"index_and_wal\",\"index_only\",\"index_and_bounded_wal\"]}"},
    {"Include", LIST(
        "{\"type\":\"string\",\"enum\":[\"distances\",\"documents\",\"embeddings\",\"metadatas\",\"uris\"]}")},
    // cppcheck-suppress unknownMacro ; the macros are above: it does not expand one that is in its own argument
    {"GetAnswer", OBJECT("\"ids\",\"embeddings\",\"documents\",\"uris\",\"metadatas\",\"include\"",
        P("ids", LIST(TEXT)) "," P("embeddings", LIST_OR_NULL(VECTOR)) ","
        P("documents", LIST_OR_NULL(TEXT_OR_NULL)) "," P("uris", LIST_OR_NULL(TEXT_OR_NULL)) ","
        P("metadatas", LIST_OR_NULL(OBJECT_OR_NULL)) "," P("include", REF("Include")))},
    {"QueryAnswer", OBJECT("\"ids\",\"embeddings\",\"documents\",\"uris\",\"metadatas\",\"distances\",\"include\"",
        P("ids", LIST(LIST(TEXT))) "," P("embeddings", LIST_OR_NULL(LIST(VECTOR))) ","
        P("documents", LIST_OR_NULL(LIST(TEXT_OR_NULL))) "," P("uris", LIST_OR_NULL(LIST(TEXT_OR_NULL))) ","
        P("metadatas", LIST_OR_NULL(LIST(OBJECT_OR_NULL))) ","
        P("distances", LIST_OR_NULL(LIST(NUMBER_OR_NULL))) "," P("include", REF("Include")))},
    {"SearchAnswer", OBJECT("\"ids\",\"documents\",\"embeddings\",\"metadatas\",\"scores\",\"select\"",
        P("ids", LIST(LIST(TEXT))) "," P("documents", LIST(LIST_OR_NULL(TEXT_OR_NULL))) ","
        P("embeddings", LIST(LIST_OR_NULL(VECTOR))) "," P("metadatas", LIST(LIST_OR_NULL(OBJECT_OR_NULL))) ","
        P("scores", LIST(LIST_OR_NULL(NUMBER_OR_NULL))) "," P("select", LIST(LIST(TEXT))))},
    {"ErrorResponse", OBJECT("\"error\",\"message\"", P("error", TEXT) "," P("message", TEXT))},
    {NULL, NULL},
};
/* clang-format on */
