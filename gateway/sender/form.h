/*
 * form.h: multipart/form-data, for providers that take files in no other form.
 */
#ifndef FORM_H
#define FORM_H

#include <stdbool.h>
#include <stddef.h>

#include <curl/curl.h>

/*
 * Sets the body from a JSON object: a string or a file is a field, and an array
 * is a field for each of its elements. Returns false if that cannot be. The
 * caller frees *mime.
 */
bool
form_prepare(CURL *easy, const char *json, size_t length, curl_mime **mime);

#endif /* FORM_H */
