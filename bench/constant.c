/*
 * constant.c: the cheapest HTTP service with civetweb: it reads the request
 * body and always returns the same response.
 */
#include <civetweb.h>
#include <signal.h>
#include <stdio.h>

static const char ANSWER[] =
	"{\"status\":\"accepted\",\"id\":\"00000000-0000-7000-8000-000000000000\"}";

static int
answer(struct mg_connection *connection, void *data)
{
	char body[4096];

	(void) data;
	while (mg_read(connection, body, sizeof(body)) > 0)
		;
	mg_printf(connection,
			  "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"
			  "Content-Length: %zu\r\n\r\n%s",
			  sizeof(ANSWER) - 1,
			  ANSWER);
	return 202;
}

int
main(int argc, char **argv)
{
	const char *options[] = {"listening_ports",
							 argc > 1 ? argv[1] : "8080",
							 "num_threads",
							 "260",
							 "enable_keep_alive",
							 "yes",
							 "keep_alive_timeout_ms",
							 "30000",
							 "tcp_nodelay",
							 "1",
							 NULL};
	sigset_t signals;
	int signal;
	struct mg_context *context;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	mg_init_library(0);
	context = mg_start(NULL, NULL, options);
	if (context == NULL)
	{
		fprintf(stderr, "constant: cannot listen\n");
		return 1;
	}
	mg_set_request_handler(context, "/", answer, NULL);
	sigwait(&signals, &signal);
	mg_stop(context);
	return 0;
}
