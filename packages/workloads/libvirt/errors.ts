/**
 * The one place where errors of libvirt become errors of Coffer. Their numbers decide, never their
 * texts; the number stays in the details for callers that need to tell more apart.
 */
import { CofferError, type ErrorCode, isCofferError } from '@coffer/base';
import { type SentError } from './rpc/message-codec.ts';

/** virErrorNumber, as far as callers tell them apart. */
export const LIBVIRT_CODE = {
  noConnect: 5,
  domainExists: 28,
  operationDenied: 29,
  systemError: 38,
  noDomain: 42,
  authenticationFailed: 45,
  operationInvalid: 55,
  operationTimeout: 68,
  argumentUnsupported: 74,
  authenticationCancelled: 79,
  blockCopyActive: 83,
  operationUnsupported: 84,
  agentUnresponsive: 86,
  resourceBusy: 87,
  accessDenied: 88,
  authenticationUnavailable: 94,
  agentUnsynced: 97,
  noCheckpoint: 103,
  checkpointInconsistent: 109,
} as const;

const CODES: ReadonlyMap<number, ErrorCode> = new Map<number, ErrorCode>([
  [LIBVIRT_CODE.noConnect, 'libvirt-unreachable'],
  [LIBVIRT_CODE.domainExists, 'vm-name-taken'],
  [LIBVIRT_CODE.operationDenied, 'libvirt-denied'],
  [LIBVIRT_CODE.noDomain, 'vm-not-found'],
  [LIBVIRT_CODE.authenticationFailed, 'libvirt-denied'],
  // Another job held the machine for as long as libvirt waits (30 s).
  [LIBVIRT_CODE.operationTimeout, 'vm-busy'],
  [LIBVIRT_CODE.authenticationCancelled, 'libvirt-denied'],
  [LIBVIRT_CODE.blockCopyActive, 'vm-busy'],
  [LIBVIRT_CODE.agentUnresponsive, 'agent-unavailable'],
  [LIBVIRT_CODE.resourceBusy, 'vm-busy'],
  [LIBVIRT_CODE.accessDenied, 'libvirt-denied'],
  [LIBVIRT_CODE.authenticationUnavailable, 'libvirt-denied'],
  [LIBVIRT_CODE.agentUnsynced, 'agent-unavailable'],
]);

/** What libvirt says may hold file names and output of programs; an error needs no more of it. */
const SAID_LENGTH_MAX = 1000;

/** What was called; it is in the details of the error. */
export interface Called {
  readonly name: string;
  readonly asksAgent: boolean;
}

/** The error of a call that libvirt answered with an error. */
export function libvirtError(called: Called, error: SentError): CofferError {
  return new CofferError(codeOf(called, error.code), {
    libvirtCode: error.code,
    said: error.message.slice(0, SAID_LENGTH_MAX),
    procedure: called.name,
  });
}

/** The virErrorNumber of an error, where libvirt gave one. */
export function libvirtCodeOf(error: unknown): number | undefined {
  if (!isCofferError(error)) return undefined;
  const code = error.details['libvirtCode'];
  return typeof code === 'number' ? code : undefined;
}

function codeOf(called: Called, libvirtCode: number): ErrorCode {
  // A machine without the channel of the agent is answered like this.
  const hasNoAgent = called.asksAgent && libvirtCode === LIBVIRT_CODE.argumentUnsupported;
  return hasNoAgent ? 'agent-unavailable' : (CODES.get(libvirtCode) ?? 'libvirt-failed');
}
