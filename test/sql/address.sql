-- address: normalized addresses, conversation keys and snippets.
CREATE EXTENSION msgstore;
-- The versions of psql disagree on the width of emoji.
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

-- Returns the identity of each address, and why ingest and send refuse it, if they
-- do.
CREATE FUNCTION pg_temp.identities(channel text, VARIADIC given text[])
RETURNS TABLE (given text, identity text, fault text)
LANGUAGE sql
AS $$
    SELECT g, msgstore.normalize_address(channel, g),
        msgstore._address_fault(channel, g)
    FROM unnest(given) AS g
$$;

-- Phone numbers

-- A leading + and the digits are kept, everything else is removed.
SELECT msgstore.normalize_phone('+1 (555) 000-1234');
SELECT msgstore.normalize_phone('(555) 000-1234');
-- No country code is added to a number without +.
SELECT msgstore.normalize_phone('5550001234');
-- A + after a digit is removed.
SELECT msgstore.normalize_phone('1+2');
-- A + before the first digit is kept once, whatever is around it.
SELECT msgstore.normalize_phone(' +1555');
SELECT msgstore.normalize_phone('(+)1555');
SELECT msgstore.normalize_phone('++1555');
-- Full-width digits and the full-width + are digits and +.
SELECT msgstore.normalize_phone('＋８１　９０－１２３４－５６７８');
-- A leading 00 is kept.
SELECT msgstore.normalize_phone('0049 30 1234');
-- Schemes are removed, in any case and repeatedly.
SELECT msgstore.normalize_phone('tel:+1-555-000-1234');
SELECT msgstore.normalize_phone('WhatsApp:+15550001234');
SELECT msgstore.normalize_phone(' sms: TEL:+15550001234 ');
-- The parameters of a URI are not part of the number.
SELECT msgstore.normalize_phone('tel:+15550001234;ext=12;phone-context=+44');
SELECT msgstore.normalize_phone('sms:+15550001234?body=42');
-- A sender without a digit is the trimmed text without the scheme.
SELECT msgstore.normalize_phone('ACME');
SELECT msgstore.normalize_phone('  Acme Inc. ');
SELECT msgstore.normalize_phone('tel:ACME;x=y');
SELECT msgstore.normalize_phone('+');
-- A scheme alone is kept: only blank text becomes empty.
SELECT msgstore.normalize_phone('tel:');
-- Empty and blank give an empty address; null gives null.
SELECT msgstore.normalize_phone(''), msgstore.normalize_phone(E' \t\u00a0\u3000\n');
SELECT msgstore.normalize_phone(NULL);

-- Text with letters is a name, and never becomes its digits.
SELECT * FROM pg_temp.identities('sms', 'Shop24', 'Club24', '24x7', 'O2', 'Día1',
    '1-800-FLOWERS', '1-800-MATTRESS', 'tel:1-800-FLOWERS', '@handle24',
    'Магазин24', '🛒24', E'Shop\u200e24', 'Acme, Inc.', 'messenger:1234');
-- Schemes of URIs and of providers.
SELECT * FROM pg_temp.identities('sms', 'rcs:brand24_agent', 'rcs:+15550001234',
    'smsto:+15550001234', 'mms:+15550001234', 'MMSTO:+15550001234',
    'callto:+15550001234', 'tel://+15550001234', 'sms:%2B15550001234',
    'rcs:Caf%C3%A9', 'sip:+15550001234@gateway.example;user=phone',
    '"Ann" <sip:+15550001234@gw.example;user=phone>', 'sips:ann@example.com',
    '+15550001234/TYPE=PLMN', 'Ann <tel:+15550001234>',
    'tel:%74el:5', 'sms:', 'rcs:%FF');
-- Decimal digits of every script.
SELECT * FROM pg_temp.identities('sms', '+966 ٥٠ ١٢٣ ٤٥٦٧', '+۹۸ ۹۱۲ ۳۴۵', '९८७६५',
    '๐๑๒๓', '𝟏𝟐𝟗', '٣٤');
-- Extensions are not part of the number.
SELECT * FROM pg_temp.identities('sms', '+1 555 000 1234 ext. 123',
    '+1 555 000 1234 x123', '+1 555 000 1234;ext=123', '+1 555 000 1234 #123',
    '+1 555 000 1234, extension 9', '555-000-1234 Ext:٥', '555 000 1234 xtn 5#',
    '+7 495 000-12-34 доб. 12', '+54 11 5000 1234 anexo 7',
    '5550001234 x1234567890', '12 #34');
-- A local number depends on its context, a global number does not.
SELECT * FROM pg_temp.identities('sms', 'tel:7042;phone-context=example.com',
    'tel:7042;phone-context=Other.EXAMPLE.com', 'tel:7042',
    'tel:863-1234;phone-context=+1-914-555', '7042;isub=1;phone-context=example.com',
    'tel:+15550001234;phone-context=example.com', 'tel:7042;phone-context=',
    'tel:7042;phone-context=a/b');
-- WhatsApp users are numbers, groups and hidden users are not.
SELECT * FROM pg_temp.identities('sms', '5511999998888:12@s.whatsapp.net',
    '5511999998888@S.WhatsApp.net', '5511999998888_1:2@c.us',
    'whatsapp:5511999998888@c.us', '5511999998888@lid', '120363025246125486@g.us',
    '5511999998888-1530000000@g.us', 'status@broadcast');
-- An e-mail address is normalized as such.
SELECT * FROM pg_temp.identities('sms', 'jo24@carrier.example',
    '15550001234@Gateway.example', 'sms:Jo+x@Carrier.example',
    'Jo <jo24@carrier.example>', 'mailto:jo%40carrier.example', '24@');
-- Not a single address: lists, more than 15 digits, punctuation only.
SELECT * FROM pg_temp.identities('sms', '+15550001234, +15550004321', '555;12',
    '123،456', 'Shop24, +15550001234', 'Ann <+15550001234>, Bob <+15550004321>',
    'jo@carrier.example, +15550001234', '123456789012345', '1234567890123456',
    repeat('7', 40), '+15550001234 +15550004321', '+1555001 +1555002',
    '+1555001/+1555002', '+٥٥٥+٦٦', 'sms:+1555001|+1555002', '1555001 +1555002', '+', '()', '***', E'\u200f',
    'tel:', ' ');

-- E-mail addresses

-- Lower case.
SELECT msgstore.normalize_email('USER@Example.COM');
-- The plus-tag is removed, from the first + to the @.
SELECT msgstore.normalize_email('user+tag@x.org');
SELECT msgstore.normalize_email('User+Tag+2@Example.com');
-- Text without @ is only converted to lower case, and a + is kept.
SELECT msgstore.normalize_email('Not-An-Email');
SELECT msgstore.normalize_email('a+b');
-- Text with two @ is not an address.
SELECT msgstore.normalize_email('a@b+c@d.com');
-- A tag that is the whole local part is kept.
SELECT msgstore.normalize_email('+Tag@Example.com');
-- The address is inside the brackets, without the display name.
SELECT msgstore.normalize_email('"Front Desk" <Desk@Example.COM>');
SELECT msgstore.normalize_email('"a<b>" < Desk+x@Example.COM > (main)');
-- mailto: and its header fields are removed.
SELECT msgstore.normalize_email('mailto:Desk@Example.COM?subject=a@b');
SELECT msgstore.normalize_email('<MAILTO: desk@example.com>');
SELECT msgstore.normalize_email('mailto:');
-- Each form of an internationalized domain becomes the ASCII form.
SELECT msgstore.normalize_email('kontakt@BÜCHER.example');
SELECT msgstore.normalize_email(E'kontakt@bu\u0308cher.example');
SELECT msgstore.normalize_email('kontakt@XN--BCHER-KVA.example');
SELECT msgstore.normalize_email('info@faß.de');
SELECT msgstore.normalize_email('hq@例え。テスト');
-- Only ASCII letters are converted to lower case: the locale does not matter.
SELECT msgstore.normalize_email('ÄNNE.İI@Example.com');
-- A domain without an ASCII form is only converted to lower case.
SELECT msgstore.normalize_email('A@B＜ücher.DE');
SELECT msgstore.normalize_email('a@x＜B＞');
SELECT length(msgstore.normalize_email('a@' || repeat('ü', 5000)));
-- Empty and blank give an empty address; null gives null.
SELECT msgstore.normalize_email(''), msgstore.normalize_email(E' \u2003\n');
SELECT msgstore.normalize_email(NULL);

-- Comments and folding white space are not part of the address (RFC 5322).
SELECT * FROM pg_temp.identities('email', 'john@example.com (John Doe)',
    'pete(his \) comment)@example.com(his (nested) host)',
    'Ann <ann@example.com> (Sales <north>)', 'john . doe @ example . com',
    E'john\r\n @example.com', '(a)(b@c)ann@example.com', 'ann@example.com (open');
-- Display names, with or without quotes, also with a comma or a colon.
SELECT * FROM pg_temp.identities('email', '"Doe, Jane" <jane@example.com>',
    'Doe, Jane <jane@example.com>', 'ACME: Support <help@example.com>',
    'ann@other.example <ann@example.com>', '"a@b.example" <ann@example.com>',
    '<<ann@example.com>>', 'Ann <root>', 'Ann <ann@example.com', 'Ann <>', '<>');
-- Unneeded quotes are removed. A quoted plus sign does not begin a tag.
SELECT * FROM pg_temp.identities('email', '"ann"@x.example', '"a+b"@x.example',
    '"a b"@X.example', '"a\"\b\\"@x.example', '"first".last@x.example',
    '"a@b"@x.example', '""@x.example', E'"a\r\n b"@x.example', '"a@x.example');
-- Groups, routes and literals.
SELECT * FROM pg_temp.identities('email', 'Team: Ann <ann@x.example>;',
    'Team: ann@x.example;', 'Team: ann@x.example', 'undisclosed-recipients:;',
    'Team: a@x.example, b@x.example;', '<@a.example,@b.example:user@c.example>',
    'user@[192.0.2.1]', 'user@[IPv6:2001:DB8::1]', 'user@[192.0.2.1');
-- A URI is decoded, once.
SELECT * FROM pg_temp.identities('email', 'mailto:ann%40example.com',
    'MAILTO:Ann%2Btag@example.com?subject=Hi, "there', '<mailto:ann@example.com>',
    'mailto:%22not%40me%22@example.com', 'mailto:gorby%25kremvax@example.com',
    'mailto:a@x.example,b@x.example', 'mailto:ann%2540example.com',
    'mailto:%E4@example.com');
-- Invisible format characters are removed.
SELECT * FROM pg_temp.identities('email', E'\u200fann@example.com',
    E'\ufeffann@example.com', E'a\u00adnn@exam\u00adple.com',
    E'Ann <\u202aann@example.com\u202c>', E'ann\u200b@example\u2060.com',
    E'\u00ad');
-- Quotation marks around an address and a final dot are removed.
SELECT * FROM pg_temp.identities('email', '''user@example.com''',
    '"user@example.com"', '“user@example.com”', '<''user@example.com''>',
    'user@example.com.', 'user@BÜCHER.example.', '''user@example.com',
    'user@example.com..');
-- Not a single address.
SELECT * FROM pg_temp.identities('email', 'Ann <a@x.example>, Bob <b@y.example>',
    'a@x.example, b@y.example', 'a@x.example; b@y.example', 'root, a@x.example',
    '<a@x.example> <b@y.example>', 'a@x.example b@y.example', 'a@b+c@d.com',
    '@example.com', 'ann@', 'ann@.example', 'ann@a..example', 'ann@exam ple.com',
    'a[b@x.example', 'John Doe', ',');
-- Wider than the RFC: dots anywhere in the local part, names without a domain.
SELECT * FROM pg_temp.identities('email', 'a..b@x.example', '.a.@x.example',
    'MAILER-DAEMON', 'a@x.example,');
-- Joiners are kept only where IDNA allows them in a domain.
SELECT given = E'a\u200d@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.com' AS needed,
    identity, fault
FROM pg_temp.identities('email', E'a\u200d@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.com',
    E'a@exam\u200cple.com', E'a@\u00fc\u200cx.com');
-- Plus-tags are part of the identity if the channel keeps them.
BEGIN;
INSERT INTO msgstore.channels (name, address_kind, plus_tags)
VALUES ('lists', 'email', 'keep'), ('relay', 'phone', 'keep');
SELECT * FROM pg_temp.identities('lists', 'User+Tag@Example.com',
    'User <user+tag+2@example.com>', '"user+tag"@example.com', 'user@example.com',
    '+tag@example.com');
SELECT * FROM pg_temp.identities('relay', 'Jo+Tag@carrier.example', '+1 555');
SELECT msgstore.conversation_key('lists', 'a+1@x.example', 'a+2@x.example'),
    msgstore.conversation_key('email', 'a+1@x.example', 'a+2@x.example');
ROLLBACK;

-- By channel: sms and mms use the phone rule, email the e-mail rule.
SELECT msgstore.normalize_address('sms', '+1 2');
SELECT msgstore.normalize_address('mms', '+1 2');
SELECT msgstore.normalize_address('email', 'A@B.c');
-- An unknown channel is an error that shows only the beginning of a long name.
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

-- A megabyte takes milliseconds, because time is linear in length. If it were
-- quadratic, it would be many minutes.
SET statement_timeout = '120s';
SELECT g.garbage,
    length(msgstore.normalize_phone(repeat(g.garbage, 1000000 / length(g.garbage)))) AS phone,
    length(msgstore.normalize_email(repeat(g.garbage, 1000000 / length(g.garbage)))) AS email,
    length(msgstore.snippet(repeat(g.garbage, 1000000 / length(g.garbage)), 1000000)) AS snippet
FROM (VALUES ('<'), ('>'), ('<>'), ('< >'), ('@'), ('+'), ('a@'), ('tel:'),
    ('mailto:'), ('"'), ('""'), ('\"'), ('('), ('(('), ('()'), ('(\'), ('['), ('a['),
    (','), ('a,'), ('a@b,'), (';'), ('a:'), ('1;'), ('1;a=1'), ('1234567#'), ('1#  '),
    ('1234567 x1 '), ('1 ext 1'), ('%'), ('%25'), ('tel:%74'), ('mailto:%3a'), (''''),
    ('‘'), ('"a".'), ('a@b c'), ('<a@b>'), ('<('), ('٣'), ('٣,'), (E'\u200d'),
    (E'ü\u200d'), (E'\u00ad'), ('1/type=a'), ('sip:tel:'), ('<1>'), ('ü'), ('a@ü.'),
    (' x'), ('👍'), (E'\u0301'), ('🇩')) AS g(garbage);
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
-- Senders without digits have conversations of their own.
SELECT msgstore.conversation_key('sms', 'ACME', '+1') AS acme,
    msgstore.conversation_key('sms', 'BETA', '+1') AS beta;
SELECT msgstore.conversation_key('sms', NULL, '+1');
SELECT msgstore.conversation_key('fax', '1', '2');

-- ingest and send refuse text that is not a single address, and store nothing.
CREATE FUNCTION pg_temp.refusal(call text) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    said text;
    detail text;
    hint text;
BEGIN
    EXECUTE 'SELECT * FROM msgstore.' || call;
    RETURN 'accepted';
EXCEPTION WHEN SQLSTATE 'MS400' THEN
    GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n', said, detail, nullif(hint, ''));
END
$$;
CREATE FUNCTION pg_temp.message(channel text, sender text, recipient text)
RETURNS jsonb
LANGUAGE sql
RETURN jsonb_build_object('from', sender, 'to', recipient, 'body', 'Hello',
    'timestamp', '2024-11-01T14:00:00Z',
    CASE channel WHEN 'email' THEN 'xillio_id' ELSE 'messaging_provider_id' END,
    sender || recipient);
SELECT f.function, a.*, pg_temp.refusal(format('%s(%L, %L)', f.function, a.channel,
    pg_temp.message(a.channel, a.sender, a.recipient))) AS refusal
FROM (VALUES
    ('sms', '+15550001234, +15550004321', '+12016661234'),
    ('sms', '+12016661234', '555;666;777'),
    ('sms', repeat('7', 40), '+12016661234'),
    ('sms', '+12016661234', '+'),
    ('sms', 'Shop24', '+12016661234'),
    ('email', 'Ann <a@x.example>, Bob <b@y.example>', 'c@z.example'),
    ('email', 'c@z.example', 'a@x.example, b@y.example'),
    ('email', 'c@z.example', 'a@x.example; b@y.example; c@z.example'),
    ('email', 'undisclosed-recipients:;', 'c@z.example'),
    ('email', 'John Doe', 'c@z.example'),
    ('email', '"Doe, Jane" <jane@x.example>', 'c@z.example')
) AS a(channel, sender, recipient),
(VALUES ('ingest'), ('send')) AS f(function);
SELECT "from", "to" FROM msgstore.event_log ORDER BY "from" COLLATE "C";
-- A sender name with digits has a conversation of its own.
SELECT msgstore.process();
SELECT key FROM msgstore.conversations ORDER BY key COLLATE "C";
-- Erasing one name leaves the others with the same digits.
BEGIN;
SELECT count(*) FROM unnest('{Club24,Taxi24,24}'::text[]) a,
    msgstore.ingest('sms', pg_temp.message('sms', a, '+12016661234'));
SELECT msgstore.process();
SELECT count(*) > 0 AS erased FROM msgstore.erase_address('sms', 'Shop24') WHERE removed > 0;
SELECT DISTINCT "from" FROM msgstore.messages WHERE "from" LIKE '%24' ORDER BY 1;
ROLLBACK;
-- plus_tags applies to inbound and outbound messages.
BEGIN;
UPDATE msgstore.channels SET plus_tags = 'keep' WHERE name = 'email';
SELECT FROM msgstore.ingest('email', pg_temp.message('email', 'a+1@x.example', 'c@z.example'));
SELECT FROM msgstore.send('email', pg_temp.message('email', 'c@z.example', 'a+2@x.example'));
SELECT msgstore.process();
SELECT key, message_count FROM msgstore.conversations WHERE key LIKE '%a+%' ORDER BY key COLLATE "C";
ROLLBACK;

-- Snippets

-- The first max_length characters, 64 by default.
SELECT length(msgstore.snippet(repeat('x', 100)));
SELECT length(msgstore.snippet(repeat('x', 100), NULL));
SELECT length(msgstore.snippet(repeat('x', 100), 64));
SELECT msgstore.snippet('12345', 5), msgstore.snippet('1234567890', 5);
SELECT msgstore.snippet('short', 2147483647);
-- White space is trimmed and collapsed before the cut.
SELECT msgstore.snippet(E'line1\n\nline2  line3', 20);
SELECT msgstore.snippet(E'\u2003\u00a0a\r\n\t\u0085\u2028\u3000b \u000b\u000c ');
-- A zero-width space is not white space.
SELECT length(msgstore.snippet(E'a\u200bb'));
-- Null, empty, blank or length 0 give an empty string, never null.
SELECT msgstore.snippet(NULL, 10), msgstore.snippet('', 10),
    msgstore.snippet(E'  \n\u3000 ', 10), msgstore.snippet('hello', 0),
    msgstore.snippet(NULL), msgstore.snippet(NULL, NULL);
-- A negative length is refused.
SELECT msgstore.snippet('x', -1);
-- No trimming after the cut.
SELECT '"' || msgstore.snippet('hello world', 6) || '"';
-- White space at the end of the body is trimmed before the cut.
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
