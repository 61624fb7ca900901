// Verifies tokens of agents with jose, as servers in JavaScript do: STAYD_URL is the
// issuer.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRemoteJWKSet, decodeProtectedHeader, errors, jwtVerify } from 'jose';

const url = process.env.STAYD_URL;
const audience = 'https://mcp.example.com/mcp';

async function post(path, body, type = 'application/json') {
  const answer = await fetch(url + path, { method: 'POST', headers: { 'Content-Type': type }, body });
  const text = await answer.text();
  assert.ok(answer.ok, `${path}: ${answer.status} ${text}`);
  return JSON.parse(text);
}

const session = await post('/v1/agents/sessions', JSON.stringify({ environment: { type: 'none' }, agent: { model: 'script/weather' }, actor: 'ann', input: 'hello' }));
const sign = async (body) => (await post(`/v1/agents/sessions/${session.id}/token`, JSON.stringify(body))).token;

const about = await (await fetch(`${url}/.well-known/openid-configuration`)).json();
const keys = () => createRemoteJWKSet(new URL(about.jwks_uri), { cooldownDuration: 0 });
const options = { issuer: url, audience, algorithms: about.id_token_signing_alg_values_supported, typ: 'JWT', requiredClaims: ['sub', 'exp', 'jti'] };

test('a token says which agent calls, and for whom', async () => {
  assert.equal(about.issuer, url);
  const { payload } = await jwtVerify(await sign({ audience, scope: ['mail.read'] }), keys(), options);
  assert.equal(payload.sub, 'ann');
  assert.equal(payload.scope, 'mail.read');
  assert.deepEqual(payload.act, { sub: `spiffe://127.0.0.1/project/default/session/${session.id}` });
  assert.equal(payload.client_id, `spiffe://127.0.0.1/project/default/agent/${session.agent.id}/version/1`);
  assert.equal(payload.exp - payload.iat, 600);
  await assert.rejects(jwtVerify(await sign({ audience: 'https://other.example.com' }), keys(), options), errors.JWTClaimValidationFailed);
});

test('keys are rotated and revoked while it verifies', async () => {
  const set = keys();
  const before = await sign({ audience });
  await jwtVerify(before, set, options);
  await post('/v1/identity/keys/rotate', '{}');
  await jwtVerify(await sign({ audience }), set, options);
  await post('/v1/identity/keys/rotate', '{"now":true}');
  const after = await sign({ audience });
  assert.notEqual(decodeProtectedHeader(after).kid, decodeProtectedHeader(before).kid);
  await jwtVerify(after, set, options);
  await assert.rejects(jwtVerify(before, keys(), options), errors.JWKSNoMatchingKey);
});

test('a token is exchanged for one that says less', async () => {
  const delegation = await sign({ audiences: [audience], scope: ['mail.read', 'mail.send'] });
  const form = new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: delegation,
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    audience,
    scope: 'mail.read',
  });
  const exchanged = await post('/oauth/token', form.toString(), 'application/x-www-form-urlencoded');
  assert.equal(exchanged.token_type, 'Bearer');
  const { payload } = await jwtVerify(exchanged.access_token, keys(), options);
  assert.equal(payload.sub, 'ann');
  assert.equal(payload.scope, 'mail.read');
  await assert.rejects(jwtVerify(delegation, keys(), options), errors.JWTClaimValidationFailed);
});
