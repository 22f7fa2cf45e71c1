// What the receiver helper says of mistakes in its caller's own code. Reads the helper's file; prints each error as
// [name, message], or null where there was none, by the mistake.
import { readFileSync } from 'node:fs';

const { helper, secret, headers, body } = JSON.parse(readFileSync(0, 'utf8'));
const { Receiver } = await import(helper);

function said(work) {
  try {
    work();
    return null;
  } catch (error) {
    return [error.constructor.name, error.message];
  }
}

const reads = (given) => said(() => new Receiver(secret).read(headers, given));
const raw = Buffer.from(body);
const readsHeaders = (given) => said(() => new Receiver(secret).read(given, raw));
console.log(JSON.stringify({
  undefinedSecret: said(() => new Receiver(undefined)),
  nullSecret: said(() => new Receiver(null)),
  oneMissing: said(() => new Receiver([secret, undefined])),
  emptySecret: said(() => new Receiver('')),
  lineEnd: said(() => new Receiver(`${secret}\n`)),
  noKeys: said(() => new Receiver([])),
  bytesSecret: said(() => new Receiver(Buffer.from(secret))),
  parsed: reads(JSON.parse(body)),
  parsedArray: reads([1]),
  noBody: reads(undefined),
  nullBody: reads(null),
  numberBody: reads(5),
  noHeaders: readsHeaders(undefined),
  nullHeaders: readsHeaders(null),
  textHeaders: readsHeaders('webhook-id: msg_1'),
  pairs: readsHeaders(Object.entries(headers)),
  ofThatName: readsHeaders({ ...headers, entries: 'x' }),
  map: readsHeaders(new Map(Object.entries(headers))),
  fetchHeaders: readsHeaders(new Headers(headers)),
  promise: reads(Promise.resolve(raw)),
  text: reads(body),
  buffer: reads(raw),
  arrayBuffer: reads(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength)),
  dataView: reads(new DataView(raw.buffer, raw.byteOffset, raw.byteLength)),
}));
