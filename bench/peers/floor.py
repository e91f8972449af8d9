"""The floor: the cost of the same rows in plain PostgreSQL."""
import pathlib

from harness.server import Failed
from peers import event
from peers.side import Side

HERE = pathlib.Path(__file__).parent


class Floor(Side):
    name = 'floor'

    def prepare(self, database):
        database.run_file(HERE / 'work.sql')
        database.run_file(HERE / 'floor.sql')

    def single(self, payload):
        return (f"""INSERT INTO work.bare (channel, "from", "to", provider_message_id, payload) """
                f"""VALUES ('sms', '+1555' || :peer, '+12016661234', 'm-' || :id, {payload}) ON CONFLICT DO NOTHING""")

    def batch(self):
        def column(name):
            return f"{event.renewed(event.array([t[name] for t in event.TEMPLATES]))}::text[]"

        senders = f"'{event.array([t['from'] for t in event.TEMPLATES])}'::text[]"
        return (f"""INSERT INTO work.bare (channel, "from", "to", provider_message_id, payload) """
                f"""SELECT 'sms', f, '+12016661234', i, p """
                f"""FROM ROWS FROM (unnest({senders}), unnest({column('messaging_provider_id')}), """
                f"""{event.batch_payloads()}) AS r (f, i, p) ON CONFLICT DO NOTHING""")

    def fill_statement(self):
        return """INSERT INTO work.log ("from", "to", provider_message_id, payload)
            SELECT p ->> 'from', p ->> 'to', p ->> 'messaging_provider_id', p FROM unnest(payloads) p"""

    def work(self, database, workers, mode):
        if workers > 1:
            raise Failed('the floor is a single session')
        database.sql('CALL work.drain_log(1000)')
        return lambda: None
