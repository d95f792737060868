// Drives the dashboard in Chromium as an operator would: looks, drains a backend by keyboard, sees it leave the answers of a
// real resolver's question, asks what a client gets, ends the override. Keeps screenshots: wide, dark, narrow.
//   node dashboard.js URL DNS-PORT DIRECTORY-FOR-SCREENSHOTS URL-THAT-WANTS-A-TOKEN
'use strict';
const { execFileSync } = require('node:child_process');
const { chromium } = require('playwright-core');

const [url, port, shots, guarded] = process.argv.slice(2);
let passed = 0;
let failed = 0;
function check(what, holds, seen = '') {
  if (holds) passed += 1;
  else failed += 1;
  console.log(`${holds ? 'ok  ' : 'FAIL'}  ${what}${holds ? '' : `: ${seen}`}`);
}

function dig(name) {
  return execFileSync('dig', ['@127.0.0.1', '-p', port, name, 'A', '+short', '+time=2', '+tries=2'], { encoding: 'utf8' }).trim().split('\n').sort();
}

(async () => {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  const wrong = [];
  const foreign = [];
  page.on('pageerror', (error) => wrong.push(error.message));
  page.on('console', (message) => message.type() === 'error' && wrong.push(message.text()));
  page.on('request', (request) => new URL(request.url()).host !== new URL(url).host && request.url().startsWith('http') && foreign.push(request.url()));

  await page.goto(url);
  await page.waitForSelector('tr[data-id]');
  const rows = await page.$$eval('tr[data-id]', (all) => all.map((row) => row.dataset.id));
  check('every backend of the demo has a row', rows.length === 8, rows.join(' '));
  check('a state is a sign and a word', /✓ up/.test(await page.textContent('tr[data-id="demo.test/www/b2"]')));
  check('the health is said in words', /all well/.test(await page.textContent('#health')), await page.textContent('#health'));
  await page.screenshot({ path: `${shots}/wide.png`, fullPage: true });

  // Answers a second and shares, from what this very test asks: a round of weights 3 and 1.
  for (let round = 0; round < 10; round += 1) for (let draw = 0; draw < 4; draw += 1) dig('weighted.demo.test');
  const share = 'tr[data-id="demo.test/weighted/b1"]';
  await page.waitForFunction((row) => /7\d % now/.test(document.querySelector(row).textContent), share, { timeout: 20000 }).catch(() => {});
  const shared = await page.textContent(share);
  check('three of four answers are b1\'s, beside its share by weight', /7\d % now/.test(shared) && /75 % by weight/.test(shared), shared);
  check('answers a second are shown', Number(await page.textContent(`${share} td[data-label="answers/s"]`)) > 0, shared);
  await page.waitForFunction((row) => document.querySelector(`${row} .spark path`).getAttribute('d').split('L').length > 3, share, { timeout: 20000 }).catch(() => {});
  const spark = await page.getAttribute(`${share} .spark svg`, 'aria-label');
  check('probe times are a line, and words for those who do not see it', /probe times, the latest \d+ ms/.test(spark ?? ''), spark);

  const four = dig('www.demo.test');
  check('four backends are answered', four.length === 4, four);

  // By keyboard alone: filter, go to the row, drain with a reason.
  await page.keyboard.press('/');
  await page.keyboard.type('www/b2');
  await page.keyboard.press('Escape');
  await page.fill('#filter', 'b2');
  await page.press('#filter', 'Escape');
  const filtered = await page.$$eval('tr[data-id]', (all) => all.map((row) => row.dataset.id));
  check('the filter shows what matches', filtered.every((id) => id.endsWith('/b2')) && filtered.length === 2, filtered.join(' '));
  await page.fill('#filter', '');
  await page.evaluate(() => document.activeElement.blur());
  for (let step = 0; step < 20; step += 1) {
    await page.keyboard.press('j');
    if ((await page.evaluate(() => document.activeElement.dataset.id)) === 'demo.test/www/b2') break;
  }
  await page.keyboard.press('d');
  await page.waitForSelector('dialog#act[open]');
  await page.keyboard.type('kernel update');
  await page.keyboard.press('Enter');
  if (await page.$('dialog#act[open]')) await page.click('#act-do');
  await page.waitForFunction(() => /drain/.test(document.querySelector('tr[data-id="demo.test/www/b2"] .state').textContent), null, { timeout: 10000 }).catch(() => {});
  const drained = await page.textContent('tr[data-id="demo.test/www/b2"]');
  check('the row says drain, why, and by whom', /drain/.test(drained) && /kernel update/.test(drained) && /by /.test(drained), drained);
  const three = dig('www.demo.test');
  check('it has left the answers', three.length === 3 && !three.includes('127.0.0.12'), three);
  check('the timeline tells it', /www\/b2/.test(await page.textContent('#transitions')));
  const lane = await page.getAttribute('#line .lane .bar', 'aria-label');
  check('its lane says what it was when', /www\/b2: auto, then drain/.test(lane ?? ''), lane);
  await page.selectOption('#span', '600000');
  const parts = await page.$$eval('#line .segment', (all) => all.map((part) => part.title));
  check('the lane has a part for each state, and its reason', parts.length === 2 && /^drain since .* kernel update$/.test(parts[1]), parts);

  await page.fill('#ask input[name=name]', 'www.demo.test');
  await page.fill('#ask input[name=client]', '203.0.113.7');
  await page.click('#ask button');
  await page.waitForSelector('#answer pre');
  const answer = await page.textContent('#answer');
  check('what a client would get lacks it', /127\.0\.0\.11/.test(answer) && !/A 127\.0\.0\.12/.test(answer), answer);
  check('and says why', /kernel update|drain/.test(answer), answer);
  check('and how often each stands first', /www\/b1\s*33 %/.test(answer) && !/www\/b2\s*\d+ %/.test(answer), answer);
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: `${shots}/light.png`, fullPage: true });

  await page.emulateMedia({ colorScheme: 'dark' });
  await page.screenshot({ path: `${shots}/dark.png`, fullPage: true });
  const back = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  check('dark is dark', /rgb\((1|2|3)?\d, /.test(back), back);

  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('t');
  const light = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  check('t turns it light', /rgb\(2\d\d, /.test(light), light);
  await page.keyboard.press('t');
  await page.keyboard.press('?');
  check('? lists the keys', await page.isVisible('dialog#keys'));
  await page.keyboard.press('Escape');

  await page.setViewportSize({ width: 390, height: 800 });
  await page.screenshot({ path: `${shots}/narrow.png`, fullPage: true });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check('a narrow screen does not scroll sideways', overflow <= 0, overflow);
  await page.setViewportSize({ width: 1280, height: 900 });

  await page.click('tr[data-id="demo.test/www/b2"] button');
  await page.click('#act-do');
  await page.waitForFunction(() => /up/.test(document.querySelector('tr[data-id="demo.test/www/b2"] .state').textContent), null, { timeout: 10000 }).catch(() => {});
  check('after the override it is back', dig('www.demo.test').length === 4, dig('www.demo.test'));

  // Force, with a reason and an end, by mouse.
  await page.click('tr[data-id="demo.test/failover/b3"] button:has-text("force down")');
  await page.fill('dialog#act input[name=reason]', 'disk is full');
  await page.selectOption('dialog#act select[name=for]', '600000');
  await page.click('#act-do');
  await page.waitForFunction(() => /forced down|drained/.test(document.querySelector('tr[data-id="demo.test/failover/b3"]').textContent), null, { timeout: 10000 }).catch(() => {});
  const forced = await page.textContent('tr[data-id="demo.test/failover/b3"]');
  check('forced down, why and until when', /forced down|drained/.test(forced) && /disk is full/.test(forced) && /until/.test(forced), forced);
  check('the standby answers', dig('failover.demo.test').join() === '127.0.0.14', dig('failover.demo.test'));

  check('no error in the console', wrong.length === 0, wrong.join('; '));
  check('nothing was asked of another host', foreign.length === 0, foreign.join(' '));

  // A token that may only read shows everything and changes nothing.
  const reader = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  await reader.goto(guarded);
  await reader.waitForSelector('dialog#secret[open]');
  check('where tokens are wanted, one is asked for', await reader.isVisible('dialog#secret input'));
  await reader.fill('dialog#secret input', 'reads-reads-reads-reads');
  await reader.click('dialog#secret button[value=do]');
  await reader.waitForSelector('tr[data-id]');
  const buttons = await reader.$$eval('tr[data-id] button', (all) => all.map((button) => [button.disabled, button.title]));
  check('with one that may read, nothing can be pressed, and it says why', buttons.length > 0 && buttons.every(([off, title]) => off && /only read/.test(title)), buttons);
  await reader.focus('tr[data-id]');
  await reader.keyboard.press('d');
  check('nor by key', !(await reader.$('dialog#act[open]')));
  await reader.evaluate(() => sessionStorage.setItem('token', 'writes-writes-writes-w'));
  await reader.reload();
  await reader.waitForSelector('tr[data-id] button:enabled');
  await reader.click('tr[data-id] button');
  await reader.fill('dialog#act input[name=reason]', 'new kernel');
  await reader.click('#act-do');
  await reader.waitForFunction(() => /new kernel/.test(document.querySelector('tr[data-id]').textContent), null, { timeout: 10000 }).catch(() => {});
  const by = await reader.textContent('tr[data-id]');
  check('one that may write drains, under its name', /new kernel/.test(by) && /by ops/.test(by), by);
  await browser.close();
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
})().catch((error) => {
  console.log(`FAIL  ${error.stack}`);
  process.exit(1);
});
