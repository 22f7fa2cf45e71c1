// Receives Mintwire's webhooks: verify them, parse them, handle each message once. Signatures follow
// Standard Webhooks, `v1` (HMAC-SHA256) and `v1a` (ed25519). It makes no network requests.
import { createHmac, createPublicKey, timingSafeEqual, verify as verifySignature } from 'node:crypto';

const TOLERANCE_SECONDS = 300;
const SECRET = 'whsec_';
const PUBLIC = 'whpk_';
const SHORTEST_SECRET = 24;
// At most ten keys overlap during rotations; each further signature would cost another pass over the whole body.
const MOST_SIGNATURES = 10;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
// The fixed head of a DER document that holds nothing but a raw ed25519 key.
const ED25519_HEAD = Buffer.from('302a300506032b6570032100', 'hex');

/** The request is not a valid, recent webhook of ours; answer with 400 and do nothing else. */
export class Refused extends Error {
  constructor(reason) {
    super(reason);
    this.name = 'Refused';
    this.reason = reason;
  }
}

/** The same message is being handled right now. Answer 503: if that handling fails, the message arrives again. */
export class UnderWay extends Error {
  constructor() {
    super('the message is being handled');
    this.name = 'UnderWay';
  }
}

/** Remembers messages in this process while attempts may arrive, up to a maximum number. */
export class MemorySeen {
  #most;
  #keepMilliseconds;
  #now;
  // In the order of arrival; null while the work is in progress.
  #seen = new Map();

  constructor({ most = 100_000, keepSeconds = 100 * 3600, now = () => performance.now() } = {}) {
    this.#most = most;
    this.#keepMilliseconds = keepSeconds * 1000;
    this.#now = now;
  }

  begin(id) {
    this.#dropOld();
    if (!this.#seen.has(id)) {
      this.#seen.set(id, null);
      return 'new';
    }
    return this.#seen.get(id) === null ? 'under_way' : 'handled';
  }

  finish(id) {
    this.#seen.delete(id);
    this.#seen.set(id, this.#now());
  }

  forget(id) {
    this.#seen.delete(id);
  }

  #dropOld() {
    const oldest = this.#now() - this.#keepMilliseconds;
    for (const [id, handledAt] of this.#seen) {
      if (handledAt === null) continue;
      if (handledAt > oldest && this.#seen.size < this.#most) break;
      this.#seen.delete(id);
    }
  }
}

/** Verifies, parses and deduplicates. Pass the old and the new key during a rotation. */
export class Receiver {
  #keys;
  #seen;
  #toleranceSeconds;
  #now;

  constructor(keys, { seen = new MemorySeen(), toleranceSeconds = TOLERANCE_SECONDS, now = () => Date.now() / 1000 } = {}) {
    this.#keys = [keys].flat().map((key) => readKey(keyText(key)));
    if (this.#keys.length === 0) throw new Error("a receiver needs at least one key, such as the endpoint's whsec_ secret");
    this.#seen = seen;
    this.#toleranceSeconds = toleranceSeconds;
    this.#now = now;
  }

  /**
   * Return the message of a request, given its headers and its raw, unparsed body. Throws `Refused`, or `TypeError` if
   * your own code passes something other than what was received.
   */
  read(headers, body) {
    const raw = rawBody(body);
    const named = lowerCased(headers);
    const id = named['webhook-id'];
    const stamp = named['webhook-timestamp'];
    const signatures = named['webhook-signature'];
    if (id === undefined || stamp === undefined || signatures === undefined) throw new Refused('missing_header');
    if (!/^[0-9]{1,12}$/.test(stamp)) throw new Refused('bad_timestamp');
    const signed = Buffer.concat([Buffer.from(`${id}.${stamp}.`), raw]);
    if (!signatures.split(' ', MOST_SIGNATURES).some((each) => this.#isSigned(signed, each))) throw new Refused('no_match');
    // Checked last, so that only the holder of a key can learn the time of this clock.
    const age = this.#now() - Number(stamp);
    if (age > this.#toleranceSeconds) throw new Refused('too_old');
    if (-age > this.#toleranceSeconds) throw new Refused('too_new');
    return parse(id, Number(stamp), named['webhook-sequence'], raw);
  }

  /**
   * Do the work unless it was already done, and return whether it was done now. Throws `UnderWay`, and what the work throws:
   * answer that with 500, and the message arrives again.
   */
  async handleOnce(message, work) {
    const known = await this.#seen.begin(message.id);
    if (known === 'under_way') throw new UnderWay();
    if (known === 'handled') return false;
    try {
      await work(message);
    } catch (error) {
      await this.#seen.forget(message.id);
      throw error;
    }
    await this.#seen.finish(message.id);
    return true;
  }

  #isSigned(signed, signature) {
    const comma = signature.indexOf(',');
    const version = signature.slice(0, comma);
    const encoded = signature.slice(comma + 1);
    if (comma < 0 || !BASE64.test(encoded)) return false;
    const given = Buffer.from(encoded, 'base64');
    return this.#keys.some((key) => key.version === version && key.check(signed, given));
  }
}

function parse(id, timestamp, sequence, raw) {
  let body;
  try {
    body = JSON.parse(raw.toString('utf8'));
  } catch {
    throw new Refused('bad_body');
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw new Refused('bad_body');
  const type = body.event ?? body.type;
  if (typeof type !== 'string') throw new Refused('bad_body');
  return { id, type, timestamp, sequence: numberOf(body, sequence), data: dataOf(body), body };
}

// The sequence number in the body, because only the body is signed; a flat body leaves it to the header.
function numberOf(body, header) {
  const said = String('event' in body ? header : (body.sequence ?? header));
  return /^[0-9]{1,19}$/.test(said) ? Number(said) : null;
}

function dataOf(body) {
  if ('event' in body) {
    const { event: _, ...data } = body;
    return data;
  }
  if (typeof body.data === 'object' && body.data !== null && !Array.isArray(body.data)) return body.data;
  const { type: _type, timestamp: _timestamp, sequence: _sequence, data: _data, ...rest } = body;
  return rest;
}

// Checks the arguments from the receiver's own code: a mistake there is reported as such, not as a bad webhook.
function keyText(key) {
  if (key === undefined || key === null) throw new TypeError(`the secret is missing (${key}); is its variable set?`);
  if (typeof key !== 'string') throw new TypeError(`a key must be a string such as whsec_…, not ${typeof key}`);
  if (key.trim() === '') throw new Error('the secret is empty; is its variable set?');
  if (key !== key.trim()) throw new Error('the secret has white space around it, such as a line end from a file');
  return key;
}

function rawBody(body) {
  if (typeof body === 'string' || body instanceof ArrayBuffer) return Buffer.from(body);
  if (ArrayBuffer.isView(body)) return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const wanted =
    "the body must be raw, as received, because that is signed; in Express `express.raw({ type: '*/*' })`, " +
    'with fetch `await request.text()` or `await request.arrayBuffer()`, in Node the chunks of the request';
  if (body === undefined || body === null) throw new TypeError(`there is no body (${body}); ${wanted}`);
  if (typeof body?.then === 'function') throw new TypeError(`the body is a promise: await it first; ${wanted}`);
  if (typeof body !== 'object') throw new TypeError(`the body is a ${typeof body}; ${wanted}`);
  const kind = Array.isArray(body) ? 'array' : 'object';
  throw new TypeError(`the body is an ${kind}: it was parsed, and the same JSON can be written in many ways; ${wanted}`);
}

function readKey(text) {
  if (text.startsWith(PUBLIC)) {
    const raw = decode(text, PUBLIC);
    if (raw.length !== 32) throw new Error('a public key must have 32 bytes');
    const key = createPublicKey({ key: Buffer.concat([ED25519_HEAD, raw]), format: 'der', type: 'spki' });
    return { version: 'v1a', check: (signed, given) => verifySignature(null, signed, key, given) };
  }
  const key = decode(text, SECRET);
  if (key.length < SHORTEST_SECRET) throw new Error(`a secret must have at least ${SHORTEST_SECRET} bytes`);
  return {
    version: 'v1',
    check: (signed, given) => {
      const wanted = createHmac('sha256', key).update(signed).digest();
      return given.length === wanted.length && timingSafeEqual(given, wanted);
    },
  };
}

function decode(text, prefix) {
  const encoded = text.slice(prefix.length);
  if (!text.startsWith(prefix)) throw new Error(`a key must start with ${SECRET} or ${PUBLIC}`);
  if (!BASE64.test(encoded)) throw new Error(`after ${prefix} a key must be base64`);
  return Buffer.from(encoded, 'base64');
}

// Node passes an object, `fetch` a Headers; names come in either case.
function lowerCased(headers) {
  if (typeof headers !== 'object' || headers === null) {
    const what = headers === undefined || headers === null ? `missing (${headers})` : `a ${typeof headers}`;
    throw new TypeError(`the headers are ${what}; pass your framework's own, such as \`request.headers\``);
  }
  if (Array.isArray(headers)) return named(headers);
  // Only if it is a function: a header may have this name too.
  return named(typeof headers.entries === 'function' ? headers.entries() : Object.entries(headers));
}

function named(pairs) {
  return Object.fromEntries([...pairs].map(([name, value]) => [name.toLowerCase(), String(value)]));
}
