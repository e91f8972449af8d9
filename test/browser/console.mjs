// console.mjs: tests the console in Chromium; called by test/t/430_console.pl.
//
// node console.mjs MODULES SETTINGS: MODULES is a directory with playwright-core
// and axe-core, SETTINGS is JSON. Prints "ok NAME" and "not ok NAME: REASON". Prints
// "do COMMAND" and waits for a line where the caller has to do something. With
// settings.screenshots, a directory, keeps pictures there instead.
import {createRequire} from 'node:module';
import {createInterface} from 'node:readline';
import {mkdirSync, readFileSync} from 'node:fs';

const [, , modules, json] = process.argv;
const settings = JSON.parse(json);
const require = createRequire(`${modules}/`);
const {chromium} = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const WAIT = settings.wait ?? 60000;

const lines = createInterface({input: process.stdin})[Symbol.asyncIterator]();
async function ask(command) {
  console.log(`do ${command}`);
  await lines.next();
}

async function test(name, f) {
  try {
    await f();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`not ok ${name}: ${error.message.replaceAll('\n', ' | ').slice(0, 1500)}`);
  }
}

function equal(got, expected, what = 'value') {
  const [a, b] = [got, expected].map((value) => JSON.stringify(value));
  if (a !== b) throw new Error(`${what}: got ${a}, expected ${b}`);
}

const browser = await chromium.launch({
  executablePath: settings.chromium,
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
});

// Every page: what it reports as an error, and what it fetches from elsewhere.
const faults = [];
async function newContext(options = {}) {
  const context = await browser.newContext({viewport: {width: 1440, height: 900}, colorScheme: 'light', locale: 'en-US', ...options});
  context.setDefaultTimeout(WAIT);
  context.on('page', (page) => {
    page.on('pageerror', (error) => faults.push(`error: ${error.message}`));
    page.on('console', (line) => {
      const text = line.text();
      // Requests that fail while the gateway is away, and refused sign-ins.
      if (line.type() === 'error' && !/Failed to load resource|net::ERR|EventSource/.test(text)) faults.push(`console: ${text}`);
    });
    page.on('dialog', (dialog) => {
      faults.push(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on('request', (request) => {
      const url = request.url();
      if (!url.startsWith(settings.url) && !/^(data|about|blob):/.test(url)) faults.push(`request: ${url}`);
    });
    // Refused by the policy before it was made.
    page.on('requestfailed', (request) => {
      const fault = faults.indexOf(`request: ${request.url()}`);
      if (fault >= 0 && /csp/i.test(request.failure()?.errorText)) faults.splice(fault, 1);
    });
  });
  return context;
}

async function post(path, body, key, expected = 202) {
  const answer = await fetch(settings.url + path, {
    method: 'POST',
    headers: {'Content-Type': 'application/json', ...(key ? {Authorization: `Bearer ${key}`} : {})},
    body: JSON.stringify(body),
  });
  if (answer.status !== expected) throw new Error(`POST ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

let number = 0;
function sms(body, from = '+15550100', key = settings.keys.x) {
  return post('/api/webhooks/sms', {
    messaging_provider_id: `browser-${process.pid}-${++number}`, from, to: '+15550001', body, attachments: null, timestamp: new Date().toISOString(),
  }, key);
}

function email(body, from = 'ada@example.org', more = {}) {
  return post('/api/webhooks/email', {
    xillio_id: `browser-${process.pid}-${++number}`, from, to: 'help@example.com', body, attachments: null,
    timestamp: new Date().toISOString(), ...more,
  }, settings.keys.x);
}

async function signIn(page, key) {
  await page.goto(`${settings.url}/console`);
  await page.getByLabel('API key').fill(key);
  await page.getByRole('button', {name: 'Sign in'}).click();
  await page.getByRole('navigation').getByText('Inbox').waitFor();
}

const row = (page, text) => page.locator('.rows:not(.found) li', {hasText: text});
const messages = (page) => page.locator('.messages .message');

async function findings(page) {
  // The policy of the page allows no script but its own; axe is given to it by
  // the browser.
  await page.evaluate(axe);
  const {violations} = await page.evaluate(() => axe.run(document, {resultTypes: ['violations']}));
  return violations.map((v) => `${v.id}: ${v.nodes.map((node) => node.target.join(' ')).slice(0, 3).join('; ')}`);
}

async function checkAll(page, name) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({colorScheme});
    for (const width of [1440, 360]) {
      await page.setViewportSize({width, height: 900});
      equal(await findings(page), [], `${name}, ${colorScheme}, ${width} px`);
      equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, `${name} fits into ${width} px`);
    }
  }
  await page.emulateMedia({colorScheme: 'light'});
  await page.setViewportSize({width: 1440, height: 900});
}

if (settings.screenshots) await takeScreenshots();
else await runTests();
await browser.close();
process.exit(0);

async function runTests() {
  const context = await newContext();
  const page = await context.newPage();

  await test('a wrong key is refused', async () => {
    await page.goto(`${settings.url}/console`);
    equal(await findings(page), []);
    await page.getByLabel('API key').fill('wrong');
    await page.getByRole('button', {name: 'Sign in'}).click();
    await page.getByRole('alert').getByText('unknown, revoked or expired').waitFor();
  });

  await test('a key is exchanged for a cookie that scripts cannot read', async () => {
    await signIn(page, settings.keys.x);
    equal(await page.evaluate(() => document.cookie), '');
    const [cookie] = await context.cookies();
    equal([cookie.httpOnly, cookie.sameSite, cookie.path], [true, 'Strict', '/']);
    equal(await page.evaluate(() => JSON.stringify({...localStorage, ...sessionStorage})), '{}');
    await page.reload();
    await page.getByRole('navigation').getByText('Inbox').waitFor();
  });

  await test('the cookie alone changes nothing', async () => {
    const status = await page.evaluate(async () => (await fetch('/api/messages/sms', {
      method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}',
    })).status);
    equal(status, 403);
  });

  await test('assets are small, and are not sent again', async () => {
    const empty = await newContext();
    const first = await empty.newPage();
    await signIn(first, settings.keys.y);
    const [paint] = await first.evaluate(() => performance.getEntriesByName('first-contentful-paint').map((e) => Math.round(e.startTime)));
    const sizes = await first.evaluate(() => performance.getEntriesByType('resource').filter((e) => /\/console\//.test(e.name)).map((e) => e.encodedBodySize));
    await empty.close();
    const total = sizes.reduce((a, b) => a + b, 0);
    console.log(`# first paint after ${paint} ms, ${total} bytes of assets`);
    if (!(total > 5000 && total < 100000)) throw new Error(`assets have ${total} bytes`);
    const {headers, status} = await page.evaluate(async () => {
      const whole = await fetch('/console/main.js', {cache: 'no-store'});
      const again = await fetch('/console/main.js', {cache: 'no-store', headers: {'If-None-Match': whole.headers.get('ETag')}});
      return {status: again.status, headers: Object.fromEntries(whole.headers)};
    });
    equal(status, 304);
    equal(/unsafe|\*/.test(headers['content-security-policy']), false, 'policy');
  });

  await test('a webhook appears without a reload', async () => {
    await sms('Is the room free?');
    await row(page, '+15550100').waitFor();
    await row(page, '+15550100').locator('.count').getByText('1').waitFor();
    await row(page, '+15550100').click();
    await messages(page).getByText('Is the room free?').waitFor();
    await row(page, '+15550100').locator('.count').waitFor({state: 'detached'});
    await sms('Hello?');
    await messages(page).getByText('Hello?').waitFor();
  });

  await test('a reply is sent, and its status moves', async () => {
    await page.keyboard.press('r');
    await page.keyboard.type('Yes, it is.');
    await page.keyboard.press('Control+Enter');
    await messages(page).filter({hasText: 'Yes, it is.'}).locator('.status').getByText(/Sent|Delivered/).waitFor();
    equal(await messages(page).filter({hasText: 'Yes, it is.'}).count(), 1);
    equal(await page.getByLabel('Reply', {exact: true}).inputValue(), '');
  });

  await test('a conversation is closed, and a message opens it again', async () => {
    await page.keyboard.press('Escape');
    await page.keyboard.press('e');
    await row(page, '+15550100').getByText('closed').waitFor();
    await page.getByRole('button', {name: 'Reopen'}).waitFor();
    await sms('One more question');
    await row(page, '+15550100').getByText('closed').waitFor({state: 'detached'});
    await page.getByRole('button', {name: 'Close', exact: true}).waitFor();
  });

  await test('a conversation has a name, an assignee and labels', async () => {
    await page.getByRole('button', {name: 'Name', exact: true}).click();
    await page.getByRole('textbox', {name: 'Name of the contact'}).fill('Ada \u202eL');
    await page.keyboard.press('Enter');
    await row(page, 'Ada').waitFor();
    await page.getByRole('button', {name: 'Labels'}).click();
    await page.getByRole('textbox', {name: 'Labels'}).fill('refund, vip');
    await page.keyboard.press('Enter');
    await row(page, 'Ada').getByText('refund').waitFor();
    await page.getByRole('button', {name: 'Your name'}).click();
    await page.getByRole('textbox', {name: 'Your name'}).fill('Grace');
    await page.keyboard.press('Enter');
    await page.getByRole('banner').getByRole('button', {name: 'Grace'}).waitFor();
    await page.getByRole('button', {name: 'Assign to me'}).click();
    await page.getByRole('button', {name: 'Unassign'}).waitFor();
    await row(page, 'Ada').getByText('Grace').waitFor();
  });

  await test('a search finds the contact', async () => {
    await sms('Somebody else', '+15550150');
    await row(page, '+15550150').waitFor();
    const input = page.getByRole('searchbox');
    // What is searched may be indexed a little later.
    for (const end = Date.now() + WAIT; ;) {
      await input.fill('Ada');
      try {
        await page.getByRole('status').getByText(/^1 conversation,/).waitFor({timeout: 2000});
        break;
      } catch (error) {
        if (Date.now() > end) throw error;
        await input.fill('');
      }
    }
    await row(page, 'Ada').waitFor();
    equal(await page.locator('.rows:not(.found) li').count(), 1);
    await input.fill('');
    await row(page, '+15550150').waitFor();
    await input.blur();
  });

  await test('the keyboard moves through the list', async () => {
    for (let i = 1; i <= 3; i++) await sms(`From ${i}`, `+1555020${i}`);
    await row(page, '+15550201').waitFor();
    await row(page, '+15550202').waitFor();
    await row(page, '+15550203').waitFor();
    await page.keyboard.press('Escape');
    await page.getByText('Choose a conversation.').waitFor();
    await page.locator('.rows a').first().focus();
    await page.keyboard.press('j');
    await page.keyboard.press('Enter');
    await messages(page).getByText('From 2').waitFor();
    await page.keyboard.press('Escape');
    await page.keyboard.press('/');
    equal(await page.evaluate(() => document.activeElement.id), 'search');
    await page.keyboard.press('Escape');
    await page.keyboard.press('?');
    await page.getByRole('dialog').getByText('Keyboard shortcuts').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({state: 'detached'});
  });

  await test('new messages do not move what one reads', async () => {
    for (let i = 1; i <= 30; i++) await sms(`Line ${i}\n${'x '.repeat(40)}`, '+15550300');
    await row(page, '+15550300').getByText('30 messages').waitFor();
    await row(page, '+15550300').click();
    await messages(page).getByText('Line 30').waitFor();
    const scroller = page.locator('.pane .scroll');
    await scroller.evaluate((element) => { element.scrollTop = 200; });
    const before = await messages(page).getByText('Line 8\n').boundingBox();
    await sms('At the end', '+15550300');
    await page.getByRole('button', {name: 'New messages'}).waitFor();
    equal(await messages(page).getByText('Line 8\n').boundingBox(), before);
    await page.getByRole('button', {name: 'New messages'}).click();
    await messages(page).getByText('At the end').waitFor();
  });

  await test('a hostile message does nothing', async () => {
    const attack = '<script>alert(1)</script><img src=x onerror=alert(2)><a href="javascript:alert(3)">link</a>';
    await sms(`${attack} javascript:alert(4) http://evil.example/"onmouseover="alert(5) \u202egnp.exe`, '+15550400');
    await sms('x'.repeat(1048576), '+15550400');
    await row(page, '+15550400').getByText('2 messages').waitFor();
    await row(page, '+15550400').click();
    await messages(page).getByText('javascript:alert(4)').waitFor();
    equal(await messages(page).locator('a[href^="javascript"], script, img').count(), 0);
    equal(await messages(page).locator('a').evaluateAll((all) => all.map((a) => a.getAttribute('href'))), ['http://evil.example/']);
    await messages(page).getByRole('button', {name: 'Show all 1,048,576 characters'}).waitFor();
    equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, 'it fits');

    await email(`<h1>Hello</h1>${attack}<form action="http://evil.example"><button>go</button></form>
      <img src="http://evil.example/pixel.png"><iframe src="http://evil.example"></iframe><style>body { background: url(http://evil.example/b.png) }</style>
      <meta http-equiv="refresh" content="0; url=http://evil.example/"><link rel="stylesheet" href="http://evil.example/c.css">
      <base href="http://evil.example/">${'<div>'.repeat(20000)}deep`, 'mallory@example.org', {attachments: ['https://files.example/a.pdf']});
    await row(page, 'mallory@example.org').click();
    const frame = messages(page).locator('iframe');
    await frame.waitFor();
    equal(await frame.getAttribute('sandbox'), '');
    await page.frameLocator('iframe.mail').getByRole('heading', {name: 'Hello'}).waitFor();
    equal(await messages(page).locator('.attachments a').evaluateAll((all) => all.map((a) => a.getAttribute('href'))), ['https://files.example/a.pdf']);
    await page.frameLocator('iframe.mail').getByText('link').click();
    equal(page.url().startsWith(settings.url), true);
    // The frame's policy refuses what the message asks for, and says so.
    for (let i = faults.length - 1; i >= 0; i--) {
      if (/^console: (Refused|Blocked|Unsafe attempt|Error while parsing|Violates|.*Content Security Policy)/.test(faults[i])) faults.splice(i, 1);
    }
    equal(faults, [], 'faults');
  });

  await test('right-to-left text keeps its direction', async () => {
    await sms('\u05e9\u05dc\u05d5\u05dd, room 12?', '+15550500');
    await row(page, '+15550500').click();
    const text = messages(page).locator('.text');
    await text.getByText('room 12').waitFor();
    equal(await text.evaluate((element) => getComputedStyle(element).direction), 'rtl');
  });

  await test('axe finds nothing in the inbox, in both schemes, at 360 and 1,440 px', () => checkAll(page, 'inbox'));

  await test('the gateway is lost and comes back', async () => {
    await ask('stop gateway');
    await page.getByRole('status').getByText('Connection lost').waitFor();
    await page.getByLabel('Reply', {exact: true}).fill('While it was away');
    await page.getByRole('button', {name: 'Send', exact: true}).click();
    await messages(page).getByText('Not sent').waitFor();
    await ask('miss 60 messages');
    await ask('start gateway');
    await page.getByText('Connection lost').waitFor({state: 'detached'});
    // More than a page was missed: the messages before it are there, too.
    await messages(page).getByText('Missed 60', {exact: true}).waitFor();
    await page.getByRole('button', {name: 'Show earlier messages'}).click();
    await messages(page).getByText('room 12').waitFor();
    equal(await messages(page).getByText(/^Missed /).count(), 60);
    // A reply that was not sent is kept when one looks elsewhere.
    await row(page, '+15550300').click();
    await messages(page).getByText('Line 30').waitFor();
    await row(page, '+15550500').click();
    await messages(page).getByRole('button', {name: 'Try again'}).click();
    await messages(page).filter({hasText: 'While it was away'}).locator('.status').getByText(/Sent|Delivered/).waitFor();
    equal(await messages(page).filter({hasText: 'While it was away'}).count(), 1);
    await sms('After it came back', '+15550500');
    await messages(page).getByText('After it came back').waitFor();
  });

  await test('dead letters are requeued by selection', async () => {
    await ask('make dead letter');
    await page.keyboard.press('Escape');
    await page.keyboard.press('g');
    await page.keyboard.press('o');
    await page.getByRole('heading', {name: 'Operations', level: 1}).waitFor();
    await page.getByRole('checkbox', {name: 'Choose the dead letter from +15550600'}).check();
    await page.getByRole('button', {name: 'Requeue 1'}).click();
    await page.getByRole('dialog').getByText('Requeue 1 dead letter?').waitFor();
    await page.getByRole('dialog').getByRole('button', {name: 'Requeue'}).click();
    await page.getByText('There are none.').waitFor();
    await page.getByRole('navigation').getByText('Inbox').click();
    await row(page, '+15550600').waitFor();
  });

  await test('operations show plots and tables', async () => {
    await page.getByRole('navigation').getByText('Operations').click();
    await page.getByRole('img', {name: /^Processed: now/}).waitFor();
    await page.getByRole('cell', {name: 'requeue'}).first().waitFor();
    await post('/api/webhooks/sms', {from: 'x'}, settings.keys.all, 400);
    const all = await newContext();
    const operators = await all.newPage();
    await signIn(operators, settings.keys.all);
    await operators.getByRole('navigation').getByText('Operations').click();
    await operators.getByRole('region', {name: 'Refusals: content'}).getByRole('row', {name: /^events address|^events provider id|^events timestamp/}).first().waitFor();
    await all.close();
    await page.getByRole('button', {name: 'Run check()'}).click();
    await page.getByText('No findings.').waitFor();
    await ask('begin long operation');
    await page.getByRole('progressbar', {name: 'Progress of check'}).waitFor();
    await page.getByText('8 of 9').waitFor();
    await ask('end long operation');
    await page.getByRole('progressbar').waitFor({state: 'detached'});
    await checkAll(page, 'operations');
  });

  await test('operators pause and resume the workers', async () => {
    const other = await newContext();
    const all = await other.newPage();
    await signIn(all, settings.keys.all);
    await all.getByRole('navigation').getByText('Operations').click();
    await all.getByRole('button', {name: 'Pause', exact: true}).click();
    await all.getByRole('dialog').getByRole('textbox').fill('the CRM is down');
    await all.getByRole('dialog').getByRole('button', {name: 'Pause'}).click();
    await all.getByRole('region', {name: 'Workers: content'}).getByText('the CRM is down').waitFor();
    await all.getByRole('cell', {name: 'pause', exact: true}).waitFor();
    await sms('It waits', '+15550800');
    await all.getByRole('button', {name: 'Resume', exact: true}).click();
    await all.getByRole('cell', {name: 'resume', exact: true}).waitFor();
    await all.getByRole('button', {name: 'Pause', exact: true}).waitFor();
    await page.getByRole('navigation').getByText('Inbox').click();
    await row(page, '+15550800').waitFor();
    await other.close();
  });

  await test('two tenants see nothing of each other', async () => {
    const other = await newContext();
    const theirs = await other.newPage();
    await signIn(theirs, settings.keys.y);
    await theirs.getByText('No conversations here.').waitFor();
    await page.getByRole('navigation').getByText('Inbox').click();
    await sms('For y only', '+15550700', settings.keys.y);
    await row(theirs, '+15550700').waitFor();
    await sms('For x only', '+15550701');
    await row(page, '+15550701').waitFor();
    equal([await row(page, '+15550700').count(), await row(theirs, '+15550701').count(), await row(theirs, /./).count()], [0, 0, 1]);
    const id = await page.locator('.rows a').first().getAttribute('href');
    await theirs.goto(`${settings.url}/console${id}`);
    await theirs.getByText('This conversation does not exist.').waitFor();
    await other.close();
  });

  await test('100,000 conversations can be paged through and searched', async () => {
    await ask('make 100,000 conversations');
    const other = await newContext();
    const many = await other.newPage();
    const rows = many.locator('.rows:not(.found) li');
    const start = Date.now();
    await signIn(many, settings.keys.z);
    await rows.nth(49).waitFor();
    const first = Date.now();
    for (let pages = 2; pages <= 4; pages++) {
      await many.getByRole('button', {name: 'Show more'}).click();
      await rows.nth(50 * pages - 1).waitFor();
    }
    const paged = Date.now();
    await many.getByRole('searchbox').fill('0054321');
    await row(many, '+15560054321').waitFor();
    console.log(`# 100,000 conversations: first page after ${first - start} ms, 3 more after ${paged - first} ms, search after ${Date.now() - paged} ms`);
    await other.close();
  });

  await test('signing out removes the cookie', async () => {
    await page.getByRole('button', {name: 'Sign out'}).click();
    await page.getByLabel('API key').waitFor();
    equal((await context.cookies()).length, 0);
  });

  await test('no page reported an error or fetched anything from elsewhere', async () => equal(faults, []));
}

async function takeScreenshots() {
  mkdirSync(settings.screenshots, {recursive: true});
  for (const colorScheme of ['light', 'dark']) {
    for (const [size, width, height] of [['wide', 1440, 900], ['narrow', 360, 720]]) {
      const context = await newContext({viewport: {width, height}, colorScheme, deviceScaleFactor: size === 'wide' ? 1 : 2});
      const page = await context.newPage();
      const shot = (name) => page.screenshot({path: `${settings.screenshots}/${name}-${size}-${colorScheme}.png`});
      await signIn(page, settings.keys.all);
      await page.locator('.rows li').first().waitFor();
      if (size === 'narrow') await shot('list');
      await row(page, 'Ada Lovelace').click();
      await messages(page).last().locator('.status').getByText(/Sent|Delivered|Read/).waitFor();
      await page.mouse.move(0, 0);
      await shot('inbox');
      await page.getByRole('navigation').getByText('Operations').click();
      await page.getByRole('img', {name: /^Processed: now/}).waitFor();
      for (let burst = 0; burst < 24; burst++) {
        await Promise.all(Array.from({length: 2 + 5 * (burst % 7)}, () => post('/api/webhooks/sms', {
          messaging_provider_id: `shot-${++number}`, from: '+447700900123', to: '+12016661234', body: 'Thanks', attachments: null,
          timestamp: '2024-11-01T14:00:00Z',
        }, settings.keys.x)));
        await page.waitForTimeout(400);
      }
      await shot('operations');
      await context.close();
    }
  }
}
