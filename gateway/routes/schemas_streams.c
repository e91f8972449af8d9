/*
 * schemas_streams.c: what GET /openapi.json tells about bodies of the routes of
 * event streams and subscriptions. The rules are those of schemas.c.
 */
#include "routes/schemas.h"

/* JSON is written as it is: the preprocessor makes it a string. */
#define JSON(...) #__VA_ARGS__

/* clang-format off */
const Schema stream_schemas[] = {
{"NewEvent", JSON({
	"type": "object",
	"required": ["type", "data"],
	"properties": {
		"type": {"type": "string", "maxLength": 1000},
		"data": {"description": "Any JSON"},
		"metadata": {"description": "Any JSON"},
		"event_id": {"type": "string", "format": "uuid",
			"description": "An event with the same id and content is stored once"},
		"created_by": {"type": "string"},
		"expected_version": {"type": "integer", "minimum": 0,
			"description": "Version of the stream before the event; 0: no events. Another version is a conflict"}
	},
	"additionalProperties": false,
	"examples": [{"type": "Placed", "data": {"amount": 10}}]
})},
{"NewEvents", JSON({
	"type": "object",
	"required": ["events"],
	"properties": {
		"events": {
			"type": "array",
			"items": {
				"allOf": [{"$ref": "#/components/schemas/NewEventOfStream"}]
			}
		}
	},
	"examples": [{"events": [{"stream": "order-1", "type": "Placed", "data": {"amount": 10}}]}]
})},
{"NewEventOfStream", JSON({
	"type": "object",
	"required": ["stream", "type", "data"],
	"properties": {
		"stream": {"type": "string", "maxLength": 1000},
		"type": {"type": "string", "maxLength": 1000},
		"data": {"description": "Any JSON"},
		"metadata": {"description": "Any JSON"},
		"event_id": {"type": "string", "format": "uuid"},
		"created_by": {"type": "string"},
		"expected_version": {"type": "integer", "minimum": 0}
	},
	"additionalProperties": false
})},
{"AppendedEvent", JSON({
	"type": "object",
	"required": ["stream", "version", "position"],
	"properties": {
		"stream": {"type": "string"},
		"version": {"type": "integer", "description": "In the stream, from 1"},
		"position": {"type": "integer", "description": "Among all events"}
	},
	"additionalProperties": false
})},
{"Appended", JSON({
	"type": "object",
	"required": ["events"],
	"properties": {
		"events": {"type": "array", "items": {"$ref": "#/components/schemas/AppendedEvent"}}
	},
	"additionalProperties": false
})},
{"Event", JSON({
	"type": "object",
	"required": ["stream", "version", "position", "event_id", "type", "data", "metadata",
		"created_at", "created_by"],
	"properties": {
		"stream": {"type": "string"},
		"version": {"type": "integer"},
		"position": {"type": "integer"},
		"event_id": {"type": "string", "format": "uuid"},
		"type": {"type": "string"},
		"data": {},
		"metadata": {},
		"created_at": {"type": "string", "format": "date-time"},
		"created_by": {"type": ["string", "null"]}
	},
	"additionalProperties": false
})},
{"EventPage", JSON({
	"type": "object",
	"required": ["events", "next"],
	"properties": {
		"events": {"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
		"next": {"type": "integer", "description": "The position for the next page"}
	},
	"additionalProperties": false
})},
{"FetchedPage", JSON({
	"type": "object",
	"required": ["events", "next"],
	"properties": {
		"events": {"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
		"next": {"type": ["integer", "null"],
			"description": "The position to acknowledge; null without events"}
	},
	"additionalProperties": false
})},
{"StreamPage", JSON({
	"type": "object",
	"required": ["stream", "version", "events"],
	"properties": {
		"stream": {"type": "string"},
		"version": {"type": "integer", "description": "Of its last event"},
		"events": {"type": "array", "items": {"$ref": "#/components/schemas/Event"}}
	},
	"additionalProperties": false
})},
{"Fetch", JSON({
	"type": "object",
	"properties": {
		"max_events": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
		"member": {"type": "integer", "minimum": 0, "default": 0},
		"wait": {"type": "number", "minimum": 0, "default": 0,
			"description": "Seconds to wait for events"}
	},
	"additionalProperties": false,
	"examples": [{"max_events": 10}]
})},
{"Acknowledgement", JSON({
	"type": "object",
	"required": ["position"],
	"properties": {
		"position": {"type": "integer"},
		"member": {"type": "integer", "minimum": 0, "default": 0}
	},
	"additionalProperties": false,
	"examples": [{"position": 0}]
})},
{"Acknowledged", JSON({
	"type": "object",
	"required": ["position"],
	"properties": {"position": {"type": "integer"}},
	"additionalProperties": false
})},
{"SubscriptionList", JSON({
	"type": "object",
	"required": ["subscriptions"],
	"properties": {
		"subscriptions": {
			"type": "array",
			"items": {
				"type": "object",
				"required": ["tenant_id", "name", "category", "position", "head", "lag_events",
					"lag_seconds", "parked_events"]
			}
		}
	},
	"additionalProperties": false
})},
};
/* clang-format on */

const size_t stream_schemas_count =
	sizeof(stream_schemas) / sizeof(stream_schemas[0]);
