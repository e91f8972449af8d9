/*
 * options.c: the sender's table of settings, and what follows from them.
 */
#include <limits.h>

#include "config/derive.h"
#include "config/options.h"
#include "config/url.h"

/* Formatted by hand to keep its columns. */
/* clang-format off */
const Option options[] = {
	{"database-url", "DATABASE_URL", OPTION_TEXT, "postgresql://", 0, 0,
	 SETTING(database_url), "PostgreSQL URI"},
	{"slot", "SENDER_SLOT", OPTION_OPTIONAL, "", 0, 4095,
	 SETTING(slot),
	 "slot of a cluster whose messages are sent; DATABASE_URL is then that of\n"
	 "      the slot or of the router"},
	{"log-level", "LOG_LEVEL", OPTION_TEXT, "info", 0, 0,
	 RELOADABLE(log_level_name), "debug, info, warn or error"},
	{"query-timeout", "DATABASE_QUERY_TIMEOUT_SECS", OPTION_NUMBER,
	 "10", 1, 600,
	 SETTING(query_timeout), "seconds a database call may take"},
	{"connections", "SENDER_CONNECTIONS", OPTION_NUMBER, "20", 1, 1000,
	 RELOADABLE(send_connections), "maximum number of requests at a time"},
	{"stop-timeout", "SENDER_STOP_TIMEOUT_SECS", OPTION_NUMBER, "20", 0, 600,
	 RELOADABLE(stop_timeout),
	 "seconds that requests in flight may take at a stop"},
	{"secrets-dir", "SENDER_SECRETS_DIR", OPTION_TEXT, "", 0, 0,
	 RELOADABLE(secrets_dir),
	 "directory with a file for each secret of an account; by default\n"
	 "      $CREDENTIALS_DIRECTORY, which systemd sets"},
	{"ca-file", "SENDER_CA_FILE", OPTION_TEXT, "", 0, 0,
	 RELOADABLE(ca_file),
	 "PEM file with the certificate authorities to trust, instead of the\n"
	 "      system's"},
	{"allow-private", "SENDER_ALLOW_PRIVATE", OPTION_SWITCH, "false", 0, 0,
	 RELOADABLE(allow_private),
	 "allow destinations and media on loopback, private and link-local addresses"},
};
/* clang-format on */

const size_t option_count = sizeof(options) / sizeof(options[0]);
const char program_name[] = "msgstore-sender";
const char program_help[] =
	"msgstore-sender passes outbound messages of the msgstore extension of\n"
	"PostgreSQL to their providers.\n"
	"\n"
	"The secret of an account is in the database, or in a file of the\n"
	"directory of secrets that has the secret's name, or in the environment\n"
	"variable SECRET_NAME, for example SECRET_TWILIO_MAIN for \"twilio-main\".\n";
const char check_help[] =
	"check the settings, the database and the secrets, print what is\n"
	"      wrong, and exit with 0 if messages can be sent, else 1";

bool
config_derive(Config *config, Text *error)
{
	return config_read_url(config, error);
}

/* The sender has no buffers with sizes of their own. */
bool
config_check_sizes(const Config *config, Text *error)
{
	(void) config;
	(void) error;
	return true;
}
