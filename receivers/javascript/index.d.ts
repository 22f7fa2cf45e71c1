export type Reason = 'missing_header' | 'bad_timestamp' | 'too_old' | 'too_new' | 'no_match' | 'bad_body';
export type Known = 'new' | 'under_way' | 'handled';

export class Refused extends Error {
  readonly reason: Reason;
}

export class UnderWay extends Error {}

export interface Message {
  /** The same in every attempt. */
  readonly id: string;
  readonly type: string;
  readonly timestamp: number;
  /** The message with the larger number has the newer facts; null if the sender did not include it. */
  readonly sequence: number | null;
  readonly data: Readonly<Record<string, unknown>>;
  readonly body: Readonly<Record<string, unknown>>;
}

/** Remembers handled messages; `begin` must be atomic. */
export interface Seen {
  begin(id: string): Known | Promise<Known>;
  finish(id: string): void | Promise<void>;
  forget(id: string): void | Promise<void>;
}

export class MemorySeen implements Seen {
  constructor(options?: { most?: number; keepSeconds?: number; now?: () => number });
  begin(id: string): Known;
  finish(id: string): void;
  forget(id: string): void;
}

export class Receiver {
  /** Throws if a key is missing, empty or malformed. */
  constructor(keys: string | string[], options?: { seen?: Seen; toleranceSeconds?: number; now?: () => number });
  /** Throws `Refused`, and `TypeError` for a body that was parsed or is missing. */
  read(headers: Headers | Record<string, unknown>, body: string | ArrayBuffer | ArrayBufferView): Message;
  handleOnce(message: Message, work: (message: Message) => unknown): Promise<boolean>;
}
