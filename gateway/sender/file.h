/*
 * file.h: a file as a part of a request.
 */
#ifndef FILE_H
#define FILE_H

#include <stdbool.h>

#include <cjson/cJSON.h>
#include <curl/curl.h>

/* Sets content, name and type. Returns false if the file is invalid. */
bool file_fill(curl_mimepart *part, const cJSON *file);

/* The string of that name; NULL if there is none. */
const char *file_member(const cJSON *file, const char *name);

#endif /* FILE_H */
