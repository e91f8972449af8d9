/*
 * worker/recorder.c: records which events a worker is applying, so that its
 * death can be traced to one of them.
 *
 * A handler or trigger can end its process, or the whole server. The worker's
 * transaction is rolled back then, and nothing in the database tells which
 * event it was applying; the next worker would apply the same event and die of
 * it again. So a worker writes the keys of its events to a file before it
 * applies them, and which of them is in its handler. The file survives a crash
 * of the server, whose shared memory does not. It costs a few writes to the
 * page cache per batch and one per handled event, about a microsecond each: no
 * WAL, no statement, and nothing at all if neither handlers nor triggers of
 * users run.
 *
 * A worker that ends without having died of an event removes its file. The
 * signals tell: when another process has crashed, or at shutdown, they come
 * from the postmaster. A file whose writer is gone, which holds a lock on it
 * as long as it lives, is evidence: see worker/postmortem.c.
 *
 * Files are written, not mapped: with a full disk a store to a mapped page
 * would end the server.
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "wake/shared.h"
#include "worker/recorder.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Base backups leave out the contents of this directory. */
#define RECORD_PREFIX "msgstore_"
#define RECORD_PATH PG_STAT_TMP_DIR "/" RECORD_PREFIX "%u_%d_" INT64_FORMAT

#define RECORD_MAGIC 0x6d736772

typedef struct RecordHeader
{
	uint32 magic;
	int32 n; /* number of events; 0: none is being applied */
	int32 culprit;
	uint32 size; /* of the events, which follow */
	uint64 lanes;
} RecordHeader;

/* The tenant's bytes follow. */
typedef struct RecordItem
{
	pg_uuid_t id;
	int16 lane;
	uint16 tenant_bytes;
} RecordItem;

static bool attached = false;
static int file = -1; /* made for the first record */
static char path[MAXPGPATH];
static RecordHeader header;
static StringInfoData buffer; /* the header and the events */
static bool in_handler = false;
static bool left_record = false;

/* The signal that ends this process is not due to the events. */
static volatile sig_atomic_t excused = false;

static uint32 known_news = 0;

static void handle_signal(int signal_number,
						  void (*handler)(int, siginfo_t *, void *));
static void terminate(int signal_number, siginfo_t *info, void *context);
static void quit(int signal_number, siginfo_t *info, void *context);
static bool is_excuse(pid_t sender);
static bool is_other_backend(pid_t pid);
static void end_recording(int code, Datum arg);
static bool open_file(void);
static bool write_file(const void *data, Size size);
static void complain(const char *what);
static Record *read_record(const char *name);
static bool parse_record(const char *data, Size size, Record *record);

void
recorder_attach(void)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	initStringInfo(&buffer);
	MemoryContextSwitchTo(caller);
	attached = true;
	/* Runs before the transaction is rolled back and its lanes released. */
	before_shmem_exit(end_recording, (Datum) 0);
	handle_signal(SIGTERM, terminate);
	handle_signal(SIGQUIT, quit);
}

static void
handle_signal(int signal_number, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = {.sa_flags = SA_SIGINFO | SA_RESTART};

	action.sa_sigaction = handler;
	sigemptyset(&action.sa_mask);
	(void) sigaction(signal_number, &action, NULL);
}

/*
 * Terminating a worker in a handler is meant for the handler, as is cancelling
 * it; at any other moment for the worker.
 */
static void
terminate(int signal_number, siginfo_t *info, void *context)
{
	(void) context;
	if (is_excuse(info->si_pid))
		excused = true;
#if PG_VERSION_NUM >= 190000
	die(signal_number,
		&(pg_signal_info){.pid = info->si_pid, .uid = info->si_uid});
#else
	die(signal_number);
#endif
}

/* The postmaster ends all processes after one has crashed. */
static void
quit(int signal_number, siginfo_t *info, void *context)
{
	(void) signal_number;
	(void) context;
	if (info->si_pid == PostmasterPid && file >= 0)
		(void) unlink(path);
	_exit(2);
}

/*
 * A session may have ended before its signal arrives. A program that the event
 * started is still there: as long as it was not waited for, its id is in use.
 */
static bool
is_excuse(pid_t sender)
{
	int saved_errno = errno;
	bool gone = kill(sender, 0) != 0 && errno == ESRCH;

	errno = saved_errno;
	return sender == PostmasterPid ||
		   (!in_handler && (gone || is_other_backend(sender)));
}

/* Safe in a signal handler: takes no lock. */
static bool
is_other_backend(pid_t pid)
{
	uint32 i;

	for (i = 0; i < ProcGlobal->allProcCount && pid != MyProcPid; i++)
	{
		if (ProcGlobal->allProcs[i].pid == pid)
			return true;
	}
	return false;
}

/* The file is closed first: an open one belongs to a living worker. */
static void
end_recording(int code, Datum arg)
{
	(void) code;
	(void) arg;
	attached = false;
	if (file < 0)
		return;
	left_record = header.n > 0 && !excused && PostmasterIsAlive();
	if (!left_record)
		(void) unlink(path);
	close(file);
	file = -1;
	if (left_record)
		pg_atomic_fetch_add_u32(&wake_shared->records, 1);
}

bool
recorder_left_record(void)
{
	return left_record;
}

void
recorder_begin(const ConversationMessage *messages, const int16 *lanes, int n)
{
	int i;

	if (!attached || n == 0 || !open_file())
		return;
	header = (RecordHeader){.magic = RECORD_MAGIC,
							.n = n,
							.culprit = n == 1 ? 0 : -1};
	resetStringInfo(&buffer);
	appendBinaryStringInfo(&buffer, (char *) &header, sizeof(header));
	for (i = 0; i < n; i++)
	{
		const text *tenant_id = messages[i].tenant_id;
		RecordItem item = {.id = messages[i].id,
						   .lane = lanes[i],
						   .tenant_bytes = VARSIZE_ANY_EXHDR(tenant_id)};

		header.lanes |= UINT64CONST(1) << lanes[i];
		appendBinaryStringInfo(&buffer, (char *) &item, sizeof(item));
		appendBinaryStringInfo(&buffer,
							   VARDATA_ANY(tenant_id),
							   item.tenant_bytes);
	}
	header.size = buffer.len - sizeof(header);
	memcpy(buffer.data, &header, sizeof(header));
	(void) write_file(buffer.data, buffer.len);
}

void
recorder_enter_handler(int i)
{
	if (!attached || header.n == 0)
		return;
	in_handler = true;
	if (header.culprit == i)
		return;
	header.culprit = i;
	(void) write_file(&header, sizeof(header));
}

void
recorder_leave_handlers(void)
{
	in_handler = false;
	if (!attached || header.n <= 1)
		return;
	header.culprit = -1;
	(void) write_file(&header, sizeof(header));
}

void
recorder_clear(void)
{
	in_handler = false;
	if (!attached || header.n == 0)
		return;
	header.n = 0;
	(void) write_file(&header, sizeof(header));
}

static bool
open_file(void)
{
	int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | PG_BINARY;

	if (file >= 0)
		return true;
	snprintf(path,
			 sizeof(path),
			 RECORD_PATH,
			 MyDatabaseId,
			 MyProcPid,
			 GetCurrentTimestamp());
	file = BasicOpenFile(path, flags);
	if (file < 0)
		complain("create");
	else if (flock(file, LOCK_EX | LOCK_NB) < 0)
	{
		complain("lock");
		(void) unlink(path);
		close(file);
		file = -1;
	}
	else
		ReserveExternalFD();
	return file >= 0;
}

/* After an error the worker goes on without a record. */
static bool
write_file(const void *data, Size size)
{
	if (pwrite(file, data, size, 0) == (ssize_t) size)
		return true;
	complain("write");
	(void) unlink(path);
	close(file);
	ReleaseExternalFD();
	file = -1;
	header.n = 0;
	return false;
}

static void
complain(const char *what)
{
	static bool complained = false;

	if (!complained)
		ereport(
			LOG,
			(errcode_for_file_access(),
			 errmsg("could not %s file \"%s\": %m", what, path),
			 errdetail(
				 "An event whose handler ends its process is retried without counting the attempt.")));
	complained = true;
}

bool
recorder_has_news(void)
{
	return attached && pg_atomic_read_u32(&wake_shared->records) != known_news;
}

bool
recorder_take_news(void)
{
	bool news = recorder_has_news();

	known_news = pg_atomic_read_u32(&wake_shared->records);
	return news;
}

List *
recorder_read(Oid database)
{
	DIR *directory = AllocateDir(PG_STAT_TMP_DIR);
	List *records = NIL;
	struct dirent *entry;

	while ((entry = ReadDirExtended(directory, PG_STAT_TMP_DIR, LOG)) != NULL)
	{
		Oid owner;
		Record *record;

		if (sscanf(entry->d_name, RECORD_PREFIX "%u_", &owner) != 1 ||
			(OidIsValid(database) && owner != database))
			continue;
		record = read_record(entry->d_name);
		if (record != NULL)
			records = lappend(records, record);
	}
	if (directory != NULL)
		FreeDir(directory);
	return records;
}

bool
recorder_any(void)
{
	return recorder_read(InvalidOid) != NIL;
}

/*
 * Returns NULL if the writer lives, or has left no event. Readers share the
 * lock, so that they do not take each other for the writer. An empty file may
 * be one that is not locked yet.
 */
static Record *
read_record(const char *name)
{
	Record *record = palloc0(sizeof(Record));
	int fd;
	struct stat status;
	char *data;
	bool valid = false;

	record->path = psprintf("%s/%s", PG_STAT_TMP_DIR, name);
	fd = OpenTransientFile(record->path, O_RDONLY | PG_BINARY);
	if (fd < 0)
		return NULL;
	if (flock(fd, LOCK_SH | LOCK_NB) == 0 && fstat(fd, &status) == 0 &&
		status.st_size > 0)
	{
		data = MemoryContextAllocHuge(CurrentMemoryContext, status.st_size + 1);
		valid = pg_pread(fd, data, status.st_size, 0) == status.st_size &&
				parse_record(data, status.st_size, record);
		if (!valid)
			(void) unlink(record->path);
	}
	CloseTransientFile(fd);
	return valid ? record : NULL;
}

static bool
parse_record(const char *data, Size size, Record *record)
{
	RecordHeader found;
	const char *end;
	int i;

	if (size < sizeof(found))
		return false;
	memcpy(&found, data, sizeof(found));
	data += sizeof(found);
	if (found.magic != RECORD_MAGIC || found.n <= 0 ||
		found.size > size - sizeof(found) ||
		found.n > (int) (found.size / sizeof(RecordItem)) ||
		found.culprit >= found.n)
		return false;
	end = data + found.size;
	record->lanes = found.lanes;
	record->culprit = found.culprit;
	record->n = found.n;
	record->events = palloc0(sizeof(RecordedEvent) * found.n);
	for (i = 0; i < found.n; i++)
	{
		RecordedEvent *event = &record->events[i];
		RecordItem item;

		if (end - data < (ptrdiff_t) sizeof(item))
			return false;
		memcpy(&item, data, sizeof(item));
		data += sizeof(item);
		if (end - data < item.tenant_bytes)
			return false;
		event->id = item.id;
		event->lane = item.lane;
		event->tenant_id = cstring_to_text_with_len(data, item.tenant_bytes);
		data += item.tenant_bytes;
	}
	return true;
}

void
recorder_acquit(Record *record)
{
	int32 nobody = -1;
	int fd = OpenTransientFile(record->path, O_RDWR | PG_BINARY);

	record->culprit = -1;
	if (fd < 0)
		return;
	if (pg_pwrite(fd,
				  &nobody,
				  sizeof(nobody),
				  offsetof(RecordHeader, culprit)) != sizeof(nobody))
		(void) unlink(record->path);
	CloseTransientFile(fd);
}

void
recorder_remove(const Record *record)
{
	uint32 before;

	(void) unlink(record->path);
	before = pg_atomic_fetch_add_u32(&wake_shared->records, 1);
	if (before == known_news)
		known_news = before + 1;
}

void
recorder_forget(Oid database)
{
	List *records = recorder_read(database);
	ListCell *cell;

	foreach (cell, records)
		(void) unlink(((Record *) lfirst(cell))->path);
}
