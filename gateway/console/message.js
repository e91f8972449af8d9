// message.js: shows a message whose text nobody vouches for.
//
// Text becomes text nodes, with links to http and https only. HTML goes into a
// frame that runs no script, sends no form, opens nothing and loads nothing: it is
// sandboxed, and its policy is that of this page and its own.
import {h, bdi, clock} from './dom.js';

// Longer texts are cut until they are asked for.
const SHOWN = 4000;
// Longer HTML is shown as text.
const HTML_MAX = 200000;

const POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

// Of outbound messages; the first ones are on their way.
export const STATUS = {
  queued: 'Queued', sent: 'Sent', delivered: 'Delivered', read: 'Read', failed: 'Failed', undelivered: 'Undelivered',
};

export function message(m, {onRetry} = {}) {
  const out = m.direction === 'outbound';
  const failed = m.status === 'failed' || m.status === 'undelivered';
  return h('li', {class: `message ${out ? 'out' : 'in'}${failed ? ' failed' : ''}`},
    h('article', {'aria-label': `${out ? 'Sent' : 'Received'} message`},
      m.subject && h('h3', {dir: 'auto'}, cut(m.subject, 300)),
      body(m),
      attachments(m.attachments),
      h('footer', {},
        h('span', {class: 'visually-hidden'}, out ? 'sent ' : 'received '),
        clock(m.timestamp),
        out && m.status && h('span', {class: `status ${m.status}`}, STATUS[m.status] ?? m.status,
          m.error_code && [' ', h('code', {}, m.error_code)]),
        failed && onRetry && h('button', {type: 'button', class: 'small', onclick: () => onRetry(m)}, 'Send again'))));
}

function body(m) {
  const text = m.body ?? '';
  if (m.channel === 'email' && text.length <= HTML_MAX && /<[a-z!/][^>]*>/i.test(text)) return html(text);
  return h('div', {class: 'text', dir: 'auto'}, shortened(text));
}

function shortened(text) {
  if (text.length <= SHOWN) return linked(text);
  const rest = h('button', {
    type: 'button', class: 'small',
    onclick: () => rest.replaceWith(text.slice(SHOWN)),
  }, `Show all ${text.length.toLocaleString()} characters`);
  return [linked(text.slice(0, SHOWN)), '… ', rest];
}

function cut(text, length) {
  return text.length > length ? `${text.slice(0, length)}…` : text;
}

function linked(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(/\bhttps?:\/\/[^\s<>"'\u2028-\u202e\u2066-\u2069]{1,2000}/gi)) {
    const url = match[0].replace(/[.,;:!?)\]}]+$/, '');
    parts.push(text.slice(end, match.index), link(url, url));
    end = match.index + url.length;
  }
  parts.push(text.slice(end));
  return parts;
}

// Anything but http and https stays text.
function link(url, text) {
  if (!/^https?:\/\//i.test(url)) return bdi(cut(text, 300));
  return h('a', {href: url, target: '_blank', rel: 'noopener noreferrer nofollow', dir: 'ltr'}, cut(text, 300));
}

function html(text) {
  return h('iframe', {
    class: 'mail', sandbox: '', title: 'HTML message', loading: 'lazy', referrerpolicy: 'no-referrer',
    srcdoc: `<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${POLICY}">`
      + `<base target="_blank"><body>${text}`,
  });
}

function attachments(urls) {
  if (!urls?.length) return null;
  return h('ul', {class: 'attachments', 'aria-label': 'Attachments'}, urls.map((url) => {
    const text = String(url);
    return h('li', {}, link(text, text.replace(/^https?:\/\//i, '').replace(/[?#].*/, '')));
  }));
}

// One line of a message.
export function snippet(text) {
  return cut((text ?? '').replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ').trim(), 120);
}
