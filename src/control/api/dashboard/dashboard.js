// The dashboard: reads the event stream, draws what it says, and sends states. No library, no build step; everything that
// comes from the server is put in as text, never as HTML.
'use strict';

const $ = (id) => document.getElementById(id);
let status = null;          // the latest status
let mayWrite = true;        // until the server says otherwise
let samples = [];           // { at, started, answers: backend id -> count }, the oldest first
const latencies = new Map(); // backend id -> { last, times }: the latest probe times, and when the newest came
const SPARKS = 60;
const RATE_OVER = 10e3;     // answers a second are those of so many milliseconds
const SHARE_OVER = 60e3;    // shares are of as many

// ---- small helpers -------------------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'class') element.className = value;
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function ago(text) {
  if (!text) return '';
  const seconds = Math.max(0, (Date.now() - Date.parse(text)) / 1000);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

// A sign, a word, and a colour that only repeats them.
const SIGNS = [
  [/^(up|healthy|ok|unchecked)$/, '✓', 'good'],
  [/^(degraded|unknown|draining|drained|drain|diverted|slow start|maintenance)/, '◐', 'warn'],
  [/^(forced|frozen)/, '⚑', 'info'],
  [/^(down|panic|closed|critical)/, '✗', 'bad'],
];

function word(state) {
  const [, sign, colour] = SIGNS.find(([pattern]) => pattern.test(state)) ?? [null, '·', 'soft'];
  return make('span', { class: `state ${colour}` }, `${sign} ${state}`);
}

async function ask(path, options = {}) {
  const headers = { ...(options.headers ?? {}) };
  const token = sessionStorage.getItem('token');
  if (token) headers.authorization = `Bearer ${token}`;
  const response = await fetch(path, { ...options, headers, cache: 'no-store' });
  if (response.status === 401) wantToken();
  const scopes = response.headers.get('rollcall-scopes');
  if (scopes != null) mayWrite = scopes.split(' ').includes('write');
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail ?? problem.error ?? `HTTP ${response.status}`);
  }
  return response;
}

function wantToken() {
  $('token').hidden = false;
  if (!$('secret').open) $('secret').showModal();
}

function notice(text) {
  $('notice').hidden = !text;
  $('notice').textContent = text ?? '';
}

// ---- the event stream ----------------------------------------------------------------------------------------------
// Read with fetch, since EventSource cannot send a token.

async function follow() {
  for (;;) {
    try {
      const response = await ask('v1/events');
      await read(response.body.getReader());
    } catch (error) {
      $('health').replaceChildren(word('unknown'), ` ${error.message}`);
    }
    $('health').replaceChildren(word('unknown'), ' no connection to the server; what is shown may be old');
    await new Promise((again) => setTimeout(again, 2000));
  }
}

async function read(reader) {
  const decoder = new TextDecoder();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    let end;
    while ((end = text.indexOf('\n\n')) >= 0) {
      const event = text.slice(0, end);
      text = text.slice(end + 2);
      const data = event.split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5)).join('\n');
      if (data) take(JSON.parse(data));
    }
  }
}

function take(next) {
  status = next;
  const at = Date.now();
  // A restart counts anew: what was before says nothing.
  if (samples.length && samples[0].started !== status.started) samples = [];
  samples.push({ at, started: status.started, answers: new Map([...backends()].map((backend) => [backend.id, backend.answers])) });
  samples = samples.filter((one) => at - one.at <= SHARE_OVER + RATE_OVER);
  for (const backend of backends()) {
    const checks = backend.addresses.flatMap((address) => address.checks).filter((check) => check.latency_ms != null);
    if (!checks.length) continue;
    const last = checks.map((check) => check.last).sort().at(-1);
    const known = latencies.get(backend.id) ?? { last: null, times: [] };
    if (known.last === last) continue;
    const times = [...known.times, Math.max(...checks.map((check) => check.latency_ms))];
    latencies.set(backend.id, { last, times: times.slice(-SPARKS) });
  }
  draw();
}

function* backends() {
  for (const zone of status.zones) for (const pool of zone.pools) yield* pool.backends;
}

// ---- drawing -------------------------------------------------------------------------------------------------------

function draw() {
  const focused = document.activeElement?.dataset?.id;
  $('version').textContent = status.version;
  const words = { ok: 'all well', degraded: 'degraded', critical: 'critical' };
  $('health').replaceChildren(word(status.health === 'ok' ? 'ok' : status.health), ` ${words[status.health] ?? status.health}`);
  $('facts').textContent = `up ${ago(status.started)} · generation ${status.generation} · ${status.listening.join(', ')}`;
  notice(status.reload.ok ? (status.frozen ? `Frozen for ${ago(status.frozen.since)}: ${status.frozen.reason}. No backend goes down until ${new Date(status.frozen.until).toLocaleTimeString()} at the latest.` : '') : `The last reload (${status.reload.cause}, ${ago(status.reload.at)} ago) was refused; the old data answers.\n${status.reload.rendered.join('\n') || status.reload.messages.join('\n')}`);
  const wanted = $('filter').value.trim().toLowerCase();
  const [rates, shares] = [perSecond(RATE_OVER), perSecond(SHARE_OVER)];
  $('zones').replaceChildren(...status.zones.flatMap((zone) => {
    const pools = zone.pools.map((pool) => drawPool(zone, pool, wanted, rates, shares)).filter(Boolean);
    if (!pools.length && wanted) return [];
    return [make('h2', {}, zone.zone, ' ', make('span', { class: 'soft' }, `serial ${zone.serial} · ${zone.records} records · ${new Set(zone.names.map((name) => name.name)).size} names`)), ...pools];
  }));
  $('names').replaceChildren(...[...new Set(status.zones.flatMap((zone) => zone.names.map((name) => name.name)))].slice(0, 500).map((name) => make('option', { value: name })));
  drawTransitions();
  if (focused) document.querySelector(`tr[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function drawPool(zone, pool, wanted, rates, shares) {
  const text = (backend) => [zone.zone, pool.pool, backend.backend, ...backend.addresses.map((one) => one.address)].join(' ').toLowerCase();
  const shown = pool.backends.filter((backend) => text(backend).includes(wanted));
  if (!shown.length) return null;
  const plan = plannedShares(pool);
  const total = pool.backends.reduce((sum, backend) => sum + (shares.get(backend.id) ?? 0), 0);
  const now = (backend) => (total > 0 ? (shares.get(backend.id) ?? 0) / total : null);
  return make('article', { class: 'pool' },
    make('header', {},
      make('h3', {}, pool.pool), word(pool.state), make('span', { class: 'soft' }, pool.policy),
      ...pool.families.map((family) => make('p', { class: 'why' }, `${family.type}: ${family.why}, TTL ${family.ttl} s`))),
    make('table', {},
      make('thead', {}, make('tr', {}, ...['backend', 'state', 'since, why', 'tier · weight', 'share now / by weight', 'answers/s', 'probe', ''].map((head) => make('th', { scope: 'col' }, head)))),
      make('tbody', {}, ...shown.map((backend) => drawBackend(backend, plan.get(backend.id) ?? 0, now(backend), rates.get(backend.id))))));
}

// The share by weight of those that answer now.
function plannedShares(pool) {
  const answering = pool.backends.filter((backend) => backend.addresses.some((address) => address.answering));
  const equal = pool.policy === 'round-robin' || pool.policy === 'random' || answering.every((backend) => !backend.weight);
  const inForce = (backend) => backend.addresses.find((address) => address.weight != null)?.weight ?? backend.weight;
  const weight = (backend) => (equal ? 1 : inForce(backend));
  const sum = answering.reduce((all, backend) => all + weight(backend), 0) || 1;
  return new Map(answering.map((backend) => [backend.id, weight(backend) / sum]));
}

// Answers a second of each backend over the last `span` milliseconds, as far as they were looked at.
function perSecond(span) {
  const rates = new Map();
  const latest = samples.at(-1);
  // Statuses come when something is news, so that two may be close together: the newest that is old enough, else the oldest.
  const then = samples.findLast((one) => latest.at - one.at >= span) ?? samples[0];
  if (!then || latest.at - then.at < 1000) return rates;
  for (const [id, count] of latest.answers) {
    if (then.answers.has(id)) rates.set(id, Math.max(0, count - then.answers.get(id)) / ((latest.at - then.at) / 1000));
  }
  return rates;
}

function drawBackend(backend, plan, now, rate) {
  const row = make('tr', { tabindex: 0, 'data-id': backend.id, 'aria-label': `${backend.id}, ${backend.state}` },
    make('td', {}, make('strong', {}, backend.backend), ...backend.addresses.map((one) => make('div', { class: 'soft' }, `${one.address}${one.answering ? '' : ' (not answered)'}`))),
    make('td', { 'data-label': 'state' }, word(backend.state), drawOverride(backend)),
    make('td', { 'data-label': 'since, why' }, ...backend.addresses.map((one) => make('div', {}, make('span', { class: 'soft' }, ago(one.since)), ` ${one.reason}`))),
    make('td', { class: 'number', 'data-label': 'tier · weight' }, `${backend.tier} · ${backend.weight}`),
    make('td', { 'data-label': 'share' }, make('div', { class: 'share' },
      ...(now == null ? [] : [bar(now, ''), make('span', {}, `${percent(now)} now`)]),
      bar(plan, 'plan'), make('span', {}, `${percent(plan)} by weight`))),
    make('td', { class: 'number', 'data-label': 'answers/s' }, rate == null ? '–' : rate.toFixed(rate < 10 ? 1 : 0)),
    make('td', { 'data-label': 'probe' }, sparkline(latencies.get(backend.id)?.times ?? [])),
    make('td', { class: 'buttons' }, ...actions(backend)));
  return row;
}

function percent(share) {
  return `${(share * 100).toFixed(share < 0.0995 && share > 0 ? 1 : 0)} %`;
}

function bar(share, kind) {
  const element = make('i', { class: kind });
  element.style.width = `${Math.max(1, Math.round(share * 100))}%`;
  return element;
}

function drawOverride(backend) {
  const forced = backend.override;
  const lines = [];
  if (forced) {
    lines.push([forced.reason && `“${forced.reason}”`, forced.by && `by ${forced.by}`, forced.until && `until ${new Date(forced.until).toLocaleString()}`].filter(Boolean).join(', '));
  }
  const drain = backend.drain;
  if (drain?.answered_by.length) lines.push(`not safe to stop: its address is answered by ${drain.answered_by.join(', ')}`);
  else if (drain?.safe_to_stop_at) lines.push(`safe to stop ${drain.drained ? 'since' : 'at'} ${new Date(drain.safe_to_stop_at).toLocaleTimeString()}`);
  if (backend.starting) lines.push(`starts slowly: ${backend.starting.percent} % of its weight`);
  if (backend.maintenance) lines.push(`maintenance from ${new Date(backend.maintenance.from).toLocaleString()} to ${new Date(backend.maintenance.to).toLocaleString()}`);
  return make('div', { class: 'soft' }, lines.join(' · '));
}

function sparkline(times) {
  if (!times.length) return '–';
  const [width, height] = [90, 22];
  const most = Math.max(...times, 1);
  const points = times.map((ms, at) => `${((at / Math.max(1, times.length - 1)) * width).toFixed(1)},${(height - 2 - (ms / most) * (height - 4)).toFixed(1)}`);
  const latest = times[times.length - 1];
  return make('span', { class: 'spark' }, svg('svg', { width, height, role: 'img', 'aria-label': `probe times, the latest ${latest} ms, the longest ${most} ms` }, svg('path', { d: `M${points.join('L')}` })), `${latest} ms`);
}

function actions(backend) {
  const button = (state, text) => make('button', { type: 'button', disabled: !mayWrite, title: mayWrite ? null : 'this token may only read', onclick: () => act(backend.id, state) }, text);
  return backend.override
    ? [button('auto', 'end override')]
    : [button('drain', 'drain'), ' ', button('up', 'force up'), ' ', button('down', 'force down')];
}

function drawTransitions() {
  const latest = [...status.transitions].reverse();
  $('transitions').replaceChildren(...latest.map((one) => make('li', {},
    make('span', { class: 'soft' }, `${new Date(one.at).toLocaleTimeString()} `), make('strong', {}, one.id), one.address ? ` ${one.address} ` : ' ',
    word(one.from), ' → ', word(one.to), ` ${one.reason}`, one.took_ms != null ? make('span', { class: 'soft' }, ` (${one.took_ms} ms)`) : null)));
  if (!latest.length) $('transitions').replaceChildren(make('li', { class: 'soft' }, 'none since the start'));
  drawLanes();
}

// A lane for each backend that changed: what it was when, as bars with a sign in them.
function drawLanes() {
  const span = Number($('span').value);
  const now = Date.now();
  const place = (time) => Math.min(100, Math.max(0, 100 - ((now - time) / span) * 100));
  const lanes = new Map();
  for (const one of status.transitions) {
    const lane = one.address ? `${one.id} ${one.address}` : one.id;
    lanes.set(lane, [...(lanes.get(lane) ?? []), one]);
  }
  const drawn = [...lanes].filter(([, changes]) => now - Date.parse(changes.at(-1).at) < span).sort();
  const bars = drawn.map(([name, changes]) => {
    const parts = [{ at: now - span, state: changes[0].from, reason: '' }, ...changes.map((one) => ({ at: Date.parse(one.at), state: one.to, reason: one.reason, text: one.at }))];
    const segments = parts.map((part, number) => {
      const [from, to] = [place(part.at), place(parts[number + 1]?.at ?? now)];
      if (to - from <= 0 && number < parts.length - 1) return null;
      const [, sign, colour] = SIGNS.find(([pattern]) => pattern.test(part.state)) ?? [null, '·', 'soft'];
      const segment = make('span', { class: `segment ${colour}`, title: `${part.state}${part.text ? ` since ${new Date(part.at).toLocaleString()}` : ''} ${part.reason}` }, to - from > 12 ? `${sign} ${part.state}` : to - from > 1.5 ? sign : '');
      segment.style.left = `min(${from}%, 100% - 3px)`;
      segment.style.width = `max(3px, ${to - from}%)`;
      return segment;
    });
    const told = parts.map((part) => part.state).join(', then ');
    return make('div', { class: 'lane' }, make('span', { class: 'lane-name' }, name), make('span', { class: 'bar', role: 'img', 'aria-label': `${name}: ${told}` }, ...segments));
  });
  const minutes = span / 60e3;
  const tick = (part) => (part === 0 ? 'now' : minutes >= 120 ? `−${Math.round((minutes * part) / 60)} h` : `−${+(minutes * part).toFixed(1)} min`);
  const axis = make('div', { class: 'lane axis' }, make('span', { class: 'lane-name' }), make('span', { class: 'ticks' }, ...[1, 0.75, 0.5, 0.25, 0].map((part) => make('span', {}, tick(part)))));
  $('line').replaceChildren(...bars, axis);
}

// ---- acting --------------------------------------------------------------------------------------------------------

const WORDS = {
  drain: ['Drain', 'is no longer answered, and still probed'],
  up: ['Force up', 'counts as up, whatever its probes say'],
  down: ['Force down', 'is not answered'],
  auto: ['End the override of', 'is answered as its probes say'],
};

function act(id, state) {
  const dialog = $('act');
  $('act-title').textContent = `${WORDS[state][0]} ${id}?`;
  $('act-text').textContent = `It ${WORDS[state][1]}.`;
  const form = dialog.querySelector('form');
  form.reset();
  for (const label of form.querySelectorAll('label')) label.hidden = state === 'auto';
  dialog.returnValue = '';
  dialog.onclose = async () => {
    if (dialog.returnValue !== 'do') return;
    const body = { backend: id, state, reason: form.reason.value || null, for_ms: form.for.value ? Number(form.for.value) : null };
    try {
      const done = await (await ask('v1/state', { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })).json();
      notice(done.warnings.join('\n'));
    } catch (error) {
      notice(error.message);
    }
  };
  dialog.showModal();
}

$('ask').addEventListener('submit', async (event) => {
  event.preventDefault();
  const query = new URLSearchParams(new FormData(event.target));
  query.set('shares', 'true');
  try {
    const found = await (await ask(`v1/explain?${query}`)).json();
    $('answer').replaceChildren(
      make('p', {}, make('strong', {}, `${found.question}: ${found.rcode}`), ` · ${found.scope ? `so do all of ${found.scope}` : 'whoever asks'}`),
      make('pre', {}, found.answer.join('\n') || '(no record)'),
      ...(found.shares?.length ? [make('div', { class: 'shares', role: 'table', 'aria-label': 'who stands first, and how often' }, ...found.shares.map(({ backend, share }) => make('div', { class: 'share', role: 'row' }, make('span', { role: 'cell' }, backend), bar(share, ''), make('span', { role: 'cell' }, percent(share)))))] : []),
      make('ol', {}, ...found.steps.map((step) => make('li', {}, step))));
  } catch (error) {
    $('answer').replaceChildren(make('p', { class: 'bad' }, `✗ ${error.message}`));
  }
});

// No submit button: Enter means the other one.
for (const button of document.querySelectorAll('[data-close]')) button.addEventListener('click', () => button.closest('dialog').close('cancel'));
$('filter').addEventListener('input', () => status && draw());
$('span').addEventListener('change', () => status && drawLanes());
$('help').addEventListener('click', () => $('keys').showModal());
$('token').addEventListener('click', wantToken);
$('secret').addEventListener('close', () => {
  const field = $('secret').querySelector('input');
  if ($('secret').returnValue === 'do' && field.value) {
    sessionStorage.setItem('token', field.value);
    location.reload();
  }
  field.value = '';
});
$('theme').addEventListener('click', () => {
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  const now = document.documentElement.dataset.theme ?? (dark ? 'dark' : 'light');
  document.documentElement.dataset.theme = now === 'dark' ? 'light' : 'dark';
  localStorage.setItem('theme', document.documentElement.dataset.theme);
});
if (localStorage.getItem('theme')) document.documentElement.dataset.theme = localStorage.getItem('theme');

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  const rows = [...document.querySelectorAll('tr[data-id]')];
  const at = rows.indexOf(document.activeElement?.closest('tr[data-id]'));
  const chosen = rows[at]?.dataset.id;
  const states = { d: 'drain', a: 'auto', f: 'up', x: 'down' };
  if (event.key === 'j') rows[Math.min(rows.length - 1, at + 1)]?.focus();
  else if (event.key === 'k') rows[Math.max(0, at - 1)]?.focus();
  else if (event.key === '/') $('filter').focus();
  else if (event.key === 'c') $('ask').elements.name.focus();
  else if (event.key === 't') $('theme').click();
  else if (event.key === '?') $('keys').showModal();
  else if (event.key === 'p') $('line-title').scrollIntoView();
  else if (states[event.key] && chosen && mayWrite) act(chosen, states[event.key]);
  else return;
  event.preventDefault();
});

setInterval(() => status && !document.querySelector('dialog[open]') && drawTransitions(), 10000);
// Answers a second want a status now and then, when nothing else is news.
setInterval(async () => {
  if (document.hidden || !status) return;
  try {
    take(await (await ask('v1/status')).json());
  } catch { /* the event stream says what is wrong */ }
}, 5000);
follow();
