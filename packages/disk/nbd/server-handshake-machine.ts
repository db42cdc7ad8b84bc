/**
 * The handshake as the server sees it: a pure state machine. Each step takes what the client sent,
 * and says what to send and where that leads.
 *
 * flags -> options (-> tls -> options) -> transmission
 */
import {
  type ContextQueries,
  decodeContextQueries,
  decodeGo,
  encodeBlockSizes,
  encodeContext,
  encodeExportInfo,
  encodeListed,
  encodeOptionReply,
  type BlockSizes,
  type ExportInfo,
  type Option,
} from './handshake-codec.ts';
import {
  BASE_ALLOCATION,
  EXPORT_FLAG,
  FIXED_NEWSTYLE,
  NO_ZEROES,
  OPTION,
  REPLY,
} from './protocol.ts';

/** `base:allocation` is the only context; this is its number in replies. */
export const ALLOCATION_CONTEXT_ID = 1;
/** A client that has not chosen an export by then is sent away; some look at each export first. */
const OPTIONS_MAX = 100;
const OPTIONS_MAX_OF_EXPORT = 4;

export interface OfferedExport extends ExportInfo {
  readonly description: string;
  readonly blockSizes: BlockSizes;
}

/** What the server has. */
export interface ServerOffer {
  readonly exports: ReadonlyMap<string, OfferedExport>;
  readonly tls: 'none' | 'required';
}

export type ServerState =
  | { readonly phase: 'flags' }
  | OptionsState
  | {
      readonly phase: 'transmission';
      readonly exportName: string;
      readonly structured: boolean;
      /** Whether replies to block status may tell allocation. */
      readonly allocation: boolean;
    }
  | { readonly phase: 'ended'; readonly reason: string };

interface OptionsState {
  readonly phase: 'options';
  readonly noZeroes: boolean;
  readonly secure: boolean;
  readonly structured: boolean;
  /** The export whose allocation the client asked for. */
  readonly allocationOf: string | undefined;
  readonly count: number;
}

export type ClientMessage =
  | { readonly form: 'flags'; readonly flags: number }
  | { readonly form: 'option'; readonly option: Option };

export interface ServerStep {
  readonly state: ServerState;
  readonly send: Buffer;
  /** After sending, the connection is to be encrypted. */
  readonly startTls?: true;
}

const EMPTY = Buffer.alloc(0);

export function stepServer(
  state: ServerState,
  message: ClientMessage,
  offer: ServerOffer,
): ServerStep {
  if (state.phase === 'flags' && message.form === 'flags') return flagsCame(message.flags);
  if (state.phase === 'options' && message.form === 'option') {
    const countMax = OPTIONS_MAX + OPTIONS_MAX_OF_EXPORT * offer.exports.size;
    if (state.count >= countMax) return end('too many options');
    return optionCame({ ...state, count: state.count + 1 }, message.option, offer);
  }
  return end('a message out of order');
}

function flagsCame(flags: number): ServerStep {
  if ((flags & ~(FIXED_NEWSTYLE | NO_ZEROES)) !== 0) return end('unknown flags');
  if ((flags & FIXED_NEWSTYLE) === 0) return end('the client is not fixed newstyle');
  const state: OptionsState = {
    phase: 'options',
    noZeroes: (flags & NO_ZEROES) !== 0,
    secure: false,
    structured: false,
    allocationOf: undefined,
    count: 0,
  };
  return { state, send: EMPTY };
}

function optionCame(state: OptionsState, option: Option, offer: ServerOffer): ServerStep {
  const isPlain = offer.tls === 'required' && !state.secure;
  switch (option.option) {
    case OPTION.abort:
      return { state: { phase: 'ended', reason: 'the client left' }, send: say(option, REPLY.ack) };
    case OPTION.startTls:
      return startTls(state, option, offer);
    case OPTION.exportName:
      return isPlain ? end('the client did not start TLS') : exportNamed(state, option, offer);
    default:
      if (isPlain) return { state, send: say(option, REPLY.tlsRequired) };
      return secureOption(state, option, offer);
  }
}

function secureOption(state: OptionsState, option: Option, offer: ServerOffer): ServerStep {
  switch (option.option) {
    case OPTION.list:
      return { state, send: list(option, offer) };
    case OPTION.info:
    case OPTION.go:
      return infoOrGo(state, option, offer);
    case OPTION.structuredReply:
      if (option.data.length > 0) return { state, send: say(option, REPLY.invalid) };
      return { state: { ...state, structured: true }, send: say(option, REPLY.ack) };
    case OPTION.listMetaContext:
    case OPTION.setMetaContext:
      return contexts(state, option, offer);
    default:
      return { state, send: say(option, REPLY.unsupported) };
  }
}

function startTls(state: OptionsState, option: Option, { tls }: ServerOffer): ServerStep {
  if (tls === 'none') return { state, send: say(option, REPLY.policy) };
  if (state.secure || option.data.length > 0) return { state, send: say(option, REPLY.invalid) };
  // What was agreed before may have been put in by someone else (proto.md, "NBD_OPT_STARTTLS").
  const secured: OptionsState = {
    ...state,
    secure: true,
    structured: false,
    allocationOf: undefined,
  };
  return { state: secured, send: say(option, REPLY.ack), startTls: true };
}

function exportNamed(state: OptionsState, option: Option, { exports }: ServerOffer): ServerStep {
  const exportName = option.data.toString('utf8');
  const offered = exports.get(exportName);
  // This option has no reply that says no.
  if (!offered) return end(`there is no export '${exportName}'`);
  const info = encodeExportInfo(toldOf(offered, state)).subarray(2);
  const send = state.noZeroes ? info : Buffer.concat([info, Buffer.alloc(124)]);
  return { state: transmission(state, exportName), send };
}

/** Only structured replies can be fragmented ("Transmission flags", `NBD_FLAG_SEND_DF`). */
function toldOf({ sizeBytes, flags }: ExportInfo, { structured }: OptionsState): ExportInfo {
  return { sizeBytes, flags: structured ? flags : flags & ~EXPORT_FLAG.doNotFragment };
}

function infoOrGo(state: OptionsState, option: Option, { exports }: ServerOffer): ServerStep {
  const exportName = decodeGo(option.data);
  if (exportName === undefined) return { state, send: say(option, REPLY.invalid) };
  const offered = exports.get(exportName);
  if (!offered) return { state, send: say(option, REPLY.unknownExport, `'${exportName}'`) };
  const send = Buffer.concat([
    say(option, REPLY.info, encodeExportInfo(toldOf(offered, state))),
    say(option, REPLY.info, encodeBlockSizes(offered.blockSizes)),
    say(option, REPLY.ack),
  ]);
  const isGo = option.option === OPTION.go;
  return { state: isGo ? transmission(state, exportName) : state, send };
}

function transmission(state: OptionsState, exportName: string): ServerState {
  const { structured } = state;
  const allocation = structured && state.allocationOf === exportName;
  return { phase: 'transmission', exportName, structured, allocation };
}

function contexts(state: OptionsState, option: Option, offer: ServerOffer): ServerStep {
  const asked = decodeContextQueries(option.data);
  if (!asked || !state.structured) return { state, send: say(option, REPLY.invalid) };
  if (!offer.exports.has(asked.exportName)) {
    return { state, send: say(option, REPLY.unknownExport) };
  }
  const isSet = option.option === OPTION.setMetaContext;
  const isGranted = asksForAllocation(asked, isSet);
  const context = encodeContext(isSet ? ALLOCATION_CONTEXT_ID : 0, BASE_ALLOCATION);
  const replies = isGranted ? [say(option, REPLY.metaContext, context)] : [];
  return {
    state: isSet ? { ...state, allocationOf: isGranted ? asked.exportName : undefined } : state,
    send: Buffer.concat([...replies, say(option, REPLY.ack)]),
  };
}

/** Lists may ask for a whole namespace, and without a query for all there is. */
function asksForAllocation({ queries }: ContextQueries, isSet: boolean): boolean {
  if (queries.includes(BASE_ALLOCATION)) return true;
  return !isSet && (queries.length === 0 || queries.includes('base:'));
}

function list(option: Option, { exports }: ServerOffer): Buffer {
  if (option.data.length > 0) return say(option, REPLY.invalid);
  const servers = [...exports].map(([name, { description }]) =>
    say(option, REPLY.server, encodeListed(name, description)),
  );
  return Buffer.concat([...servers, say(option, REPLY.ack)]);
}

function say({ option }: Option, type: number, data: Buffer | string = EMPTY): Buffer {
  return encodeOptionReply({ option, type, data: Buffer.from(data) });
}

function end(reason: string): ServerStep {
  return { state: { phase: 'ended', reason }, send: EMPTY };
}
