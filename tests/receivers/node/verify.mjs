// Verifies many webhooks with the public library or, where the key is a public one, with Node's own ed25519 and with the
// receiver helper. Reads one JSON object: the helper's file and cases of { key, headers, body }. Prints one boolean each.
import { createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Webhook } from 'standardwebhooks';

const { helper, cases } = JSON.parse(readFileSync(0, 'utf8'));
const { Receiver } = await import(helper);

function succeeds(work) {
  try {
    work();
    return true;
  } catch {
    return false;
  }
}

function isSignedBy(key, headers, body) {
  const x = Buffer.from(key.replace('whpk_', ''), 'base64').toString('base64url');
  const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const content = Buffer.from(`${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`);
  return headers['webhook-signature']
    .split(' ')
    .filter((each) => each.startsWith('v1a,'))
    .some((each) => verify(null, content, publicKey, Buffer.from(each.slice('v1a,'.length), 'base64')));
}

const told = cases.map(({ key, headers, body }) => {
  if (!key.startsWith('whpk_')) return succeeds(() => new Webhook(key).verify(body, headers));
  const ours = succeeds(() => new Receiver(key).read(headers, body));
  const theirs = isSignedBy(key, headers, body);
  return ours === theirs ? theirs : 'the helper says otherwise';
});
console.log(JSON.stringify(told));
