/**
 * The handshake as the client sees it: a pure state machine. Each step takes what the server sent,
 * and says what to send and where that leads.
 *
 * greeting -> tls? -> structured -> contexts? -> go -> ready
 */
import { CofferError } from '@coffer/base';
import {
  type BlockSizes,
  decodeContext,
  decodeInfo,
  encodeClientFlags,
  encodeContextQueries,
  encodeGo,
  encodeOption,
  type ExportInfo,
  invalid,
  type OptionReply,
} from './handshake-codec.ts';
import { FIXED_NEWSTYLE, INFO, NO_ZEROES, OPTION, REPLY } from './protocol.ts';

const CONTEXTS_MAX = 64;
/** Of one export. */
const INFOS_MAX = 64;

/** What the client wants of the server. */
export interface ClientWish {
  readonly tls: boolean;
  readonly exportName: string;
  readonly contexts: readonly string[];
}

/** An export that is ready for requests. */
export interface NegotiatedExport extends ExportInfo {
  readonly blockSizes: BlockSizes | undefined;
  readonly structured: boolean;
  /** The ids of contexts in replies, by name. */
  readonly contexts: ReadonlyMap<string, number>;
}

export type ClientState =
  | { readonly phase: 'greeting' }
  | { readonly phase: 'tls' }
  | { readonly phase: 'structured' }
  | { readonly phase: 'contexts'; readonly contexts: ReadonlyMap<string, number> }
  | {
      readonly phase: 'go';
      readonly found: Partial<NegotiatedExport> & FoundSoFar;
      readonly infoCount: number;
    }
  | { readonly phase: 'ready'; readonly negotiated: NegotiatedExport };

interface FoundSoFar {
  readonly structured: boolean;
  readonly contexts: ReadonlyMap<string, number>;
}

export interface ClientStep {
  readonly state: ClientState;
  readonly send?: Buffer;
  /** The connection is to be encrypted before anything else is read or sent. */
  readonly startTls?: true;
}

export type ServerMessage =
  | { readonly form: 'greeting'; readonly flags: number }
  | { readonly form: 'reply'; readonly reply: OptionReply };

const EMPTY = Buffer.alloc(0);

/** Fails with `nbd-protocol` or `nbd-refused`. */
export function stepClient(
  state: ClientState,
  message: ServerMessage,
  wish: ClientWish,
): ClientStep {
  if (message.form === 'greeting') {
    if (state.phase !== 'greeting') throw invalid('a second greeting');
    return greeted(message.flags, wish);
  }
  const { reply } = message;
  switch (state.phase) {
    case 'tls':
      expectAnswer(reply, OPTION.startTls, wish);
      return { ...afterTls(), startTls: true };
    case 'structured':
      return structuredAnswered(reply, wish);
    case 'contexts':
      return contextsAnswered(state, reply, wish);
    case 'go':
      return goAnswered(state, reply, wish);
    case 'greeting':
    case 'ready':
      throw invalid('a reply that was not asked for');
  }
}

function greeted(flags: number, wish: ClientWish): ClientStep {
  if ((flags & FIXED_NEWSTYLE) === 0) throw invalid('the server is not fixed newstyle');
  const clientFlags = encodeClientFlags(FIXED_NEWSTYLE | (flags & NO_ZEROES));
  if (!wish.tls) {
    const next = afterTls();
    return { ...next, send: Buffer.concat([clientFlags, next.send]) };
  }
  const send = Buffer.concat([clientFlags, encodeOption({ option: OPTION.startTls, data: EMPTY })]);
  return { state: { phase: 'tls' }, send };
}

function afterTls(): { state: ClientState; send: Buffer } {
  const send = encodeOption({ option: OPTION.structuredReply, data: EMPTY });
  return { state: { phase: 'structured' }, send };
}

function structuredAnswered(reply: OptionReply, wish: ClientWish): ClientStep {
  expectOption(reply, OPTION.structuredReply);
  if (reply.type === REPLY.tlsRequired) throw refused(reply, wish);
  const structured = reply.type === REPLY.ack;
  const { exportName, contexts } = wish;
  if (!structured || contexts.length === 0) {
    return go(wish, { structured, contexts: new Map() });
  }
  const data = encodeContextQueries(exportName, contexts);
  const send = encodeOption({ option: OPTION.setMetaContext, data });
  return { state: { phase: 'contexts', contexts: new Map() }, send };
}

function contextsAnswered(
  state: Extract<ClientState, { phase: 'contexts' }>,
  reply: OptionReply,
  wish: ClientWish,
): ClientStep {
  expectOption(reply, OPTION.setMetaContext);
  if (reply.type === REPLY.metaContext) {
    if (state.contexts.size >= CONTEXTS_MAX) throw invalid('too many contexts');
    const { id, name } = decodeContext(reply.data);
    if (state.contexts.has(name)) throw invalid('a context twice');
    return { state: { ...state, contexts: new Map(state.contexts).set(name, id) } };
  }
  // A server without contexts is as good as one that grants none.
  const isGranted = reply.type === REPLY.ack;
  if (!isGranted && reply.type === REPLY.unknownExport) throw refused(reply, wish);
  return go(wish, { structured: true, contexts: isGranted ? state.contexts : new Map() });
}

function go({ exportName }: ClientWish, found: FoundSoFar): ClientStep {
  const send = encodeOption({ option: OPTION.go, data: encodeGo(exportName, [INFO.blockSize]) });
  return { state: { phase: 'go', found, infoCount: 0 }, send };
}

function goAnswered(
  state: Extract<ClientState, { phase: 'go' }>,
  reply: OptionReply,
  wish: ClientWish,
): ClientStep {
  const { found, infoCount } = state;
  if (reply.type === REPLY.info && reply.option === OPTION.go) {
    if (infoCount >= INFOS_MAX) throw invalid('too much information on the export');
    const info = decodeInfo(reply.data);
    const more = info && 'export' in info ? info.export : info;
    return { state: { ...state, found: { ...found, ...more }, infoCount: infoCount + 1 } };
  }
  expectAnswer(reply, OPTION.go, wish);
  const { sizeBytes, flags, blockSizes, structured, contexts } = found;
  if (sizeBytes === undefined || flags === undefined) throw invalid('an export without a size');
  const negotiated = { sizeBytes, flags, blockSizes, structured, contexts };
  return { state: { phase: 'ready', negotiated } };
}

function expectOption(reply: OptionReply, option: number): void {
  if (reply.option !== option) throw invalid('a reply to another option');
}

/** Fails unless the server says yes. */
function expectAnswer(reply: OptionReply, option: number, wish: ClientWish): void {
  expectOption(reply, option);
  if (reply.type !== REPLY.ack) throw refused(reply, wish);
}

const REFUSALS: ReadonlyMap<number, string> = new Map([
  [REPLY.unsupported, 'it does not know the option'],
  [REPLY.policy, 'its policy forbids it'],
  [REPLY.invalid, 'it takes the request for invalid'],
  [REPLY.platform, 'its platform has no support'],
  [REPLY.tlsRequired, 'it asks for TLS'],
  [REPLY.unknownExport, 'it has no such export'],
  [REPLY.shutdown, 'it is shutting down'],
  [REPLY.blockSizeRequired, 'it asks for block sizes'],
  [REPLY.tooBig, 'the request is too large for it'],
]);

function refused({ type, data }: OptionReply, { exportName }: ClientWish): CofferError {
  const reason = REFUSALS.get(type) ?? `it answers ${type}`;
  const said = data.length > 0 ? data.toString('utf8', 0, 500) : undefined;
  return new CofferError('nbd-refused', { export: exportName, reason, said });
}
