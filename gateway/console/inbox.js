// inbox.js: the list of conversations, with search and filters.
import {h, replace, list, time, bdi, later} from './dom.js';
import {get, follow} from './api.js';
import {snippet} from './message.js';
import {thread} from './thread.js';

export function inbox(main, session) {
  const reader = session.reader ?? 'console';
  let items = [];
  let cursor = null;
  let chosen = null; // the id of the open conversation
  let waiting = null; // a first page that would move what one reads
  let query = '';
  let search = null; // aborts the running one
  let visit = 0; // answers for an earlier filter or query are dropped

  const rows = h('ul', {class: 'rows', 'aria-label': 'Conversations'});
  const found = h('ul', {class: 'rows found', 'aria-label': 'Messages found', hidden: true});
  const summary = h('p', {class: 'summary', role: 'status'});
  const news = h('button', {type: 'button', class: 'news', hidden: true, onclick: showNews}, 'New activity');
  const more = h('button', {type: 'button', class: 'more', hidden: true, onclick: loadMore}, 'Show more');
  const input = h('input', {
    type: 'search', id: 'search', placeholder: 'Search', 'aria-label': 'Search conversations and messages',
    oninput: () => searchLater(), enterkeyhint: 'search',
  });
  const filter = h('select', {'aria-label': 'Show', onchange: () => reload()},
    h('option', {value: 'open'}, 'Open'), h('option', {value: 'unread'}, 'Unread'),
    h('option', {value: 'unassigned'}, 'Unassigned'), h('option', {value: 'closed'}, 'Closed'), h('option', {value: ''}, 'All'));
  filter.value = '';
  const scroller = h('div', {class: 'scroll', onscroll: () => scroller.scrollTop === 0 && showNews()}, summary, rows, found, more);
  const side = h('section', {class: 'side', 'aria-label': 'Inbox'},
    h('form', {class: 'filters', role: 'search', onsubmit: (event) => event.preventDefault()}, input, filter),
    news, scroller);
  const pane = h('section', {class: 'pane', 'aria-label': 'Conversation'});
  const root = h('div', {class: 'inbox'}, h('h1', {class: 'visually-hidden'}, 'Inbox'), side, pane);
  const open = thread(pane, session, {reader, changed: refreshSoon});
  replace(main, root);

  const refreshSoon_ = later(refresh, 150);
  const searchLater = later(reload, 200);
  function refreshSoon() {
    refreshSoon_();
  }
  const end = follow(({ready, changes, state}) => {
    if (ready) reload();
    else if (changes?.some((change) => change.conversation_id)) refreshSoon();
    open.follow({ready, changes, state});
  });

  function parameters(after) {
    const show = filter.value;
    return {
      pageSize: 50, after, reader,
      state: show === 'open' || show === 'closed' ? show : undefined,
      unread: show === 'unread' ? 'true' : undefined,
      unassigned: show === 'unassigned' ? 'true' : undefined,
    };
  }

  async function reload() {
    query = input.value.trim();
    search?.abort();
    search = new AbortController();
    visit++;
    waiting = null;
    news.hidden = true;
    try {
      if (query) await find(search.signal);
      else take(await get('/api/conversations', parameters(), search.signal));
    } catch (error) {
      if (error.name !== 'AbortError') replace(summary, `Could not load: ${error.message}. `, retryButton());
    }
  }

  function retryButton() {
    return h('button', {type: 'button', class: 'small', onclick: reload}, 'Try again');
  }

  function take(page) {
    items = page.items;
    cursor = page.meta.next_cursor;
    replace(summary, items.length === 0 && 'No conversations here.');
    found.hidden = true;
    render();
    if (scroller.scrollTop > 0) scroller.scrollTop = 0;
  }

  async function loadMore() {
    const now = visit;
    const page = await get('/api/conversations', parameters(cursor));
    if (now !== visit) return;
    const known = new Set(items.map((item) => item.id));
    items = [...items, ...page.items.filter((item) => !known.has(item.id))];
    cursor = page.meta.next_cursor;
    render();
  }

  // Reads the first page again. Who has scrolled sees what changed in its place,
  // and new conversations and another order only when they ask for it.
  async function refresh() {
    if (query) return;
    const now = visit;
    const page = await get('/api/conversations', parameters());
    if (now !== visit) return;
    const fresh = new Map(page.items.map((item) => [item.id, item]));
    const merged = [...page.items, ...items.filter((item) => !fresh.has(item.id) && items.length > 50)];
    news.hidden = true;
    waiting = null;
    if (scroller.scrollTop > 0 && merged.some((item, i) => item.id !== items[i]?.id)) {
      waiting = merged;
      news.hidden = false;
      items = items.map((item) => fresh.get(item.id) ?? item);
    } else {
      items = merged;
      if (items.length <= 50) cursor = page.meta.next_cursor;
      replace(summary, items.length === 0 && 'No conversations here.');
    }
    render();
  }

  function showNews() {
    if (!waiting) return;
    items = waiting;
    waiting = null;
    news.hidden = true;
    render();
    scroller.scrollTop = 0;
  }

  async function find(signal) {
    const [conversations, messages] = await Promise.all([
      get('/api/conversations/search', {q: query, limit: 20, reader}, signal).catch(elsewhere),
      get('/api/messages/search', {q: query, limit: 30}, signal).catch(elsewhere),
    ]);
    items = (conversations ?? await get('/api/conversations', {contact_name: query, pageSize: 20, reader}, signal)).items;
    cursor = null;
    render();
    const hits = messages?.items ?? [];
    found.hidden = hits.length === 0;
    list(found, hits, (hit) => hit.id, (hit) => hit.id + query, (hit) => h('li', {},
      h('a', {href: `#/inbox/${hit.conversation_id}`},
        h('span', {class: 'name'}, bdi(hit.direction === 'outbound' ? hit.to : hit.from)), time(hit.timestamp),
        h('span', {class: 'about', dir: 'auto'}, marked(hit.snippet ?? snippet(hit.body))))));
    replace(summary, items.length + hits.length === 0 ? 'Nothing found.'
      : `${items.length} ${items.length === 1 ? 'conversation' : 'conversations'}, ${hits.length} ${hits.length === 1 ? 'message' : 'messages'}`);
  }

  // A query that cannot be searched for, or a gateway without search: then there are
  // contact names only.
  function elsewhere(error) {
    if ([400, 404, 405].includes(error.status)) return null;
    throw error;
  }

  // A snippet is pieces of text, of which every second one is a hit.
  function marked(pieces) {
    return [pieces].flat().map((piece, i) => (i % 2 === 1 ? h('mark', {}, piece) : piece));
  }

  // The address that most conversations share is ours; the other one is shown.
  function contact(item, count) {
    const {participant_a: a, participant_b: b} = item;
    if (item.contact_name) return item.contact_name;
    if (count.get(a) === count.get(b)) return `${a}, ${b}`;
    return count.get(a) > count.get(b) ? b : a;
  }

  function render() {
    const count = new Map();
    for (const item of items) {
      for (const address of [item.participant_a, item.participant_b]) count.set(address, (count.get(address) ?? 0) + 1);
    }
    more.hidden = !cursor || query !== '';
    list(rows, items, (item) => item.id,
      (item) => JSON.stringify([item.last_activity_at, item.message_count, item.unread_count, item.state, item.assignee,
        item.labels, item.contact_name, item.id === chosen, contact(item, count)]),
      (item) => row(item, contact(item, count)));
  }

  function row(item, name) {
    const unread = item.unread_count > 0;
    return h('li', {class: unread ? 'unread' : ''},
      h('a', {href: `#/inbox/${item.id}`, 'aria-current': item.id === chosen ? 'true' : null},
        h('span', {class: 'name'}, bdi(name)), time(item.last_activity_at),
        h('span', {class: 'about'},
          h('span', {class: 'channel'}, item.channel), ' ',
          `${item.message_count} ${item.message_count === 1 ? 'message' : 'messages'}`,
          item.state === 'closed' && h('span', {class: 'tag'}, 'closed'),
          item.assignee && h('span', {class: 'tag'}, bdi(item.assignee)),
          (item.labels ?? []).map((label) => h('span', {class: 'tag label'}, bdi(label)))),
        unread && h('span', {class: 'count'}, item.unread_count > 99 ? '99+' : String(item.unread_count), h('span', {class: 'visually-hidden'}, ' unread'))));
  }

  function move(step) {
    const links = [...side.querySelectorAll('.rows a')].filter((link) => link.offsetParent);
    const now = links.indexOf(document.activeElement);
    const current = links.findIndex((link) => link.getAttribute('aria-current'));
    const next = links[Math.max(0, Math.min(links.length - 1, (now >= 0 ? now : current) + step))];
    next?.focus();
    next?.scrollIntoView({block: 'nearest'});
  }

  return {
    leave() {
      end();
      refreshSoon_.cancel();
      searchLater.cancel();
      open.leave();
    },
    show(id) {
      chosen = id;
      root.classList.toggle('reading', id !== null);
      render();
      open.show(id);
    },
    keys(event) {
      switch (event.key) {
        case 'j': move(1); return true;
        case 'k': move(-1); return true;
        case '/': input.focus(); return true;
        case 'Escape':
          if (chosen) {
            const link = rows.querySelector(`a[href="#/inbox/${CSS.escape(chosen)}"]`);
            location.hash = '#/inbox';
            link?.focus();
          }
          return true;
        default: return open.keys(event);
      }
    },
  };
}
