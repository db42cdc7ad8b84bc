/** What libvirt tells by itself, once it was asked to: events of virtual machines. */
import { type Domain, type Parameters, readDomain, readParameters } from './structures-codec.ts';
import { type XdrReader } from './xdr-codec.ts';

/** virDomainEventType, in the order of its numbers. */
const LIFECYCLES = [
  'defined',
  'undefined',
  'started',
  'suspended',
  'resumed',
  'stopped',
  'shutdown',
  'pmsuspended',
  'crashed',
] as const;

const IO_ERROR_ACTIONS = ['none', 'pause', 'report'] as const;
const AGENT_STATES = ['unknown', 'connected', 'disconnected'] as const;
const BLOCK_JOB_TYPES = ['unknown', 'pull', 'copy', 'commit', 'active-commit', 'backup'] as const;
const BLOCK_JOB_STATUSES = ['completed', 'failed', 'cancelled', 'ready'] as const;

/** Numbers that a newer libvirt may add are `unknown`. */
export interface LibvirtEvents {
  lifecycle: {
    readonly domain: Domain;
    readonly change: (typeof LIFECYCLES)[number] | 'unknown';
    /** A number whose meaning depends on the change. */
    readonly detail: number;
  };
  /** A job has ended: `success`, `errmsg` and the statistics of the job are among the values. */
  jobCompleted: { readonly domain: Domain; readonly values: Parameters };
  ioError: {
    readonly domain: Domain;
    readonly path: string;
    readonly alias: string;
    readonly action: (typeof IO_ERROR_ACTIONS)[number] | 'unknown';
    /** `enospc` when there is no space left. */
    readonly reason: string;
  };
  agentLifecycle: {
    readonly domain: Domain;
    readonly state: (typeof AGENT_STATES)[number];
  };
  blockJob2: {
    readonly domain: Domain;
    /** As the definition of the machine calls it (`vda`). */
    readonly disk: string;
    readonly type: (typeof BLOCK_JOB_TYPES)[number];
    readonly status: (typeof BLOCK_JOB_STATUSES)[number] | 'unknown';
  };
}

export type EventName = keyof LibvirtEvents;

interface EventKind<E extends EventName> {
  /** virDomainEventID. */
  readonly id: number;
  /** The procedure number of its messages. */
  readonly procedure: number;
  readonly decode: (from: XdrReader) => LibvirtEvents[E];
}

/** Every message begins with the number of the registration, which is not needed. */
export const EVENTS: { readonly [E in EventName]: EventKind<E> } = {
  lifecycle: {
    id: 0,
    procedure: 318,
    decode: (from) => ({
      domain: domainAfterRegistration(from),
      change: LIFECYCLES[from.i32()] ?? 'unknown',
      detail: from.i32(),
    }),
  },
  ioError: {
    id: 6,
    procedure: 324,
    decode: (from) => ({
      domain: domainAfterRegistration(from),
      path: from.text(),
      alias: from.text(),
      action: IO_ERROR_ACTIONS[from.i32()] ?? 'unknown',
      reason: from.text(),
    }),
  },
  blockJob2: {
    id: 16,
    procedure: 339,
    decode: (from) => ({
      domain: domainAfterRegistration(from),
      disk: from.text(),
      type: BLOCK_JOB_TYPES[from.i32()] ?? 'unknown',
      status: BLOCK_JOB_STATUSES[from.i32()] ?? 'unknown',
    }),
  },
  agentLifecycle: {
    id: 18,
    procedure: 348,
    decode: (from) => {
      const domain = domainAfterRegistration(from);
      const state = AGENT_STATES[from.i32()] ?? 'unknown';
      // Why; it is not used.
      from.i32();
      return { domain, state };
    },
  },
  jobCompleted: {
    id: 21,
    procedure: 363,
    decode: (from) => ({ domain: domainAfterRegistration(from), values: readParameters(from) }),
  },
};

function domainAfterRegistration(from: XdrReader): Domain {
  from.i32();
  return readDomain(from);
}
