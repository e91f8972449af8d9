/*
 * lanes.pml: how workers, sessions and processors share the events of a queue.
 *
 * A Promela model of src/worker and src/wake, checked by spin. One step of a
 * process is what the server does as a whole: a statement with its snapshot, a
 * commit becoming visible, the release of the locks, a change of shared memory
 * under its lock. Spin tries every order of the steps of all processes.
 *
 * Properties:
 *
 * - No event is lost and none is processed twice: after each commit an event is
 *   in exactly one of the queue, the messages and the dead letters
 *   (check_places), and an applied event was not applied before (check_order).
 * - Order: when an event is applied, no earlier event of its conversation is in
 *   the queue if the channel has strict_order, and otherwise none that was never
 *   tried (check_order).
 * - A claim is ended by its holder, or taken back after it has expired, once.
 * - No lane is forgotten: when no process can move, every event has left the
 *   queue and nothing is locked (init). A sleeping worker moves only when it is
 *   woken or when its own timer expires, so an event that nobody will look at
 *   ends in such a state.
 *
 * Processes, and what they stand for:
 *
 *   worker         msgstore_worker_main() in src/worker/worker.c: run_turn(),
 *                  work(), worker_run_batch(), wait_for_work(), detach()
 *   session        a transaction that calls process(1): msgstore_process()
 *   processor      an external processor: msgstore_claim(), then
 *                  msgstore_complete() or msgstore_fail() or nothing, in
 *                  src/worker/claims.c
 *   producer       transactions that ingest the events of one conversation:
 *                  wake_for_event() in src/wake/wake.c
 *   clock          the time: a retry becomes due, a claim expires
 *   administrator  changes msgstore.workers
 *
 * Sets of events, lanes and workers are the bits of a byte. An event's number is
 * its id. Ids are assigned before the commit, so the events of different
 * conversations can become visible in any order.
 *
 * Left out, and why:
 *
 * - Tenants. Each is searched from a place of its own. That a batch can be full
 *   before the turn of a tenant is modeled by a batch that a retry fills.
 * - 64 lanes. There is one for each of two conversations; an empty lane changes
 *   nothing.
 * - The periodic search of everything: it only finds more.
 * - Heartbeats: a claim here may expire at any time, early or never.
 * - The order of retries by time: the lowest id is found first. Among the
 *   events of a conversation this matters only with strict_order, where the
 *   line keeps the order of ids.
 * - The launcher: a worker that is wanted and not running starts at any time.
 * - A crash of the server: like the death of every process at once. Nothing but
 *   committed rows survives, and each worker starts as after its own death.
 * - Savepoints, erase_address(), requeue(), replay, restore, DROP EXTENSION.
 *
 * Scenarios, chosen with -D; each is as large as a few seconds allow:
 *
 *   (none)    one worker, a session that holds lanes, four events
 *   RETRIES   the same with three events, one of which fails
 *   DEATH     two workers, one of which dies and is started again
 *   CHANGE    two workers, one of which is stopped
 *   LINE      one worker, a processor that claims twice, strict_order, a failure
 *   MIXED     one worker, a processor; one conversation has strict_order
 *
 * Each of these breaks one rule of the code, and spin has to find it:
 *
 *   BROKEN_SEARCH     a worker that could not lock all of its lanes moves its
 *                     search on past what is left in the others
 *   BROKEN_RESUME     a search of everything counts as done although the batch
 *                     was full before it (RETRIES)
 *   BROKEN_ARRIVAL    the news is read before the snapshot of the search only
 *   BROKEN_NEWS       a commit wakes workers but does not say where to look
 *   BROKEN_WAKE       workers are woken before the locks are released
 *   BROKEN_SLEEP      a worker sleeps although it was woken during its turn
 *   BROKEN_LOCK       events are applied without the lock of their lane
 *   BROKEN_RELEASE    lanes are released before the commit
 *   BROKEN_SHARE      a worker whose share changed does not wake the others
 *                     (DEATH)
 *   BROKEN_DETACH     a worker that ends does not wake the others (CHANGE)
 *   BROKEN_LINE       events overtake an earlier one that is retried (LINE)
 *   BROKEN_DEAD_LINE  a dead letter does not release the line behind it (LINE)
 *   BROKEN_HOLDER     complete() and fail() do not check whose claim it is
 *                     (LINE)
 *   BROKEN_REAP       claims are taken back without locking and checking them
 *                     (MIXED)
 */
#if defined(RETRIES)
#define SESSIONS 1
#define FAILURES 1
#elif defined(DEATH)
#define WORKERS 2
#define DEATHS 1
#elif defined(CHANGE)
#define WORKERS 2
#define EVENTS 2
#define CONV_A 1
#define CONV_B 2
#define CHANGES 1
#elif defined(LINE)
#define EVENTS 2
#define CONV_B 0
#define STRICT CONV_A
#define PROCESSORS 1
#define CLAIMS 2
#define FAILURES 1
#define BATCH 2
#elif defined(MIXED)
#define STRICT CONV_A
#define PROCESSORS 1
#define CLAIMS 1
#define BATCH 2
#elif !defined(EVENTS)
#define EVENTS 4
#define CONV_A 11
#define SESSIONS 1
#endif

/* The conversations' events: 0 and 1, and 2. */
#ifndef EVENTS
#define EVENTS 3
#endif
#ifndef CONV_A
#define CONV_A 3
#endif
#ifndef CONV_B
#define CONV_B 4
#endif
#ifndef WORKERS
#define WORKERS 1
#endif
#ifndef SESSIONS
#define SESSIONS 0
#endif
#ifndef PROCESSORS
#define PROCESSORS 0
#endif
#ifndef STRICT
#define STRICT 0
#endif
#ifndef BATCH
#define BATCH 1
#endif
#ifndef CLAIMS
#define CLAIMS 0
#endif
#ifndef FAILURES
#define FAILURES 0
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef CHANGES
#define CHANGES 0
#endif

#define ALL ((1 << EVENTS) - 1)

/* The lane of each conversation. */
#define LANE_OF_A 1
#define LANE_OF_B 2
#define ALL_LANES ((CONV_B || WORKERS > 1) -> 3 : 1)

#define CONVERSATION(event) (((event) & CONV_A) -> CONV_A : CONV_B)
#define CONVERSATIONS(events) \
	((((events) & CONV_A) -> CONV_A : 0) | (((events) & CONV_B) -> CONV_B : 0))
#define EVENTS_IN(lanes) \
	((((lanes) & LANE_OF_A) -> CONV_A : 0) | (((lanes) & LANE_OF_B) -> CONV_B : 0))
#define LANES_OF(events) \
	((((events) & CONV_A) -> LANE_OF_A : 0) | (((events) & CONV_B) -> LANE_OF_B : 0))
#define LOWEST(events) ((events) & -(events))
#define BELOW(event) ((event) - 1)
#define GONE (applied | dead)

/* Executors apply or claim events: workers, the session, processors. */
#define EXECUTORS (WORKERS + SESSIONS + PROCESSORS)
#define PROCESSOR WORKERS

/* event_queue: next_attempt_at is NULL, in the future, past or infinity. */
byte fresh, later, due, parked;
#define QUEUED (fresh | later | due | parked)

byte applied;    /* messages */
byte dead;       /* dead_letters */
byte failed;     /* event_failures: one failed attempt; a second is the last */
byte holds;      /* conversation_holds */
byte claims;     /* event_claims */
byte expired;    /* claims past expires_at */
byte mine[PROCESSORS + 1]; /* claims of one processor */

/* Locks held by open transactions. */
byte rows_locked;   /* of event_queue, by a change or FOR UPDATE */
byte claiming;      /* of these, those locked by claim() */
byte claims_locked; /* rows of event_claims */
byte lanes_locked;

/* The transaction of an executor. */
byte got[EXECUTORS];     /* lanes that it has locked */
byte batch[EXECUTORS];   /* events that it has read */
byte stale[EXECUTORS];   /* of these, those changed by another commit since */
byte waits[EXECUTORS];   /* events put in line: worker_stand_in_line() */
byte reaped[EXECUTORS];  /* events whose claims it has taken back */
byte kept[EXECUTORS];    /* rows of event_claims that it has locked */
byte sampled[EXECUTORS]; /* retries that were due at the start of the turn */

/* A worker's memory: WorkerSearch, and static variables of worker.c. */
byte passed[WORKERS + 1]; /* ids up to its place */
byte behind[WORKERS + 1]; /* retries due before retries_from */
byte share[WORKERS];      /* its lanes in the last turn */
bool incomplete[WORKERS]; /* it could not lock all of them */
bool again[WORKERS];      /* Place.distrusted: search from the first event */
byte alarm[WORKERS];      /* retries that end its sleep when they become due */
byte watched[WORKERS];    /* claims that do when they expire */

/* WorkerSlot. */
byte ready;                 /* workers that are running */
bool called[WORKERS];       /* roused, with the latch set */
byte low[WORKERS];          /* news.lowest: ids below it; ALL: no news */
byte news_due[WORKERS];     /* news.earliest: retries from then on */
byte news_claims[WORKERS];  /* news.expiry */

/* What can still happen. */
byte wanted = WORKERS; /* msgstore.workers */
byte deaths = DEATHS;
byte failures = FAILURES;

/* wake_share(): of two workers, each has the lane of its number. */
#define SHARE(w) \
	((WORKERS == 1 || ready == 1 << (w)) -> ALL_LANES : 1 << (w))

/* Each event is in one place. A claimed event is due never. */
inline check_places()
{
	assert(!(fresh & later) && !(fresh & due) && !(fresh & parked));
	assert(!(later & due) && !(later & parked) && !(due & parked));
	assert(!(QUEUED & applied) && !(QUEUED & dead) && !(applied & dead));
	assert(!(claims & ~parked))
}

/*
 * wake_workers(): adds to the news of all workers, and wakes those that own the
 * lanes. Bits of events that have left the queue do not matter and are set,
 * which saves states.
 */
inline tell(from, lanes, lower, retries_too, claims_too)
{
	d_step {
		j = 0;
		do
		:: j < WORKERS ->
			if
			:: ready & (1 << j) ->
				low[j] = (low[j] & (lower)) | GONE;
#if FAILURES || CLAIMS
				news_due[j] = news_due[j] | (retries_too);
#endif
#if CLAIMS
				news_claims[j] = news_claims[j] | (claims_too);
#endif
				/* rouse(): a worker does not wake itself */
				if
				:: j != (from) && (SHARE(j) & (lanes)) -> called[j] = true
				:: else
				fi
			:: else
			fi;
			j++
		:: else -> break
		od;
		j = 0
	}
}
#define tell_all(from) tell(from, ALL_LANES, 0, ALL, ALL)

/*
 * Rows have changed, so executors that have read them cannot lock them. Rows
 * that become due now were assigned that time before it became visible: for the
 * other workers it can be before retries_from until they get the news. For the
 * executor itself it is after the start of its turn.
 */
inline touch(rows, due_now)
{
	j = 0;
	do
	:: j < EXECUTORS ->
		sampled[j] = sampled[j] & ~(rows);
		if
		:: j < WORKERS -> behind[j] = behind[j] & ~(rows)
		:: else
		fi;
		if
		:: j != me ->
			stale[j] = stale[j] | (batch[j] & (rows));
			sampled[j] = sampled[j] | (due_now);
			if
			:: j < WORKERS -> behind[j] = behind[j] | (due_now)
			:: else
			fi
		:: else
		fi;
		j++
	:: else -> break
	od;
	j = 0
}

/* leave_line: the events waiting in the lines that these events leave. */
#define FOLLOWERS(leaving) \
	(CONVERSATIONS((leaving) & holds) & holds & parked & ~claims & ~(leaving))

/* The first n of the candidates. */
inline pick(candidates, n, result)
{
	k = 0;
	result = 0;
	do
	:: k < (n) && ((candidates) & ~result) ->
		result = result | LOWEST((candidates) & ~result);
		k++
	:: else -> break
	od;
	k = 0
}

/*
 * Checks the events of ok. A transaction in claim() may yet roll back; without
 * strict_order, later events pass an event that it has locked.
 */
inline check_order()
{
	k = 0;
	do
	:: k < EVENTS ->
		e = 1 << k;
		if
		:: ok & e ->
			assert(!(applied & e));
			assert(!(STRICT & e) ||
				!(CONVERSATION(e) & BELOW(e) & ~ok & QUEUED));
			assert(!(CONVERSATION(e) & BELOW(e) & ~ok & fresh & ~claiming))
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0; e = 0
}

/*
 * reap(): locks expired claims, skipping locked ones. With strict_order it also
 * needs the lane.
 */
inline reap(lanes)
{
	d_step {
		kept[me] = claims & expired & EVENTS_IN(lanes) & ~claims_locked;
#ifndef BROKEN_REAP
		claims_locked = claims_locked | kept[me];
#endif
		got[me] = LANES_OF(kept[me] & STRICT) & ~lanes_locked;
		lanes_locked = lanes_locked | got[me];
		reaped[me] = kept[me] & (~STRICT | EVENTS_IN(got[me]))
	}
}

/* take_back(), at the commit: counts a failed attempt; the event is due at once. */
inline commit_reaped()
{
	if
	:: reaped[me] ->
		/* The claim still exists and has expired. */
		assert(!(reaped[me] & ~claims) && !(reaped[me] & ~expired));
		buried = reaped[me] & failed;
		claims = claims & ~reaped[me];
		expired = expired & ~reaped[me];
		j = 0;
		do
		:: j < PROCESSORS -> mine[j] = mine[j] & ~reaped[me]; j++
		:: else -> break
		od;
		failed = failed | reaped[me];
		dead = dead | buried;
		parked = parked & ~reaped[me];
		e = FOLLOWERS(buried) | (reaped[me] & ~buried);
		parked = parked & ~e;
		due = due | e;
		holds = holds & ~buried;
		news = news | e;
		touch(reaped[me] | e, e);
		buried = 0; e = 0
	:: else
	fi
}

/* The end of a transaction, after its changes have become visible. */
inline release()
{
	d_step {
		claims_locked = claims_locked & ~kept[me];
		kept[me] = 0;
		lanes_locked = lanes_locked & ~got[me];
		got[me] = 0
	}
}

/*
 * worker_hold_back(): an event waits if an earlier one that is not in the batch
 * is in line. An event that reap() has moved to the dead letters in this
 * transaction has left the line.
 */
inline hold_back()
{
	k = 0;
	do
	:: k < EVENTS ->
		e = 1 << k;
		if
		:: (batch[me] & STRICT & e) &&
			(holds & ~(reaped[me] & failed) & CONVERSATION(e) & BELOW(e) & ~batch[me]) ->
			waits[me] = waits[me] | e
		:: else
		fi;
		k++
	:: else -> break
	od;
#ifdef BROKEN_LINE
	waits[me] = 0;
#endif
	batch[me] = batch[me] & ~waits[me];
	k = 0; e = 0
}

/*
 * try_apply() and apply_each(): an event is applied (ok), or fails and is
 * retried (off) or becomes a dead letter (gone), or is postponed uncounted, as
 * after a lock timeout (off). Spin tries each.
 */
inline try_each()
{
	k = 0;
	do
	:: k < EVENTS ->
		e = 1 << k;
		if
		:: !(batch[me] & e)
		:: (batch[me] & e) && (blocked & CONVERSATION(e)) ->
			if
			:: STRICT & e -> waits[me] = waits[me] | e
			:: else -> off = off | e
			fi
		:: (batch[me] & e) && !(blocked & CONVERSATION(e)) -> ok = ok | e
		:: (batch[me] & e) && !(blocked & CONVERSATION(e)) && failures > 0 ->
			failures--;
			if
			:: failed & e -> gone = gone | e
			:: else ->
				off = off | e;
				counted = counted | e;
				blocked = blocked | (STRICT & e)
			fi
		:: (batch[me] & e) && !(blocked & CONVERSATION(e)) && failures > 0 ->
			failures--;
			off = off | e;
			blocked = blocked | e
		fi;
		k++
	:: else -> break
	od;
	batch[me] = 0; stale[me] = 0; blocked = 0; k = 0; e = 0
}

/* What the batch did, at the commit. */
inline commit_batch()
{
	e = ok | off | gone | waits[me];
	assert(!(e & ~QUEUED));
	fresh = fresh & ~e;
	due = due & ~e;
	later = (later & ~e) | off;
	parked = (parked & ~e) | waits[me];
	rows_locked = rows_locked & ~e;
	touch(e, 0);
	failed = failed | counted;
	dead = dead | gone;
	holds = holds | ((off | waits[me]) & STRICT);
	news = news | off;
	check_order();
	applied = applied | ok;
#ifdef BROKEN_DEAD_LINE
	gone = 0;
#endif
	e = FOLLOWERS(ok | gone);
	holds = holds & ~(ok | gone);
	parked = parked & ~e;
	due = due | e;
	news = news | e;
	touch(e, e);
	check_places();
	e = 0;
	forget()
}

/* Forgets the transaction, except for the locks that release() gives back. */
inline forget()
{
	ok = 0; off = 0; gone = 0; counted = 0;
	waits[me] = 0; reaped[me] = 0; sampled[me] = 0
}

inline roll_back()
{
	rows_locked = rows_locked & ~(ok | off | gone | waits[me]);
	claiming = claiming & ~(ok | off | gone | waits[me]);
	news = 0;
	forget()
}

/*
 * worker_lock_events() or worker_take_events(): skips rows that are locked or
 * were changed since they were read. Then applies the rest.
 */
inline apply()
{
	batch[me] = batch[me] & ~rows_locked & ~stale[me];
	hold_back();
	rows_locked = rows_locked | batch[me] | waits[me];
	try_each()
}

/* lanes_give(): lanes without events of the batch. */
inline give_lanes(needed)
{
	lanes_locked = lanes_locked & ~(got[me] & ~LANES_OF(needed));
	got[me] = got[me] & LANES_OF(needed)
}

#ifdef BROKEN_LOCK
#define LOCK_LANES(lanes) skip
#define FREE_LANES ALL_LANES
#else
#define LOCK_LANES(lanes) lanes_locked = lanes_locked | (lanes)
#define FREE_LANES (ALL_LANES & ~lanes_locked)
#endif

#ifdef BROKEN_SEARCH
#define REPEATED false
#else
#define REPEATED true
#endif

#ifdef BROKEN_RESUME
#define RESUMED false
#else
#define RESUMED true
#endif

proctype worker(byte me)
{
	byte j, k, e;
	byte more_events;
	byte ok, off, gone, buried, counted, blocked;
	byte news;
	bool changed, more;

end_start:
	/* attach() and announce_start() */
	atomic {
		(wanted > me) ->
		ready = ready | (1 << me);
		low[me] = 0
	}
	tell_all(me);

turn:
	atomic {
		if
		:: wanted <= me -> goto detach
		:: else
		fi;
		d_step {
			/* take_news() and worker_begin_search() */
			changed = SHARE(me) != share[me];
			share[me] = SHARE(me);
			called[me] = false;
			alarm[me] = 0;
			sampled[me] = due;
			passed[me] = passed[me] & low[me] & ~GONE;
			if
			:: changed || (incomplete[me] && REPEATED) ->
				again[me] = true;
				behind[me] = 0
			:: else ->
				again[me] = again[me] && RESUMED;
				behind[me] = behind[me] & ~news_due[me]
			fi;
#if CLAIMS
			watched[me] = (changed -> ALL : watched[me] | news_claims[me]);
			news_claims[me] = 0;
#endif
			low[me] = ALL;
			news_due[me] = 0;
			incomplete[me] = false
		}
	}
#if CLAIMS
	/* worker_reap_claims() */
	atomic {
		if
		:: changed || (expired & watched[me]) ->
			reap(share[me]);
			watched[me] = claims & EVENTS_IN(share[me]) & ~reaped[me]
		:: else -> watched[me] = watched[me] & claims
		fi
	}
#endif
	/* lanes_take(): one lock after the other */
	e = 1;
	do
	:: atomic { e <= ALL_LANES && (share[me] & ~got[me] & FREE_LANES & e) ->
		d_step { LOCK_LANES(e); got[me] = got[me] | e; e = e << 1 } }
	:: atomic { e <= ALL_LANES && !(share[me] & ~got[me] & FREE_LANES & e) ->
		incomplete[me] = incomplete[me] || (share[me] & ~got[me] & e);
		e = e << 1 }
	:: e > ALL_LANES -> break
	od;
	e = 0;

	/*
	 * claim_in_lanes(): takes a snapshot, reads the news, and finds retries for
	 * up to half of the batch, then fresh events.
	 */
	d_step {
#ifndef BROKEN_ARRIVAL
		passed[me] = passed[me] & (low[me] | GONE);
		behind[me] = behind[me] & ~news_due[me];
#endif
		pick(due & sampled[me] & ~behind[me] & EVENTS_IN(got[me]), (BATCH + 1) / 2, e);
		batch[me] = e;
		stale[me] = 0;
		if
		:: e -> behind[me] = behind[me] | (due & sampled[me] & ~EVENTS_IN(got[me]))
		:: else -> behind[me] = sampled[me]
		fi;
		if
		:: !e || BATCH > 1 ->
			/* list_round() and keep_places() */
			e = (e -> BATCH / 2 : BATCH);
			pick(fresh & ~(again[me] -> 0 : passed[me]) & EVENTS_IN(got[me]), e, more_events);
			batch[me] = batch[me] | more_events;
			again[me] = false;
			if
			:: more_events ->
				k = 1;
				do
				:: k <= more_events -> k = k << 1
				:: else -> break
				od;
				passed[me] = (k - 1) & ~GONE;
				k = 0;
				more_events = 0
			:: else
			fi
		:: else
		fi;
		e = 0;
		/* worker_has_more(): half of a batch of one or two events */
		more = batch[me] != 0;
		give_lanes(batch[me] | (reaped[me] & STRICT))
	}

	atomic {
		if
		:: batch[me] -> apply()
		:: else
		fi;
#ifdef BROKEN_SLEEP
		/* A handler has waited on the latch and reset it. */
		called[me] = false;
#endif
#ifdef BROKEN_RELEASE
		lanes_locked = lanes_locked & ~got[me];
		got[me] = 0;
#endif
		/* worker_next_retry(): those due after the start of the turn */
		d_step {
			if
			:: !more ->
				alarm[me] = EVENTS_IN(share[me]) & (off | (reaped[me] & ~failed) |
					FOLLOWERS(ok | gone | (reaped[me] & failed)) |
					((later | (due & ~sampled[me])) & ~(ok | gone | waits[me])))
			:: else
			fi
		}
		if
		:: ok | off | gone | waits[me] | got[me] | kept[me]
		:: else -> goto idle
		fi
	}
	if
	:: atomic { deaths > 0 -> deaths--; d_step { roll_back(); more = false; changed = false } };
		release();
		tell_all(me);
		goto detach
	:: d_step {
			commit_reaped();
			commit_batch()
		}
	fi;
#ifdef BROKEN_WAKE
	tell(me, LANES_OF(news), ALL, news, 0);
	release();
#else
	release();
	tell(me, LANES_OF(news), ALL, news, 0);
#endif
	news = 0;

idle:
	/* Others may have skipped lanes that are theirs now. */
	atomic {
		sampled[me] = 0;
		if
#ifdef BROKEN_SHARE
		:: changed = false
#else
		:: changed -> changed = false; tell_all(me)
		:: !changed
#endif
		fi;
		if
		:: more -> more = false; goto turn
		:: else
		fi
	}
end:
	/* wait_for_work(); a reload of the configuration also ends the sleep */
	if
	:: atomic { called[me] || (alarm[me] & due) || (watched[me] & expired) || wanted <= me -> goto turn }
	:: atomic { deaths > 0 -> deaths--; goto detach }
	fi;

detach:
	atomic {
		d_step {
			ready = ready & ~(1 << me);
			share[me] = 0; passed[me] = 0; behind[me] = 0;
			incomplete[me] = false; again[me] = false;
			alarm[me] = 0; watched[me] = 0; called[me] = false;
			low[me] = 0; news_due[me] = 0; news_claims[me] = 0
		}
	}
#ifndef BROKEN_DETACH
	tell_all(me);
#endif
	goto end_start
}

#if SESSIONS
/* msgstore_process(): searches all lanes that are free, from the first event. */
proctype session(byte me)
{
	byte j, k, e;
	byte ok, off, gone, buried, counted, blocked;
	byte news;

	d_step {
		sampled[me] = due;
		got[me] = FREE_LANES;
		LOCK_LANES(got[me])
	}
	d_step {
		pick(due & sampled[me] & EVENTS_IN(got[me]), 1, batch[me]);
		if
		:: batch[me] == 0 -> pick(fresh & EVENTS_IN(got[me]), 1, batch[me])
		:: else
		fi;
		give_lanes(batch[me])
	}
	atomic {
		apply();
#ifdef BROKEN_RELEASE
		lanes_locked = lanes_locked & ~got[me];
		got[me] = 0;
#endif
		sampled[me] = 0
	}
	if
	:: d_step { roll_back() }
	:: d_step { commit_batch() }
	fi;
	news = 0;
	/* wake_at_commit() and wake_at_abort() */
#ifdef BROKEN_WAKE
	tell_all(me);
	release()
#else
	release();
	tell_all(me)
#endif
}
#endif

#if PROCESSORS
#define MINE mine[me - PROCESSOR]

/* worker_find_waiting() */
#define WAITS_IN_LINE(event) \
	((STRICT & (event)) && \
	(holds & ~(reaped[me] & failed) & CONVERSATION(event) & BELOW(event)))

proctype processor(byte me)
{
	byte j, k, e;
	byte ok, off, gone, buried, counted, blocked;
	byte news, task;
	byte left = CLAIMS;

	do
	:: left == 0 -> break
	:: atomic { left > 0 -> left-- };
		/* claim(): takes back expired claims; locks lanes if a channel is strict */
		if
		:: claims & expired -> reap(ALL_LANES)
		:: else
		fi;
		d_step {
			if
			:: STRICT ->
				e = FREE_LANES & ~got[me];
				lanes_locked = lanes_locked | e;
				got[me] = got[me] | e
			:: else -> got[me] = got[me]
			fi;
			/* FOR UPDATE SKIP LOCKED, until an event need not wait in line */
			do
			:: true ->
				e = (STRICT -> EVENTS_IN(got[me]) : ALL) & ~rows_locked & ~waits[me];
				/* what it has just taken back is due */
				batch[me] = e & (due | (reaped[me] & ~failed));
				batch[me] = LOWEST(batch[me]);
				if
				:: batch[me] == 0 -> batch[me] = LOWEST(fresh & e)
				:: else
				fi;
				if
				:: batch[me] && WAITS_IN_LINE(batch[me]) -> waits[me] = waits[me] | batch[me]
				:: else -> break
				fi
			od;
			task = batch[me];
			batch[me] = 0;
			ok = task;
			e = 0;
			rows_locked = rows_locked | task | waits[me];
			claiming = claiming | task | waits[me];
			give_lanes((task | waits[me] | reaped[me]) & STRICT)
		}
		if
		:: d_step { roll_back(); task = 0 };
			release();
			tell_all(me)
		:: d_step {
				commit_reaped();
				/* make_claims_of() */
				e = task | waits[me];
				fresh = fresh & ~e;
				due = due & ~e;
				parked = parked | e;
				holds = holds | (e & STRICT);
				claims = claims | task;
				MINE = MINE | task;
				rows_locked = rows_locked & ~e;
				claiming = claiming & ~e;
				touch(e, 0);
				e = 0;
				check_places();
				forget()
			};
			release();
#if STRICT
			tell_all(me)
#else
			tell(me, ALL_LANES, ALL, news, task)
#endif
		fi;
		news = 0;
		/* The processor disappears, or completes or fails the event. */
		if
		:: task = 0
		:: task && (MINE & task) ->
			/* take_over(): locks the lane, then deletes the claim */
			if
			:: atomic { (STRICT & task) && !(lanes_locked & LANES_OF(task)) ->
				got[me] = LANES_OF(task);
				lanes_locked = lanes_locked | got[me] }
			:: !(STRICT & task)
			fi;
			atomic {
				!(claims_locked & task);
				if
#ifdef BROKEN_HOLDER
				:: (QUEUED & task) && !WAITS_IN_LINE(task) ->
#else
				:: (MINE & task) && !WAITS_IN_LINE(task) ->
#endif
					kept[me] = task;
					claims_locked = claims_locked | task;
					batch[me] = task;
					rows_locked = rows_locked | task;
					try_each()
				:: else /* MS409 */
				fi
			}
			if
			:: ok | off | gone ->
				d_step {
					/* The claim is still the processor's own. */
					assert(MINE & task);
					claims = claims & ~task;
					expired = expired & ~task;
					MINE = MINE & ~task;
					commit_batch()
				}
			:: d_step { roll_back() }
			fi;
			release();
			if
			:: STRICT & task -> tell_all(me)
			:: else -> tell(me, LANES_OF(news), ALL, news, 0)
			fi;
			d_step { news = 0; task = 0 }
		fi
	od
}
#endif

/* Each event is a transaction, which begins after the end of the one before. */
proctype producer(byte conversation)
{
	byte j, e;

	do
	:: d_step {
			conversation ->
			e = LOWEST(conversation);
			conversation = conversation & ~e;
			fresh = fresh | e
		}
		/* wake_for_event() */
#ifdef BROKEN_NEWS
		tell(EXECUTORS, LANES_OF(e), ALL, 0, 0);
#else
		tell(EXECUTORS, LANES_OF(e), BELOW(e), 0, 0);
#endif
		e = 0
	:: conversation == 0 -> break
	od
}

proctype clock()
{
end:
	do
	:: d_step { later -> due = due | LOWEST(later); later = later & ~LOWEST(later) }
	:: d_step { later & ~LOWEST(later) -> due = due | (later & ~LOWEST(later)); later = LOWEST(later) }
	:: d_step { claims & ~expired -> expired = expired | LOWEST(claims & ~expired) }
	:: d_step { claims & ~expired & ~LOWEST(claims & ~expired) -> expired = expired | (claims & ~LOWEST(claims & ~expired)) }
	od
}

#if CHANGES
proctype administrator()
{
	byte left = CHANGES;

	do
	:: atomic { left > 0 -> left--; wanted = (wanted == 1 -> 2 : 1) }
	:: break
	od
}
#endif

init
{
	byte i;

	atomic {
		do
		:: i < WORKERS -> low[i] = 0; run worker(i); i++
		:: else -> break
		od;
#if SESSIONS
		run session(WORKERS);
#endif
#if PROCESSORS
		i = 0;
		do
		:: i < PROCESSORS -> run processor(PROCESSOR + i); i++
		:: else -> break
		od;
#endif
		run producer(CONV_A);
		run producer(CONV_B);
		run clock();
#if CHANGES
		run administrator();
#endif
		i = 0
	}
	/* No process can move. */
	timeout;
	assert((applied | dead) == ALL);
	assert(!holds && !claims && !rows_locked && !claims_locked && !lanes_locked)
}
