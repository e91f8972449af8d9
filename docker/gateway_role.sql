-- A role for the gateway: it may call these functions and touch no table.
CREATE ROLE msgstore_gateway LOGIN;
GRANT USAGE ON SCHEMA msgstore TO msgstore_gateway;
GRANT EXECUTE ON FUNCTION
    msgstore.ingest_batch(jsonb),
    msgstore.send(text, jsonb, text, text),
    msgstore.list_conversations(int, int, text),
    msgstore.list_messages(text, int, int, text),
    msgstore.record_status(text, text, text, jsonb),
    msgstore.claim_outbound(text, int),
    msgstore.heartbeat_outbound(text),
    msgstore.sent(uuid, text, text),
    msgstore.send_failed(uuid, text, text, text, boolean),
    msgstore.save_response(jsonb),
    msgstore.get_response(text),
    msgstore.get_response_for_chain(text),
    msgstore.response_chain(text, int, int),
    msgstore.list_responses(text, text, int, text, text, text, boolean),
    msgstore.response_input_items(text, text, text, int, text),
    msgstore.cancel_response(text, boolean),
    msgstore.metrics(),
    msgstore.metrics_detail()
TO msgstore_gateway;
