// Drives a Stayd server with the official SDK, unmodified: STAYD_URL is its base
// URL. The expectations are those of test scripts in ../../internal/app/testdata.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: `${process.env.STAYD_URL}/v1`, apiKey: 'any', maxRetries: 0 });
const { agents } = client.beta;
const weather = { type: 'function', name: 'get_weather', description: 'The weather', parameters: { type: 'object' } };

async function collect(pages) {
  const all = [];
  for await (const one of pages) all.push(one);
  return all;
}

async function until(id, status) {
  for (let i = 0; i < 2000; i++) {
    const session = await agents.sessions.retrieve(id);
    if (session.status === status) return session;
    await new Promise((done) => setTimeout(done, 5));
  }
  assert.fail(`session ${id} does not become ${status}`);
}

test('a session from its creation to its end', async () => {
  const saved = await agents.create({ model: 'script/weather', name: 'Frog', instructions: 'Be brief.' });
  assert.equal(saved.object, 'agent');
  const calls = [];
  const created = await agents.sessions.create({
    agent_id: saved.id,
    agent: { tools: [weather] },
    environment: { type: 'none' },
    input: 'How is the weather?',
    stream: true,
    toolHandlers: {
      get_weather: (args) => {
        calls.push(args);
        return { celsius: 21 };
      },
    },
  });
  const first = await created.finalResult();
  assert.equal(first.output_text, 'It is 21 degrees.');
  assert.deepEqual(calls, [{ city: 'Rome' }]);
  const id = first.session_id;

  let text = '';
  const second = agents.sessions
    .stream(id, { input: 'And the weather now?', toolHandlers: { get_weather: () => ({ celsius: 7 }) } })
    .withResultCollection();
  const types = [];
  for await (const event of second) {
    types.push(event.type);
    if (event.type === 'agent.session.turn.output_text.delta') text += event.delta;
  }
  assert.equal(text, 'It is 7 degrees.');
  assert.equal((await second.finalResult()).output_text, 'It is 7 degrees.');
  assert.equal(types.at(-1), 'agent.session.idle');

  const turns = await collect(agents.sessions.turns.list(id, { limit: 1, order: 'asc' }));
  assert.deepEqual(turns.map((t) => t.status), ['completed', 'completed']);
  const items = await collect(agents.sessions.items.list(id, { limit: 3, order: 'asc' }));
  assert.deepEqual(
    items.map((i) => i.type),
    ['message', 'reasoning', 'function_call', 'function_call_output', 'message',
      'message', 'reasoning', 'function_call', 'function_call_output', 'message'],
  );

  await agents.sessions.events.create(id, {
    events: [{ type: 'agent.session.input.message', input: [{ role: 'user', content: [{ type: 'input_text', text: 'slow' }] }] }],
    'Idempotency-Key': 'slow-1',
  });
  await until(id, 'in_progress');
  await assert.rejects(agents.sessions.delete(id), { status: 409 });
  await agents.sessions.events.create(id, { events: [{ type: 'agent.session.input.cancel' }] });
  await until(id, 'idle');
  const last = (await collect(agents.sessions.turns.list(id))).at(0);
  assert.equal(last.status, 'cancelled');
  assert.equal((await agents.sessions.delete(id)).deleted, true);
  await assert.rejects(agents.sessions.retrieve(id), { status: 404 });
});

test('an environment, and the errors of a bad request', async () => {
  const created = await agents.sessions.create({
    agent: { model: 'script/weather' },
    environment: { type: 'openai_hosted' },
    input: 'Some files, please.',
    stream: true,
    stream_options: { include_obfuscation: false },
  });
  assert.match((await created.finalResult()).output_text, /hello/);
  await assert.rejects(
    agents.sessions.create({ agent: { model: 'script/weather' }, environment: { type: 'none' }, input: 'x', colour: 'red' }),
    (err) => err.status === 400 && err.param === 'colour' && err.type === 'invalid_request_error',
  );
});
