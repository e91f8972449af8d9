/*
 * server/errors.h: the SQLSTATEs of class MS.
 */
#ifndef SERVER_ERRORS_H
#define SERVER_ERRORS_H

/* The three digits are the HTTP status that the gateway answers with. */
#define ERRCODE_MS_BAD_REQUEST MAKE_SQLSTATE('M', 'S', '4', '0', '0')
#define ERRCODE_MS_FORBIDDEN MAKE_SQLSTATE('M', 'S', '4', '0', '3')
#define ERRCODE_MS_NOT_FOUND MAKE_SQLSTATE('M', 'S', '4', '0', '4')
#define ERRCODE_MS_CONFLICT MAKE_SQLSTATE('M', 'S', '4', '0', '9')
#define ERRCODE_MS_TOO_LARGE MAKE_SQLSTATE('M', 'S', '4', '1', '3')
#define ERRCODE_MS_WRONG_SLOT MAKE_SQLSTATE('M', 'S', '4', '2', '1')
#define ERRCODE_MS_UNAVAILABLE MAKE_SQLSTATE('M', 'S', '5', '0', '3')

#endif /* SERVER_ERRORS_H */
