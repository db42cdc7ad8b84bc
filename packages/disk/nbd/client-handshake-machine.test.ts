/** The handshake of the client: every state meets every message. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofferError } from '@coffer/base';
import {
  type ClientState,
  type ClientWish,
  type ServerMessage,
  stepClient,
} from './client-handshake-machine.ts';
import {
  encodeBlockSizes,
  encodeContext,
  encodeExportInfo,
  encodeListed,
} from './handshake-codec.ts';
import { OPTION, REPLY } from './protocol.ts';

const NONE: Buffer = Buffer.alloc(0);
const INFO = encodeExportInfo({ sizeBytes: 512, flags: 1 });
const use = (tls: boolean, ...contexts: string[]): ClientWish => ({
  tls,
  exportName: 'x',
  contexts,
});

const FOUND = { structured: true, contexts: new Map<string, number>() };
const NEGOTIATED = { ...FOUND, sizeBytes: 512, flags: 1, blockSizes: undefined };
const STATES: Record<ClientState['phase'], ClientState> = {
  greeting: { phase: 'greeting' },
  tls: { phase: 'tls' },
  structured: { phase: 'structured' },
  contexts: { phase: 'contexts', contexts: new Map() },
  go: { phase: 'go', found: { ...FOUND, sizeBytes: 512, flags: 1 }, infoCount: 0 },
  ready: { phase: 'ready', negotiated: NEGOTIATED },
};

const reply = (option: number, type: number, data = NONE): ServerMessage => ({
  form: 'reply',
  reply: { option, type, data },
});
/** The option that a state waits for an answer to. */
const AWAITED: Partial<Record<ClientState['phase'], number>> = {
  tls: OPTION.startTls,
  structured: OPTION.structuredReply,
  contexts: OPTION.setMetaContext,
  go: OPTION.go,
};
const MESSAGES: Record<string, (option: number) => ServerMessage> = {
  greeting: () => ({ form: 'greeting', flags: 3 }),
  ack: (option) => reply(option, REPLY.ack),
  server: (option) => reply(option, REPLY.server, encodeListed('a', '')),
  info: (option) => reply(option, REPLY.info, INFO),
  metaContext: (option) => reply(option, REPLY.metaContext, encodeContext(1, 'base:allocation')),
  unsupported: (option) => reply(option, REPLY.unsupported),
  unknownExport: (option) => reply(option, REPLY.unknownExport),
  tlsRequired: (option) => reply(option, REPLY.tlsRequired),
  other: (option) => reply(option, 0x8000_0fff),
  unasked: () => reply(99, REPLY.ack),
};

/** Where a message leads: a phase, or how it fails. P is `nbd-protocol`, R is `nbd-refused`. */
const TABLE: Record<ClientState['phase'], Record<keyof typeof MESSAGES, string>> = {
  greeting: row('structured', 'P', 'P', 'P', 'P', 'P', 'P', 'P', 'P', 'P'),
  tls: row('P', 'structured', 'R', 'R', 'R', 'R', 'R', 'R', 'R', 'P'),
  structured: row('P', 'contexts', 'go', 'go', 'go', 'go', 'go', 'R', 'go', 'P'),
  contexts: row('P', 'go', 'go', 'go', 'contexts', 'go', 'R', 'go', 'go', 'P'),
  go: row('P', 'ready', 'R', 'go', 'R', 'R', 'R', 'R', 'R', 'P'),
  ready: row('P', 'P', 'P', 'P', 'P', 'P', 'P', 'P', 'P', 'P'),
};

function row(...outcomes: string[]): Record<string, string> {
  return Object.fromEntries(Object.keys(MESSAGES).map((name, index) => [name, outcomes[index]!]));
}

function outcome(state: ClientState, message: ServerMessage, wish: ClientWish): string {
  try {
    return stepClient(state, message, wish).state.phase;
  } catch (error) {
    assert.ok(error instanceof CofferError, String(error));
    if (error.code === 'nbd-protocol') return 'P';
    return error.code === 'nbd-refused' ? 'R' : error.code;
  }
}

for (const [phase, state] of Object.entries(STATES)) {
  test(`in phase ${phase} every message leads where the table says`, () => {
    const wish = use(false, 'base:allocation');
    const option = AWAITED[state.phase] ?? OPTION.go;
    for (const [name, message] of Object.entries(MESSAGES)) {
      assert.equal(outcome(state, message(option), wish), TABLE[state.phase][name], name);
    }
  });
}

test('the way depends on what is wanted', () => {
  const greeting: ServerMessage = { form: 'greeting', flags: 3 };
  assert.equal(outcome(STATES.greeting, greeting, use(true)), 'tls');
  assert.equal(outcome(STATES.greeting, greeting, use(false)), 'structured');
  const structured = reply(OPTION.structuredReply, REPLY.ack);
  assert.equal(outcome(STATES.structured, structured, use(false)), 'go');
});

test('nothing but the request for TLS is sent before it is there', () => {
  const { send, startTls } = stepClient(STATES.greeting, { form: 'greeting', flags: 3 }, use(true));
  assert.equal(startTls, undefined);
  assert.equal(send?.length, 4 + 16);
  assert.equal(send?.readUInt32BE(12), OPTION.startTls);
  const secured = stepClient(STATES.tls, reply(OPTION.startTls, REPLY.ack), use(true));
  assert.equal(secured.startTls, true);
});

test('only flags that the server knows are sent', () => {
  const flagsFor = (flags: number): number | undefined =>
    stepClient(STATES.greeting, { form: 'greeting', flags }, use(false)).send?.readUInt32BE(0);
  assert.equal(flagsFor(0xffff), 3);
  assert.equal(flagsFor(1), 1);
  assert.throws(() => flagsFor(2), /nbd-protocol|keep to the protocol/);
});

test('an export is what the server said of it, and has to have a size', () => {
  const sizes = { min: 512, preferred: 4096, max: 65_536 };
  const fresh: ClientState = { phase: 'go', found: FOUND, infoCount: 0 };
  const first = stepClient(
    fresh,
    reply(OPTION.go, REPLY.info, encodeBlockSizes(sizes)),
    use(false),
  );
  assert.throws(() => stepClient(first.state, reply(OPTION.go, REPLY.ack), use(false)), /size/);
  const second = stepClient(first.state, reply(OPTION.go, REPLY.info, INFO), use(false));
  const { state } = stepClient(second.state, reply(OPTION.go, REPLY.ack), use(false));
  assert.deepEqual(state, {
    phase: 'ready',
    negotiated: { ...NEGOTIATED, blockSizes: sizes },
  });
});

test('contexts count when they are acknowledged, each once', () => {
  const wish = use(false, 'base:allocation');
  const context = reply(
    OPTION.setMetaContext,
    REPLY.metaContext,
    encodeContext(5, 'base:allocation'),
  );
  const { state } = stepClient(STATES.contexts, context, wish);
  assert.equal(outcome(state, context, wish), 'P');
  const granted = stepClient(state, reply(OPTION.setMetaContext, REPLY.ack), wish).state;
  assert.ok(granted.phase === 'go');
  assert.deepEqual([...granted.found.contexts], [['base:allocation', 5]]);
  const denied = stepClient(state, reply(OPTION.setMetaContext, REPLY.policy), wish).state;
  assert.ok(denied.phase === 'go' && denied.found.contexts.size === 0);
});

test('a refusal says why, in words of this side and of the server', () => {
  const words = Buffer.from('go away');
  const message = reply(OPTION.go, REPLY.unknownExport, words);
  assert.throws(
    () => stepClient(STATES.go, message, use(false)),
    (error: unknown) =>
      error instanceof CofferError &&
      error.code === 'nbd-refused' &&
      error.details['export'] === 'x' &&
      error.details['reason'] === 'it has no such export' &&
      error.details['said'] === 'go away',
  );
});
