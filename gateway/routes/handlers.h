/*
 * handlers.h: the handlers of all routes. Each sets request->reply.
 */
#ifndef HANDLERS_H
#define HANDLERS_H

#include "exchange.h"

/* messages.c */
void post_message(Request *request);

/* webhooks.c */
void post_webhook(Request *request);

/* sources.c */
bool prepare_webhook(Request *request);
void receive_webhook(Request *request);

/* attachments.c */
void get_attachment(Request *request);

/* statuses.c */
void post_webhook_status(Request *request);

/* conversations.c */
void get_conversations(Request *request);
void get_conversation(Request *request);
void patch_conversation(Request *request);
void post_conversation_read(Request *request);
void post_conversation_unread(Request *request);
void get_conversation_messages(Request *request);

/* console.c */
void get_console(Request *request);
void get_console_file(Request *request);

/* events.c */
void get_events(Request *request);

/* operations.c */
void get_dead_letters(Request *request);
void post_dead_letters_requeue(Request *request);
void get_workers(Request *request);
void post_workers_pause(Request *request);
void post_workers_resume(Request *request);
void get_sources(Request *request);
void get_outbox(Request *request);
void get_status_reports(Request *request);
void get_checks(Request *request);
void get_operations(Request *request);
void get_running_operations(Request *request);

/* session.c */
void get_session(Request *request);
void post_session(Request *request);
void delete_session(Request *request);

/* search.c */
void search_messages(Request *request);
void search_conversations(Request *request);

/* responses.c */
void post_response(Request *request);
void get_response(Request *request);
void delete_response(Request *request);
void post_response_cancel(Request *request);
void get_responses(Request *request);
void get_response_items(Request *request);
void refuse_model_call(Request *request);

/* response_conversations.c */
void post_response_conversation(Request *request);
void get_response_conversation(Request *request);
void update_response_conversation(Request *request);
void delete_response_conversation(Request *request);
void post_conversation_items(Request *request);
void get_conversation_items(Request *request);
void get_conversation_item(Request *request);
void delete_conversation_item(Request *request);

/* streams.c */
void post_stream(Request *request);
void post_streams(Request *request);
void get_stream(Request *request);
void get_streams(Request *request);
void get_subscriptions(Request *request);
void post_fetch(Request *request);
void post_ack(Request *request);

/* provider.c */
void post_mock_inbound(Request *request);
void get_mock_config(Request *request);
void put_mock_config(Request *request);

/* probes.c */
void get_health(Request *request);
void get_readiness(Request *request);

/* metrics.c */
void get_metrics(Request *request);

/* openapi.c */
void get_openapi(Request *request);

#endif /* HANDLERS_H */
