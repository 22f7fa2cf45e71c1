// Holds the receiver helper against the public library. Reads one JSON object: the helper's file and cases of
// { secret, publicKey, headers, body }. Prints for each what both say of it, and what the helper says of the same body
// signed by the library; then what comes of handling a message twice.
import { readFileSync } from 'node:fs';
import { Webhook } from 'standardwebhooks';

const { helper, cases } = JSON.parse(readFileSync(0, 'utf8'));
const { MemorySeen, Receiver, Refused, UnderWay } = await import(helper);

function attempt(work) {
  try {
    return work();
  } catch (error) {
    return error instanceof Refused ? error.reason : error.name;
  }
}

function read(keys, headers, body) {
  return attempt(() => {
    const { id, type, sequence, data } = new Receiver(keys).read(headers, body);
    return { id, type, sequence, data };
  });
}

const results = cases.map(({ secret, publicKey, headers, body }) => {
  const raw = Buffer.from(body, 'base64');
  const now = new Date();
  const signedByThem = attempt(() => ({
    'webhook-id': 'msg_theirs',
    'webhook-timestamp': String(Math.floor(now / 1000)),
    'webhook-signature': new Webhook(secret).sign('msg_theirs', now, raw.toString()),
  }));
  return {
    ours: read(secret, headers, raw),
    oursOfFetch: read([secret], new Headers(headers), raw.toString()),
    oursByPublicKey: publicKey ? read(publicKey, headers, raw) : null,
    theirs: attempt(() => new Webhook(secret).verify(raw.toString(), headers) && 'verified'),
    oursOfTheirs: read(secret, signedByThem, raw),
  };
});

const receiver = new Receiver(cases[0].secret, { seen: new MemorySeen({ most: 10 }) });
const message = { id: 'msg_1' };
const handled = [];
const failing = await receiver.handleOnce(message, () => Promise.reject(new Error('not today'))).catch((error) => error.message);
const underWay = receiver.handleOnce(message, async () => { handled.push('slow'); await new Promise(setImmediate); });
const meanwhile = await receiver.handleOnce(message, () => handled.push('twice')).catch((error) => error instanceof UnderWay);
const first = await underWay;
const second = await receiver.handleOnce(message, () => handled.push('again'));
for (let number = 0; number < 20; number += 1) await receiver.handleOnce({ id: `msg_many_${number}` }, () => {});
const forgotten = await receiver.handleOnce(message, () => handled.push('after many'));
console.log(JSON.stringify({ results, dedup: { failing, meanwhile, first, second, forgotten, handled } }));
