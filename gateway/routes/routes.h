/*
 * routes.h: from method and path to a handler, and the handlers.
 */
#ifndef ROUTES_H
#define ROUTES_H

#include "http/request.h"

/* Answers the request: request->reply is set when it returns. */
void routes_dispatch(Request *request);

/* messages.c */
void post_message_sms(Request *request);
void post_message_email(Request *request);

/* webhooks.c */
void post_webhook_sms(Request *request);
void post_webhook_email(Request *request);

/*
 * Stores the body as an inbound event of that channel (NULL: none given).
 * Without a provider's id only if it comes from the mock provider.
 */
void store_inbound(Request *request, const char *channel, bool mock);

/* statuses.c */
void post_webhook_status(Request *request);

/* conversations.c */
void get_conversations(Request *request);
void get_conversation_messages(Request *request);

/* responses.c */
void post_response(Request *request);
void get_response(Request *request);
void delete_response(Request *request);
void post_response_cancel(Request *request);
void get_responses(Request *request);
void get_response_items(Request *request);

/* provider.c */
void post_mock_inbound(Request *request);
void get_mock_config(Request *request);
void put_mock_config(Request *request);

/* probes.c */
void get_health(Request *request);
void get_readiness(Request *request);

/* metrics.c */
void get_metrics(Request *request);

#endif /* ROUTES_H */
