-- Makes events older. An event's time is in its id.
CREATE OR REPLACE FUNCTION public.backdate(pattern text, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    event record;
    made uuid;
BEGIN
    FOR event IN
        SELECT l.id, at + row_number() OVER (ORDER BY l.id) * interval '1 microsecond' AS at
        FROM msgstore.event_log l WHERE l.provider_message_id LIKE pattern
    LOOP
        made := overlay(event.id::text PLACING left(msgstore._least_uuid7(event.at)::text, 18) FROM 1 FOR 18);
        UPDATE msgstore.event_log SET id = made, created_at = event.at WHERE id = event.id;
        UPDATE msgstore.event_queue SET event_id = made WHERE event_id = event.id;
        UPDATE msgstore.event_claims SET event_id = made WHERE event_id = event.id;
        UPDATE msgstore.conversation_holds SET event_id = made WHERE event_id = event.id;
        UPDATE msgstore.id_conflicts SET event_id = made WHERE event_id = event.id;
        UPDATE msgstore.event_failures SET event_id = made WHERE event_id = event.id;
        UPDATE msgstore.dead_letters SET event_id = made WHERE event_id = event.id;
        UPDATE msgstore.messages SET id = made, inbound_event_id = made WHERE id = event.id;
        UPDATE msgstore.search_entries SET message_id = made WHERE message_id = event.id;
    END LOOP;
END $$;
