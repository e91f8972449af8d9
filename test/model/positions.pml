/*
 * positions.pml: writers draw positions, and no reader misses an event.
 *
 * A Promela model of src/streams/position.c, checked by spin. One step of a
 * process is one access to shared memory, a draw from the sequence, a snapshot,
 * or the end of a transaction becoming visible. Spin tries every order of the
 * steps of all processes, in the order in which they become visible to others:
 * the code has memory barriers where this matters.
 *
 * Properties:
 *
 * - An event that a reader has not seen never appears at a position up to which
 *   it has read (read_page).
 * - A reader does not wait for a position that was rolled back to a savepoint
 *   (look).
 * - When all writers have ended, no bound is left, and the reader has seen every
 *   committed event of its category (reader).
 *
 * Processes, and what they stand for:
 *
 *   writer  transactions that append to a category, and one of the writers
 *           perhaps to another one in a savepoint that is kept or rolled back,
 *           and then commit or roll back: streams_take_position(), publish_bound(), withdraw_bounds()
 *   reader  a reader of a category: streams_settled_position(),
 *           settled_by_slots(), and the statement after it
 *
 * Left out, and why:
 *
 * - Tenants and databases: they are compared like categories.
 * - Horizons: they depend on transaction ids, whose order the server keeps.
 *
 * Scenarios, chosen with -D:
 *
 *   (none)    each category has a bound of its own
 *   SHARED    the second category extends the bound of the first, as the fifth
 *             and later ones of a transaction do
 *
 * Each of these breaks one rule of the code, and spin has to find it:
 *
 *   BROKEN_PUBLISH    a position is drawn before its bound is published
 *   BROKEN_SCOPE      the category of a bound is published after the draw
 *   BROKEN_SECOND     a second category gets no bound
 *   BROKEN_WITHDRAW   a bound is withdrawn before the commit is visible
 *   BROKEN_SAVEPOINT  a savepoint that is rolled back withdraws the bounds of
 *                     the transaction around it
 *   BROKEN_RELEASE    a savepoint that is kept withdraws its bound
 *   BROKEN_ROLLBACK   a savepoint that is rolled back leaves its bound
 *   BROKEN_LAST       a reader reads the bounds before the sequence
 *   BROKEN_SNAPSHOT   a reader takes its snapshot before it reads the bounds
 *   BROKEN_SHARED     a bound is extended after the draw (SHARED)
 */
#define WRITERS 2
#define TRANSACTIONS 3
#define POSITIONS (TRANSACTIONS + 1)
#define BIT(position) (1 << (position))
#define BOTH 3

/* The sequence, the category that each position was drawn for, and which of
 * them a snapshot taken now shows. */
byte drawn = 0;
byte category[POSITIONS + 1];
byte committed = 0;

/* Two bounds for each writer; 0: not in use. The bits of ended are those whose
 * savepoint was rolled back. */
byte bound[WRITERS * 2];
byte scope[WRITERS * 2];
byte ended = 0;

byte running = WRITERS;

#define AT(n) (me * 2 + (n))

inline next_position(wanted)
{
	atomic
	{
		drawn++;
		mine = drawn;
		category[mine] = wanted
	}
}

/* With a bound of its own, the n-th of the writer. */
inline draw(n, wanted)
{
#ifdef BROKEN_PUBLISH
	next_position(wanted);
	ended = ended & ~BIT(AT(n));
	scope[AT(n)] = wanted;
	bound[AT(n)] = mine
#else
	last = drawn;
#ifdef BROKEN_SCOPE
	scope[AT(n)] = 0;
	ended = ended & ~BIT(AT(n));
	bound[AT(n)] = last + 1;
	next_position(wanted);
	scope[AT(n)] = wanted;
#else
	scope[AT(n)] = wanted;
	atomic
	{
		bound[AT(n)] = last + 1;
		ended = ended & ~BIT(AT(n));
		last = 0
	}
	next_position(wanted);
#endif
	bound[AT(n)] = mine
#endif
}

inline draw_again(wanted)
{
#if defined(BROKEN_SECOND)
	next_position(wanted)
#elif defined(SHARED) && defined(BROKEN_SHARED)
	next_position(wanted);
	scope[AT(0)] = BOTH
#elif defined(SHARED)
	scope[AT(0)] = BOTH;
	next_position(wanted)
#else
	draw(1, wanted)
#endif
}

inline roll_back_to_savepoint()
{
	atomic
	{
#ifndef BROKEN_ROLLBACK
		bound[AT(1)] = 0;
#endif
		ended = ended | BIT(AT(1))
	}
#ifdef BROKEN_SAVEPOINT
	bound[AT(0)] = 0
#endif
}

/* The last bound first, as a reader stops at the first one not in use. */
inline withdraw_all()
{
	bound[AT(1)] = 0;
	bound[AT(0)] = 0
}

proctype writer(byte me; byte first; byte second; byte transactions)
{
	byte last;
	byte mine;
	byte events;

	do
	:: transactions > 0 ->
		transactions--;
		draw(0, first);
		events = BIT(mine);
		if
		:: skip
		:: second != 0 ->
			draw_again(second);
			if
			:: events = events | BIT(mine);
#ifdef BROKEN_RELEASE
				bound[AT(1)] = 0
#endif
			:: roll_back_to_savepoint()
			fi
		fi;
#ifdef BROKEN_WITHDRAW
		withdraw_all();
#endif
		if
		:: committed = committed | events
		:: skip
		fi;
		withdraw_all();
		events = 0;
		mine = 0
	:: else -> break
	od;
	running--
}

/* One bound. A reader that met it has to wait for it for a reason. */
inline look(n)
{
	atomic
	{
		there = bound[n];
#ifndef SHARED
		assert(there == 0 || !(ended & BIT(n)))
#endif
	}
	if
	:: there != 0 ->
		if
		:: (scope[n] == own || scope[n] == BOTH) && there - 1 < settled ->
			settled = there - 1
		:: else
		fi
	:: else
	fi
}

inline look_at_bounds()
{
	writer_number = 0;
	do
	:: writer_number < WRITERS ->
		look(writer_number * 2);
		if
		:: there != 0 -> look(writer_number * 2 + 1)
		:: else
		fi;
		writer_number++
	:: else -> break
	od;
	there = 0
}

inline read_page()
{
	d_step
	{
		position = 1;
		do
		:: position <= POSITIONS ->
			if
			:: position <= settled && (shown & BIT(position)) && category[position] == own ->
				assert(position > read_to || (seen & BIT(position)));
				seen = seen | BIT(position)
			:: else
			fi;
			position++
		:: else -> break
		od;
		position = 0;
		if
		:: settled > read_to -> read_to = settled
		:: else
		fi;
		settled = 0;
		shown = 0
	}
}

proctype reader(byte own)
{
	byte pages = 2;
	byte settled;
	byte shown;
	byte there;
	byte writer_number;
	byte position;
	byte read_to = 0;
	byte seen = 0;

	do
	:: pages > 0 ->
		pages--;
		/* The last page is read when all writers have ended. */
		if
		:: pages == 0 -> running == 0
		:: else
		fi;
#ifdef BROKEN_LAST
		settled = 255;
		look_at_bounds();
		if
		:: drawn < settled -> settled = drawn
		:: else
		fi;
#else
		settled = drawn;
#ifdef BROKEN_SNAPSHOT
		shown = committed;
#endif
		look_at_bounds();
#endif
#ifndef BROKEN_SNAPSHOT
		shown = committed;
#endif
		read_page()
	:: else -> break
	od;
	position = 0;
	d_step
	{
		position = 1;
		do
		:: position <= POSITIONS ->
			assert(category[position] != own || !(committed & BIT(position)) || (seen & BIT(position)));
			position++
		:: else -> break
		od;
		assert(bound[0] == 0 && bound[1] == 0 && bound[2] == 0 && bound[3] == 0)
	}
}

init
{
	atomic
	{
		run writer(0, 1, 2, 1);
		run writer(1, 1, 0, TRANSACTIONS - 1);
		if
		:: run reader(1)
		:: run reader(2)
		fi
	}
}
