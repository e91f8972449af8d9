"""The event that every side stores: a short message from one of many senders."""
import json

from harness.measure import CONVERSATIONS

# Random values of an event in a pgbench script.
DRAW = f"""\\set peer random(1, {CONVERSATIONS})
\\set id random(1, 9000000000000000000)
"""

BODY = 'Hello! This is a test SMS message.'


def one(body=f"'{BODY}'", peer=':peer', message_id="'m-' || :id"):
    """Returns the event as an SQL expression of type jsonb, on one line for pgbench."""
    return (f"jsonb_build_object('from', '+1555' || {peer}, 'to', '+12016661234', 'type', 'sms', "
            f"'messaging_provider_id', {message_id}, 'body', {body}, 'attachments', null, "
            "'timestamp', now())")


def document(message_id, peer, at):
    return {'from': f'+1555{peer}', 'to': '+12016661234', 'type': 'sms', 'messaging_provider_id': message_id,
            'body': BODY, 'attachments': None, 'timestamp': at}


# In a batch, pgbench replaces @ by a random number and ^ by the time. The ids differ
# in their first characters, so that they are spread over the pages of an index.
BATCH = 100
TEMPLATES = [document(f'{n * 7919 % 10000:04}-@', n * CONVERSATIONS // BATCH + 1, '^') for n in range(BATCH)]


def renewed(text):
    return f"replace(replace('{text}', '@', :id::text), '^', now()::text)"


def array(values):
    """Returns the text of an SQL array."""
    return '{' + ','.join('"' + v.replace('\\', '\\\\').replace('"', '\\"') + '"' for v in values) + '}'


def batch_payloads(kind='jsonb'):
    return f"unnest({renewed(array([json.dumps(t) for t in TEMPLATES]))}::{kind}[])"


ANY_PEER = f'(1 + random() * {CONVERSATIONS - 1})::int'


def filled(statement, events, peer=ANY_PEER):
    """Returns a block that stores events in transactions of 500; statement stores the
    array "payloads"."""
    payload = one(peer=peer, message_id="(random() * 9e18)::bigint || '-' || n")
    return f"""DO $do$
DECLARE
    payloads jsonb[];
BEGIN
    FOR batch IN 1..{events // 500} LOOP
        SELECT array_agg({payload}) INTO payloads FROM generate_series(1, 500) n;
        {statement};
        COMMIT;
    END LOOP;
END $do$"""
