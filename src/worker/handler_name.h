/*
 * worker/handler_name.h: the names under which handlers are stored.
 */
#ifndef WORKER_HANDLER_NAME_H
#define WORKER_HANDLER_NAME_H

/* Returns the name of a function as a handler, palloc'd. */
extern char *handler_name(Oid function);

/*
 * Returns an array of the names under which the handler may be stored. The name
 * of a function that no longer exists is used as given, with the arguments that
 * a handler can have. Raises MS400 for an invalid name.
 */
extern Datum handler_names(text *given);

#endif /* WORKER_HANDLER_NAME_H */
