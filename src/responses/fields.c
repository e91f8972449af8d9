/*
 * responses/fields.c: reads one field of a document or an argument.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "responses/fields.h"
#include "responses/response.h"
#include "server/errors.h"
#include "server/jsonb_state.h"

static int64 read_number(const char *field,
						 const JsonbValue *value,
						 const char *expected,
						 int64 least,
						 int64 greatest,
						 bool *fraction);
static bool is_fraction(const char *digits);
static char *print_number(const JsonbValue *value);

void
responses_refuse_field(const char *field,
					   const char *what,
					   const char *expected)
{
	const char *code =
		strcmp(what, "is missing") == 0 ? "missing_required_parameter"
		: strncmp(what, "is not a", strlen("is not a")) == 0 ? "invalid_type"
															 : "invalid_value";

	ereport(ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("field \"%s\" %s", field, what),
			 errdetail("%s", expected),
			 err_generic_string(PG_DIAG_COLUMN_NAME, field),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, code)));
}

void
responses_check_id(const char *field, const char *id)
{
	static const char expected[] = "An ID must have 1 to 255 bytes.";
	static const char path_expected[] =
		"An ID is a segment of a URL's path. It must not be \".\" or \"..\", "
		"and must not contain white space, control characters, "
		"\"/\", \"\\\", \"?\", \"#\" or \"%\".";
	const unsigned char *c;

	if (id[0] == '\0')
		responses_refuse_field(field, "is empty", expected);
	if (strlen(id) > RESPONSES_MAX_ID_BYTES)
		responses_refuse_field(field, "is too long", expected);
	if (strcmp(id, ".") == 0 || strcmp(id, "..") == 0)
		responses_refuse_field(field, "cannot be part of a URL", path_expected);
	for (c = (const unsigned char *) id; *c != '\0'; c++)
	{
		if (*c <= ' ' || *c == 0x7f || strchr("/\\?#%", *c) != NULL)
			responses_refuse_field(field,
								   "contains a character that cannot be "
								   "part of a URL",
								   path_expected);
	}
}

char *
responses_read_text(const char *field, const JsonbValue *value)
{
	if (value->type != jbvString)
		responses_refuse_field(field,
							   "is not a string",
							   "The field must be a string.");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

Jsonb *
responses_read_array(const char *field, const JsonbValue *value)
{
	if (value->type == jbvNull)
		return responses_empty_array();
	if (value->type != jbvBinary ||
		!JsonContainerIsArray(value->val.binary.data))
		responses_refuse_field(field,
							   "is not an array",
							   "The field must be an array of items.");
	return responses_wrap_jsonb(value);
}

int64
responses_read_integer(const char *field,
					   const JsonbValue *value,
					   int64 least,
					   int64 greatest)
{
	static const char expected[] = "The field must be an integer.";
	bool fraction;
	int64 number =
		read_number(field, value, expected, least, greatest, &fraction);

	if (fraction)
		responses_refuse_field(field, "is not an integer", expected);
	return number;
}

int64
responses_read_seconds(const char *field,
					   const JsonbValue *value,
					   int64 least,
					   int64 greatest)
{
	bool fraction;

	return read_number(field,
					   value,
					   "The field must be a number of seconds.",
					   least,
					   greatest,
					   &fraction);
}

bool
responses_is_fraction(const JsonbValue *value)
{
	return value->type == jbvNumeric && is_fraction(print_number(value));
}

/* The number without its fraction. */
static int64
read_number(const char *field,
			const JsonbValue *value,
			const char *expected,
			int64 least,
			int64 greatest,
			bool *fraction)
{
	int64 number;
	char *digits;
	char *end;

	if (value->type != jbvNumeric)
		responses_refuse_field(field, "is not a number", expected);
	digits = print_number(value);
	errno = 0;
	number = strtoll(digits, &end, 10);
	*fraction = is_fraction(end);
	if (*end != '\0' && *end != '.')
		responses_refuse_field(field, "is not an integer", expected);
	if (errno != 0 || number < least || number > greatest)
		responses_refuse_field(field,
							   "is out of range",
							   psprintf("The field must be a number "
										"from " INT64_FORMAT " to " INT64_FORMAT
										".",
										least,
										greatest));
	return number;
}

/* Zeros after the point do not count. */
static bool
is_fraction(const char *digits)
{
	const char *point = strchr(digits, '.');

	return point != NULL && point[1 + strspn(point + 1, "0")] != '\0';
}

/* Without an exponent. */
static char *
print_number(const JsonbValue *value)
{
	return DatumGetCString(
		DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
}

Jsonb *
responses_wrap_jsonb(const JsonbValue *value)
{
	JsonbValue copy = *value;

	return JsonbValueToJsonb(&copy);
}

Jsonb *
responses_empty_array(void)
{
	JsonbInState state = {0};

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(state.result);
}
