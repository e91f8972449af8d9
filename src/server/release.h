/*
 * server/release.h: the release that this library belongs to.
 */
#ifndef SERVER_RELEASE_H
#define SERVER_RELEASE_H

/* X.Y.Z of META.json; the SQL interface has a version X.Y of its own. */
extern const char *const release_name;

#endif /* SERVER_RELEASE_H */
