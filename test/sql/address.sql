-- address: one spelling for each address, conversation keys, snippets.
CREATE EXTENSION msgstore;
-- Emoji have no width that all versions of psql agree on.
\pset format unaligned
\pset null NULL

-- The normalizers and the key are immutable, strict and parallel safe; the
-- snippet is not strict.
SELECT p.proname, p.provolatile, p.proisstrict, p.proparallel
FROM pg_catalog.pg_proc AS p
WHERE p.pronamespace = 'msgstore'::regnamespace
    AND p.proname IN ('normalize_phone', 'normalize_email', 'normalize_address',
                      'conversation_key', 'snippet')
ORDER BY p.proname COLLATE "C";

-- Phone numbers

-- Keep a leading +, keep the digits, drop the rest.
SELECT msgstore.normalize_phone('+1 (555) 000-1234');
SELECT msgstore.normalize_phone('(555) 000-1234');
-- A number without + is not given a country code.
SELECT msgstore.normalize_phone('5550001234');
-- A + after a digit is dropped.
SELECT msgstore.normalize_phone('1+2');
-- A + before the first digit counts, whatever stands around it, and once.
SELECT msgstore.normalize_phone(' +1555');
SELECT msgstore.normalize_phone('(+)1555');
SELECT msgstore.normalize_phone('++1555');
-- Full-width digits and the full-width + are digits and +.
SELECT msgstore.normalize_phone('＋８１　９０－１２３４－５６７８');
-- A leading 00 is left alone.
SELECT msgstore.normalize_phone('0049 30 1234');
-- tel:, sms: and whatsapp: in front are dropped, in any case and repeatedly.
SELECT msgstore.normalize_phone('tel:+1-555-000-1234');
SELECT msgstore.normalize_phone('WhatsApp:+15550001234');
SELECT msgstore.normalize_phone(' sms: TEL:+15550001234 ');
-- The parameters of such a URI are no part of the number.
SELECT msgstore.normalize_phone('tel:+15550001234;ext=12;phone-context=+44');
SELECT msgstore.normalize_phone('sms:+15550001234?body=42');
-- Without a URI there are no parameters.
SELECT msgstore.normalize_phone('555;12');
-- A sender without a digit is the trimmed text itself, after the prefix.
SELECT msgstore.normalize_phone('ACME');
SELECT msgstore.normalize_phone('  Acme Inc. ');
SELECT msgstore.normalize_phone('tel:ACME;x=y');
SELECT msgstore.normalize_phone('+');
-- Nothing but a prefix is kept, so that it is not the same as nothing.
SELECT msgstore.normalize_phone('tel:');
-- Empty and blank give an empty address; null gives null.
SELECT msgstore.normalize_phone(''), msgstore.normalize_phone(E' \t\u00a0\u3000\n');
SELECT msgstore.normalize_phone(NULL);

-- E-mail addresses

-- Lower case.
SELECT msgstore.normalize_email('USER@Example.COM');
-- The plus-tag goes, from the first + to the @.
SELECT msgstore.normalize_email('user+tag@x.org');
SELECT msgstore.normalize_email('User+Tag+2@Example.com');
-- Without @: only lowered, a + stays.
SELECT msgstore.normalize_email('Not-An-Email');
SELECT msgstore.normalize_email('a+b');
-- The first @ splits.
SELECT msgstore.normalize_email('a@b+c@d.com');
-- A tag that is the whole local part stays.
SELECT msgstore.normalize_email('+Tag@Example.com');
-- The address inside the brackets, without the display name.
SELECT msgstore.normalize_email('"Front Desk" <Desk@Example.COM>');
SELECT msgstore.normalize_email('"a<b>" < Desk+x@Example.COM > (main)');
SELECT msgstore.normalize_email('Desk@Example.COM <>');
-- What follows mailto:, without what it carries.
SELECT msgstore.normalize_email('mailto:Desk@Example.COM?subject=a@b');
SELECT msgstore.normalize_email('<MAILTO: desk@example.com>');
SELECT msgstore.normalize_email('mailto:');
-- An internationalized domain in its ASCII form, however it is written.
SELECT msgstore.normalize_email('kontakt@BÜCHER.example');
SELECT msgstore.normalize_email(E'kontakt@bu\u0308cher.example');
SELECT msgstore.normalize_email('kontakt@XN--BCHER-KVA.example');
SELECT msgstore.normalize_email('info@faß.de');
SELECT msgstore.normalize_email('hq@例え。テスト');
-- Only ASCII letters are lowered, so that no locale changes a key.
SELECT msgstore.normalize_email('ÄNNE.İI@Example.com');
-- A domain that has no ASCII form stays, lowered.
SELECT msgstore.normalize_email(E'a@B\u00fccher\u2028.DE') = E'a@b\u00fccher\u2028.de';
SELECT msgstore.normalize_email('a@x＜B＞');
SELECT length(msgstore.normalize_email('a@' || repeat('ü', 5000)));
-- Empty and blank give an empty address; null gives null.
SELECT msgstore.normalize_email(''), msgstore.normalize_email(E' \u2003\n');
SELECT msgstore.normalize_email(NULL);

-- By channel: sms and mms use the phone rule, email the e-mail rule.
SELECT msgstore.normalize_address('sms', '+1 2');
SELECT msgstore.normalize_address('mms', '+1 2');
SELECT msgstore.normalize_address('email', 'A@B.c');
-- Another channel is an error, and its name is not repeated at length.
DO $$
DECLARE
    code text;
    said text;
    hint text;
BEGIN
    PERFORM msgstore.normalize_address('fax', '1');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, said = MESSAGE_TEXT,
        hint = PG_EXCEPTION_HINT;
    RAISE INFO '%: % (%)', code, said, hint;
END
$$;
SELECT msgstore.normalize_address('SMS', '1');
SELECT msgstore.normalize_address('', '1');
SELECT msgstore.conversation_key(repeat('ü', 1000), '1', '2');
SELECT msgstore.normalize_address(NULL, '1'), msgstore.normalize_address('fax', NULL);

-- Normalizing twice is normalizing once, and only blank becomes empty.
WITH input(address) AS (
    VALUES ('+1 (555) 000-1234'), ('++1+2'), ('tel:tel:'), ('tel: sms: '),
        ('tel:;ext=5'), ('tel:;'), ('sms:?body=1'), ('sms:?'), ('tel:whatsapp:x'),
        ('whatsapp:tel:+1;2;3'), ('；１'), ('tel:a;tel:b'), ('tel:1 '), ('  '),
        (E'tel:\u3000'), ('٣٤'), ('mailto:mailto:a@b'), ('mailto:?'),
        ('mailto:<c>?<>'), ('<c> <>'), ('<<a@b>>'), ('<a+b>@c'), ('a<b+c@d>e'),
        ('<mailto:<a>'), ('a+@b'), ('+@b'), ('++@b'), ('@'), ('@@'), ('@b+c'),
        ('+'), ('a +b@c'), ('mailto+x:@y'), ('mailto:+x@y'), ('a@＜b＞'),
        ('a@ü＠b＋c@d'), ('a@ü。'), ('a@ü..'), ('a@.ü'), ('a@xn--ü'), ('a@ü b'),
        (E'a@\u00ad'), (E'a@\u200d'), ('a@faß＜b'), ('A@Ü' || repeat('x', 300)),
        ('a@' || repeat('ü.', 200)), (E'\u00a0<\u00a0>\u00a0'), ('>a<'), ('<'),
        ('"<a>"@b'), ('a@1.2.3.4'), ('a@[::1]'), ('a@Ⅳ.ﷺ'), ('a@K.K'),
        ('<+<>@>')
)
SELECT i.address, n.kind, n.once, n.twice
FROM input AS i,
LATERAL (VALUES
    ('phone', msgstore.normalize_phone(i.address),
        msgstore.normalize_phone(msgstore.normalize_phone(i.address))),
    ('email', msgstore.normalize_email(i.address),
        msgstore.normalize_email(msgstore.normalize_email(i.address)))
) AS n(kind, once, twice)
WHERE n.once <> n.twice OR (n.once = '') <> (i.address ~ '^\s*$');

-- A megabyte of garbage takes linear time, milliseconds: its square would be
-- many minutes.
SET statement_timeout = '20s';
SELECT g.garbage,
    length(msgstore.normalize_phone(repeat(g.garbage, 1000000 / length(g.garbage)))) AS phone,
    length(msgstore.normalize_email(repeat(g.garbage, 1000000 / length(g.garbage)))) AS email,
    length(msgstore.snippet(repeat(g.garbage, 1000000 / length(g.garbage)), 1000000)) AS snippet
FROM (VALUES ('<'), ('>'), ('<>'), ('< >'), ('@'), ('+'), ('a@'), ('tel:'),
    ('mailto:'), ('ü'), ('a@ü.'), (' x'), ('👍'), (E'\u0301'), ('🇩')) AS g(garbage);
RESET statement_timeout;

-- Conversation keys

-- {thread}:{a}<->{b}, normalized, the smaller by byte order first.
SELECT msgstore.conversation_key('sms', '+18045551234', '+12016661234');
-- Swapping the addresses gives the same key, for every channel.
SELECT p.channel, msgstore.conversation_key(p.channel, p.a, p.b) AS key,
    msgstore.conversation_key(p.channel, p.a, p.b)
        = msgstore.conversation_key(p.channel, p.b, p.a) AS same
FROM (VALUES ('sms', 'tel:+1 804 555-1234', '12345'),
    ('mms', 'tel:+1 804 555-1234', 'ACME'),
    ('email', 'Front Desk <Desk+1@x.io>', 'a@BÜCHER.example')) AS p(channel, a, b);
SELECT msgstore.conversation_key('email', 'B@x.io', 'a@x.io');
-- Byte order, not the locale's.
SELECT msgstore.conversation_key('email', 'a_b@x.io', 'aa@x.io');
SELECT msgstore.conversation_key('sms', '14', '+15');
SELECT msgstore.conversation_key('sms', '155', '15');
SELECT msgstore.conversation_key('sms', 'ä', 'Z');
-- A message to oneself is one conversation.
SELECT msgstore.conversation_key('sms', '+1555', '+1 555');
-- sms and mms are separate conversations.
SELECT msgstore.conversation_key('mms', '+18045551234', '+12016661234');
-- Senders without digits do not share a conversation.
SELECT msgstore.conversation_key('sms', 'ACME', '+1') AS acme,
    msgstore.conversation_key('sms', 'BETA', '+1') AS beta;
SELECT msgstore.conversation_key('sms', NULL, '+1');
SELECT msgstore.conversation_key('fax', '1', '2');

-- Snippets

-- The first max_length characters, 64 if not said.
SELECT length(msgstore.snippet(repeat('x', 100)));
SELECT length(msgstore.snippet(repeat('x', 100), NULL));
SELECT length(msgstore.snippet(repeat('x', 100), 64));
SELECT msgstore.snippet('12345', 5), msgstore.snippet('1234567890', 5);
SELECT msgstore.snippet('short', 2147483647);
-- Trim, then every run of white space becomes one space, before cutting.
SELECT msgstore.snippet(E'line1\n\nline2  line3', 20);
SELECT msgstore.snippet(E'\u2003\u00a0a\r\n\t\u0085\u2028\u3000b \u000b\u000c ');
-- A zero-width space has width zero, but is no white space.
SELECT length(msgstore.snippet(E'a\u200bb'));
-- Null, empty, blank or length 0 give an empty string, never null.
SELECT msgstore.snippet(NULL, 10), msgstore.snippet('', 10),
    msgstore.snippet(E'  \n\u3000 ', 10), msgstore.snippet('hello', 0),
    msgstore.snippet(NULL), msgstore.snippet(NULL, NULL);
-- A negative length is refused.
SELECT msgstore.snippet('x', -1);
-- No trimming after the cut.
SELECT '"' || msgstore.snippet('hello world', 6) || '"';
-- But white space at the body's end is not there to be cut.
SELECT '"' || msgstore.snippet(E'hello  \n', 6) || '"';
-- A cluster is never split: skin tones.
SELECT msgstore.snippet('hello world test', 5);
SELECT msgstore.snippet('👍👍🏽👍🏿', 2);
SELECT msgstore.snippet('こんにちは世界', 5);
SELECT msgstore.snippet('Hello 世界 🌍', 8);
SELECT msgstore.snippet('Привет мир тест', 10);
-- Families and other joined emoji.
SELECT msgstore.snippet('👨‍👩‍👧‍👦👨‍👩‍👧‍👦👨‍👩‍👧‍👦', 2) = '👨‍👩‍👧‍👦👨‍👩‍👧‍👦';
SELECT msgstore.snippet('🏴‍☠️ Pirate flag', 1) = '🏴‍☠️';
SELECT msgstore.snippet('👩🏽‍🚀👩‍❤️‍💋‍👨', 1) = '👩🏽‍🚀';
SELECT msgstore.snippet('1️⃣2️⃣3️⃣', 2) = '1️⃣2️⃣';
-- Flags: two regional indicators each, and the tags of a region.
SELECT msgstore.snippet('🇩🇪🇫🇷🇯🇵', 2) = '🇩🇪🇫🇷';
SELECT msgstore.snippet('🏴󠁧󠁢󠁳󠁣󠁴󠁿x', 1) = '🏴󠁧󠁢󠁳󠁣󠁴󠁿';
-- Combining marks.
SELECT msgstore.snippet(E'e\u0301\u0302\u0303x', 1) = E'e\u0301\u0302\u0303';
SELECT msgstore.snippet('مَرْحَبًا بِكُمْ', 5) = 'مَرْحَبًا';
SELECT msgstore.snippet(E'日本語\n\n文字列  テスト', 20);
-- Hangul, as syllables and as the letters they are made of.
SELECT msgstore.snippet('안녕하세요', 2) = '안녕';
SELECT msgstore.snippet(E'\u1112\u1161\u11ab\u1100\u1173\u11af', 1)
    = E'\u1112\u1161\u11ab';
-- Devanagari and Thai: a vowel sign stays with its consonant.
SELECT msgstore.snippet('किताब भाषा', 2) = 'किता';
SELECT msgstore.snippet('สวัสดีครับ', 5) = 'สวัสดีค';

DROP EXTENSION msgstore;
