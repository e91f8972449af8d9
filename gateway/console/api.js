// api.js: requests to the HTTP API, and the stream of changes.

export class Failure extends Error {
  constructor(status, body) {
    super(body?.message ?? (status === 0 ? 'the gateway does not answer' : `status ${status}`));
    this.status = status;
    this.details = body?.details;
  }
}

let signedOut = () => {};

// Called when a request is refused because the session has ended.
export function onSignedOut(f) {
  signedOut = f;
}

async function request(method, path, {query = {}, body, key, signal, authorization} = {}) {
  const parameters = new URLSearchParams(
    Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== ''));
  const url = path + (parameters.size ? `?${parameters}` : '');
  // The header shows that the request comes from this page and not from another
  // site, which could not add it.
  const headers = {Accept: 'application/json', 'X-Requested-With': 'msgstore-console'};
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (key) headers['Idempotency-Key'] = key;
  if (authorization) headers.Authorization = `Bearer ${authorization}`;
  let answer;
  try {
    answer = await fetch(url, {
      method, headers, signal, credentials: 'same-origin', cache: 'no-store',
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Failure(0);
  }
  const json = await answer.json().catch(() => null);
  if (answer.status === 401 && path !== '/api/session') signedOut();
  if (!answer.ok) throw new Failure(answer.status, json);
  return json;
}

export const get = (path, query, signal) => request('GET', path, {query, signal});
export const post = (path, body, key) => request('POST', path, {body, key});
export const patch = (path, body, query) => request('PATCH', path, {body, query});
export const signIn = (key) => request('POST', '/api/session', {authorization: key});
export const remove = (path) => request('DELETE', path);

// For Idempotency-Key; crypto.randomUUID() needs HTTPS.
export function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

const listeners = new Set();
let source = null;
let retry = null;
let state = 'closed';
let last = null;

// f({ready: true}) when the stream begins: read everything then; f({changes}) for
// what has changed since; f({state}) when it is 'open' or 'lost'. Returns a
// function that ends it.
export function follow(f) {
  listeners.add(f);
  if (state === 'open') f({state, ready: true});
  open();
  return () => listeners.delete(f);
}

function tell(event) {
  for (const f of [...listeners]) f(event);
}

function setState(to) {
  if (state === to) return;
  state = to;
  tell({state});
}

function open() {
  if (source) return;
  // The browser sends the last id when it reconnects by itself; a new EventSource
  // does not know it.
  source = new EventSource(last ? `/api/events?after=${encodeURIComponent(last)}` : '/api/events');
  const fresh = last === null;
  source.addEventListener('ready', (event) => {
    last = event.lastEventId || last;
    setState('open');
    if (fresh) tell({ready: true});
  });
  source.onmessage = (event) => {
    last = event.lastEventId || last;
    const {changes} = JSON.parse(event.data);
    if (changes.some((change) => change.kind === 'reset')) tell({ready: true});
    else tell({changes});
  };
  source.onerror = () => {
    setState('lost');
    // After an answer other than 200 the browser gives up.
    if (source.readyState === EventSource.CLOSED) {
      close();
      retry = setTimeout(open, 1000);
    }
  };
}

export function close() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

export function forget() {
  close();
  last = null;
  state = 'closed';
}
