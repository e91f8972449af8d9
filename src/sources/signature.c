/*
 * sources/signature.c: verifies the signatures of webhooks.
 *
 * A scheme is data (table signature_schemes): a method and its options. This
 * file is the only one that handles secrets and digests. OpenSSL computes
 * them, always over the bytes that were received. An expected digest is
 * written as text and compared with the text that was sent, in a time that
 * does not depend on where they differ, for each secret in force and each
 * signature in the request.
 *
 * A signature that is older or newer than the tolerance is reported as expired
 * only if it is valid, so that the reasons tell nothing to a stranger.
 */
#include "postgres.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/x509.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "sources/check.h"
#include "sources/form.h"
#include "sources/twilio_url.h"

/* Why a signature is not accepted; NULL: it is. Texts of verify_signature(). */
static const char *const valid = NULL;
static const char *const missing = "missing";
static const char *const malformed = "malformed";
static const char *const mismatch = "mismatch";
static const char *const body_changed = "body_changed";
static const char *const expired = "expired";

typedef const char *(*Method)(Check *check);

static void read_arguments(FunctionCallInfo fcinfo, Check *check);
static Method find_method(const char *name);
static const char *check_time(const Check *check, const char *timestamp);
static const char *check_hmac(Check *check);
static bool get_key(const Check *check, const char *secret, StringInfo key);
static char *
encode(const unsigned char *bytes, size_t length, const char *encoding);
static const EVP_MD *get_digest(const char *name);
static char *make_hmac(const Check *check,
					   const char *secret,
					   const char *digest,
					   FormBytes data,
					   const char *encoding);
static bool same_text(const char *a, const char *b);
static char *hash_body(const Check *check);
static const char *check_twilio(Check *check);
static List *get_twilio_parameters(const Check *check, bool *covered);
static const char *check_public_key(Check *check);
static EVP_PKEY *read_public_key(const char *secret, bool ed25519);
static const char *check_jwt(Check *check);
static const char *check_claims(const Check *check, FormBytes encoded);
static bool get_number(Jsonb *object, const char *name, double *number);
static const char *check_sorted(Check *check);
static const char *check_basic(Check *check);
static const char *check_token(Check *check);
static bool decode_base64(const char *s, size_t length, StringInfo out);

PG_FUNCTION_INFO_V1(msgstore_check_signature);

/*
 * Arguments: method, options, secrets, values, url, content type, body, time,
 * tolerance in seconds. Returns the reason, or NULL for a valid signature.
 */
Datum
msgstore_check_signature(PG_FUNCTION_ARGS)
{
	char *method = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Method function = find_method(method);
	const char *reason;
	Check check;

	if (strcmp(method, "none") == 0)
		PG_RETURN_NULL();
	if (function == NULL)
		elog(ERROR, "unknown signature method \"%s\"", method);
	read_arguments(fcinfo, &check);
	reason = function(&check);
	if (reason == valid)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(reason));
}

static void
read_arguments(FunctionCallInfo fcinfo, Check *check)
{
	bytea *body = PG_GETARG_BYTEA_PP(6);
	TimestampTz now = PG_GETARG_TIMESTAMPTZ(7);
	Datum *secrets;
	int i;

	check->options = PG_GETARG_JSONB_P(1);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2),
					  TEXTOID,
					  -1,
					  false,
					  TYPALIGN_INT,
					  &secrets,
					  NULL,
					  &check->nsecrets);
	check->secrets = palloc(sizeof(char *) * (check->nsecrets + 1));
	for (i = 0; i < check->nsecrets; i++)
		check->secrets[i] = TextDatumGetCString(secrets[i]);
	check->values = PG_GETARG_JSONB_P(3);
	check->url = text_to_cstring(PG_GETARG_TEXT_PP(4));
	check->content_type = text_to_cstring(PG_GETARG_TEXT_PP(5));
	check->body.data = VARDATA_ANY(body);
	check->body.length = VARSIZE_ANY_EXHDR(body);
	check->now = (double) now / USECS_PER_SEC +
				 (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
	check->tolerance = PG_GETARG_FLOAT8(8);
}

static Method
find_method(const char *name)
{
	static const struct
	{
		const char *name;
		Method function;
	} methods[] = {{"hmac", check_hmac},
				   {"twilio", check_twilio},
				   {"ecdsa", check_public_key},
				   {"ed25519", check_public_key},
				   {"jwt", check_jwt},
				   {"sorted", check_sorted},
				   {"basic", check_basic},
				   {"token", check_token}};

	for (int i = 0; i < (int) lengthof(methods); i++)
	{
		if (strcmp(methods[i].name, name) == 0)
			return methods[i].function;
	}
	return NULL;
}

/* Seconds, or milliseconds if there are that many. NULL: there is no time. */
static const char *
check_time(const Check *check, const char *timestamp)
{
	double seconds;
	char *end;

	if (check->tolerance <= 0 || timestamp == NULL)
		return valid;
	seconds = strtod(timestamp, &end);
	if (end == timestamp || *end != '\0')
		return malformed;
	if (seconds > 100000000000.0)
		seconds /= 1000;
	/* Written so that a value that is not a number is expired. */
	return seconds >= check->now - check->tolerance &&
				   seconds <= check->now + check->tolerance
			   ? valid
			   : expired;
}

/* An HMAC of the body, or of a template with it. */
static const char *
check_hmac(Check *check)
{
	char *digest = check_text(check->options, "digest");
	char *encoding = check_text(check->options, "encoding");
	char *timestamp;
	List *signatures = check_list_signatures(check, &timestamp);
	StringInfoData data;
	FormBytes bytes;
	bool found = false;
	ListCell *cell;

	initStringInfo(&data);
	if (signatures == NIL || !check_fill_template(check, timestamp, &data))
		return missing;
	bytes.data = data.data;
	bytes.length = data.len;
	for (int i = 0; i < check->nsecrets; i++)
	{
		char *expected =
			make_hmac(check, check->secrets[i], digest, bytes, encoding);

		foreach (cell, signatures)
		{
			if (expected != NULL && same_text(expected, lfirst(cell)))
				found = true;
		}
	}
	return found ? check_time(check, timestamp) : mismatch;
}

/* Option "secret": how the secret is written: text, base64 or hex. */
static bool
get_key(const Check *check, const char *secret, StringInfo key)
{
	char *form = check_text(check->options, "secret");

	initStringInfo(key);
	if (form == NULL || strcmp(form, "text") == 0)
	{
		appendStringInfoString(key, secret);
		return true;
	}
	if (strcmp(form, "hex") == 0)
	{
		bytea *bytes =
			DatumGetByteaPP(DirectFunctionCall2(binary_decode,
												CStringGetTextDatum(secret),
												CStringGetTextDatum("hex")));

		appendBinaryStringInfo(key,
							   VARDATA_ANY(bytes),
							   (int) VARSIZE_ANY_EXHDR(bytes));
		return true;
	}
	if (strncmp(secret, "whsec_", 6) == 0)
		secret += 6;
	return decode_base64(secret, strlen(secret), key);
}

static char *
encode(const unsigned char *bytes, size_t length, const char *encoding)
{
	char *text = palloc0(length * 2 + 5);

	if (encoding != NULL && strncmp(encoding, "base64", 6) == 0)
	{
		EVP_EncodeBlock((unsigned char *) text, bytes, (int) length);
		if (strcmp(encoding, "base64url") == 0)
		{
			for (char *c = text; *c != '\0'; c++)
				*c = *c == '+' ? '-' : *c == '/' ? '_' : *c == '=' ? '\0' : *c;
		}
		return text;
	}
	hex_encode((const char *) bytes, length, text);
	return text;
}

static const EVP_MD *
get_digest(const char *name)
{
	const EVP_MD *digest = EVP_get_digestbyname(name != NULL ? name : "sha256");

	if (digest == NULL)
		elog(ERROR, "unknown digest \"%s\"", name);
	return digest;
}

/* NULL for a secret that is not written as the scheme says. */
static char *
make_hmac(const Check *check,
		  const char *secret,
		  const char *digest,
		  FormBytes data,
		  const char *encoding)
{
	unsigned char bytes[EVP_MAX_MD_SIZE];
	unsigned int length = 0;
	StringInfoData key;

	if (!get_key(check, secret, &key))
		return NULL;
	if (HMAC(get_digest(digest),
			 key.data,
			 key.len,
			 (const unsigned char *) data.data,
			 data.length,
			 bytes,
			 &length) == NULL)
		elog(ERROR, "could not compute an HMAC");
	OPENSSL_cleanse(key.data, key.len);
	return encode(bytes, length, encoding);
}

/* Compares digests of the texts, so that not even their lengths matter. */
static bool
same_text(const char *a, const char *b)
{
	unsigned char left[EVP_MAX_MD_SIZE];
	unsigned char right[EVP_MAX_MD_SIZE];

	if (EVP_Digest(a, strlen(a), left, NULL, EVP_sha256(), NULL) != 1 ||
		EVP_Digest(b, strlen(b), right, NULL, EVP_sha256(), NULL) != 1)
		elog(ERROR, "could not compute a digest");
	return CRYPTO_memcmp(left, right, 32) == 0;
}

/* SHA-256 of the body in hexadecimal. */
static char *
hash_body(const Check *check)
{
	unsigned char bytes[EVP_MAX_MD_SIZE];

	if (EVP_Digest(check->body.data,
				   check->body.length,
				   bytes,
				   NULL,
				   EVP_sha256(),
				   NULL) != 1)
		elog(ERROR, "could not compute a digest");
	return encode(bytes, 32, "hex");
}

/*
 * Twilio signs the URL and the sorted parameters of a form. Of another body it
 * signs the digest, which is a parameter of the URL. It does not say whether
 * the URL has the standard port, so each form of it that Twilio's own libraries
 * accept is tried.
 */
static const char *
check_twilio(Check *check)
{
	char *sent = check_text(check->values, "signature");
	char *settings = check_text(check->values, "settings");
	bool sha256 = settings != NULL && strstr(settings, "HMAC_SHA256") != NULL;
	bool covered;
	List *parameters = get_twilio_parameters(check, &covered);
	bool found = false;
	ListCell *cell;

	if (sent == NULL)
		return missing;
	foreach (cell, twilio_url_forms(check->url))
	{
		StringInfoData data;
		FormBytes bytes;
		ListCell *parameter;

		initStringInfo(&data);
		appendStringInfoString(&data, lfirst(cell));
		foreach (parameter, parameters)
		{
			FormField *field = lfirst(parameter);

			appendBinaryStringInfo(&data,
								   field->name.data,
								   (int) field->name.length);
			appendBinaryStringInfo(&data,
								   field->value.data,
								   (int) field->value.length);
		}
		bytes.data = data.data;
		bytes.length = data.len;
		for (int i = 0; i < check->nsecrets; i++)
			found |= same_text(make_hmac(check,
										 check->secrets[i],
										 sha256 ? "sha256" : "sha1",
										 bytes,
										 "base64"),
							   sent);
	}
	if (!found)
		return mismatch;
	return covered ? valid : body_changed;
}

/*
 * The parameters by name, without repeated ones. Sets covered to whether the
 * signature covers the body: by them, or by its digest in the URL.
 */
static List *
get_twilio_parameters(const Check *check, bool *covered)
{
	char *digest = check_query_field(check->url, "bodySHA256");
	List *sorted;
	List *parameters = NIL;
	ListCell *cell;

	if (digest != NULL)
	{
		for (char *c = digest; *c != '\0'; c++)
			*c = pg_ascii_tolower((unsigned char) *c);
		*covered = same_text(digest, hash_body(check));
		return NIL;
	}
	*covered = check->body.length == 0;
	if (pg_strncasecmp(check->content_type,
					   "application/x-www-form-urlencoded",
					   33) != 0)
		return NIL;
	*covered = true;
	sorted = form_parse(check->body.data, check->body.length);
	list_sort(sorted, form_compare);
	foreach (cell, sorted)
	{
		ListCell last = {.ptr_value =
							 parameters != NIL ? llast(parameters) : NULL};

		if (parameters == NIL || form_compare(&last, cell) != 0)
			parameters = lappend(parameters, lfirst(cell));
	}
	return parameters;
}

/* SendGrid's ECDSA and Telnyx's Ed25519: the secrets are public keys. */
static const char *
check_public_key(Check *check)
{
	char *sent = check_text(check->values, "signature");
	char *timestamp = check_text(check->values, "timestamp");
	char *curve = check_text(check->options, "curve");
	bool ed25519 = curve != NULL && strcmp(curve, "ed25519") == 0;
	StringInfoData signature;
	StringInfoData data;
	bool found = false;

	initStringInfo(&signature);
	initStringInfo(&data);
	if (sent == NULL || !check_fill_template(check, timestamp, &data))
		return missing;
	if (!decode_base64(sent, strlen(sent), &signature))
		return malformed;
	for (int i = 0; i < check->nsecrets; i++)
	{
		EVP_PKEY *key = read_public_key(check->secrets[i], ed25519);
		EVP_MD_CTX *context = EVP_MD_CTX_new();

		if (key != NULL && context != NULL &&
			EVP_DigestVerifyInit(context,
								 NULL,
								 ed25519 ? NULL : EVP_sha256(),
								 NULL,
								 key) == 1 &&
			EVP_DigestVerify(context,
							 (unsigned char *) signature.data,
							 signature.len,
							 (unsigned char *) data.data,
							 data.len) == 1)
			found = true;
		EVP_MD_CTX_free(context);
		EVP_PKEY_free(key);
	}
	return found ? check_time(check, timestamp) : mismatch;
}

/* In base64: DER of a public key, or the 32 bytes of an Ed25519 key. */
static EVP_PKEY *
read_public_key(const char *secret, bool ed25519)
{
	StringInfoData bytes;
	const unsigned char *at;

	initStringInfo(&bytes);
	if (!decode_base64(secret, strlen(secret), &bytes))
		return NULL;
	if (ed25519 && bytes.len == 32)
		return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519,
										   NULL,
										   (unsigned char *) bytes.data,
										   bytes.len);
	at = (const unsigned char *) bytes.data;
	return d2i_PUBKEY(NULL, &at, bytes.len);
}

/* A JSON Web Token with HS256, whatever algorithm its header names. */
static const char *
check_jwt(Check *check)
{
	char *token = check_text(check->values, "signature");
	char *dot;
	char *second;
	FormBytes data;
	bool found = false;

	if (token == NULL || pg_strncasecmp(token, "Bearer ", 7) != 0)
		return missing;
	token += 7 + strspn(token + 7, " ");
	dot = strchr(token, '.');
	second = dot != NULL ? strchr(dot + 1, '.') : NULL;
	if (second == NULL)
		return malformed;
	data.data = token;
	data.length = second - token;
	for (int i = 0; i < check->nsecrets; i++)
		found |= same_text(
			make_hmac(check, check->secrets[i], "sha256", data, "base64url"),
			second + 1);
	if (!found)
		return mismatch;
	data.data = dot + 1;
	data.length = second - dot - 1;
	return check_claims(check, data);
}

/* Only claims that are signed come here. */
static const char *
check_claims(const Check *check, FormBytes encoded)
{
	StringInfoData json;
	Jsonb *claims;
	char *digest;
	double until;

	initStringInfo(&json);
	if (!decode_base64(encoded.data, encoded.length, &json))
		return malformed;
	claims = DatumGetJsonbP(
		DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
	if (!JB_ROOT_IS_OBJECT(claims))
		return malformed;
	digest = check_text(claims, "payload_hash");
	/* A query is not signed, so a token alone does not vouch for it. */
	if (digest == NULL ? check->body.length > 0 || strchr(check->url, '?')
					   : !same_text(digest, hash_body(check)))
		return body_changed;
	if (get_number(claims, "exp", &until) &&
		until < check->now - check->tolerance)
		return expired;
	return check_time(check, check_text(claims, "iat"));
}

static bool
get_number(Jsonb *object, const char *name, double *number)
{
	JsonbValue value;

	if (getKeyJsonValueFromContainer(&object->root,
									 name,
									 strlen(name),
									 &value) == NULL ||
		value.type != jbvNumeric)
		return false;
	*number =
		DatumGetFloat8(DirectFunctionCall1(numeric_float8,
										   NumericGetDatum(value.val.numeric)));
	return true;
}

/*
 * Vonage's SMS API: "&name=value" of all parameters by name, except "sig", with
 * "&" and "=" in a value as "_". Digest "md5hash" is a plain MD5 of that and
 * the secret behind it.
 */
static const char *
check_sorted(Check *check)
{
	char *digest = check_text(check->options, "digest");
	char *sent = check_text(check->values, "signature");
	const char *query = strchr(check->url, '?');
	List *parameters = form_parse(check->body.data, check->body.length);
	StringInfoData data;
	bool found = false;
	ListCell *cell;

	if (check->body.length == 0 && query != NULL)
		parameters = form_parse(query + 1, strlen(query + 1));
	if (sent == NULL)
		return missing;
	for (char *c = sent; *c != '\0'; c++)
		*c = pg_ascii_tolower((unsigned char) *c);
	list_sort(parameters, form_compare);
	initStringInfo(&data);
	foreach (cell, parameters)
	{
		FormField *field = lfirst(cell);

		if (field->name.length == 3 && memcmp(field->name.data, "sig", 3) == 0)
			continue;
		appendStringInfoChar(&data, '&');
		appendBinaryStringInfo(&data,
							   field->name.data,
							   (int) field->name.length);
		appendStringInfoChar(&data, '=');
		for (size_t i = 0; i < field->value.length; i++)
		{
			char c = field->value.data[i];

			appendStringInfoChar(&data, c == '&' || c == '=' ? '_' : c);
		}
	}
	for (int i = 0; i < check->nsecrets; i++)
	{
		FormBytes bytes = {data.data, data.len};
		char *expected;

		if (digest != NULL && strcmp(digest, "md5hash") == 0)
		{
			unsigned char hash[EVP_MAX_MD_SIZE];
			char *with_secret = psprintf("%s%s", data.data, check->secrets[i]);

			if (EVP_Digest(with_secret,
						   strlen(with_secret),
						   hash,
						   NULL,
						   EVP_md5(),
						   NULL) != 1)
				elog(ERROR, "could not compute a digest");
			expected = encode(hash, 16, "hex");
		}
		else
			expected =
				make_hmac(check, check->secrets[i], digest, bytes, "hex");
		found |= same_text(expected, sent);
	}
	return found ? check_time(check, check_text(check->values, "timestamp"))
				 : mismatch;
}

/* The secret is "user:password". */
static const char *
check_basic(Check *check)
{
	char *sent = check_text(check->values, "signature");
	StringInfoData decoded;
	bool found = false;

	if (sent == NULL || pg_strncasecmp(sent, "Basic ", 6) != 0)
		return missing;
	initStringInfo(&decoded);
	sent += 6 + strspn(sent + 6, " ");
	if (!decode_base64(sent, strlen(sent), &decoded))
		return malformed;
	for (int i = 0; i < check->nsecrets; i++)
		found |= same_text(check->secrets[i], decoded.data);
	return found ? valid : mismatch;
}

/* The secret itself, in a header or a field. */
static const char *
check_token(Check *check)
{
	char *sent = check_text(check->values, "signature");
	char *prefix = check_text(check->options, "prefix");
	bool found = false;

	if (sent == NULL)
		return missing;
	if (prefix != NULL && strncmp(sent, prefix, strlen(prefix)) == 0)
		sent += strlen(prefix);
	for (int i = 0; i < check->nsecrets; i++)
		found |= same_text(check->secrets[i], sent);
	return found ? valid : mismatch;
}

/* Both alphabets, with or without padding. */
static bool
decode_base64(const char *s, size_t length, StringInfo out)
{
	char *padded;
	int decoded;

	while (length > 0 && s[length - 1] == '=')
		length--;
	padded = palloc(length + 4);
	for (size_t i = 0; i < length; i++)
	{
		padded[i] = s[i] == '-' ? '+' : s[i] == '_' ? '/' : s[i];
		if (!isalnum((unsigned char) padded[i]) &&
			strchr("+/", padded[i]) == NULL)
			return false;
	}
	if (length % 4 == 1)
		return false;
	memset(padded + length, '=', (4 - length % 4) % 4);
	resetStringInfo(out);
	enlargeStringInfo(out, (int) length + 4);
	decoded = EVP_DecodeBlock((unsigned char *) out->data,
							  (unsigned char *) padded,
							  (int) (length + (4 - length % 4) % 4));
	if (decoded < 0)
		return false;
	out->len = decoded - (int) ((4 - length % 4) % 4);
	out->data[out->len] = '\0';
	return true;
}
