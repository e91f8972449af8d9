/*
 * schemas_parameters.c: what GET /openapi.json tells about parameters of paths
 * and queries, and about headers.
 */
#include <string.h>

#include "routes/schemas.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* JSON is written as it is: the preprocessor makes it a string. */
#define JSON(...) #__VA_ARGS__

/* clang-format off */
static const Schema parameters[] = {
{"channel", JSON({"schema": {"type": "string"}, "example": "mms"})},
{"conversation", JSON({
	"description": "Id or number of the conversation",
	"schema": {"type": "string"}, "example": "1"})},
{"attachment", JSON({
	"description": "Id of the file, as in the paths of attachments",
	"schema": {"type": "string", "format": "uuid"},
	"example": "0191c0de-0000-8000-8000-000000000001"})},
{"response_id", JSON({
	"schema": {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,255}$"},
	"example": "resp_1"})},
{"conversation_id", JSON({
	"schema": {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,255}$"},
	"example": "conv_1"})},
{"item_id", JSON({
	"schema": {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,255}$"},
	"example": "msg_c1"})},
{"stream", JSON({
	"description": "Return the events of the response",
	"schema": {"type": "boolean"}})},
{"starting_after", JSON({
	"description": "Return the events after this sequence number",
	"schema": {"type": "integer", "minimum": 0}})},
{"include_obfuscation", JSON({
	"description": "Has no effect: events are returned as they were stored",
	"schema": {"type": "boolean"}})},
{"page", JSON({
	"description": "Number of the page, from 1",
	"schema": {"type": "integer", "default": 1}, "example": 1})},
{"pageSize", JSON({
	"description": "1 to 50; other values are adjusted",
	"schema": {"type": "integer", "default": 50}, "example": 10})},
{"page_size", JSON({
	"description": "The same as pageSize",
	"schema": {"type": "integer"}, "example": 10})},
{"per_page", JSON({
	"description": "The same as pageSize",
	"schema": {"type": "integer"}, "example": 10})},
{"after", JSON({
	"description": "Cursor: return what follows it",
	"schema": {"type": "string"}})},
{"before", JSON({
	"description": "Cursor: return what precedes it; not together with after",
	"schema": {"type": "string"}})},
{"kinds", JSON({
	"description": "Kinds of changes, separated by commas",
	"schema": {"type": "string"}, "example": "message,status"})},
{"timeout", JSON({
	"description": "Seconds that a request without server-sent events waits",
	"schema": {"type": "integer", "minimum": 0, "maximum": 60, "default": 25},
	"example": 0})},
{"limit", JSON({
	"description": "Maximum number of items, at most 100",
	"schema": {"type": "integer", "minimum": 1, "default": 20}, "example": 10})},
{"order", JSON({
	"schema": {"enum": ["asc", "desc"]}, "example": "asc"})},
{"model", JSON({"schema": {"type": "string"}, "example": "model-1"})},
{"state", JSON({
	"schema": {"$ref": "#/components/schemas/ConversationState"},
	"example": "open"})},
{"assignee", JSON({"schema": {"type": "string"}, "example": "ann"})},
{"q", JSON({
	"description": "What to search for; required by routes that search only",
	"schema": {"type": "string"}, "example": "invoice"})},
{"ranked", JSON({
	"description": "The best of the newest 1,000 hits first, if true",
	"schema": {"type": "boolean"}, "example": true})},
{"direction", JSON({
	"schema": {"enum": ["inbound", "outbound"]}})},
{"since", JSON({
	"description": "Only messages with this timestamp or a later one",
	"schema": {"type": "string", "format": "date-time"}})},
{"until", JSON({
	"description": "Only messages with an earlier timestamp",
	"schema": {"type": "string", "format": "date-time"}})},
{"unassigned", JSON({
	"description": "Only conversations without an assignee, if true",
	"schema": {"type": "boolean"}, "example": true})},
{"label", JSON({"schema": {"type": "string"}, "example": "refund"})},
{"contact_name", JSON({
	"description": "Any part of the contact name, in any case",
	"schema": {"type": "string"}, "example": "ann"})},
{"reader", JSON({
	"description": "Whose unread_count the answer shows",
	"schema": {"type": "string"}, "example": "ann"})},
{"unread", JSON({
	"description": "Only conversations that the reader has not read, if true",
	"schema": {"type": "boolean"}})},
{"status", JSON({
	"schema": {"$ref": "#/components/schemas/ResponseStatus"},
	"example": "queued"})},
{"background", JSON({"schema": {"type": "boolean"}, "example": true})},
{"include_chain", JSON({
	"description": "Return a deleted response too, and the chain",
	"schema": {"type": "boolean"}, "example": true})},
{"include", JSON({
	"description": "Has no effect: everything that was saved is included",
	"schema": {"type": "string"}, "example": "all"})},
{"include[]", JSON({
	"description": "The same as include",
	"schema": {"type": "string"}, "example": "all"})},
{"stream", JSON({
	"description": "Name of the stream, at most 256 bytes",
	"schema": {"type": "string"}, "example": "order-1"})},
{"subscription", JSON({
	"description": "Name of the subscription",
	"schema": {"type": "string"}, "example": "mailer"})},
{"category", JSON({
	"description": "Category of streams; without it, the events of all",
	"schema": {"type": "string"}, "example": "order"})},
{"after_position", JSON({
	"description": "Return the events after it",
	"schema": {"type": "integer", "minimum": 0, "default": 0}, "example": 0})},
{"from_version", JSON({
	"description": "Begin with this version",
	"schema": {"type": "integer"}, "example": 1})},
{"max_events", JSON({
	"schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
	"example": 10})},
{"backwards", JSON({
	"description": "Return the newest events first",
	"schema": {"type": "boolean"}, "example": true})},
{"wait", JSON({
	"description": "Seconds to wait for events if there are none",
	"schema": {"type": "number", "minimum": 0, "default": 0}, "example": 0})},
{"If-Match", JSON({
	"description": "The version that the stream must have, in quotes, as in ETag",
	"schema": {"type": "string"}})},
{"If-None-Match", JSON({
	"description": "* if the stream must have no events",
	"schema": {"type": "string"}})},
{"Idempotency-Key", JSON({
	"description": "A second request with the same key and body stores nothing and is answered with the first id; with another body it is a conflict",
	"schema": {"type": "string", "maxLength": 255}, "example": "key-1"})},
{"X-Request-Id", JSON({
	"description": "Is returned, logged, and stored as correlation_id",
	"schema": {"type": "string", "maxLength": 128}, "example": "request-1"})},
};
/* clang-format on */

const char *
schemas_parameter(const char *name, size_t length)
{
	for (size_t i = 0; i < LENGTH(parameters); i++)
	{
		if (strlen(parameters[i].name) == length &&
			strncmp(parameters[i].name, name, length) == 0)
			return parameters[i].json;
	}
	return NULL;
}
