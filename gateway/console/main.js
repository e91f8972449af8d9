// main.js: start, sign-in, navigation and keyboard.
import {h, bdi, replace, say, ask} from './dom.js';
import {get, remove, signIn as exchange, onSignedOut, follow, forget} from './api.js';
import {inbox} from './inbox.js';

const top = document.getElementById('top');
const main = document.getElementById('main');

// What is shown: {name, leave(), show(argument), keys(event)}.
let page = null;
let session = null;
let unfollow = null; // ends telling whether the connection is lost

const pages = {
  inbox: {title: 'Inbox', scope: 'read', load: async () => inbox},
  operations: {title: 'Operations', scope: 'operate', load: async () => (await import('./operations.js')).operations},
};

const may = (scope) => session.scopes.includes(scope);

async function start() {
  try {
    session = await get('/api/session');
  } catch (error) {
    replace(main, h('div', {class: 'center'}, h('h1', {}, 'msgstore'), h('p', {}, `No answer: ${error.message}.`),
      h('button', {type: 'button', onclick: start}, 'Try again')));
    return;
  }
  if (!session.open) signIn();
  else enter();
}

function signIn(text) {
  leave();
  forget();
  replace(top);
  const key = h('input', {type: 'password', id: 'key', name: 'key', required: true, autocomplete: 'current-password', spellcheck: 'false'});
  const fault = h('p', {class: 'fault', role: 'alert'}, text ?? '');
  const button = h('button', {type: 'submit', class: 'primary'}, 'Sign in');
  replace(main, h('form', {
    class: 'center sign-in',
    onsubmit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      replace(fault);
      try {
        session = await exchange(key.value.trim());
        if (session.open) return enter();
        replace(fault, 'This key is unknown, revoked or expired.');
        key.focus();
      } catch (error) {
        replace(fault, `Could not sign in: ${error.message}.`);
        key.focus();
      } finally {
        button.disabled = false;
      }
    },
  }, h('h1', {}, 'msgstore'), h('label', {for: 'key'}, 'API key'), key, fault, button,
  h('p', {class: 'hint'}, 'An operator creates keys with ', h('code', {}, 'msgstore.create_api_key'), '. Reading needs the scope ',
    h('code', {}, 'read'), ', replying ', h('code', {}, 'send'), ', operations ', h('code', {}, 'operate'), '.')));
  key.focus();
}

async function signOut() {
  await remove('/api/session').catch(() => {});
  session = null;
  signIn();
}

function enter() {
  session.reader = localStorage.getItem('name');
  if (!may('read') && !may('operate')) {
    signIn('This key may neither read nor operate.');
    return;
  }
  const link = h('span', {id: 'link', role: 'status'});
  replace(top,
    h('strong', {class: 'brand'}, 'msgstore'),
    h('nav', {'aria-label': 'Pages'}, Object.entries(pages).filter(([, p]) => may(p.scope)).map(([name, p]) =>
      h('a', {href: `#/${name}`, 'data-page': name}, p.title))),
    link,
    session.tenant && h('span', {class: 'tenant'}, 'Tenant ', bdi(session.tenant)),
    may('send') && h('button', {type: 'button', class: 'quiet', onclick: rename}, bdi(session.reader ?? 'Your name')),
    h('button', {type: 'button', class: 'quiet shortcuts', 'aria-label': 'Keyboard shortcuts', onclick: help}, '?'),
    session.keys && h('button', {type: 'button', class: 'quiet', onclick: signOut}, 'Sign out'));
  unfollow?.();
  if (may('read')) {
    unfollow = follow(({state}) => {
      if (state) replace(link, state === 'lost' ? 'Connection lost, trying again…' : '');
    });
  }
  navigate();
}

// Keys can be shared, so people say who they are: it is the name of the assignee, and
// of who has read what.
async function rename() {
  const name = await ask('Your name', session.reader ?? '', 'You are assigned conversations under this name.');
  if (name === null) return;
  if (name.trim()) localStorage.setItem('name', name.trim());
  else localStorage.removeItem('name');
  leave();
  enter();
}

function leave() {
  page?.leave?.();
  page = null;
}

// The fragment is #/page/argument.
async function navigate() {
  if (!session?.open) return;
  const [, name] = location.hash.match(/^#\/(\w+)/) ?? [];
  const wanted = pages[name] && may(pages[name].scope) ? name : Object.keys(pages).find((each) => may(pages[each].scope));
  if (page?.name !== wanted) {
    leave();
    replace(main);
    document.title = `${pages[wanted].title} – msgstore`;
    const coming = {name: wanted};
    page = coming;
    const make = await pages[wanted].load();
    // Another page may have been asked for meanwhile, or this one again.
    if (page !== coming) return;
    page = {...make(main, session), name: wanted};
  }
  for (const link of top.querySelectorAll('nav a')) {
    if (link.dataset.page === wanted) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  const [, argument] = location.hash.match(/^#\/\w+\/(.+)$/) ?? [];
  page.show?.(argument ? decodeURIComponent(argument) : null);
}

const SHORTCUTS = [
  ['j, k', 'next, previous conversation'], ['Enter', 'open it'], ['/', 'search'], ['r', 'reply'],
  ['Ctrl + Enter', 'send'], ['e', 'close or reopen the conversation'], ['Esc', 'leave the field or the conversation'],
  ['g i, g o', 'inbox, operations'], ['?', 'this list'],
];

function help() {
  const dialog = h('dialog', {class: 'help', 'aria-labelledby': 'help-title', onclose: () => dialog.remove()},
    h('h2', {id: 'help-title'}, 'Keyboard shortcuts'),
    h('dl', {}, SHORTCUTS.map(([keys, text]) => h('div', {}, h('dt', {}, h('kbd', {}, keys)), h('dd', {}, text)))),
    h('form', {method: 'dialog'}, h('button', {class: 'primary'}, 'Close')));
  document.body.append(dialog);
  dialog.showModal();
  dialog.querySelector('button').addEventListener('click', (event) => {
    event.preventDefault();
    dialog.close();
  });
}

let prefix = null;

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !page || document.querySelector('dialog[open]')) return;
  const field = event.target.closest('input, textarea, select');
  if (field) {
    if (event.key === 'Escape') {
      field.blur();
      event.preventDefault();
    }
    return;
  }
  if (prefix === 'g' && (event.key === 'i' || event.key === 'o')) {
    location.hash = event.key === 'i' ? '#/inbox' : '#/operations';
    prefix = null;
    return;
  }
  prefix = event.key;
  if (event.key === '?') help();
  else if (page.keys?.(event)) event.preventDefault();
});

addEventListener('hashchange', navigate);
onSignedOut(() => {
  if (session?.keys) signIn('The session has ended.');
});
addEventListener('unhandledrejection', (event) => say(event.reason?.message ?? String(event.reason), 'fault'));
start();
