// Drives the dashboard in Chromium as an operator would: looks, drains a backend by keyboard, sees it leave the answers of a
// real resolver's question, asks what a client gets, ends the override. Keeps screenshots: wide, dark, narrow.
//   node dashboard.js URL DNS-PORT DIRECTORY-FOR-SCREENSHOTS
'use strict';
const { execFileSync } = require('node:child_process');
const { chromium } = require('playwright-core');

const [url, port, shots] = process.argv.slice(2);
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

  await page.fill('#ask input[name=name]', 'www.demo.test');
  await page.fill('#ask input[name=client]', '203.0.113.7');
  await page.click('#ask button');
  await page.waitForSelector('#answer pre');
  const answer = await page.textContent('#answer');
  check('what a client would get lacks it', /127\.0\.0\.11/.test(answer) && !/A 127\.0\.0\.12/.test(answer), answer);
  check('and says why', /kernel update|drain/.test(answer), answer);

  await page.emulateMedia({ colorScheme: 'dark' });
  await page.screenshot({ path: `${shots}/dark.png`, fullPage: true });
  const back = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  check('dark is dark', /rgb\((1|2|3)?\d, /.test(back), back);

  await page.setViewportSize({ width: 390, height: 800 });
  await page.screenshot({ path: `${shots}/narrow.png`, fullPage: true });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check('a narrow screen does not scroll sideways', overflow <= 0, overflow);
  await page.setViewportSize({ width: 1280, height: 900 });

  await page.click('tr[data-id="demo.test/www/b2"] button');
  await page.click('#act-do');
  await page.waitForFunction(() => /up/.test(document.querySelector('tr[data-id="demo.test/www/b2"] .state').textContent), null, { timeout: 10000 }).catch(() => {});
  check('after the override it is back', dig('www.demo.test').length === 4, dig('www.demo.test'));

  check('no error in the console', wrong.length === 0, wrong.join('; '));
  check('nothing was asked of another host', foreign.length === 0, foreign.join(' '));
  await browser.close();
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
})().catch((error) => {
  console.log(`FAIL  ${error.stack}`);
  process.exit(1);
});
