// dom.js: makes elements, and updates lists in place.

// h('a', {class: 'x', onclick: f, href: '#'}, 'text', child, null, [more])
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== 'string') element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

// Makes the children of an element those of the items, in their order. An element
// is kept as long as its item has the same key, and made again when what it shows
// (its stamp) has changed. So focus and scroll position stay.
export function list(parent, items, key, stamp, make) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    const mark = stamp(item);
    let element = old.get(name);
    old.delete(name);
    if (!element || element.dataset.stamp !== mark) {
      const made = make(item);
      made.dataset.key = name;
      made.dataset.stamp = mark;
      if (element) {
        if (element === place) place = made;
        const focused = element.contains(document.activeElement);
        element.replaceWith(made);
        if (focused) (made.querySelector('a, button, input') ?? made).focus({preventScroll: true});
      }
      element = made;
    }
    if (element !== place) parent.insertBefore(element, place);
    else place = place.nextElementSibling;
  }
  for (const element of old.values()) element.remove();
}

// Calls f once, a little later, however often it is asked for meanwhile. What is
// asked for while it runs is done after it.
export function later(f, ms) {
  let timer = null;
  let running = false;
  let again = false;
  async function run() {
    timer = null;
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      await f();
    } finally {
      running = false;
      if (again) {
        again = false;
        ask();
      }
    }
  }
  function ask() {
    timer ??= setTimeout(run, ms);
  }
  ask.cancel = () => {
    clearTimeout(timer);
    timer = null;
  };
  return ask;
}

const today = new Intl.DateTimeFormat(undefined, {timeStyle: 'short'});
const thisYear = new Intl.DateTimeFormat(undefined, {month: 'short', day: 'numeric'});
const anyTime = new Intl.DateTimeFormat(undefined, {dateStyle: 'medium'});
const whole = new Intl.DateTimeFormat(undefined, {dateStyle: 'full', timeStyle: 'medium'});

// A time, short, with all of it as a tooltip.
export function time(value) {
  const date = new Date(value);
  const now = new Date();
  const format = date.toDateString() === now.toDateString() ? today
    : date.getFullYear() === now.getFullYear() ? thisYear : anyTime;
  return h('time', {datetime: date.toISOString(), title: whole.format(date)}, format.format(date));
}

export function clock(value) {
  const date = new Date(value);
  return h('time', {datetime: date.toISOString(), title: whole.format(date)}, today.format(date));
}

export function day(value) {
  return anyTime.format(new Date(value));
}

// An address or a name: its direction must not spread to its surroundings.
export function bdi(text) {
  return h('bdi', {}, text);
}

const notice = () => document.getElementById('notice');
let noticeTimer;

// Shows a line at the bottom for some seconds; screen readers read it.
export function say(text, kind = '') {
  clearTimeout(noticeTimer);
  replace(notice(), h('p', {class: kind}, text));
  noticeTimer = setTimeout(() => replace(notice()), 6000);
}

// Asks for a line of text in a dialog; null if it was cancelled.
export function ask(title, value, hint, action = 'Save') {
  return new Promise((resolve) => {
    const field = h('input', {id: 'answer', value, maxlength: 255, 'aria-describedby': hint ? 'answer-hint' : null});
    const dialog = h('dialog', {'aria-labelledby': 'answer-title', onclose: () => dialog.remove()},
      h('form', {
        onsubmit: (event) => {
          event.preventDefault();
          resolve(field.value);
          dialog.close();
        },
      }, h('h2', {id: 'answer-title'}, title), h('label', {for: 'answer', class: 'visually-hidden'}, title), field,
      hint && h('p', {id: 'answer-hint', class: 'hint'}, hint),
      h('div', {class: 'actions'}, h('button', {type: 'button', onclick: () => dialog.close()}, 'Cancel'),
        h('button', {type: 'submit', class: 'primary'}, action))));
    dialog.addEventListener('close', () => resolve(null));
    document.body.append(dialog);
    dialog.showModal();
    field.select();
  });
}
