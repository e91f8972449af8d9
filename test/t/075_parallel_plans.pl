# Every PARALLEL SAFE function runs in parallel workers.
#
# A parallel worker can neither start a subtransaction nor write, so a function
# that does must not be marked PARALLEL SAFE. Each function is called in a plan
# whose workers do all of the work; a function without a call below fails the
# test. Calls that raise one of our own errors (class MS) are fine.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use MsgstoreServer;
use Test::More;

# Function, and an expression that calls it. b is a row of a table with an
# integer n and a text t, so that the planner does not evaluate the call.
my %calls = map { /^(\S+(?: \S+)*?)\s*=>\s*(.*)$/ ? ($1 => $2) : die $_ } grep { /\S/ } split /\n/, <<'CALLS';
msgstore.normalize_phone(text) => msgstore.normalize_phone('+1555' || b.n)
msgstore.normalize_email(text) => msgstore.normalize_email(b.t || '@example.com')
msgstore.normalize_address(text,text) => msgstore.normalize_address('sms', '+1555' || b.n)
msgstore._address_fault(text,text) => msgstore._address_fault('sms', b.t)
msgstore.conversation_key(text,text,text) => msgstore.conversation_key('sms', '+1555' || b.n, '+1')
msgstore.snippet(text,integer) => msgstore.snippet(b.t)
msgstore._tenant_scope() => msgstore._tenant_scope() || b.t
msgstore._owner_scope() => msgstore._owner_scope() || b.t
msgstore._check_no_tenant(text) => msgstore._check_no_tenant(b.t)::text
msgstore._check_tenant(text) => msgstore._check_tenant(b.t)::text
msgstore._tenants_in_scope() => (SELECT count(s) + b.n FROM msgstore._tenants_in_scope() s)
msgstore.read_payload(text) => msgstore.read_payload('{"a": ' || b.n || '}')
msgstore._backoff(integer) => msgstore._backoff(b.n % 5)
msgstore._lane(text,text,text,text) => msgstore._lane('', 'sms', b.t, '+1')
msgstore._clean_detail(jsonb) => msgstore._clean_detail(to_jsonb(b.t))
msgstore.stream_category(text) => msgstore.stream_category(b.t || '-1')
msgstore._cause(jsonb) => msgstore._cause(jsonb_build_object('causation_id', b.t))
msgstore._event_keys(jsonb,text[]) => msgstore._event_keys(jsonb_build_object('correlation_id', b.t), ARRAY[b.t])::text
msgstore._read_query(jsonb) => (SELECT count(q) + b.n FROM msgstore._read_query('{"tags": ["a"]}') q)
msgstore.trace(text,bigint) => (SELECT count(e) + b.n FROM msgstore.trace(b.t) e)
msgstore.causation_tree(uuid,integer) => (SELECT count(e) + b.n FROM msgstore.causation_tree(md5(b.t)::uuid) e)
msgstore._check_category(text) => msgstore._check_category(b.t)::text
msgstore._consumer_of(text,bigint) => msgstore._consumer_of(b.t, 3)
msgstore.merge_patch(jsonb,jsonb) => msgstore.merge_patch('{}', to_jsonb(b))
msgstore._last_known(anyelement,anyelement) => msgstore._last_known(b.n, NULL)
msgstore.last_known(anyelement) => (SELECT msgstore.last_known(i) FROM generate_series(1, b.n % 3 + 1) i)
msgstore.fold(jsonb) => (SELECT msgstore.fold(to_jsonb(i)) FROM generate_series(1, b.n % 3 + 1) i)
msgstore.ulid_after(text) => msgstore.ulid_after('01ARZ3NDEKTSV4RRFFQ69G5FA' || b.n % 10)
msgstore._next_ulid(uuid) => msgstore._next_ulid(md5(b.t)::uuid)
msgstore._ulid_to_uuid(text) => msgstore._ulid_to_uuid('01ARZ3NDEKTSV4RRFFQ69G5FA' || b.n % 10)
msgstore._uuid_to_ulid(uuid) => msgstore._uuid_to_ulid(md5(b.t)::uuid)
msgstore._is_ip_address(text) => msgstore._is_ip_address('::' || b.n % 10)
msgstore._owner_allows(text,boolean,text,boolean) => msgstore._owner_allows(b.t, true, b.t, false)
msgstore._check_response_move(text,text) => msgstore._check_response_move('queued', CASE WHEN b.n > 0 THEN 'completed' END)::text
msgstore._event_age_us(uuid) => msgstore._event_age_us(md5(b.t)::uuid)
msgstore._random_hex(integer) => msgstore._random_hex(b.n % 5 + 1)
msgstore._same_bytes(bytea,bytea) => msgstore._same_bytes(b.t::bytea, 'x')
msgstore._find_dead_letters(text,text,timestamp with time zone,timestamp with time zone,uuid[]) => msgstore._find_dead_letters(b.t, NULL, NULL, NULL, NULL)::text
msgstore._read_cursor(text) => msgstore._read_cursor(CASE b.n % 2 WHEN 0 THEN '1730469600000000~' || md5(b.t)::uuid END)::text
msgstore._read_page(integer,integer,text) => msgstore._read_page(b.n, 50, NULL)::text
msgstore._is_in_reach(integer,integer,bigint,bigint) => msgstore._is_in_reach(b.n, 50, 0, 1)
msgstore._read_changes(bytea) => (SELECT count(*) FROM msgstore._read_changes(decode(repeat(md5(b.t), 7), 'hex')))
msgstore._write_change(uuid,bigint,bigint,timestamp with time zone) => msgstore._write_change(md5(b.t)::uuid, b.n, 0, now())::text
msgstore._pending_count(text,uuid) => msgstore._pending_count('', md5(b.t)::uuid)
msgstore._pending_activity(text,uuid) => coalesce(msgstore._pending_activity('', md5(b.t)::uuid)::text, b.t)
msgstore._newest_pending(text,timestamp with time zone,uuid,bigint) => (SELECT count(*) FROM msgstore._newest_pending('', 'infinity', md5(b.t)::uuid, 10))
msgstore._newest_conversations(timestamp with time zone,uuid,bigint,integer) => (SELECT count(*) FROM msgstore._newest_conversations(NULL, md5(b.t)::uuid, 0, 10))
msgstore._cut_page(jsonb[],integer,integer,bigint,text) => msgstore._cut_page(ARRAY['{}'::jsonb], b.n, 50, 1, 'at')
msgstore._cursor(timestamp with time zone,uuid) => msgstore._cursor(now(), md5(b.t)::uuid)
msgstore.list_conversations(integer,integer,text,text,text,text,text,text,boolean) => msgstore.list_conversations(1, b.n % 10, state => CASE b.n % 2 WHEN 0 THEN 'open' END)
msgstore._pending_inbound(text,uuid) => msgstore._pending_inbound('', md5(b.t)::uuid)
msgstore._check_name(text,text,integer) => msgstore._check_name('f', b.t, 1000)::text
msgstore._check_name(text,text) => msgstore._check_name('source', b.t)::text
msgstore._any_tenant_moves() => msgstore._any_tenant_moves()::text
msgstore._media_failed(text,text) => msgstore._media_failed('', b.t)
msgstore._publication_name(text) => msgstore._publication_name(b.t)
msgstore._published_columns(text) => msgstore._published_columns(CASE b.n % 2 WHEN 0 THEN 'sources' ELSE 'api_keys' END)::text
msgstore._table_classes() => (SELECT count(*) FROM msgstore._table_classes() WHERE name <> b.t)
msgstore._tenant_tables() => (SELECT count(*) FROM msgstore._tenant_tables() WHERE name <> b.t)
msgstore.default_slot(text,integer) => msgstore.default_slot(b.t, 16)
msgstore.slot_map() => (SELECT count(*) FROM msgstore.slot_map() WHERE b.n > 0)
msgstore.tenant_digest(text) => (SELECT count(*) FROM msgstore.tenant_digest(b.t))
msgstore.tenant_slot(text) => coalesce(msgstore.tenant_slot(b.t), b.n)
msgstore._digest_table(text,text) => msgstore._digest_table('event_log', b.t)::text
msgstore._read_name(text,jsonb) => msgstore._read_name('f', to_jsonb(b.t))
msgstore._read_labels(text,jsonb) => msgstore._read_labels('f', '["a"]')::text || b.t
msgstore._show_conversation(msgstore.conversation_rows,integer,integer,timestamp with time zone,msgstore.conversation_states,text,integer) => msgstore._show_conversation(NULL, b.n, 0, NULL, NULL, NULL, NULL)
msgstore._quote_term(text) => msgstore._quote_term(b.t)
msgstore._unspaced_runs(text) => (SELECT count(*) FROM msgstore._unspaced_runs(b.t))
msgstore._part_terms(text) => msgstore._part_terms(b.t || ' 12345')
msgstore._address_terms(text,text) => msgstore._address_terms(b.t, 'x')
msgstore._search_configuration(text,text) => msgstore._search_configuration(b.t, 'sms')
msgstore._terms_of(text,text,uuid,text,text,text,text) => msgstore._terms_of('simple', '', md5(b.t)::uuid, 'sms', 'inbound', '', b.t)
msgstore._oldest_change(uuid) => coalesce(msgstore._oldest_change(md5(b.t)::uuid)::text, b.t)
msgstore._indexed_until() => msgstore._indexed_until()::text || b.t
msgstore._search_lag_us() => msgstore._search_lag_us() + b.n
msgstore._search_is_late() => msgstore._search_is_late()::text || b.t
msgstore._outbox_overview(integer) => msgstore._outbox_overview(b.n)
msgstore._status_overview(integer) => msgstore._status_overview(b.n)
msgstore.search_status() => (SELECT waiting + b.n FROM msgstore.search_status())
msgstore._parts_query(text,text,integer) => msgstore._parts_query(b.t, 'x', 2)
msgstore._word_query(text[],text,boolean) => msgstore._word_query('{simple}', b.t, false)
msgstore._any_of(tsquery[]) => msgstore._any_of(ARRAY[plainto_tsquery('simple', b.t)])
msgstore._parse_query(text[],text) => msgstore._parse_query('{simple}', b.t)
msgstore._read_query(text[],text) => msgstore._read_query('{simple}', b.t)
msgstore._hit_snippet(text,text,tsquery) => msgstore._hit_snippet('simple', b.t, plainto_tsquery('simple', b.t))
msgstore._parts_pattern(tsquery) => coalesce(msgstore._parts_pattern(plainto_tsquery('simple', b.t)), b.t)
msgstore._search_newest(text[],tsquery,tsquery,timestamp with time zone,timestamp with time zone,uuid,integer,bigint) => (SELECT count(*) FROM msgstore._search_newest(ARRAY['', 'a'], plainto_tsquery('simple', b.t), NULL, '-infinity', 'infinity', NULL, 10, 100))
msgstore._search_all(tsquery,tsquery,timestamp with time zone,timestamp with time zone,uuid,integer) => (SELECT count(*) FROM msgstore._search_all(plainto_tsquery('simple', b.t), NULL, '-infinity', 'infinity', NULL, 10))
msgstore._without_phrases(tsquery) => msgstore._without_phrases(plainto_tsquery('simple', b.t))
msgstore._search_hits(tsquery,tsquery,timestamp with time zone,timestamp with time zone,uuid,integer) => (SELECT count(*) FROM msgstore._search_hits(plainto_tsquery('simple', b.t), NULL, '-infinity', 'infinity', NULL, 10))
msgstore._search_best(tsquery,tsquery,timestamp with time zone,timestamp with time zone,integer,integer) => (SELECT count(*) FROM msgstore._search_best(plainto_tsquery('simple', b.t), plainto_tsquery('simple', b.t), '-infinity', 'infinity', 0, 10))
msgstore._read_rank_cursor(text) => msgstore._read_rank_cursor((b.n % 10)::text)
msgstore._search_configurations() => msgstore._search_configurations()::text || b.t
msgstore._search_filter(text,text,text) => msgstore._search_filter(NULL, b.t, NULL)
msgstore.search_messages(text,text,text,text,timestamp with time zone,timestamp with time zone,text,integer,boolean) => msgstore.search_messages(b.t)
msgstore._address_query(text) => msgstore._address_query(b.t)
msgstore._subject_query(tsquery) => msgstore._subject_query(plainto_tsquery('simple', b.t))
msgstore._found_conversations(text) => (SELECT count(*) FROM msgstore._found_conversations(b.t))
msgstore.search_conversations(text,integer,text) => msgstore.search_conversations(b.t)
msgstore.get_conversation(text,text) => msgstore.get_conversation(CASE WHEN b.n > 0 THEN '1' END, b.t)
msgstore._inbound_up_to(msgstore.conversations,uuid) => msgstore._inbound_up_to((NULL, NULL, b.n, NULL, NULL, NULL, NULL, b.n, NULL, NULL, b.n, NULL, NULL, NULL, NULL)::msgstore.conversations, NULL)
msgstore._read_list_filter(text,text,text,text,text,boolean) => msgstore._read_list_filter(NULL, b.t, NULL, NULL, NULL, NULL)
msgstore._matches(jsonb,text[],uuid[],integer[]) => (SELECT count(*) FROM msgstore._matches('{}', ARRAY[b.t], ARRAY[md5(b.t)::uuid], '{1}'))
msgstore._named_conversations(jsonb) => (SELECT count(*) FROM msgstore._named_conversations(jsonb_build_object('label', b.t)))
msgstore._count_matching(jsonb) => msgstore._count_matching(jsonb_build_object('label', b.t))::text
msgstore._count_by_tallies(jsonb) => msgstore._count_by_tallies(jsonb_build_object('label', b.t))
msgstore._count_reopened(jsonb) => msgstore._count_reopened(jsonb_build_object('label', b.t))
msgstore._count_all() => msgstore._count_all() + b.n
msgstore._tally(text,text) => msgstore._tally('label', b.t)
msgstore._tallied(boolean,text,text[]) => (SELECT count(f) + b.n FROM msgstore._tallied(true, b.t, ARRAY[b.t]) f)
msgstore._fold_case(text) => msgstore._fold_case(b.t)
msgstore._headline(text,text,tsquery) => msgstore._headline('simple', b.t, 'a')::text
msgstore._matching_conversations(jsonb,timestamp with time zone,uuid,bigint,integer,bigint) => (SELECT count(*) FROM msgstore._matching_conversations(jsonb_build_object('assignee', b.t), NULL, NULL, 0, 10, 1))
msgstore._find_conversation(text) => msgstore._find_conversation(CASE WHEN b.n > 0 THEN '1' END)::text
msgstore.list_messages(text,integer,integer,text,boolean) => msgstore.list_messages('1', 1, b.n % 10)
msgstore._check_text(text,text,integer) => msgstore._check_text(b.t, 'what', 100)::text
msgstore.count_events(text) => msgstore.count_events(b.t || '-1')
msgstore.last_event(text,text) => msgstore.last_event(b.t || '-1')::text
msgstore.list_streams(text,text,integer) => msgstore.list_streams(b.t)::text
msgstore._raise_no_subscription(text) => msgstore._raise_no_subscription(b.t)::text
msgstore._check_group_size(bigint) => msgstore._check_group_size(b.n % 5 + 1)::text
msgstore._check_subscription(text) => msgstore._check_subscription(b.t)::text
msgstore.list_parked(text) => msgstore.list_parked(b.t)::text
msgstore._raise_no_snapshot(text) => msgstore._raise_no_snapshot(b.t)::text
msgstore.get_snapshot(text) => msgstore.get_snapshot(b.t)::text
msgstore.list_snapshots(integer,integer) => msgstore.list_snapshots(b.n % 10 + 1, 0)::text
msgstore._raise_duplicate_entry(text,text,text) => msgstore._raise_duplicate_entry(b.t, '::1', 'h')::text
msgstore._check_host_version(text,text,bigint,text) => msgstore._check_host_version(b.t, '-1', 0, NULL)::text
msgstore._host_head(text) => msgstore._host_head(b.t)::text
msgstore._host_stream(text) => msgstore._host_stream(b.t)
msgstore._host_event_fields(text) => msgstore._host_event_fields(CASE WHEN b.n > 0 THEN 'HostCreated' END)::text
msgstore._is_time(text) => msgstore._is_time(b.t)
msgstore._host_event_fault(text,jsonb) => msgstore._host_event_fault('HostDeleted', jsonb_build_object('deleted_at', b.t))
msgstore._check_host_events(text,timestamp with time zone) => msgstore._check_host_events(b.t)::text
msgstore._host_time_field(text) => msgstore._host_time_field(b.t)
msgstore._host_change(text,jsonb) => msgstore._host_change('CommentUpdated', jsonb_build_object('new_comment', b.t))::text
msgstore._host_entry(msgstore.host_entries) => msgstore._host_entry(CASE WHEN b.n < 0 THEN NULL::msgstore.host_entries END)::text
msgstore._text_array(jsonb) => msgstore._text_array(jsonb_build_array(b.t))
msgstore.latest_host_event_id() => msgstore.latest_host_event_id() || b.t
msgstore.list_hosts() => (SELECT count(h) + b.n FROM msgstore.list_hosts() h)
msgstore.host_by_id(text) => msgstore.host_by_id(b.t)::text
msgstore.host_by_ip_and_hostname(text,text) => msgstore.host_by_ip_and_hostname('::1', b.t)::text
msgstore._check_host_filter(jsonb) => msgstore._check_host_filter(jsonb_build_object('query', b.t))::text
msgstore.search_hosts(jsonb) => msgstore.search_hosts(jsonb_build_object('query', b.t))::text
msgstore.hosts_at(timestamp with time zone) => msgstore.hosts_at(now() - b.n * interval '1 s')::text
msgstore.hosts_health() => (SELECT count(h) + b.n FROM msgstore.hosts_health() h)
msgstore.validate_host(jsonb) => msgstore.validate_host(jsonb_build_object('hostname', b.t))::text
msgstore.host_version(text) => msgstore.host_version(b.t)
msgstore.host_sequence(text) => msgstore.host_sequence(b.t)
msgstore.count_host_events(text) => msgstore.count_host_events(b.t)
msgstore.list_host_ids() => (SELECT count(h) + b.n FROM msgstore.list_host_ids() h)
msgstore._is_hostname(text) => msgstore._is_hostname(b.t)
msgstore._has_provider(text,uuid) => msgstore._has_provider('', md5(b.t)::uuid)
msgstore._identity(text,text,text) => msgstore._identity('', 'sms', b.t)::text
msgstore._least_uuid7(timestamp with time zone) => msgstore._least_uuid7('2024-11-01Z'::timestamptz + b.n * interval '1 s')::text
msgstore._log_tenant_below(text) => msgstore._log_tenant_below(b.t)
msgstore._log_tenants() => (SELECT count(s) + b.n FROM msgstore._log_tenants() s)
msgstore._time_of_uuid7(uuid) => msgstore._time_of_uuid7(CASE WHEN b.n > 0 THEN '01a1fcd6-3278-72f4-a917-0939cba5cf2c'::uuid END)::text
msgstore._names_address(text,text,text,text,text,text) => msgstore._names_address('sms', '1', '2', b.t, b.t, b.t)::text
msgstore.list_messages(bigint,integer,integer,text,boolean) => msgstore.list_messages(1::bigint, b.n % 2 + 1, 10, NULL)::text
msgstore._status_word(text) => msgstore._status_word(b.t)
msgstore._find_status(text,text) => msgstore._find_status('', CASE WHEN b.n > 0 THEN 'bounced' END)::text
msgstore._first_text(jsonb,text[]) => msgstore._first_text(jsonb_build_object('a', b.t), ARRAY['{a}'])
msgstore._callback_error(jsonb) => msgstore._callback_error(jsonb_build_object('error_code', b.t))::text
msgstore._later_status(text,text) => msgstore._later_status('sent', CASE WHEN b.n > 0 THEN 'read' END)
msgstore._response_page(integer,text) => msgstore._response_page(b.n % 10, 'desc')::text
msgstore._check_page_size(bigint) => msgstore._check_page_size(b.n)::text
msgstore._check_removable(text) => msgstore._check_removable(b.t || '-1')::text
msgstore._event_document(msgstore.stream_event) => msgstore._event_document(CASE WHEN b.n < 0 THEN NULL::msgstore.stream_event END)::text
msgstore._event_page(msgstore.stream_event[]) => msgstore._event_page(CASE WHEN b.n > 0 THEN '{}'::msgstore.stream_event[] END)::text
msgstore._event_hash(msgstore.stream_events) => msgstore._event_hash(CASE WHEN b.n < 0 THEN NULL::msgstore.stream_events END)::text
msgstore._seal_hash(bytea,text,bigint,bigint[],bytea,bigint,bigint) => msgstore._seal_hash('', b.t, 1, '{}', '', 1, 1)::text
msgstore._seals(text) => msgstore._seals(b.t)::text
msgstore._has_changes(text,pg_snapshot) => msgstore._has_changes(b.t, '1:1:')::text
msgstore._is_in_history(pg_snapshot) => msgstore._is_in_history(CASE WHEN b.n > 0 THEN '1:1:'::pg_snapshot END)::text
msgstore._live_ids(bytea) => (SELECT count(i) + b.n FROM msgstore._live_ids('') i)
msgstore._live_page(text,pg_snapshot,pg_snapshot,integer) => (SELECT count(p) + b.n FROM msgstore._live_page(b.t, '1:1:', '2:2:', 5) p)
msgstore._live_position(pg_snapshot,pg_snapshot,xid8) => msgstore._live_position('1:1:', '5:5:', b.n::text::xid8)
msgstore._conversation_id(text) => msgstore._conversation_id(CASE WHEN b.n > 0 THEN '1' END)::text
msgstore._conversation_document(msgstore.response_conversations) => msgstore._conversation_document(CASE WHEN b.n < 0 THEN NULL::msgstore.response_conversations END)::text
msgstore._conversation_item(jsonb) => msgstore._conversation_item(jsonb_build_object('type', b.t))::text
msgstore._is_path_id(text) => msgstore._is_path_id(b.t)::text
msgstore._new_item_id(jsonb) => msgstore._new_item_id(jsonb_build_object('type', b.t))
msgstore._refuse_conversation(text) => msgstore._refuse_conversation(b.t)::text
msgstore._refuse_item(text) => msgstore._refuse_item(b.t)::text
msgstore._event_text(jsonb) => msgstore._event_text(jsonb_build_object('type', b.t))
msgstore.list_response_usage(date,date) => (SELECT count(u) + b.n FROM msgstore.list_response_usage('2024-11-01', '2024-11-02') u)
msgstore._key_names(text,text) => msgstore._key_names(b.t, b.t)::text
msgstore._response_list(jsonb,boolean) => msgstore._response_list(jsonb_build_array(to_jsonb(b)), false)
msgstore._response_is_sound(text,text,jsonb,jsonb,jsonb) => msgstore._response_is_sound(b.t, 'failed', '[]', '[]', to_jsonb(b))::text
msgstore._in_order(jsonb[],boolean) => msgstore._in_order(ARRAY[to_jsonb(b)], true)::text
msgstore._items_text(jsonb) => msgstore._items_text(jsonb_build_array(jsonb_build_object('text', b.t)))
msgstore._tenant_term(text) => msgstore._tenant_term(b.t)
msgstore._response_terms(text,text,jsonb,jsonb) => msgstore._response_terms('simple', b.t, jsonb_build_array(jsonb_build_object('text', b.t)), '[]')::text
msgstore._response_words(text,text) => msgstore._response_words(b.t, b.t)::text
msgstore._oldest_event(text) => msgstore._oldest_event(CASE WHEN b.n > 0 THEN '' END)
msgstore._oldest_due(text) => msgstore._oldest_due(CASE WHEN b.n > 0 THEN '' END)
msgstore._work_left() => (SELECT w::text || b.n FROM msgstore._work_left() w)
msgstore._present_objects() => (SELECT count(p) + b.n FROM msgstore._present_objects() p)
msgstore._as_one_statement(text[]) => msgstore._as_one_statement(ARRAY[b.t, b.t])
msgstore._gateway_functions() => (SELECT count(f) + b.n FROM msgstore._gateway_functions() f)
msgstore.version() => msgstore.version() || b.t
msgstore._key_scopes() => msgstore._key_scopes() || b.t
msgstore._access_rights() => (SELECT count(r) + b.n FROM msgstore._access_rights() r)
msgstore._rights_clause(text[],text[]) => msgstore._rights_clause(ARRAY['read', b.t], '{}')::text
msgstore._levels_of(regrole) => msgstore._levels_of(CASE WHEN b.n > 0 THEN '10'::regrole END)
msgstore._read_level(regrole,text) => msgstore._read_level(CASE WHEN b.n > 0 THEN '10'::regrole END, 'read')
msgstore.list_tenant_limits() => (SELECT count(l) + b.n FROM msgstore.list_tenant_limits() l)
msgstore.tenant_limit(text) => msgstore.tenant_limit(b.t)::text
msgstore.list_api_keys() => (SELECT count(k) + b.n FROM msgstore.list_api_keys() k)
msgstore.has_api_keys() => msgstore.has_api_keys()::text || b.t
message_store._columns() => (SELECT c::text || b.n FROM message_store._columns() c)
message_store._condition(character varying) => message_store._condition(CASE WHEN b.n < 0 THEN b.t END)
message_store._consumer_of(text,bigint) => message_store._consumer_of(b.t, 3)
message_store._tenant_scope() => message_store._tenant_scope() || b.t
message_store.cardinal_id(character varying) => message_store.cardinal_id(b.t)
message_store.category(character varying) => message_store.category(b.t)
message_store.hash_64(character varying) => message_store.hash_64(b.t)
message_store.id(character varying) => message_store.id(b.t)
message_store.is_category(character varying) => message_store.is_category(b.t)
message_store.message_store_version() => message_store.message_store_version() || b.t
CALLS

my $node = new_server('parallel', "msgstore.workers = 0\nmax_worker_processes = 16\nmax_parallel_workers = 8");
$node->start;
add_database($node, 'store');

# Rows for the functions to find, and a table whose pages workers can share.
$node->safe_psql('store', <<'SQL');
SELECT msgstore.install_message_store();
SELECT ingest_many('p', 20, 3);
SELECT msgstore.process();
SELECT ingest_many('q', 3);
SELECT msgstore.append('x1-1', 'x', '{}');
SELECT msgstore.append_host_events('x1', '[{"type": "HostCreated", "ip_address": "::1", "hostname": "h"}]');
SELECT msgstore.create_api_key('', '{read}');
SELECT msgstore.set_tenant_limit('x1', 5);
CREATE TABLE b AS SELECT n, 'x' || n AS t FROM generate_series(1, 50) n;
ALTER TABLE b SET (parallel_workers = 2);
ANALYZE;
SQL

# debug_parallel_query was called force_parallel_mode before PostgreSQL 16.
my $forced = $node->safe_psql('store', <<'SQL');
SELECT name FROM pg_settings WHERE name IN ('debug_parallel_query', 'force_parallel_mode')
SQL
my $in_workers = <<'SQL';
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
SET max_parallel_workers_per_gather = 2;
SET enable_material = off;
SQL

# Returns the output of a statement, or its SQLSTATE and message.
sub outcome
{
	my ($settings, $statement) = @_;
	my ($rc, $out, $err) = $node->psql('store', "\\set VERBOSITY verbose\n$settings$statement");
	return $rc == 0 && $err eq '' ? $out : $err =~ /ERROR:\s+(.*)/ ? "ERROR $1" : $err;
}

my @safe = split /\n/, $node->safe_psql('store', <<'SQL');
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace IN ('msgstore'::regnamespace, 'message_store'::regnamespace)
    AND p.proparallel = 's'
ORDER BY 1
SQL
cmp_ok(scalar(@safe), '>', 80, 'the PARALLEL SAFE functions are found');
is_deeply([ sort grep { !$calls{$_} } @safe ], [], 'each of them has a call here');
{
	my %is_safe = map { $_ => 1 } @safe;
	is_deeply([ sort grep { !$is_safe{$_} } keys %calls ], [], 'each call is one of a PARALLEL SAFE function');
}

foreach my $function (sort keys %calls)
{
	my $query = "SELECT count(s.x) FROM b CROSS JOIN LATERAL (SELECT $calls{$function} AS x OFFSET 0) s";
	my $plan = outcome($in_workers, "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) $query");
	my $single = outcome("SET $forced = on;\n", "SELECT $calls{$function} FROM (SELECT 1 AS n, 'x1' AS t OFFSET 0) b");

	like($plan, qr/Workers Launched: [1-9]|^ERROR MS\d/, "$function runs in parallel workers");
	unlike($single, qr/^ERROR (?!MS\d)/, "$function runs in a single worker");
}

# What a call above does not reach: handlers of errors are subtransactions, and
# a function must not call one that is less safe than itself.
is( $node->safe_psql('store', <<'SQL'), '', 'no function that may run in a parallel plan catches errors');
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace IN ('msgstore'::regnamespace, 'message_store'::regnamespace)
    AND p.proparallel <> 'u' AND p.prosrc ~* '\mEXCEPTION\s+WHEN\M'
SQL
is( $node->safe_psql('store', <<'SQL'), '', 'no PARALLEL SAFE function calls one that is not');
WITH ours AS (
    SELECT p.oid, n.nspname || '\.' || p.proname AS name, p.proparallel,
           pg_get_functiondef(p.oid) AS source
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname IN ('msgstore', 'message_store') AND p.prokind = 'f')
SELECT caller.oid::regprocedure, called.oid::regprocedure
FROM ours caller JOIN ours called
    ON called.oid <> caller.oid AND called.proparallel <> 's'
    AND caller.source ~ ('\m' || called.name || '\s*\(')
WHERE caller.proparallel = 's'
SQL

# The calls find what they are for. Since PostgreSQL 17 parallel workers may have
# subtransactions, and so catch errors.
$node->safe_psql('store', <<'SQL');
CREATE TABLE written (n int);
CREATE FUNCTION writes(n int) RETURNS void LANGUAGE sql PARALLEL SAFE AS
$$INSERT INTO written VALUES (n)$$;
CREATE FUNCTION catches(n int) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS
$$BEGIN RETURN n; EXCEPTION WHEN division_by_zero THEN RETURN 0; END$$;
SQL
my %refused = (writes => 'execute INSERT');
$refused{catches} = 'start subtransactions' if $node->pg_version < 17;
foreach my $function (sort keys %refused)
{
	like(outcome($in_workers, "SELECT count(f.x) FROM b CROSS JOIN LATERAL (SELECT $function(b.n)::text AS x OFFSET 0) f"),
		qr/^ERROR 25\w{3}: cannot $refused{$function} during a parallel operation/, "a function that $function fails in workers");
	like(outcome("SET $forced = on;\n", "SELECT $function(1)"), qr/^ERROR 25/, 'and in a single worker');
}

# The lists are the same as without workers.
is( $node->safe_psql('store', $in_workers . "SELECT count(DISTINCT s.x) FROM b
		CROSS JOIN LATERAL (SELECT msgstore.list_messages('1', 1, b.n * 0 + 5) AS x OFFSET 0) s"),
	1, 'every worker returns the same list');
is( $node->safe_psql('store', "SET $forced = on; SELECT msgstore.list_conversations()"),
	$node->safe_psql('store', 'SELECT msgstore.list_conversations()'),
	'which is that of the leader');

$node->stop;
done_testing();
