-- sender: the providers that are built in.
--
-- None of them documents an idempotency key for sending messages, so a message whose
-- answer was lost is left to a person unless the account says otherwise. Without an
-- outcome of the provider's own, 2xx is sent, 429 limited, 401 and 402 account, 408,
-- 502 and 504 unknown, other 5xx retry, and everything else failed.

INSERT INTO msgstore.provider_apis
    (provider, protocol, base_url, auth, defaults, id_paths, error_code_paths,
     error_message_paths, outcomes, opt_out_codes, idempotency_header, media_hosts, media_url,
     page, page_date, origin)
SELECT a.provider, a.protocol, a.base_url, a.auth, a.defaults::jsonb, a.id_paths::text[],
       a.error_code_paths::text[], a.error_message_paths::text[], a.outcomes::jsonb,
       a.opt_out_codes::text[], a.idempotency_header, coalesce(m.hosts, '{}'), m.url, a.page,
       a.page_date::date, 'built-in'
FROM (VALUES
    -- 21610: the recipient has replied STOP. 20429: too many requests.
    ('twilio', 'http', 'https://api.twilio.com', 'basic', '{}',
     '{$.body.sid}', '{$.body.code}', '{$.body.message}',
     '[{"if": "$.body.code == 20429", "outcome": "limited"}]', '{21610}',
     NULL, 'twilio.com/docs/messaging/api/message-resource', NULL),
    -- 40300: blocked by a STOP message. 40011: rate limit.
    ('telnyx', 'http', 'https://api.telnyx.com', 'bearer', '{}',
     '{$.body.data.id}', '{$.body.errors[0].code}',
     '{$.body.errors[0].detail,$.body.errors[0].title}',
     '[{"if": "$.body.errors[0].code == \"40011\"", "outcome": "limited"}]', '{40300}',
     NULL, 'developers.telnyx.com/docs/messaging/messages/error-codes', '2026-11-27'),
    -- 1000: throttled. 1060, 1070: account barred, quota exceeded.
    ('vonage', 'http', 'https://api.nexmo.com', 'basic', '{}',
     '{$.body.message_uuid}', '{$.body.title,$.body.type}', '{$.body.detail}',
     '[{"if": "$.body.title == \"1000\"", "outcome": "limited"},
       {"if": "$.body.title == \"1060\" || $.body.title == \"1070\"", "outcome": "account"}]', '{}',
     NULL, 'developer.vonage.com/api-errors/messages', '2026-11-27'),
    -- "Any 4xx or 5xx HTTP response code will not be billed nor will the message be sent."
    ('bandwidth', 'http', 'https://messaging.bandwidth.com', 'basic', '{}',
     '{$.body.id}', '{$.body.type}', '{$.body.description}',
     '[{"if": "$.status == 502 || $.status == 504", "outcome": "retry"}]', '{}',
     NULL, 'dev.bandwidth.com/docs/messaging/createMessage', '2026-11-27'),
    -- Limits of the app, of the number, of the pair and of spam; the token; no payment.
    ('whatsapp-cloud', 'http', 'https://graph.facebook.com', 'bearer',
     '{"api_version": "v23.0"}',
     '{$.body.messages[0].id}', '{$.body.error.code}',
     '{$.body.error.error_data.details,$.body.error.message}',
     '[{"if": "$.body.error.code == 4 || $.body.error.code == 80007 || $.body.error.code == 130429 || $.body.error.code == 131048 || $.body.error.code == 131056",
        "outcome": "limited"},
       {"if": "$.body.error.code == 0 || $.body.error.code == 190 || $.body.error.code == 131042", "outcome": "account"},
       {"if": "$.body.error.code == 1 || $.body.error.code == 2 || $.body.error.code == 131000 || $.body.error.code == 131016", "outcome": "retry"}]', '{}',
     NULL, 'developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes', NULL),
    ('sendgrid', 'http', 'https://api.sendgrid.com', 'bearer', '{}',
     '{$.headers.\"x-message-id\"}', '{$.body.errors[0].field}',
     '{$.body.errors[0].message}', '[]', '{}',
     NULL, 'twilio.com/docs/sendgrid/api-reference/mail-send/errors', '2026-11-27'),
    ('mailgun', 'http', 'https://api.mailgun.net', 'basic', '{}',
     '{$.body.id}', '{}', '{$.body.message}', '[]', '{}',
     NULL, 'documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages', '2026-11-27'),
    -- 10: bad token. 100: maintenance. 406: a bounce, a complaint or an unsubscription.
    ('postmark', 'http', 'https://api.postmarkapp.com', 'X-Postmark-Server-Token', '{}',
     '{$.body.MessageID}', '{$.body.ErrorCode}', '{$.body.Message}',
     '[{"if": "$.status >= 400 && ($.body.ErrorCode == 10 || $.body.ErrorCode == 412 || $.body.ErrorCode == 413)", "outcome": "account"},
       {"if": "$.status >= 400 && $.body.ErrorCode == 100", "outcome": "retry"}]', '{406}',
     NULL, 'postmarkapp.com/developer/api/overview', NULL),
    -- A code of three digits is that of the mail server.
    ('smtp', 'smtp', NULL, 'basic', '{}', '{}', '{}', '{}',
     '[{"if": "$.status >= 400 && $.status < 500", "outcome": "retry"},
       {"if": "$.status == 530 || $.status == 534 || $.status == 535 || $.status == 538", "outcome": "account"},
       {"if": "$.status >= 500", "outcome": "failed"}]', '{}',
     NULL, 'rfc-editor.org/rfc/rfc5321', NULL),
    ('generic', 'http', NULL, 'bearer', '{}',
     '{$.body.id,$.body.message_id,$.body.provider_message_id}',
     '{$.body.code,$.body.error.code}', '{$.body.message,$.body.error.message}', '[]', '{}',
     'Idempotency-Key', NULL, NULL)
) AS a (provider, protocol, base_url, auth, defaults, id_paths, error_code_paths,
        error_message_paths, outcomes, opt_out_codes, idempotency_header, page, page_date)
-- Media of the others are at URLs that need no credentials, or come with the webhook.
LEFT JOIN (VALUES
    ('twilio', '{api.twilio.com}'::text[], NULL),
    ('bandwidth', '{messaging.bandwidth.com}', NULL),
    ('whatsapp-cloud', '{graph.facebook.com,lookaside.fbsbx.com}',
     '{base}/{options.api_version}/{id}')) AS m (provider, hosts, url)
    ON m.provider = a.provider;

INSERT INTO msgstore.provider_requests
    (provider, position, condition, url, content, body, origin)
SELECT r.provider, r.position, r.condition::jsonpath, r.url, r.content, r.body::jsonb,
       'built-in'
FROM (VALUES
    ('twilio', 10, '$.channel == "whatsapp"',
     '{base}/2010-04-01/Accounts/{options.account_sid}/Messages.json', 'form',
     '{"To": "whatsapp:{to}", "From": "whatsapp:{from}", "Body": "{body}",
       "MediaUrl": "{media}", "StatusCallback": "{callback_url}"}'),
    ('twilio', 20, NULL,
     '{base}/2010-04-01/Accounts/{options.account_sid}/Messages.json', 'form',
     '{"To": "{to}", "From": "{from}", "Body": "{body}", "MediaUrl": "{media}",
       "MessagingServiceSid": "{options.messaging_service_sid}",
       "StatusCallback": "{callback_url}"}'),

    ('telnyx', 10, NULL, '{base}/v2/messages', 'json',
     '{"from": "{from}", "to": "{to}", "text": "{body}", "subject": "{subject}",
       "media_urls": "{media}", "messaging_profile_id": "{options.messaging_profile_id}",
       "webhook_url": "{callback_url}"}'),

    ('vonage', 10, 'exists($.media)', '{base}/v1/messages', 'json',
     '{"channel": "{channel}", "message_type": "{media_kind}", "from": "{from_digits}",
       "to": "{to_digits}", "client_ref": "{message_id}", "webhook_url": "{callback_url}",
       "webhook_version": "v1",
       "{media_kind}": {"url": "{media.0}", "caption": "{body}"}}'),
    ('vonage', 20, NULL, '{base}/v1/messages', 'json',
     '{"channel": "{channel}", "message_type": "text", "from": "{from_digits}",
       "to": "{to_digits}", "text": "{body}", "client_ref": "{message_id}",
       "webhook_url": "{callback_url}", "webhook_version": "v1"}'),

    ('bandwidth', 10, NULL, '{base}/api/v2/users/{options.account_id}/messages', 'json',
     '{"applicationId": "{options.application_id}", "to": ["{to}"], "from": "{from}",
       "text": "{body}", "media": "{media}", "tag": "{message_id}"}'),

    ('whatsapp-cloud', 10, 'exists($.payload.template)',
     '{base}/{options.api_version}/{options.phone_number_id}/messages', 'json',
     '{"messaging_product": "whatsapp", "recipient_type": "individual", "to": "{to_digits}",
       "type": "template", "template": "{payload.template}",
       "biz_opaque_callback_data": "{message_id}"}'),
    ('whatsapp-cloud', 20, 'exists($.media)',
     '{base}/{options.api_version}/{options.phone_number_id}/messages', 'json',
     '{"messaging_product": "whatsapp", "recipient_type": "individual", "to": "{to_digits}",
       "type": "{media_kind}", "{media_kind}": {"link": "{media.0}", "caption": "{body}"},
       "biz_opaque_callback_data": "{message_id}"}'),
    ('whatsapp-cloud', 30, NULL,
     '{base}/{options.api_version}/{options.phone_number_id}/messages', 'json',
     '{"messaging_product": "whatsapp", "recipient_type": "individual", "to": "{to_digits}",
       "type": "text", "text": {"body": "{body}"},
       "biz_opaque_callback_data": "{message_id}"}'),

    ('sendgrid', 10, NULL, '{base}/v3/mail/send', 'json',
     '{"personalizations": [{"to": "{to_parties}", "cc": "{cc_parties}", "bcc": "{bcc_parties}"}],
       "from": "{from_party}", "reply_to": "{reply_to_party}", "subject": "{subject_line}",
       "content": "{contents}",
       "attachments": {"each": "files", "item": {"content": "{item.content}", "filename": "{item.name}",
                                                 "type": "{item.type}", "disposition": "attachment"}},
       "custom_args": {"message_id": "{message_id}"},
       "headers": {"In-Reply-To": "{in_reply_to}", "References": "{references}"}}'),

    ('mailgun', 10, 'exists($.files)', '{base}/v3/{options.domain}/messages', 'multipart',
     '{"from": "{from}", "to": "{to}", "cc": "{cc}", "bcc": "{bcc}", "subject": "{subject}",
       "text": "{text}", "html": "{html}", "h:Reply-To": "{reply_to}",
       "h:In-Reply-To": "{in_reply_to}", "h:References": "{references}",
       "attachment": "{files}", "v:message_id": "{message_id}"}'),
    ('mailgun', 20, NULL, '{base}/v3/{options.domain}/messages', 'form',
     '{"from": "{from}", "to": "{to}", "cc": "{cc}", "bcc": "{bcc}", "subject": "{subject}",
       "text": "{text}", "html": "{html}", "h:Reply-To": "{reply_to}",
       "h:In-Reply-To": "{in_reply_to}", "h:References": "{references}",
       "v:message_id": "{message_id}"}'),

    ('postmark', 10, NULL, '{base}/email', 'json',
     '{"From": "{from}", "To": "{to}", "Cc": "{cc_list}", "Bcc": "{bcc_list}",
       "Subject": "{subject}", "TextBody": "{text}", "HtmlBody": "{html}",
       "ReplyTo": "{reply_to}", "MessageStream": "{options.message_stream}",
       "Metadata": {"message_id": "{message_id}"},
       "Attachments": {"each": "files", "item": {"Name": "{item.name}", "Content": "{item.content}",
                                                 "ContentType": "{item.type}"}},
       "Headers": {"each": "thread_headers", "item": {"Name": "{item.name}", "Value": "{item.value}"}}}'),

    ('generic', 10, NULL, '{base}', 'json',
     '{"id": "{message_id}", "channel": "{channel}", "from": "{from}", "to": "{to}",
       "body": "{body}", "subject": "{subject}", "attachments": "{media}",
       "files": {"each": "files", "item": {"name": "{item.name}", "type": "{item.type}",
                                           "content": "{item.content}"}},
       "timestamp": "{payload.timestamp}", "callback_url": "{callback_url}"}')
) AS r (provider, position, condition, url, content, body);
