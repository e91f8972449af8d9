-- address: normalized addresses, conversation keys and snippets.

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

CREATE FUNCTION msgstore._address_fault(channel text, address text)
RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'msgstore_address_fault';

CREATE FUNCTION msgstore.conversation_key(channel text, a text, b text)
RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'msgstore_conversation_key';

-- Not strict: the snippet of a message without a body is empty, not null.
CREATE FUNCTION msgstore.snippet(body text, max_length int DEFAULT 64)
RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'msgstore_snippet';

REVOKE ALL ON FUNCTION msgstore._address_fault(text, text) FROM PUBLIC;

COMMENT ON FUNCTION msgstore.normalize_phone(text) IS
'Returns the digits of a phone number, with a leading + if it has one. Removes URI schemes (tel:, sms:, whatsapp:, ...), parameters and extensions, and converts the decimal digits of every script. An e-mail address is normalized as such; a sender name, and text that is not a single address, is only trimmed. Returns null for null.';
COMMENT ON FUNCTION msgstore.normalize_email(text) IS
'Returns the address without display name, comments, mailto: and plus-tag, in lower case (ASCII letters only) and with an internationalized domain in its ASCII form. Text that is not a single address is only trimmed, and lowered if it has no @. Returns null for null.';
COMMENT ON FUNCTION msgstore.normalize_address(text, text) IS
'Returns the address, normalized by the address_kind and plus_tags of the channel. Returns null for null. Raises MS400 if the channel does not exist.';
COMMENT ON FUNCTION msgstore._address_fault(text, text) IS
'Returns why ingest and send refuse the address on that channel, or null if it is a single address. Raises MS400 if the channel does not exist.';
COMMENT ON FUNCTION msgstore.conversation_key(text, text, text) IS
'Returns the key of the conversation between two addresses on a channel: the channel''s thread and the two normalized addresses in byte order, so the key is the same in both directions. Returns null for null. Raises MS400 if the channel does not exist.';
COMMENT ON FUNCTION msgstore.snippet(text, integer) IS
'Returns the first max_length user-perceived characters (grapheme clusters) of the body, after collapsing and trimming white space. Returns an empty string for a null or blank body, and uses 64 for a null max_length. Raises MS400 if max_length is negative.';
