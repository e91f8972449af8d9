/*
 * probes.c: liveness and readiness.
 *
 * Liveness does not depend on the database: restarting the gateway would not
 * bring it back. Readiness does, so that a load balancer sends no requests.
 * Where webhooks are stored but something else is missing, taking the gateway
 * out of service would not help, so that is answered with 200.
 */
#include "config/config.h"
#include "db/readiness.h"
#include "gateway.h"
#include "http/reply.h"
#include "routes/handlers.h"

static void
reply_unready(Request *request, const char *why, const Text *findings);

void
get_health(Request *request)
{
	Text body = {0};

	text_add_string(&body, "{\"status\":\"ok\"}");
	reply_body(request, 200, NULL, &body);
}

void
get_readiness(Request *request)
{
	const Config *config = request->gateway->config;
	ReadinessAnswer answer;
	Text body = {0};

	readiness_ask(request->gateway->readiness, &answer);
	if (answer.state == READINESS_NOT_READY ||
		(answer.state == READINESS_DEGRADED && config->strict_readiness))
		reply_unready(request,
					  answer.why.data != NULL ? answer.why.data : "",
					  &answer.findings);
	else
	{
		text_addf(&body,
				  "{\"status\":\"%s\"",
				  answer.state == READINESS_READY ? "ready" : "degraded");
		if (answer.findings.length > 0)
			text_addf(&body, ",\"findings\":[%s]", answer.findings.data);
		text_add_string(&body, "}");
		reply_body(request, 200, NULL, &body);
	}
	text_free(&answer.why);
	text_free(&answer.findings);
}

/* 503 with the usual error body, and the findings as one more member. */
static void
reply_unready(Request *request, const char *why, const Text *findings)
{
	Text *body = &request->reply.body;

	reply_unavailable(request, why, 1);
	if (findings->length == 0 || body->length == 0)
		return;
	body->length--; /* the brace */
	text_addf(body, ",\"findings\":[%s]}", findings->data);
}
