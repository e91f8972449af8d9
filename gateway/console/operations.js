// operations.js: plots and tables for operators.
import {h, replace, time, bdi, say, ask, later} from './dom.js';
import {get, post, follow} from './api.js';
import {plot} from './plot.js';
import {snippet} from './message.js';

const EVERY_MS = 2000;
const POINTS = 450;

const WHAT = {
  events_refused: 'events', source_unverified: 'webhooks of sources, unverified', source_refused: 'webhooks of sources', webhooks_refused: 'webhooks',
};

const number = (value) => (value === null || value === undefined ? '–' : Math.round(value).toLocaleString());
const rate = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString()}/s`;
function duration(us) {
  if (us === 0) return '0 s';
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 1e6) return `${(us / 1000).toFixed(us < 1e4 ? 1 : 0)} ms`;
  return us < 12e7 ? `${(us / 1e6).toFixed(1)} s` : `${Math.round(us / 6e7).toLocaleString()} min`;
}

// The history outlives a visit to another page.
const history = [];
let before = null;

export function operations(main, session) {
  const numbers = h('dl', {class: 'numbers'});
  const plots = [
    {plot: plot('Processed', rate), value: (point) => point.processed},
    {plot: plot('Received', rate), value: (point) => point.received},
    {plot: plot('Queue', number), value: (point) => point.queued},
    {plot: plot('Age of the oldest event', duration), value: (point) => point.age},
    {plot: plot('Latency, 95th percentile', duration), value: (point) => point.latency},
    {plot: plot('Dead letters', number), value: (point) => point.dead},
  ];
  const pause = h('button', {type: 'button', onclick: () => changePause(!paused)}, 'Pause');
  const workers = card('Workers', pause);
  let paused = null;
  const dead = deadLetters(session);
  const outbox = card('Outbox');
  const reports = card('Latest status reports');
  const consumes = session.scopes.includes('consume');
  const subscriptions = card('Subscriptions');
  const sources = card('Sources');
  const refusals = card('Refusals');
  const log = card('Operations');
  const running = h('div', {class: 'running'});
  log.element.insertBefore(running, log.body);
  const checks = card('Verify the data', h('button', {type: 'button', onclick: check}, 'Run check()'));
  const fault = h('p', {class: 'fault', role: 'alert'});
  replace(main, h('div', {class: 'operations'}, h('h1', {}, 'Operations'), fault, numbers,
    h('section', {class: 'plots', 'aria-label': 'Plots'}, plots.map((each) => each.plot.element)),
    dead.element, session.tenant === '' && workers.element, outbox.element, reports.element, consumes && subscriptions.element, sources.element, refusals.element, log.element, checks.element));

  const readLater = later(readTables, 300);
  const end = session.scopes.includes('read') ? follow(({ready, changes}) => {
    if (ready || changes?.some((change) => change.kind === 'dead_letter' || change.kind === 'operation')) readLater();
  }) : () => {};
  let timer = null;
  let ended = false;
  tick();
  readTables();

  async function tick() {
    try {
      take(await get('/metrics'));
      replace(fault);
    } catch (error) {
      replace(fault, `No metrics: ${error.message}.`);
      before = null;
      history.push({at: Date.now(), processed: null, received: null, queued: null, age: null, latency: null, dead: null});
    }
    draw();
    await showRunning();
    if (!ended) timer = setTimeout(tick, EVERY_MS);
  }

  function take(metrics) {
    const now = {at: Date.now(), metrics};
    const seconds = before ? (now.at - before.at) / 1000 : 0;
    const per = (...names) => {
      if (!before) return null;
      const change = names.reduce((sum, name) => sum + (metrics[name] ?? 0) - (before.metrics[name] ?? 0), 0);
      return change < 0 ? null : change / seconds;
    };
    history.push({
      at: now.at,
      processed: per('worker_processed'),
      received: per('events_ingested'),
      queued: metrics.worker_queued ?? null,
      age: metrics.oldest_event_age_us ?? null,
      latency: metrics.worker_latency_p95_us ?? null,
      dead: metrics.dead_letters ?? metrics.worker_dead_letter ?? null,
    });
    before = now;
    show(metrics);
  }

  function show(metrics) {
    const shown = [
      ['Queued', metrics.worker_queued], ['Processed', metrics.worker_processed],
      ['Errors', metrics.worker_error, true], ['Dead letters', metrics.dead_letters, true],
      ['Messages sent', metrics.messages_sent], ['Workers', metrics.workers_running],
      ['Search lag', metrics.search_lag_us, false, duration],
      ['HTTP connections', metrics.http_connections], ['Live listeners', metrics.listeners],
      ['Refused webhooks', Object.entries(metrics).filter(([name]) => name.startsWith('webhooks_refused'))
        .reduce((sum, [, value]) => sum + value, 0), true],
    ].filter(([, value]) => value !== undefined);
    replace(numbers, shown.map(([name, value, bad, format = number]) =>
      h('div', {class: bad && value > 0 ? 'bad' : ''}, h('dt', {}, name), h('dd', {}, format(value)))));
    showRefusals(metrics);
  }

  // Since the server, or the gateway, has started.
  function showRefusals(metrics) {
    const items = Object.entries(metrics).flatMap(([name, count]) => {
      const [, what, reason] = /^(events_refused|source_unverified|source_refused|webhooks_refused)_?(.*)$/.exec(name) ?? [];
      return what && count > 0 ? [{refused: WHAT[what], reason: reason.replaceAll('_', ' '), count}] : [];
    });
    replace(refusals.body, items.length === 0 ? h('p', {class: 'hint'}, 'Nothing was refused.') : table(['refused', 'reason', 'count'], items));
  }

  function draw() {
    if (history.length > POINTS) history.shift();
    for (const each of plots) each.plot.set(history.map((point) => ({at: point.at, value: each.value(point)})));
  }

  function readTables() {
    return Promise.all([
      dead.read(),
      session.tenant === '' && readWorkers(),
      readOutbox(),
      fill(reports, '/api/status-reports', ['channel', 'status', 'reports', 'latest_at'], 'No provider has reported a status.'),
      consumes && fill(subscriptions, '/subscriptions', ['name', 'category', 'members', 'lag_events', 'lag_seconds', 'parked_events', 'last_fetch_at'], 'There are no subscriptions.'),
      fill(sources, '/api/sources', ['name', 'provider', 'scheme', 'signed', 'secrets', 'next_secret_end', 'created_at'], 'There are no sources.'),
      fill(log, '/api/operations', ['happened_at', 'operation', 'event_count', 'performed_by', 'filter'], 'Nothing was done yet.'),
    ]);
  }

  // Without the rights for it, the tables say so.
  async function showRunning() {
    const {items} = await get('/api/operations/running').catch(() => ({items: []}));
    replace(running, items.map(({operation, phase, done, total}) => h('p', {}, operation.replaceAll('_', ' '), ': ', bdi(phase), ' ',
      h('progress', {'aria-label': `Progress of ${operation}`, max: total, value: done !== null && total ? done : null}),
      ' ', done === null ? `${number(total)} left` : total === null ? number(done) : `${number(done)} of ${number(total)}`)));
  }

  async function readOutbox() {
    const answer = await fill(outbox, '/api/outbox', ['channel', 'waiting', 'leased', 'oldest_at'], 'Nothing waits to be sent.');
    if (answer?.complete === false) outbox.body.append(h('p', {class: 'hint'}, 'Only the first 10,000 messages are counted. There are more.'));
  }

  async function readWorkers() {
    const answer = await fill(workers, '/api/workers', ['worker', 'state', 'batch', 'batches', 'processed', 'errors', 'last_error', 'started_at'], 'No worker runs.');
    if (!answer) return;
    ({paused} = answer);
    pause.textContent = paused ? 'Resume' : 'Pause';
    if (paused) {
      workers.body.prepend(h('p', {class: 'fault', role: 'status'},
        'Paused since ', time(paused.paused_at), ' by ', bdi(paused.paused_by), paused.reason && [': ', bdi(paused.reason)]));
    }
  }

  async function changePause(on) {
    const reason = on ? await ask('Why should the workers pause?', '', 'Events are accepted and wait. You may leave this empty.', 'Pause') : '';
    if (reason === null) return;
    try {
      await post(`/api/workers/${on ? 'pause' : 'resume'}`, on ? {reason: reason || null} : {});
      say(on ? 'The workers are paused.' : 'The workers go on.');
      await readWorkers();
    } catch (error) {
      say(`Could not change it: ${error.message}`, 'fault');
    }
  }

  async function check() {
    replace(checks.body, h('p', {role: 'status'}, 'Checking…'));
    await fill(checks, '/api/checks', ['finding', 'subject', 'detail', 'repair'], 'No findings.');
  }

  return {
    leave() {
      ended = true;
      clearTimeout(timer);
      readLater.cancel();
      end();
    },
  };
}

function card(title, ...bar) {
  const body = h('div', {class: 'table', tabindex: '0', role: 'region', 'aria-label': `${title}: content`});
  const id = `card-${title.toLowerCase().replace(/\W+/g, '-')}`;
  const element = h('section', {class: 'card', 'aria-labelledby': id},
    h('div', {class: 'bar'}, h('h2', {id}, title), bar), body);
  return {element, body};
}

async function fill({body}, path, columns, nothing) {
  try {
    const answer = await get(path);
    const items = answer.items ?? answer.subscriptions;
    replace(body, missing(answer), items.length === 0 ? h('p', {class: 'hint', role: 'status'}, nothing) : table(columns, items));
    return answer;
  } catch (error) {
    replace(body, h('p', {class: 'fault'}, `${error.message}. ${error.details ?? ''}`));
  }
}

// Of a cluster.
function missing({unreachable_slots: slots}) {
  return slots?.length > 0 && h('p', {class: 'fault', role: 'status'}, `Slots that do not answer: ${slots.join(', ')}.`);
}

function table(names, items) {
  const columns = items.some((item) => 'slot' in item) ? ['slot', ...names] : names;
  return h('table', {},
    h('thead', {}, h('tr', {}, columns.map((name) => h('th', {scope: 'col'}, name.replaceAll('_', ' '))))),
    h('tbody', {}, items.map((item) => h('tr', {}, columns.map((name) => cell(item[name]))))));
}

function cell(value) {
  if (value === null || value === undefined) return h('td', {}, '');
  if (typeof value === 'number') return h('td', {class: 'number'}, value.toLocaleString());
  if (typeof value === 'boolean') return h('td', {}, value ? 'yes' : 'no');
  if (typeof value === 'object') return h('td', {}, h('code', {}, JSON.stringify(value)));
  if (/^\d{4}-\d\d-\d\dT/.test(value)) return h('td', {}, time(value));
  return h('td', {}, bdi(value));
}

// Dead letters with their attempts. Those that are chosen are requeued, after a
// dry run has said how many.
function deadLetters() {
  const chosen = new Set();
  let items = [];
  let total = 0;
  let fault;
  const button = h('button', {type: 'button', class: 'primary', disabled: true, onclick: () => requeue({ids: [...chosen]})}, 'Requeue');
  const all = h('button', {type: 'button', onclick: () => requeue({})}, 'Requeue all');
  const {element, body} = card('Dead letters', button, all);

  async function read() {
    try {
      const answer = await get('/api/dead-letters');
      ({items, total} = answer);
      fault = missing(answer);
      for (const id of chosen) if (!items.some((item) => item.id === id)) chosen.delete(id);
      render();
    } catch (error) {
      replace(body, h('p', {class: 'fault'}, `${error.message}. ${error.details ?? ''}`));
    }
  }

  async function more() {
    const page = await get('/api/dead-letters', {after: items.at(-1).id});
    items = [...items, ...page.items];
    render();
  }

  function render() {
    all.disabled = total === 0;
    choose();
    if (items.length === 0) {
      replace(body, fault, h('p', {class: 'hint'}, 'There are none.'));
      return;
    }
    replace(body, fault, h('table', {},
      h('thead', {}, h('tr', {}, h('th', {scope: 'col'}, h('span', {class: 'visually-hidden'}, 'Choose')),
        ['When', 'Channel', 'From', 'To', 'Error', 'Attempts'].map((name) => h('th', {scope: 'col'}, name)))),
      h('tbody', {}, items.map(row))),
    items.length < total && h('button', {type: 'button', class: 'more', onclick: more}, `Show more of ${total.toLocaleString()}`));
  }

  function row(item) {
    return h('tr', {},
      h('td', {}, h('input', {
        type: 'checkbox', 'aria-label': `Choose the dead letter from ${item.from}`, checked: chosen.has(item.id),
        onchange: (event) => {
          if (event.target.checked) chosen.add(item.id);
          else chosen.delete(item.id);
          choose();
        },
      })),
      h('td', {}, time(item.died_at)), h('td', {}, item.channel, ' ', item.direction, 'slot' in item && `, slot ${item.slot}`),
      h('td', {}, bdi(item.from ?? '')), h('td', {}, bdi(item.to ?? '')),
      h('td', {}, h('code', {}, item.error_code), ' ', bdi(item.error_message), item.body && h('p', {class: 'hint', dir: 'auto'}, snippet(item.body))),
      h('td', {}, h('details', {}, h('summary', {}, String(item.attempt_count)), h('pre', {}, JSON.stringify(item.attempts, null, 1)))));
  }

  function choose() {
    button.disabled = chosen.size === 0;
    button.textContent = chosen.size ? `Requeue ${chosen.size}` : 'Requeue';
  }

  async function requeue(filter) {
    try {
      const {count} = await post('/api/dead-letters/requeue', {...filter, dry_run: true});
      if (count === 0 || !(await confirmed(count))) return;
      const done = await post('/api/dead-letters/requeue', filter);
      chosen.clear();
      say(`Requeued ${done.count.toLocaleString()}.`);
      await read();
    } catch (error) {
      say(`Could not requeue: ${error.message}`, 'fault');
    }
  }

  function confirmed(count) {
    return new Promise((resolve) => {
      const dialog = h('dialog', {'aria-labelledby': 'requeue-title'},
        h('h2', {id: 'requeue-title'}, `Requeue ${count.toLocaleString()} ${count === 1 ? 'dead letter' : 'dead letters'}?`),
        h('p', {}, 'They will be tried again from the first attempt on.'),
        h('div', {class: 'actions'}, h('button', {type: 'button', onclick: () => dialog.close()}, 'Cancel'),
          h('button', {
            type: 'button', class: 'primary', onclick: () => {
              resolve(true);
              dialog.close();
            },
          }, 'Requeue')));
      dialog.addEventListener('close', () => {
        resolve(false);
        dialog.remove();
      });
      document.body.append(dialog);
      dialog.showModal();
    });
  }

  return {element, read};
}
