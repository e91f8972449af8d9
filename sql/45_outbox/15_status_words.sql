-- outbox: the providers' words for what became of a message.

-- A row without a provider holds for all providers. Rows of an installation win
-- over the built-in row of the same word, so that a dump needs only the former.
CREATE TABLE msgstore.status_words (
    provider text COLLATE "C" NOT NULL DEFAULT '',
    word text COLLATE "C" NOT NULL,
    status text COLLATE "C",
    origin text COLLATE "C" NOT NULL DEFAULT 'custom',
    consent text COLLATE "C",
    CONSTRAINT status_words_pkey PRIMARY KEY (provider, word, origin),
    CONSTRAINT status_words_word CHECK (word ~ '^[^A-Z \t\n\r-]{1,64}$'),
    CONSTRAINT status_words_status
        CHECK (status IN ('queued', 'sent', 'delivered', 'read', 'failed',
                          'undelivered')),
    CONSTRAINT status_words_origin CHECK (origin IN ('built-in', 'custom')),
    CONSTRAINT status_words_consent
        CHECK (consent IN ('unsubscribed', 'complaint', 'in'))
);

INSERT INTO msgstore.status_words (provider, word, status, origin)
SELECT w.provider, unnest(w.words), w.status, 'built-in'
FROM (VALUES
    ('', '{queued,accepted,scheduled,created,pending,enqueued,processing,
           processed,sending}'::text[], 'queued'),
    ('', '{sent,submitted,buffered,dispatched,deferred,
           delivery_unconfirmed}', 'sent'),
    -- A complaint is about a message that was delivered.
    ('', '{delivered,delivery,complained,complaint,spamreport,spam_complaint,
           spamcomplaint}',
     'delivered'),
    ('', '{read,seen,opened,open,clicked,click}', 'read'),
    ('', '{failed,canceled,cancelled,rejected,dropped,sending_failed,error}',
     'failed'),
    ('', '{undelivered,undeliverable,delivery_failed,expired,bounced,bounce,
           blocked,hard_bounce,soft_bounce}', 'undelivered'),
    -- The carrier, not the provider, accepted it.
    ('vonage', '{accepted}', 'sent'),
    ('bandwidth', '{message_sending}', 'queued'),
    ('bandwidth', '{message_delivered}', 'delivered'),
    ('bandwidth', '{message_failed}', 'failed'),
    ('bandwidth', '{message_read}', 'read'),
    -- These tell nothing about the delivery.
    ('', '{unknown,unsubscribed,unsubscribe,group_unsubscribe,
           group_resubscribe,deleted,subscriptionchange}', NULL)
) AS w (provider, words, status);

-- What they say about the consent of the recipient.
UPDATE msgstore.status_words w SET consent = CASE
    WHEN w.word IN ('complained', 'complaint', 'spamreport', 'spam_complaint', 'spamcomplaint')
        THEN 'complaint'
    WHEN w.word IN ('unsubscribed', 'unsubscribe', 'group_unsubscribe') THEN 'unsubscribed'
    WHEN w.word = 'group_resubscribe' THEN 'in' END;

SELECT pg_catalog.pg_extension_config_dump(
    'msgstore.status_words', $$WHERE origin = 'custom'$$);

-- Providers write a word as "DeliveryFailed", "delivery-failed" and
-- "DELIVERY FAILED"; only case, blanks and hyphens are taken for the same.
CREATE FUNCTION msgstore._status_word(reported text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN regexp_replace(
        lower(btrim(reported, E' \t\n\r')), '[- \t\n\r]+', '_', 'g');

CREATE FUNCTION msgstore._find_status(
    provider text,
    word text,
    OUT known boolean,
    OUT status text,
    OUT consent text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    SELECT w.status, w.consent INTO _find_status.status, _find_status.consent
    FROM msgstore.status_words w
    WHERE w.provider IN ('', _find_status.provider)
        AND w.word = _find_status.word
    ORDER BY w.provider DESC, w.origin DESC
    LIMIT 1;
    known := FOUND;
END
$$;

REVOKE ALL ON FUNCTION msgstore._status_word(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION msgstore._find_status(text, text) FROM PUBLIC;

COMMENT ON TABLE msgstore.status_words IS
    'Maps the words in which providers report a status to the status of a delivery. Insert a row to add a word or to change what a built-in word means';
COMMENT ON COLUMN msgstore.status_words.provider IS
    'Provider that the word belongs to, as in channels.provider; empty for all providers. A row of the provider is preferred';
COMMENT ON COLUMN msgstore.status_words.word IS
    'The word in lower case, with underscores for blanks and hyphens; at most 64 characters';
COMMENT ON COLUMN msgstore.status_words.status IS
    'Status that the word stands for: queued, sent, delivered, read, failed or undelivered; null for a word that does not change the status';
COMMENT ON COLUMN msgstore.status_words.origin IS
    'built-in for rows of the extension, which dumps leave out; custom for rows of the installation, which are preferred';
COMMENT ON COLUMN msgstore.status_words.consent IS
    'What the word says about the consent of the recipient: unsubscribed or complaint (an opt-out), in (an opt-in); null for nothing';
COMMENT ON FUNCTION msgstore._status_word(text) IS
    'Returns a provider''s word in the form of status_words.word';
COMMENT ON FUNCTION msgstore._find_status(text, text) IS
    'Returns whether status_words has the word for this provider, and the status and consent it stands for';
