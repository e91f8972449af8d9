-- address: one spelling for each address, conversation keys, snippets.

CREATE FUNCTION msgstore.normalize_phone(address text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'msgstore_normalize_phone';

CREATE FUNCTION msgstore.normalize_email(address text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'msgstore_normalize_email';

CREATE FUNCTION msgstore.normalize_address(channel text, address text)
RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'msgstore_normalize_address';

CREATE FUNCTION msgstore.conversation_key(channel text, a text, b text)
RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'msgstore_conversation_key';

-- Not strict: a message without a body has an empty snippet, not none.
CREATE FUNCTION msgstore.snippet(body text, max_length int DEFAULT 64)
RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'msgstore_snippet';

COMMENT ON FUNCTION msgstore.normalize_phone(text) IS
'The digits of a phone number with at most one leading +, without tel:, sms: or whatsapp: and a URI''s parameters; a sender without any digit stays as it is, trimmed. Null for null, empty for blank.';
COMMENT ON FUNCTION msgstore.normalize_email(text) IS
'An e-mail address without display name, mailto: and plus-tag, ASCII letters lowered, an international domain in its ASCII form. Null for null, empty for blank.';
COMMENT ON FUNCTION msgstore.normalize_address(text, text) IS
'The address normalized as the channel''s address_kind says. Null for null; MS400 for an unknown channel.';
COMMENT ON FUNCTION msgstore.conversation_key(text, text, text) IS
'The key of the conversation between two addresses on a channel: the channel''s thread and the two normalized addresses in byte order, so the same in both directions. Null for null; MS400 for an unknown channel.';
COMMENT ON FUNCTION msgstore.snippet(text, integer) IS
'The first max_length user-perceived characters (grapheme clusters) of the body, white space collapsed and trimmed before. Empty, never null, for a null or blank body; MS400 for a negative length.';
