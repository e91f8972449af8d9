// thread.js: one conversation: its messages, its state, and the reply.
import {h, replace, list, bdi, day, say, later, ask} from './dom.js';
import {get, post, patch, newKey} from './api.js';
import {message} from './message.js';

// Within so many pixels of the end, new messages scroll into view.
const NEAR = 60;

export function thread(pane, session, {reader, changed}) {
  const maySend = session.scopes.includes('send');
  const drafts = new Map(); // by conversation
  const unsent = new Map(); // pending, by conversation
  const statuses = new Map(); // as they were told, by message: older ones are not read again
  let id = null;
  let about = null; // the conversation
  let messages = [];
  let pending = []; // replies that are being sent, or failed
  let older = null; // cursor
  let seen = null; // the last message that was marked as read
  let parts = null;
  let visit = 0; // answers to earlier visits are dropped

  const refreshSoon = later(refresh, 150);
  document.addEventListener('visibilitychange', markRead);

  function show(next) {
    if (next === id) return;
    id = next;
    visit++;
    statuses.clear();
    about = null;
    messages = [];
    pending = unsent.get(id) ?? [];
    older = seen = parts = null;
    if (id === null) {
      replace(pane, h('p', {class: 'empty'}, 'Choose a conversation.'));
      return;
    }
    build();
    refresh(true);
  }

  function build() {
    const rows = h('ol', {class: 'messages', 'aria-label': 'Messages'});
    const news = h('button', {type: 'button', class: 'news', hidden: true, onclick: () => toEnd()}, 'New messages');
    const more = h('button', {type: 'button', class: 'more', hidden: true, onclick: loadOlder}, 'Show earlier messages');
    const scroller = h('div', {
      class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Messages of the conversation',
      onscroll: () => {
        if (isAtEnd()) {
          news.hidden = true;
          markRead();
        }
      },
    }, more, rows);
    const head = h('header', {class: 'head'});
    const text = h('textarea', {
      id: 'reply', rows: 2, 'aria-label': 'Reply', placeholder: 'Reply', dir: 'auto',
      oninput: () => {
        drafts.set(id, text.value);
        fit();
      },
      onkeydown: (event) => {
        if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
          event.preventDefault();
          reply();
        }
      },
    });
    const send = h('button', {type: 'submit', class: 'primary'}, 'Send');
    const form = maySend && h('form', {
      class: 'reply', onsubmit: (event) => {
        event.preventDefault();
        reply();
      },
    }, text, send);
    function fit() {
      text.style.height = 'auto';
      text.style.height = `${Math.min(text.scrollHeight + 2, 240)}px`;
    }
    text.value = drafts.get(id) ?? '';
    parts = {rows, news, more, scroller, head, text, send};
    replace(pane, head, scroller, news, form);
  }

  async function refresh(first = false) {
    if (id === null) return;
    const now = visit;
    const known = messages.length > 0;
    try {
      const [page, conversation] = await Promise.all([
        get(`/api/conversations/${encodeURIComponent(id)}/messages`, {pageSize: 50, order: 'desc'}),
        get(`/api/conversations/${encodeURIComponent(id)}`, {reader}),
      ]);
      if (now !== visit) return;
      const follow = first === true || isAtEnd();
      const before = messages.length;
      const fresh = new Map(page.items.map((m) => [m.id, m]));
      // More may have come than a page has: what is before it is loaded when asked for.
      const joins = messages.some((m) => fresh.has(m.id)) || !page.meta.next_cursor;
      messages = sorted([...joins ? messages.filter((m) => !fresh.has(m.id)) : [], ...page.items]);
      if (!known || !joins) older = page.meta.next_cursor;
      about = conversation;
      render();
      if (follow) toEnd();
      else if (messages.length > before) parts.news.hidden = false;
      markRead();
    } catch (error) {
      if (now !== visit) return;
      if (error.status === 404) replace(pane, h('p', {class: 'empty'}, 'This conversation does not exist.'));
      else if (!known) {
        replace(parts.rows, h('li', {class: 'fault'}, `Could not load: ${error.message}. `,
          h('button', {type: 'button', class: 'small', onclick: () => refresh(true)}, 'Try again')));
      }
    }
  }

  async function loadOlder() {
    const now = visit;
    const page = await get(`/api/conversations/${encodeURIComponent(id)}/messages`, {pageSize: 50, order: 'desc', after: older});
    if (now !== visit) return;
    const {scroller} = parts;
    const fromEnd = scroller.scrollHeight - scroller.scrollTop;
    const known = new Set(messages.map((m) => m.id));
    messages = sorted([...page.items.filter((m) => !known.has(m.id)), ...messages]);
    older = page.meta.next_cursor;
    render();
    scroller.scrollTop = scroller.scrollHeight - fromEnd;
  }

  function sorted(all) {
    const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    return all.sort((a, b) => Date.parse(a.timestamp) - Date.parse(b.timestamp) || compare(a.id, b.id));
  }

  function setPending(items) {
    pending = items;
    unsent.set(id, items);
  }

  function takeStatuses(changes) {
    for (const change of changes) {
      if (change.kind !== 'status') continue;
      const told = {status: change.status, error_code: change.error_code};
      statuses.set(change.id, told);
      const known = messages.find((m) => m.id === change.id);
      if (known) Object.assign(known, told);
    }
    if (about) render();
  }

  function isAtEnd() {
    const {scroller} = parts;
    return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR;
  }

  function toEnd() {
    parts.news.hidden = true;
    parts.scroller.scrollTop = parts.scroller.scrollHeight;
  }

  function render() {
    const items = [];
    let last = null;
    for (const m of messages) {
      const on = day(m.timestamp);
      if (on !== last) items.push({key: `day ${on}`, day: on});
      last = on;
      items.push({key: m.id, message: m});
    }
    for (const each of pending) items.push({key: each.key, pending: each});
    list(parts.rows, items, (item) => item.key,
      (item) => JSON.stringify(item.message ? [item.message.status, item.message.error_code, item.message.body?.length]
        : item.pending ? [item.pending.state, item.pending.error] : []),
      (item) => (item.day ? h('li', {class: 'day'}, item.day) : item.pending ? ownMessage(item.pending)
        : message(item.message, {onRetry: maySend ? again : null})));
    parts.more.hidden = !older;
    renderHead();
  }

  function ownMessage(each) {
    return h('li', {class: `message out ${each.state}`},
      h('article', {'aria-label': 'Message being sent'},
        h('div', {class: 'text', dir: 'auto'}, each.body.body),
        h('footer', {},
          h('span', {class: 'status'}, each.state === 'failed' ? `Not sent: ${each.error}` : 'Sending…'),
          each.state === 'failed' && h('button', {type: 'button', class: 'small', onclick: () => deliver(each)}, 'Try again'))));
  }

  function renderHead() {
    const {ours, theirs} = addresses();
    const closed = about.state === 'closed';
    replace(parts.head,
      h('a', {class: 'back', href: '#/inbox'}, '‹', h('span', {class: 'visually-hidden'}, 'Back to the list')),
      h('div', {class: 'who'},
        h('h2', {}, bdi(about.contact_name ?? theirs ?? `${about.participant_a}, ${about.participant_b}`)),
        h('p', {}, h('span', {class: 'channel'}, about.channel), about.contact_name && theirs && [' ', bdi(theirs)],
          ours && [' to ', bdi(ours)], (about.labels ?? []).map((label) => [' ', h('span', {class: 'tag label'}, bdi(label))]))),
      maySend && h('div', {class: 'actions'},
        h('button', {type: 'button', onclick: () => change({assignee: about.assignee === reader ? null : reader})},
          about.assignee === reader ? 'Unassign' : about.assignee ? [bdi(about.assignee), ': take over'] : 'Assign to me'),
        h('button', {type: 'button', onclick: rename}, about.contact_name ? 'Rename' : 'Name'),
        h('button', {type: 'button', onclick: label}, 'Labels'),
        h('button', {type: 'button', onclick: toggle}, closed ? 'Reopen' : 'Close')));
  }

  // Whose address is whose, by the last message that tells.
  function addresses() {
    const m = messages.findLast((each) => each.direction === 'inbound') ?? messages.at(-1);
    if (!m) return {};
    return m.direction === 'inbound'
      ? {ours: m.to_given ?? m.to, theirs: m.from_given ?? m.from, subject: m.subject}
      : {ours: m.from_given ?? m.from, theirs: m.to_given ?? m.to, subject: m.subject};
  }

  async function change(changes) {
    const now = visit;
    try {
      const answer = await patch(`/api/conversations/${encodeURIComponent(id)}`, changes, {reader});
      if (now !== visit) return;
      about = answer;
      renderHead();
      changed();
    } catch (error) {
      say(`Could not change the conversation: ${error.message}`, 'fault');
    }
  }

  function toggle() {
    if (about.state === 'closed') return change({state: 'open'});
    return change({state: 'closed', up_to: messages.at(-1)?.id});
  }

  async function rename() {
    const name = await ask('Name of the contact', about.contact_name ?? '');
    if (name !== null) change({contact_name: name.trim() || null});
  }

  async function label() {
    const labels = await ask('Labels', (about.labels ?? []).join(', '), 'Separate labels by commas.');
    if (labels !== null) change({labels: labels.split(',').map((each) => each.trim()).filter(Boolean)});
  }

  function reply() {
    const text = parts.text.value;
    if (!text.trim() || !about) return;
    const {ours, theirs, subject} = addresses();
    if (!theirs) return;
    const body = {from: ours, to: theirs, body: text, attachments: null, timestamp: new Date().toISOString()};
    if (subject) body.subject = /^re:/i.test(subject) ? subject : `Re: ${subject}`;
    drafts.delete(id);
    parts.text.value = '';
    parts.text.style.height = 'auto';
    queue(body);
  }

  function again(m) {
    const body = {from: m.from_given ?? m.from, to: m.to_given ?? m.to, body: m.body, attachments: m.attachments, timestamp: new Date().toISOString()};
    if (m.subject) body.subject = m.subject;
    queue(body);
  }

  function queue(body) {
    const last = messages.findLast((m) => m.direction === 'inbound') ?? messages.at(-1);
    const each = {key: newKey(), conversation: id, channel: last.channel === 'mms' && !body.attachments ? 'sms' : last.channel, body, state: 'sending'};
    setPending([...pending, each]);
    render();
    toEnd();
    deliver(each);
  }

  // The key makes sure that trying again does not send twice.
  async function deliver(each) {
    each.state = 'sending';
    const isShown = () => about && pending.includes(each);
    render();
    try {
      const answer = await post(`/api/messages/${encodeURIComponent(each.channel)}`, each.body, each.key);
      if (isShown()) accept(each, answer.id);
      else unsent.set(each.conversation, unsent.get(each.conversation).filter((other) => other !== each));
      return;
    } catch (error) {
      each.state = 'failed';
      each.error = error.message;
    }
    if (isShown()) render();
    else say(`A reply was not sent: ${each.error}`, 'fault');
  }

  // Its time is when it was written: it may not be among the messages that are read next.
  function accept(each, sent) {
    setPending(pending.filter((other) => other !== each));
    if (!messages.some((m) => m.id === sent)) {
      messages = sorted([...messages, {
        ...each.body, id: sent, direction: 'outbound', channel: each.channel, status: 'queued', ...statuses.get(sent),
      }]);
    }
    render();
    refreshSoon();
  }

  async function markRead() {
    const last = messages.findLast((m) => m.direction === 'inbound');
    if (!last || !parts || last.id === seen || document.hidden || !isAtEnd()) return;
    seen = last.id;
    try {
      await post(`/api/conversations/${encodeURIComponent(id)}/read`, {reader, message: last.id});
      changed();
    } catch {
      // It stays unread.
    }
  }

  return {
    show,
    follow({ready, changes, state}) {
      if (id === null) return;
      if (changes) takeStatuses(changes.filter((each) => each.conversation_id === about?.id));
      if (ready || (state === 'open' && !about) || changes?.some((each) => each.conversation_id === about?.id)) refreshSoon();
    },
    keys(event) {
      if (id === null || !parts) return false;
      if (event.key === 'r' && maySend) parts.text.focus();
      else if (event.key === 'e' && maySend && about) toggle();
      else return false;
      return true;
    },
    leave() {
      visit++;
      refreshSoon.cancel();
      document.removeEventListener('visibilitychange', markRead);
    },
  };
}
