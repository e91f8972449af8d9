/*
 * options.c: the gateway's table of settings: flag, environment variable, type,
 * default and help.
 *
 * The flags, the environment, --help and the start-up log line are all derived
 * from this table, so no setting can be missing from one of them.
 */
#include <limits.h>

#include "config/options.h"

#define SETTING(member) offsetof(Config, member), false
/* SIGHUP applies a new value. */
#define RELOADABLE(member) offsetof(Config, member), true

/* Formatted by hand to keep its columns. */
/* clang-format off */
const Option options[CONFIG_OPTION_COUNT] = {
	{"database-url", "DATABASE_URL", OPTION_TEXT, "postgresql://", 0, 0,
	 SETTING(database_url),
	 "PostgreSQL URI; accepts min_connections, max_connections,\n"
	 "      acquire_timeout, idle_timeout and max_lifetime as well"},
	{"host", "HOST", OPTION_TEXT, "127.0.0.1", 0, 0,
	 SETTING(host), "address to listen on"},
	{"port", "PORT", OPTION_NUMBER, "8080", 1, 65535,
	 SETTING(port), "port to listen on"},
	{"auth", "AUTH_ENABLED", OPTION_TEXT, "auto", 0, 0,
	 SETTING(auth_name),
	 "on: require a key; off: require none; auto: on unless HOST is a\n"
	 "      loopback address"},
	{"insecure", "INSECURE", OPTION_SWITCH, "false", 0, 0,
	 SETTING(insecure),
	 "allow other hosts to connect without keys; AUTH_ENABLED=auto is then\n"
	 "      off"},
	{"tls-cert", "TLS_CERT", OPTION_TEXT, "", 0, 0,
	 RELOADABLE(tls_cert),
	 "PEM file with the certificate and its chain; enables HTTPS"},
	{"tls-key", "TLS_KEY", OPTION_TEXT, "", 0, 0,
	 RELOADABLE(tls_key), "PEM file with the certificate's private key"},
	{"health-path", "HEALTH_PATH", OPTION_TEXT, "/healthz", 0, 0,
	 RELOADABLE(health_path), "path of the liveness probe"},
	{"log-level", "LOG_LEVEL", OPTION_TEXT, "info", 0, 0,
	 RELOADABLE(log_level_name), "debug, info, warn or error"},
	{"max-connections", "HTTP_MAX_CONNECTIONS", OPTION_NUMBER, "256", 1, 10000,
	 SETTING(max_connections),
	 "maximum number of HTTP connections; others get 503"},
	{"max-listeners", "HTTP_MAX_LISTENERS", OPTION_NUMBER, "1000", 0, 100000,
	 SETTING(max_listeners),
	 "maximum number of clients that follow /api/events; others get 503"},
	{"max-header-bytes", "HTTP_MAX_HEADER_BYTES", OPTION_NUMBER,
	 "16384", 1024, 1048576,
	 SETTING(max_header_bytes), "maximum size of a request line and its headers"},
	{"max-body-bytes", "API_MAX_BODY_BYTES", OPTION_NUMBER,
	 "262144", 1, 67108864,
	 RELOADABLE(max_body_bytes), "maximum size of a request body"},
	{"responses-max-body-bytes", "RESPONSES_MAX_BODY_BYTES", OPTION_NUMBER,
	 "16777216", 1, 268435456,
	 RELOADABLE(responses_max_body_bytes),
	 "maximum size of a request body below /v1"},
	{"max-buffer-bytes", "HTTP_MAX_BUFFER_BYTES", OPTION_NUMBER,
	 "134217728", 1048576, LONG_MAX,
	 SETTING(max_buffer_bytes),
	 "memory for all bodies and answers in flight; others get 503"},
	{"request-timeout", "HTTP_REQUEST_TIMEOUT_SECS", OPTION_NUMBER,
	 "10", 1, 600,
	 SETTING(request_timeout),
	 "seconds a client may take to send its headers, and again its body"},
	{"keep-alive", "HTTP_KEEP_ALIVE_SECS", OPTION_NUMBER, "60", 1, 3600,
	 SETTING(keep_alive), "seconds an idle connection is kept open"},
	{"query-timeout", "DATABASE_QUERY_TIMEOUT_SECS", OPTION_NUMBER,
	 "10", 1, 600,
	 SETTING(query_timeout), "seconds a database call may take"},
	{"batch", "BATCH_ENABLED", OPTION_SWITCH, "true", 0, 0,
	 SETTING(batch), "store concurrent webhooks in one transaction"},
	{"trust-proxy", "TRUST_PROXY", OPTION_SWITCH, "false", 0, 0,
	 RELOADABLE(trust_proxy),
	 "trust X-Forwarded-For and X-Real-IP from any peer, not only from\n"
	 "      this machine"},
	{"owner-header", "OWNER_HEADER", OPTION_TEXT, "", 0, 0,
	 RELOADABLE(owner_header),
	 "header that names the owner of a request below /v1, if its key does\n"
	 "      not; trusted from every client"},
	{"strict-readiness", "STRICT_READINESS", OPTION_SWITCH, "false", 0, 0,
	 RELOADABLE(strict_readiness),
	 "answer 503 on /readyz while degraded, for example without a worker"},
	{"rate-limit-per-ip", "API_RATE_LIMIT_PER_IP_PER_MIN", OPTION_OPTIONAL,
	 "", 1, INT_MAX,
	 RELOADABLE(rate_limit_per_ip),
	 "API requests per minute from one address (120 is typical)"},
	{"rate-limit-per-sender", "API_RATE_LIMIT_PER_SENDER_PER_MIN",
	 OPTION_OPTIONAL, "", 1, INT_MAX,
	 RELOADABLE(rate_limit_per_sender),
	 "accepted posts per minute with the same \"from\" (60 is typical)"},
	{"breaker-error-threshold", "API_BREAKER_ERROR_THRESHOLD", OPTION_NUMBER,
	 "20", 1, INT_MAX,
	 RELOADABLE(breaker_error_threshold),
	 "consecutive internal errors that open a route's breaker"},
	{"breaker-open", "API_BREAKER_OPEN_SECS", OPTION_NUMBER, "30", 1, 86400,
	 RELOADABLE(breaker_open), "seconds a breaker stays open"},
	{"breaker-half-open-successes", "API_BREAKER_HALF_OPEN_SUCCESSES",
	 OPTION_NUMBER, "1", 1, INT_MAX,
	 RELOADABLE(breaker_half_open_successes),
	 "consecutive successes that close it again"},
	{"console", "CONSOLE_ENABLED", OPTION_SWITCH, "true", 0, 0,
	 RELOADABLE(console), "serve the console at /console"},
	{"security-headers", "SECURITY_HEADERS_ENABLED", OPTION_SWITCH,
	 "true", 0, 0,
	 RELOADABLE(security_headers), "send security headers"},
	{"csp-default-src", "CSP_DEFAULT_SRC", OPTION_TEXT, "'self'", 0, 0,
	 RELOADABLE(csp_default_src), "default-src of the Content-Security-Policy header"},
	{"hsts", "HSTS_ENABLED", OPTION_SWITCH, "false", 0, 0,
	 RELOADABLE(hsts), "send Strict-Transport-Security (behind a TLS proxy)"},
	{"provider-timeout-pct", "API_PROVIDER_TIMEOUT_PCT", OPTION_NUMBER,
	 "0", 0, 100,
	 SETTING(provider.timeout_pct), "mock provider: percentage of timeouts"},
	{"provider-error-pct", "API_PROVIDER_ERROR_PCT", OPTION_NUMBER, "0", 0, 100,
	 SETTING(provider.error_pct), "mock provider: percentage of errors"},
	{"provider-ratelimit-pct", "API_PROVIDER_RATELIMIT_PCT", OPTION_NUMBER,
	 "0", 0, 100,
	 SETTING(provider.ratelimit_pct), "mock provider: percentage of rate limits"},
	{"provider-seed", "API_PROVIDER_SEED", OPTION_OPTIONAL, "", 0, LONG_MAX,
	 SETTING(provider.seed), "mock provider: seed, for repeatable outcomes"},
	{"provider-sms-timeout-pct", "API_PROVIDER_SMS_TIMEOUT_PCT",
	 OPTION_OPTIONAL, "", 0, 100,
	 SETTING(provider_sms.timeout_pct), "the same for sms-mms only"},
	{"provider-sms-error-pct", "API_PROVIDER_SMS_ERROR_PCT",
	 OPTION_OPTIONAL, "", 0, 100,
	 SETTING(provider_sms.error_pct), "the same for sms-mms only"},
	{"provider-sms-ratelimit-pct", "API_PROVIDER_SMS_RATELIMIT_PCT",
	 OPTION_OPTIONAL, "", 0, 100,
	 SETTING(provider_sms.ratelimit_pct), "the same for sms-mms only"},
	{"provider-sms-seed", "API_PROVIDER_SMS_SEED",
	 OPTION_OPTIONAL, "", 0, LONG_MAX,
	 SETTING(provider_sms.seed), "the same for sms-mms only"},
	{"provider-email-timeout-pct", "API_PROVIDER_EMAIL_TIMEOUT_PCT",
	 OPTION_OPTIONAL, "", 0, 100,
	 SETTING(provider_email.timeout_pct), "the same for email only"},
	{"provider-email-error-pct", "API_PROVIDER_EMAIL_ERROR_PCT",
	 OPTION_OPTIONAL, "", 0, 100,
	 SETTING(provider_email.error_pct), "the same for email only"},
	{"provider-email-ratelimit-pct", "API_PROVIDER_EMAIL_RATELIMIT_PCT",
	 OPTION_OPTIONAL, "", 0, 100,
	 SETTING(provider_email.ratelimit_pct), "the same for email only"},
	{"provider-email-seed", "API_PROVIDER_EMAIL_SEED",
	 OPTION_OPTIONAL, "", 0, LONG_MAX,
	 SETTING(provider_email.seed), "the same for email only"},
	{"provider-latency", "API_PROVIDER_LATENCY_MS", OPTION_NUMBER,
	 "0", 0, 600000,
	 RELOADABLE(provider_latency),
	 "mock sender: milliseconds until the mock provider answers"},
	{"mock-sender", "MOCK_SENDER", OPTION_SWITCH, "false", 0, 0,
	 SETTING(mock_sender), "send outbound messages through the mock provider"},
};
/* clang-format on */

const size_t option_count = CONFIG_OPTION_COUNT;
const char program_name[] = "msgstore-gateway";
const char program_help[] =
	"msgstore-gateway is an HTTP gateway to the msgstore extension of "
	"PostgreSQL.\n";
const char check_help[] =
	"check the settings and the database, print what is wrong and\n"
	"      what to do, and exit with 0 if webhooks can be stored, else 1";
