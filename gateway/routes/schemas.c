/*
 * schemas.c: what GET /openapi.json tells about bodies.
 *
 * A schema of a request has an example that is accepted. A schema of an answer
 * names all members; only those that come from clients may have others.
 */
#include "routes/schemas.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* JSON is written as it is: the preprocessor makes it a string. */
#define JSON(...) #__VA_ARGS__

/* clang-format off */
const Schema schemas[] = {
{"Error", JSON({
	"type": "object",
	"required": ["code", "message"],
	"properties": {
		"code": {"type": "string", "description": "Follows from the status"},
		"message": {"type": "string"},
		"details": {"type": "string", "description": "What was expected"},
		"findings": {"$ref": "#/components/schemas/Findings"}
	},
	"additionalProperties": false
})},
{"ApiError", JSON({
	"type": "object",
	"description": "The error body of OpenAI's Responses API",
	"required": ["error"],
	"properties": {
		"error": {
			"type": "object",
			"required": ["message", "type", "param", "code"],
			"properties": {
				"message": {"type": "string"},
				"type": {"type": "string"},
				"param": {"type": ["string", "null"],
					"description": "The parameter or field at fault"},
				"code": {"type": "string"}
			},
			"additionalProperties": false
		}
	},
	"additionalProperties": false
})},
{"Changes", JSON({
	"type": "object",
	"required": ["changes", "next"],
	"properties": {
		"changes": {"type": "array", "items": {
			"type": "object",
			"required": ["kind"],
			"properties": {
				"kind": {"enum": ["message", "status", "conversation",
					"dead_letter", "operation", "reset"]},
				"id": {"type": "string", "format": "uuid"},
				"conversation_id": {"type": "string", "format": "uuid"},
				"channel": {"type": "string"},
				"direction": {"enum": ["inbound", "outbound"]},
				"timestamp": {"type": "string", "format": "date-time"},
				"status": {"type": "string"},
				"error_code": {"type": "string"},
				"present": {"type": "boolean",
					"description": "Whether it is a dead letter now"},
				"operation": {"type": "string"},
				"event_count": {"type": "integer"}
			},
			"additionalProperties": false
		}},
		"next": {"type": "string",
			"description": "Pass it as \"after\" to get what follows"}
	},
	"additionalProperties": false
})},
{"Session", JSON({
	"type": "object",
	"required": ["keys", "open", "tenant", "scopes"],
	"properties": {
		"keys": {"type": "boolean",
			"description": "Whether the gateway requires keys"},
		"open": {"type": "boolean",
			"description": "Whether this request may use the API"},
		"tenant": {"type": "string"},
		"scopes": {"type": "array", "items": {
			"enum": ["ingest", "send", "read", "responses", "append", "consume", "operate"]}}
	},
	"additionalProperties": false
})},
{"DeadLetters", JSON({
	"type": "object",
	"required": ["items", "total"],
	"properties": {
		"items": {"type": "array", "items": {
			"type": "object",
			"properties": {
				"id": {"type": "string", "format": "uuid"},
				"direction": {"enum": ["inbound", "outbound"]},
				"channel": {"type": ["string", "null"]},
				"from": {"type": ["string", "null"]},
				"to": {"type": ["string", "null"]},
				"body": {"type": ["string", "null"],
					"description": "Its first 200 characters"},
				"attempt_count": {"type": "integer"},
				"error_code": {"type": "string"},
				"error_message": {"type": "string"},
				"attempts": {"type": "array"},
				"created_at": {"type": ["string", "null"], "format": "date-time"},
				"died_at": {"type": "string", "format": "date-time"},
				"slot": {"type": "integer",
					"description": "In a cluster: the slot that has it"}
			},
			"additionalProperties": false
		}},
		"total": {"type": "integer"},
		"unreachable_slots": {"type": "array", "items": {"type": "integer"},
			"description": "In a cluster: slots whose items are missing"}
	},
	"additionalProperties": false
})},
{"Requeue", JSON({
	"type": "object",
	"properties": {
		"ids": {"type": "array", "items": {"type": "string", "format": "uuid"}},
		"channel": {"type": "string"},
		"error_code": {"type": "string"},
		"dry_run": {"type": "boolean",
			"description": "Only count those that match all of the others"}
	},
	"additionalProperties": false,
	"examples": [{"channel": "sms", "dry_run": true}]
})},
{"Requeued", JSON({
	"type": "object",
	"required": ["count"],
	"properties": {"count": {"type": "integer"}},
	"additionalProperties": false
})},
{"Rows", JSON({
	"type": "object",
	"required": ["items"],
	"properties": {
		"items": {"type": "array", "items": {"type": "object"}},
		"complete": {"type": "boolean",
			"description": "Where so many are counted at most: false if there are more"},
		"unreachable_slots": {"type": "array", "items": {"type": "integer"},
			"description": "In a cluster: slots whose items are missing"}
	},
	"additionalProperties": false
})},
{"Workers", JSON({
	"type": "object",
	"required": ["items", "paused"],
	"properties": {
		"items": {"type": "array", "items": {"type": "object"}},
		"unreachable_slots": {"type": "array", "items": {"type": "integer"},
			"description": "In a cluster: slots whose items are missing"},
		"paused": {
			"type": ["object", "null"],
			"required": ["paused_at", "paused_by", "reason"],
			"properties": {
				"paused_at": {"type": "string", "format": "date-time"},
				"paused_by": {"type": "string"},
				"reason": {"type": ["string", "null"]}
			},
			"additionalProperties": false
		}
	},
	"additionalProperties": false
})},
{"Pause", JSON({
	"type": "object",
	"properties": {
		"reason": {"type": ["string", "null"], "maxLength": 255}
	},
	"additionalProperties": false,
	"examples": [{"reason": "the CRM is down"}]
})},
{"Changed", JSON({
	"type": "object",
	"required": ["changed"],
	"properties": {
		"changed": {"type": "boolean",
			"description": "False if there was nothing to change"}
	},
	"additionalProperties": false
})},
{"Accepted", JSON({
	"type": "object",
	"required": ["status", "id"],
	"properties": {
		"status": {"const": "accepted"},
		"id": {"type": "string", "format": "uuid",
			"description": "Of the event, message or report"},
		"duplicate": {"const": true,
			"description": "Nothing was stored: the id is that of the first"}
	},
	"additionalProperties": false
})},
{"Message", JSON({
	"type": "object",
	"description": "What all messages have in common. Other members are stored too.",
	"required": ["from", "to", "timestamp"],
	"properties": {
		"from": {"type": "string", "description": "Phone number or e-mail address"},
		"to": {"type": "string", "description": "Phone number or e-mail address"},
		"type": {"type": ["string", "null"],
			"description": "Another channel that the message belongs to: sms or mms"},
		"body": {"type": ["string", "null"]},
		"attachments": {"type": ["array", "null"],
			"items": {"type": "string", "format": "uri"}},
		"timestamp": {"type": "string", "format": "date-time"}
	}
})},
{"SmsMessage", JSON({
	"allOf": [{"$ref": "#/components/schemas/Message"}],
	"required": ["body"],
	"examples": [{
		"from": "+12016661234", "to": "+18045551234", "type": "sms",
		"body": "Yes, it is.", "attachments": null,
		"timestamp": "2024-11-01T14:05:00Z"
	}]
})},
{"EmailMessage", JSON({
	"allOf": [{"$ref": "#/components/schemas/Message"}],
	"required": ["body"],
	"examples": [{
		"from": "hotel@example.com", "to": "ann@example.org",
		"body": "Yes, it is.",
		"attachments": ["https://example.com/rooms.pdf"],
		"timestamp": "2024-11-01T14:05:00Z"
	}]
})},
{"OutboundMessage", JSON({
	"allOf": [{"$ref": "#/components/schemas/Message"}],
	"description": "The channel says which other members are required.",
	"examples": [{
		"from": "+12016661234", "to": "+18045551234", "body": "The room:",
		"attachments": ["https://example.com/room.jpg"],
		"timestamp": "2024-11-01T14:06:00Z"
	}]
})},
{"SmsEvent", JSON({
	"allOf": [{"$ref": "#/components/schemas/Message"}],
	"required": ["body", "messaging_provider_id"],
	"properties": {
		"messaging_provider_id": {"type": "string",
			"description": "The provider's id; a second event with it is a duplicate"}
	},
	"examples": [{
		"from": "+1 (804) 555-1234", "to": "+12016661234", "type": "sms",
		"messaging_provider_id": "message-1",
		"body": "Is the room free?", "attachments": null,
		"timestamp": "2024-11-01T14:00:00Z"
	}]
})},
{"EmailEvent", JSON({
	"allOf": [{"$ref": "#/components/schemas/Message"}],
	"required": ["body", "xillio_id"],
	"properties": {
		"xillio_id": {"type": "string",
			"description": "The provider's id; a second event with it is a duplicate"}
	},
	"examples": [{
		"from": "Ann <ann@example.org>", "to": "hotel@example.com",
		"xillio_id": "message-2", "body": "Is the room free?",
		"timestamp": "2024-11-01T14:00:00Z"
	}]
})},
{"InboundEvent", JSON({
	"allOf": [{"$ref": "#/components/schemas/Message"}],
	"description": "The channel says which other members are required, and which one has the provider's id.",
	"examples": [{
		"from": "+18045551234", "to": "+12016661234",
		"messaging_provider_id": "message-3", "body": "Like this one.",
		"attachments": ["https://example.com/room.jpg"],
		"timestamp": "2024-11-01T14:01:00Z"
	}]
})},
{"MockEvent", JSON({
	"allOf": [{"$ref": "#/components/schemas/Message"}],
	"required": ["channel"],
	"properties": {"channel": {"type": "string"}},
	"examples": [{
		"channel": "sms", "from": "+18045551234", "to": "+12016661234",
		"body": "Thank you.", "timestamp": "2024-11-01T14:07:00Z"
	}]
})},
{"StatusReport", JSON({
	"type": "object",
	"required": ["channel", "provider_message_id", "status"],
	"properties": {
		"channel": {"type": "string"},
		"provider_message_id": {"type": "string"},
		"status": {"type": "string",
			"description": "queued, sent, delivered, read, failed, undelivered or a word of the channel's provider"},
		"detail": {"type": ["object", "null"],
			"description": "Is stored as it is, except for secrets"}
	},
	"examples": [{
		"channel": "sms", "provider_message_id": "provider-1",
		"status": "delivered", "detail": {"segments": 1}
	}]
})},
{"MockConfiguration", JSON({
	"type": "object",
	"properties": {
		"timeout_pct": {"$ref": "#/components/schemas/Percentage"},
		"error_pct": {"$ref": "#/components/schemas/Percentage"},
		"ratelimit_pct": {"$ref": "#/components/schemas/Percentage"},
		"seed": {"type": ["integer", "null"], "minimum": 0,
			"description": "Makes the outcomes repeatable"}
	},
	"examples": [{"timeout_pct": 0, "error_pct": 0, "ratelimit_pct": 0, "seed": 42}]
})},
{"Percentage", JSON({"type": "integer", "minimum": 0, "maximum": 100})},
{"ConversationPage", JSON({
	"type": "object",
	"required": ["items", "meta"],
	"properties": {
		"items": {"type": "array",
			"items": {"$ref": "#/components/schemas/Conversation"}},
		"meta": {"$ref": "#/components/schemas/PageMeta"}
	},
	"additionalProperties": false
})},
{"Conversation", JSON({
	"type": "object",
	"required": ["id", "number", "key", "channel", "participant_a", "participant_b",
		"message_count", "inbound_count", "last_activity_at", "state", "assignee",
		"contact_name", "labels"],
	"properties": {
		"id": {"type": "string", "format": "uuid"},
		"number": {"type": "integer"},
		"key": {"type": "string"},
		"channel": {"type": "string"},
		"participant_a": {"type": "string"},
		"participant_b": {"type": "string"},
		"message_count": {"type": "integer"},
		"inbound_count": {"type": "integer", "description": "Inbound messages"},
		"last_activity_at": {"type": "string", "format": "date-time"},
		"state": {"$ref": "#/components/schemas/ConversationState"},
		"assignee": {"type": ["string", "null"]},
		"contact_name": {"type": ["string", "null"]},
		"labels": {"type": "array", "items": {"type": "string"}},
		"unread_count": {"type": "integer",
			"description": "Inbound messages that the reader has not read, if a reader is given"}
	},
	"additionalProperties": false
})},
{"ConversationState", JSON({
	"enum": ["open", "closed"],
	"description": "An inbound message opens a closed conversation again"
})},
{"ConversationChanges", JSON({
	"type": "object",
	"description": "What is missing stays as it is.",
	"properties": {
		"state": {"$ref": "#/components/schemas/ConversationState"},
		"up_to": {"type": "string", "format": "uuid",
			"description": "Id of the last message seen: a conversation with a later inbound message stays open"},
		"assignee": {"type": ["string", "null"], "maxLength": 255},
		"contact_name": {"type": ["string", "null"], "maxLength": 255},
		"labels": {"$ref": "#/components/schemas/Labels"},
		"add_labels": {"$ref": "#/components/schemas/Labels"},
		"remove_labels": {"$ref": "#/components/schemas/Labels"}
	},
	"examples": [{"state": "closed", "assignee": "ann", "add_labels": ["refund"]}]
})},
{"Labels", JSON({
	"type": "array", "maxItems": 50,
	"items": {"type": "string", "minLength": 1, "maxLength": 64}
})},
{"ReadMark", JSON({
	"type": "object",
	"required": ["reader"],
	"properties": {
		"reader": {"type": "string", "minLength": 1, "maxLength": 255},
		"message": {"type": ["string", "null"], "format": "uuid",
			"description": "Id of the last message read; without it, all are"}
	},
	"examples": [{"reader": "ann"}]
})},
{"UnreadMark", JSON({
	"type": "object",
	"required": ["reader"],
	"properties": {
		"reader": {"type": "string", "minLength": 1, "maxLength": 255}
	},
	"examples": [{"reader": "ann"}]
})},
{"MessagePage", JSON({
	"type": "object",
	"required": ["items", "meta"],
	"properties": {
		"items": {"type": "array",
			"items": {"$ref": "#/components/schemas/StoredMessage"}},
		"meta": {"$ref": "#/components/schemas/PageMeta"}
	},
	"additionalProperties": false
})},
{"StoredMessage", JSON({
	"type": "object",
	"required": ["id", "conversation_id", "direction", "channel", "type", "from", "to",
		"body", "snippet", "attachments", "timestamp", "created_at",
		"provider_message_id", "status"],
	"properties": {
		"id": {"type": "string", "format": "uuid"},
		"conversation_id": {"type": "string", "format": "uuid"},
		"direction": {"enum": ["inbound", "outbound"]},
		"channel": {"type": "string"},
		"type": {"type": "string", "description": "The same as channel"},
		"from": {"type": "string", "description": "Normalized"},
		"from_given": {"type": "string",
			"description": "As it was given, if that is different"},
		"to": {"type": "string", "description": "Normalized"},
		"to_given": {"type": "string",
			"description": "As it was given, if that is different"},
		"subject": {"type": "string"},
		"body": {"type": ["string", "null"]},
		"snippet": {"type": ["string", "null"],
			"description": "The beginning of the body, in one line"},
		"attachments": {"type": ["array", "null"], "items": {"type": "string"}},
		"timestamp": {"type": "string", "format": "date-time"},
		"created_at": {"type": "string", "format": "date-time"},
		"provider_message_id": {"type": ["string", "null"]},
		"status": {"type": ["string", "null"],
			"description": "received, queued, sent, delivered, read, failed, undelivered or uncertain; null if no provider sends the message"},
		"error_code": {"type": "string"}
	},
	"additionalProperties": false
})},
{"PageMeta", JSON({
	"type": "object",
	"required": ["page", "page_size", "total", "next_cursor"],
	"properties": {
		"page": {"type": "integer"},
		"page_size": {"type": "integer"},
		"total": {"type": "integer"},
		"total_is_minimum": {"type": "boolean",
			"description": "True if there may be more than total"},
		"next_cursor": {"type": ["string", "null"],
			"description": "Pass it as after to get the next page; null on the last page"}
	},
	"additionalProperties": false
})},
{"FoundMessages", JSON({
	"type": "object",
	"required": ["items", "meta"],
	"properties": {
		"items": {"type": "array",
			"items": {"$ref": "#/components/schemas/FoundMessage"}},
		"meta": {
			"type": "object",
			"required": ["next_cursor", "indexed_until"],
			"properties": {
				"next_cursor": {"type": ["string", "null"]},
				"indexed_until": {"$ref": "#/components/schemas/IndexedUntil"}
			},
			"additionalProperties": false
		}
	},
	"additionalProperties": false
})},
{"IndexedUntil", JSON({
	"type": "string", "format": "date-time",
	"description": "Messages that were added later may be missing"
})},
{"FoundMessage", JSON({
	"type": "object",
	"required": ["id", "conversation_id", "conversation_number", "direction", "channel",
		"from", "to", "subject", "timestamp", "snippet"],
	"properties": {
		"id": {"type": "string", "format": "uuid"},
		"conversation_id": {"type": "string", "format": "uuid"},
		"conversation_number": {"type": ["integer", "null"]},
		"direction": {"enum": ["inbound", "outbound"]},
		"channel": {"type": "string"},
		"from": {"type": "string"},
		"to": {"type": "string"},
		"subject": {"type": ["string", "null"]},
		"timestamp": {"type": "string", "format": "date-time"},
		"snippet": {"type": "array", "items": {"type": "string"},
			"description": "Pieces of the body; every second piece is a hit"}
	},
	"additionalProperties": false
})},
{"FoundConversations", JSON({
	"type": "object",
	"required": ["items", "meta"],
	"properties": {
		"items": {"type": "array",
			"items": {"$ref": "#/components/schemas/Conversation"}},
		"meta": {
			"type": "object",
			"required": ["indexed_until"],
			"properties": {
				"indexed_until": {"$ref": "#/components/schemas/IndexedUntil"}
			},
			"additionalProperties": false
		}
	},
	"additionalProperties": false
})},
{"NewResponse", JSON({
	"type": "object",
	"description": "Other members are stored too.",
	"required": ["id", "status", "model"],
	"properties": {
		"id": {"type": "string", "maxLength": 255},
		"status": {"$ref": "#/components/schemas/ResponseStatus"},
		"model": {"type": "string"},
		"created_at": {"type": "number", "description": "In Unix seconds"},
		"completed_at": {"type": ["number", "null"], "description": "In Unix seconds"},
		"previous_response_id": {"type": ["string", "null"]},
		"background": {"type": ["boolean", "null"]},
		"store": {"type": ["boolean", "null"],
			"description": "If false, the response is returned and not stored"},
		"conversation": {"type": ["string", "object", "null"],
			"description": "ID of the conversation that gets the items, or an object with it"},
		"stream": {"type": ["boolean", "null"],
			"description": "If true, the answer is a stream of events"},
		"input": {"type": ["array", "string", "null"],
			"description": "A string is stored as a message"},
		"output": {"type": ["array", "null"]}
	},
	"examples": [{
		"id": "resp_1", "status": "queued", "model": "model-1", "background": true,
		"input": [{"id": "msg_1", "type": "message", "role": "user", "content": "Is this on?"}]
	}]
})},
{"ResponseStatus", JSON({
	"enum": ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled",
		"requires_action"]
})},
{"Response", JSON({
	"type": "object",
	"description": "Has all members that were saved.",
	"required": ["id", "object", "status", "model"],
	"properties": {
		"id": {"type": "string"},
		"object": {"const": "response"},
		"status": {"$ref": "#/components/schemas/ResponseStatus"},
		"model": {"type": "string"},
		"created_at": {"type": "number"},
		"input": {"type": ["array", "null"]},
		"output": {"type": ["array", "null"]},
		"chain": {"type": "array", "items": {"type": "object"},
			"description": "The responses that this one continues, with include_chain"},
		"chain_truncated": {"type": "boolean",
			"description": "Whether the chain has more responses than are returned"}
	}
})},
{"DeletedResponse", JSON({
	"anyOf": [
		{
			"type": "object",
			"required": ["id", "object", "deleted"],
			"properties": {
				"id": {"type": "string"},
				"object": {"const": "response.deleted"},
				"deleted": {"const": true}
			},
			"additionalProperties": false
		},
		{"$ref": "#/components/schemas/Response"}
	]
})},
{"ResponseList", JSON({
	"allOf": [{"$ref": "#/components/schemas/List"}],
	"properties": {
		"data": {"items": {"$ref": "#/components/schemas/Response"}}
	}
})},
{"ItemList", JSON({
	"allOf": [{"$ref": "#/components/schemas/List"}],
	"properties": {
		"data": {"items": {"type": "object", "required": ["id"]}}
	}
})},
{"Item", JSON({"type": "object", "required": ["id"]})},
{"NewItems", JSON({
	"type": "object",
	"required": ["items"],
	"properties": {
		"items": {"type": "array", "items": {"type": "object"}}
	},
	"examples": [{
		"items": [{"type": "message", "role": "user", "content": "Is this on?"}]
	}]
})},
{"NewResponseConversation", JSON({
	"type": "object",
	"properties": {
		"id": {"type": "string", "maxLength": 255,
			"description": "Made by the database if it is missing"},
		"metadata": {"type": ["object", "null"]},
		"items": {"type": ["array", "null"], "items": {"type": "object"}}
	},
	"examples": [{
		"id": "conv_1", "metadata": {"topic": "sound"},
		"items": [{"id": "msg_c1", "type": "message", "role": "user", "content": "Hello"}]
	}]
})},
{"ResponseConversationMetadata", JSON({
	"type": "object",
	"required": ["metadata"],
	"properties": {"metadata": {"type": ["object", "null"]}},
	"examples": [{"metadata": {"topic": "light"}}]
})},
{"ResponseConversation", JSON({
	"type": "object",
	"required": ["id", "object", "created_at", "metadata"],
	"properties": {
		"id": {"type": "string"},
		"object": {"const": "conversation"},
		"created_at": {"type": "integer", "description": "In Unix seconds"},
		"metadata": {"type": "object"}
	},
	"additionalProperties": false
})},
{"DeletedResponseConversation", JSON({
	"type": "object",
	"required": ["id", "object", "deleted"],
	"properties": {
		"id": {"type": "string"},
		"object": {"const": "conversation.deleted"},
		"deleted": {"const": true}
	},
	"additionalProperties": false
})},
{"List", JSON({
	"type": "object",
	"required": ["object", "data", "first_id", "last_id", "has_more"],
	"properties": {
		"object": {"const": "list"},
		"data": {"type": "array"},
		"first_id": {"type": ["string", "null"]},
		"last_id": {"type": ["string", "null"]},
		"has_more": {"type": "boolean"}
	}
})},
{"Health", JSON({
	"type": "object",
	"required": ["status"],
	"properties": {"status": {"const": "ok"}},
	"additionalProperties": false
})},
{"Readiness", JSON({
	"type": "object",
	"required": ["status"],
	"properties": {
		"status": {"enum": ["ready", "degraded"]},
		"findings": {"$ref": "#/components/schemas/Findings"}
	},
	"additionalProperties": false
})},
{"Findings", JSON({
	"type": "array",
	"description": "What is missing",
	"items": {
		"type": "object",
		"required": ["finding", "severity"],
		"properties": {
			"finding": {"type": "string"},
			"severity": {"type": "string"},
			"detail": {"type": "string"},
			"hint": {"type": "string", "description": "What to do"}
		},
		"additionalProperties": false
	}
})},
{"Metrics", JSON({
	"type": "object",
	"required": ["ts_unix_ms", "database_up"],
	"additionalProperties": {"type": "integer"}
})},
{"Document", JSON({
	"type": "object",
	"required": ["openapi", "info", "paths", "components"]
})},
};

/* clang-format on */

const size_t schemas_count = LENGTH(schemas);
