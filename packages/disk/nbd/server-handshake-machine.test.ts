/** The handshake of the server: every state meets every message. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decodeInfo,
  decodeOptionReplyHeader,
  encodeContextQueries,
  encodeGo,
  OPTION_REPLY_HEADER_SIZE_BYTES,
} from './handshake-codec.ts';
import { EXPORT_FLAG, OPTION, REPLY } from './protocol.ts';
import {
  type ClientMessage,
  type ServerOffer,
  type ServerState,
  type ServerStep,
  stepServer,
} from './server-handshake-machine.ts';

const NONE: Buffer = Buffer.alloc(0);
const BLOCK_SIZES = { min: 1, preferred: 4096, max: 1 << 25 };
const EXPORT = {
  sizeBytes: 512,
  flags: EXPORT_FLAG.hasFlags | EXPORT_FLAG.doNotFragment,
  description: 'words',
  blockSizes: BLOCK_SIZES,
};
const OFFER: ServerOffer = { exports: new Map([['x', EXPORT]]), tls: 'none' };
const TLS_OFFER: ServerOffer = { ...OFFER, tls: 'required' };

type Options = Extract<ServerState, { phase: 'options' }>;
const OPTIONS: Options = {
  phase: 'options',
  noZeroes: true,
  secure: false,
  structured: false,
  allocationOf: undefined,
  count: 0,
};
const TRANSMISSION = { exportName: 'x', structured: true, allocation: false };
const STATES = {
  flags: { phase: 'flags' },
  options: OPTIONS,
  structured: { ...OPTIONS, structured: true },
  plain: OPTIONS,
  secured: { ...OPTIONS, secure: true },
  transmission: { phase: 'transmission', ...TRANSMISSION },
  ended: { phase: 'ended', reason: '' },
} as const satisfies Record<string, ServerState>;

const option = (number: number, data: Buffer = NONE): ClientMessage => ({
  form: 'option',
  option: { option: number, data },
});
const queries = encodeContextQueries('x', ['base:allocation']);
const MESSAGES: Record<string, ClientMessage> = {
  flags: { form: 'flags', flags: 3 },
  badFlags: { form: 'flags', flags: 7 },
  abort: option(OPTION.abort),
  exportName: option(OPTION.exportName, Buffer.from('x')),
  unknownName: option(OPTION.exportName, Buffer.from('y')),
  startTls: option(OPTION.startTls),
  list: option(OPTION.list),
  info: option(OPTION.info, encodeGo('x', [])),
  go: option(OPTION.go, encodeGo('x', [])),
  goUnknown: option(OPTION.go, encodeGo('y', [])),
  goInvalid: option(OPTION.go),
  structuredReply: option(OPTION.structuredReply),
  listContexts: option(OPTION.listMetaContext, queries),
  setContexts: option(OPTION.setMetaContext, queries),
  unknown: option(99),
};

type Row = Record<string, string>;

/** Where a message leads, and with which replies; E is the end without a word. */
const IN_OPTIONS: Row = {
  flags: 'E',
  badFlags: 'E',
  abort: 'ended: ack',
  exportName: 'transmission: bytes',
  unknownName: 'E',
  startTls: 'options: policy',
  list: 'options: server ack',
  info: 'options: info info ack',
  go: 'transmission: info info ack',
  goUnknown: 'options: unknownExport',
  goInvalid: 'options: invalid',
  structuredReply: 'options: ack',
  listContexts: 'options: invalid',
  setContexts: 'options: invalid',
  unknown: 'options: unsupported',
};
const all = (outcome: string): Row =>
  Object.fromEntries(Object.keys(MESSAGES).map((message) => [message, outcome]));
const TABLE: Record<keyof typeof STATES, Row> = {
  flags: { ...all('E'), flags: 'options: ' },
  options: IN_OPTIONS,
  structured: {
    ...IN_OPTIONS,
    listContexts: 'options: metaContext ack',
    setContexts: 'options: metaContext ack',
  },
  plain: {
    ...all('options: tlsRequired'),
    flags: 'E',
    badFlags: 'E',
    abort: 'ended: ack',
    exportName: 'E',
    unknownName: 'E',
    startTls: 'options: ack TLS',
  },
  secured: { ...IN_OPTIONS, startTls: 'options: invalid' },
  transmission: all('E'),
  ended: all('E'),
};

function replyTypes(send: Buffer): string[] {
  const names = new Map<number, string>(Object.entries(REPLY).map(([name, type]) => [type, name]));
  const types: string[] = [];
  for (let place = 0; place < send.length;) {
    const header = send.subarray(place, place + OPTION_REPLY_HEADER_SIZE_BYTES);
    const { type, length } = decodeOptionReplyHeader(header);
    types.push(names.get(type) ?? String(type));
    place += OPTION_REPLY_HEADER_SIZE_BYTES + length;
  }
  return types;
}

function outcome({ state, send, startTls }: ServerStep, isBytes: boolean): string {
  if (state.phase === 'ended' && send.length === 0) return 'E';
  const said = isBytes ? ['bytes'] : replyTypes(send);
  return `${state.phase}: ${[...said, ...(startTls ? ['TLS'] : [])].join(' ')}`;
}

for (const [name, state] of Object.entries(STATES)) {
  test(`in state ${name} every message leads where the table says`, () => {
    const offer = name === 'plain' || name === 'secured' ? TLS_OFFER : OFFER;
    for (const [message, value] of Object.entries(MESSAGES)) {
      const step = stepServer(state, value, offer);
      const actual = outcome(step, message === 'exportName');
      assert.equal(actual, TABLE[name as keyof typeof STATES][message], message);
    }
  });
}

test('an export named by the old option comes with zeroes, unless they are not wanted', () => {
  const named = MESSAGES['exportName']!;
  assert.equal(stepServer(OPTIONS, named, OFFER).send.length, 10);
  assert.equal(stepServer({ ...OPTIONS, noZeroes: false }, named, OFFER).send.length, 134);
});

test('not to fragment is offered with structured replies only', () => {
  const flagsOf = (structured: boolean): number | undefined => {
    const { send } = stepServer({ ...OPTIONS, structured }, MESSAGES['go']!, OFFER);
    const info = decodeInfo(send.subarray(20, 32));
    return info && 'export' in info ? info.export.flags : undefined;
  };
  assert.equal(flagsOf(true), EXPORT.flags);
  assert.equal(flagsOf(false), EXPORT_FLAG.hasFlags);
});

test('what was agreed in the clear is forgotten with TLS', () => {
  const before = { ...OPTIONS, structured: true, allocationOf: 'x' };
  const { state } = stepServer(before, MESSAGES['startTls']!, TLS_OFFER);
  assert.deepEqual(state, { ...OPTIONS, secure: true, count: 1 });
});

test('allocation is told of the export that it was asked for, when it was asked for last', () => {
  const agreed = (...messages: ClientMessage[]): boolean => {
    const two = { ...OFFER, exports: new Map([...OFFER.exports, ['y', EXPORT]]) };
    let state: ServerState = OPTIONS;
    for (const message of [...messages, MESSAGES['go']!])
      ({ state } = stepServer(state, message, two));
    assert.ok(state.phase === 'transmission');
    return state.allocation;
  };
  const structured = MESSAGES['structuredReply']!;
  const set = (name: string, ...wanted: string[]): ClientMessage =>
    option(OPTION.setMetaContext, encodeContextQueries(name, wanted));
  assert.equal(agreed(structured, set('x', 'base:allocation')), true);
  assert.equal(agreed(structured, set('x', 'other:one', 'base:allocation')), true);
  assert.equal(agreed(structured, set('y', 'base:allocation')), false);
  assert.equal(agreed(structured, set('x', 'base:allocation'), set('x')), false);
  assert.equal(agreed(structured, set('x', 'base:')), false);
  assert.equal(agreed(set('x', 'base:allocation')), false);
  assert.equal(agreed(structured, MESSAGES['listContexts']!), false);
});

test('lists of contexts answer to nothing and to namespaces', () => {
  const types = (...wanted: string[]): string[] =>
    replyTypes(
      stepServer(
        STATES.structured,
        option(OPTION.listMetaContext, encodeContextQueries('x', wanted)),
        OFFER,
      ).send,
    );
  assert.deepEqual(types(), ['metaContext', 'ack']);
  assert.deepEqual(types('base:'), ['metaContext', 'ack']);
  assert.deepEqual(types('qemu:'), ['ack']);
});

test('options have an end', () => {
  let state: ServerState = OPTIONS;
  let count = 0;
  for (; state.phase === 'options'; count++) ({ state } = stepServer(state, option(99), OFFER));
  assert.equal(count, 105);
});
