/*
 * channels/channels.h: look up the rows of msgstore.channels.
 */
#ifndef CHANNELS_H
#define CHANNELS_H

typedef enum AddressKind
{
	ADDRESS_PHONE,
	ADDRESS_EMAIL,
	ADDRESS_OPAQUE
} AddressKind;

typedef enum AttachmentRule
{
	ATTACHMENTS_NONE,
	ATTACHMENTS_OPTIONAL,
	ATTACHMENTS_REQUIRED
} AttachmentRule;

/* One row of msgstore.channels. */
typedef struct Channel
{
	char *name;
	AddressKind address_kind;
	char *thread;			 /* first part of its conversation keys */
	char *provider_id_field; /* payload field with the provider's message id */
	char *
		*provider_id_fields; /* further fields that make an event's identity */
	int nprovider_id_fields;
	char **volatile_fields; /* differ between deliveries of one event */
	int nvolatile_fields;
	char **types; /* NULL: the payload field "type" is ignored */
	int ntypes;
	bool body_required;
	AttachmentRule attachments;
	bool strict_order;	 /* later events wait for one that failed */
	bool keep_plus_tags; /* a plus-tag is part of an e-mail address */
	bool has_provider;	 /* its outbound messages are sent */
	char **stop_words;	 /* keywords of consent, in lower case */
	int nstop_words;
	char **start_words;
	int nstart_words;
	char **help_words;
	int nhelp_words;
} Channel;

/*
 * The channel of that name, which need not be NUL-terminated. The cache owns
 * the result, which is valid until the next call of a channels_ function. If
 * there is no such channel, _find returns NULL and _get raises MS400.
 */
extern const Channel *channels_find(const char *name, int len);
extern const Channel *channels_get(const char *name, int len);

/*
 * The DETAIL of an error about a channel that does not exist: a sentence that
 * lists the channels. Call it after _find() or _get(); the result is palloc'd.
 */
extern char *channels_list(void);

/* Whether any channel has strict_order. */
extern bool channels_any_strict(void);

#endif /* CHANNELS_H */
