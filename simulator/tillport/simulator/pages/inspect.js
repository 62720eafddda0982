// The inspection page: asks the control routes every second and tells the story, newest first.
'use strict';

const REQUEST_FAULTS = [
  'reset_before', 'timeout_before', 'error_before', 'unavailable', 'rate_limited', 'lock_timeout', 'key_in_use',
  'approval_required',
  'answer_lost', 'timeout_after', 'error_after', 'truncated', 'slow', 'drip', 'webhook_first',
];
const DELIVERY_FAULTS = ['duplicate', 'drop', 'delay', 'reorder', 'tamper', 'wrong_secret', 'stale'];
const SHOWN = 300;
const at = (id) => document.getElementById(id);
let state = {};

async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error.message);
  return body;
}

const send = (path, body, method = 'POST') =>
  ask(path, {method, headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)});

// All text goes in as text: what clients sent is never markup here.
function cell(row, text, style) {
  const made = row.insertCell();
  made.textContent = text;
  if (style) made.className = style;
  return made;
}

function tellState(rates, script) {
  const list = at('state');
  list.replaceChildren();
  const lines = {
    'time': new Date(state.now * 1000).toISOString(),
    'account': state.account,
    'secret key': state.secret_key,
    'publishable key': state.publishable_key,
    'objects': Object.entries(state.counts).map(([name, count]) => `${count} ${name}`).join(', '),
    'deliveries waiting': state.backlog,
    'endpoints': state.webhook_endpoints.map((one) => `${one.url} (${one.status})`).join(', ') || 'none',
  };
  for (const [name, value] of Object.entries(lines)) {
    const term = document.createElement('dt');
    const told = document.createElement('dd');
    term.textContent = name;
    told.textContent = value;
    told.id = 'state-' + name.replaceAll(' ', '-');
    list.append(term, told);
  }
  const kinds = [...REQUEST_FAULTS, ...DELIVERY_FAULTS];
  at('rates').textContent = kinds.filter((kind) => rates[kind] > 0).map((kind) => `${kind} ${rates[kind]}`).join(', ');
  at('script').textContent = script
    .map((one) => `${one.kind} ×${one.times}${one.path || one.type ? ' on ' + (one.path || one.type) : ''}`)
    .join(', ');
}

function tellStory(requests, deliveries) {
  const story = [
    ...requests.map((one, number) => ({kind: 'request', number, ...one})),
    ...deliveries.map((one, number) => ({kind: 'delivery', number, ...one})),
  ];
  // A delivery of the same moment comes after the request that caused it.
  story.sort((a, b) => b.at - a.at || (a.kind === b.kind ? b.number - a.number : a.kind === 'delivery' ? -1 : 1));
  const rows = document.createElement('tbody');
  rows.id = 'story';
  for (const one of story.slice(0, SHOWN)) {
    const row = rows.insertRow();
    row.dataset.kind = one.kind;
    cell(row, new Date(one.at * 1000).toISOString().slice(11, 23), 'quiet');
    if (one.kind === 'request') {
      cell(row, `${one.method} ${one.path}`);
      cell(row, one.request_id + (one.replayed ? ' (replayed)' : ''), 'quiet');
      cell(row, one.status || 'no answer', one.status === 0 || one.status >= 400 ? 'bad' : 'good');
      cell(row, one.fault || '', 'odd');
      cell(row, '');
    } else {
      cell(row, `→ ${one.event_type}`);
      cell(row, `${one.event_id} no. ${one.attempt}`, 'quiet');
      const came = one.status === null ? 'under way' : one.status || 'no answer';
      cell(row, came, one.status === null ? 'quiet' : one.status >= 200 && one.status < 300 ? 'good' : 'bad');
      cell(row, one.faults.join(', '), 'odd');
      const more = cell(row, '');
      for (const [label, act] of [['look', () => look(one.event_id)], ['again', () => again(one)]]) {
        const button = document.createElement('button');
        button.type = 'button';
        button.textContent = label;
        button.addEventListener('click', () => click(act));
        more.append(button);
      }
    }
  }
  at('story').replaceWith(rows);
}

async function look(event) {
  const found = await ask(`/v1/events/${event}`, {headers: {Authorization: `Bearer ${state.secret_key}`}});
  at('json').textContent = JSON.stringify(found, null, 2);
  at('detail').showModal();
}

const again = (one) => send('/_sim/redeliver', {event: one.event_id});

async function refresh() {
  const [told, faults, requests, deliveries] = await Promise.all(
    ['/_sim/', '/_sim/faults', '/_sim/requests', '/_sim/deliveries'].map((path) => ask(path)),
  );
  state = told;
  tellState(faults.rates, faults.script);
  if (!at('pause').checked) {
    tellStory(requests.requests, deliveries.deliveries.map(({number, ...one}) => ({...one, attempt: number})));
  }
}

// What somebody's click met stays to be read until the next click; that a look failed, until a look succeeds.
async function trying(act, by = 'click') {
  const trouble = at('trouble');
  try {
    await act();
    if (by === 'click' || trouble.dataset.by === 'look') trouble.hidden = true;
  } catch (error) {
    trouble.textContent = error.message;
    trouble.dataset.by = by;
    trouble.hidden = false;
  }
}

// After a click the page looks at once, so that what it did is seen.
const click = (act) => trying(act).then(() => trying(refresh, 'look'));

for (const kind of [...REQUEST_FAULTS, ...DELIVERY_FAULTS]) {
  at('kind').append(new Option(kind));
  at('rate-kind').append(new Option(kind));
}
for (const button of document.querySelectorAll('[data-seconds]')) {
  button.addEventListener('click', () => click(() => send('/_sim/clock', {seconds: Number(button.dataset.seconds)})));
}
at('strike').addEventListener('click', () => click(() => {
  const kind = at('kind').value;
  const only = at('only').value.trim();
  const where = !only ? {} : DELIVERY_FAULTS.includes(kind) ? {type: only} : {path: only};
  return send('/_sim/script', [{kind, times: Number(at('times').value), ...where}]);
}));
at('forget').addEventListener('click', () => click(() => ask('/_sim/script', {method: 'DELETE'})));
at('set-rate').addEventListener('click', () => click(async () => {
  const {rates} = await ask('/_sim/faults');
  await send('/_sim/faults', {...rates, [at('rate-kind').value]: Number(at('rate').value)});
}));
at('controls').addEventListener('submit', (event) => event.preventDefault());
const follow = () => trying(refresh, 'look').finally(() => setTimeout(follow, 1000));
follow();
