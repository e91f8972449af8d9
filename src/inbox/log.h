/*
 * inbox/log.h: the columns of event_log, for those who read or write its rows
 * without a statement.
 */
#ifndef INBOX_LOG_H
#define INBOX_LOG_H

/* In the order of sql/20_inbox.sql. */
enum
{
	LOG_CREATED_AT,
	LOG_TENANT_ID,
	LOG_ID,
	LOG_CHANNEL,
	LOG_FROM,
	LOG_TO,
	LOG_PROVIDER_MESSAGE_ID,
	LOG_IDENTITY,
	LOG_PAYLOAD,
	LOG_CORRELATION_ID,
	LOG_COLUMNS
};

#define LOG_PRIMARY_KEY "event_log_pkey"

#endif /* INBOX_LOG_H */
