/**
 * The procedures of libvirt that Coffer calls: their numbers, arguments and results, as its
 * remote_protocol.x and qemu_protocol.x say.
 */
import {
  type CheckpointReference,
  type Domain,
  type NamedObject,
  readCheckpoint,
  readDomain,
  readNamedObject,
  readParameters,
  readVolume,
  type StorageVolume,
  writeCheckpoint,
  writeDomain,
  writeNamedObject,
  writeUuid,
  writeVolume,
} from './structures-codec.ts';
import { type XdrReader, type XdrWriter } from './xdr-codec.ts';

export interface Program {
  readonly id: number;
  readonly version: number;
}

export const REMOTE: Program = { id: 0x20008086, version: 1 };
export const QEMU: Program = { id: 0x20008087, version: 1 };

export interface Procedure<Arguments extends readonly unknown[], Result> {
  readonly name: string;
  readonly program: Program;
  readonly number: number;
  /** Its work is done by the agent in the guest. */
  readonly asksAgent: boolean;
  readonly encode: (to: XdrWriter, ...args: Arguments) => void;
  readonly decode: (from: XdrReader) => Result;
}

/** Libvirt's limit of all the lists here. */
const LIST_COUNT_MAX = 16_384;
const AUTHENTICATION_COUNT_MAX = 20;
const FILE_SYSTEM_COUNT_MAX = 256;
/** Lists are wanted themselves, not only how long they are. */
const WITH_VALUES = 1;

export interface BlockJob {
  readonly type: number;
  /** How far it is, in a unit of its own; at the end both are equal. */
  readonly done: number;
  readonly total: number;
}

/** What a machine is to QEMU. */
export interface MachineKind {
  readonly arch: string;
  readonly machine: string | undefined;
  /** `kvm`, `qemu`. */
  readonly type: string;
}

/** A file system that the agent sees in the guest. */
export interface GuestFileSystem {
  readonly mountpoint: string;
  /** The block device in the guest. */
  readonly name: string;
  readonly type: string;
  /** The disks that it lies on, as the definition of the machine calls them (`vda`). */
  readonly disks: readonly string[];
}

function remote<A extends readonly unknown[], R>(
  name: string,
  number: number,
  encode: (to: XdrWriter, ...args: A) => void,
  decode: (from: XdrReader) => R,
): Procedure<A, R> {
  return { name, program: REMOTE, number, asksAgent: false, encode, decode };
}

function asksAgent<A extends readonly unknown[], R>(procedure: Procedure<A, R>): Procedure<A, R> {
  return { ...procedure, asksAgent: true };
}

function ofQemu<A extends readonly unknown[], R>(procedure: Procedure<A, R>): Procedure<A, R> {
  return { ...procedure, program: QEMU };
}

const nothing = (): void => {};
const text = (from: XdrReader): string => from.text();
const integer = (from: XdrReader): number => from.i32();
const checkpoint = (to: XdrWriter, it: CheckpointReference, flags: number): void => {
  writeCheckpoint(to, it);
  to.u32(flags);
};
const named = (to: XdrWriter, it: NamedObject): void => writeNamedObject(to, it);

const ofDomain = (to: XdrWriter, domain: Domain): void => writeDomain(to, domain);
const domainFlags = (to: XdrWriter, domain: Domain, flags: number): void => {
  writeDomain(to, domain);
  to.u32(flags);
};
const domainText = (to: XdrWriter, domain: Domain, it: string): void => {
  writeDomain(to, domain);
  to.text(it);
};
const domainTextFlags = (to: XdrWriter, domain: Domain, it: string, flags: number): void => {
  domainText(to, domain, it);
  to.u32(flags);
};
const mountpoints = (to: XdrWriter, domain: Domain, points: readonly string[]): void => {
  writeDomain(to, domain);
  to.array(points, (point) => to.text(point)).u32(0);
};
function writeKind(to: XdrWriter, { arch, machine, type }: MachineKind): void {
  const write = (it: string): void => void to.text(it);
  // The program that libvirt would choose.
  to.optional(undefined, nothing).optional(arch, write).optional(machine, write);
  to.optional(type, write);
}
const everything = (to: XdrWriter): void => void to.i32(WITH_VALUES).u32(0);
/** A list and its length, which libvirt sends once more. */
function list<T>(read: (from: XdrReader) => T): (from: XdrReader) => T[] {
  return (from) => {
    const values = from.array(LIST_COUNT_MAX, () => read(from));
    from.u32();
    return values;
  };
}

function readFileSystem(from: XdrReader): GuestFileSystem {
  const [mountpoint, name, type] = [from.text(), from.text(), from.text()];
  return { mountpoint, name, type, disks: from.array(FILE_SYSTEM_COUNT_MAX, () => from.text()) };
}

export const connectionProcedures = {
  open: remote(
    'connect-open',
    1,
    (to, uri: string, flags: number) => {
      to.optional(uri, (it) => to.text(it)).u32(flags);
    },
    nothing,
  ),
  close: remote('connect-close', 2, nothing, nothing),
  /** The ways to prove who one is: 0 needs nothing, 1 is SASL, 2 is polkit. */
  authentications: remote('auth-list', 66, nothing, (from) =>
    from.array(AUTHENTICATION_COUNT_MAX, () => from.i32()),
  ),
  authenticateByPolkit: remote('auth-polkit', 70, nothing, integer),
  hostname: remote('connect-get-hostname', 59, nothing, text),
  libVersion: remote('connect-get-lib-version', 157, nothing, (from) => from.u64()),
  capabilities: remote('connect-get-capabilities', 7, nothing, text),
  domainCapabilities: remote(
    'connect-get-domain-capabilities',
    342,
    (to, kind: MachineKind) => {
      writeKind(to, kind);
      to.u32(0);
    },
    text,
  ),
  compareCpu: remote(
    'connect-compare-hypervisor-cpu',
    393,
    (to, kind: MachineKind, cpuXml: string) => {
      writeKind(to, kind);
      to.text(cpuXml).u32(0);
    },
    integer,
  ),
  domains: remote('connect-list-all-domains', 273, everything, list(readDomain)),
  networks: remote('connect-list-all-networks', 283, everything, list(readNamedObject)),
  networkIsActive: remote('network-is-active', 152, named, (from) => from.boolean()),
  storagePools: remote('connect-list-all-storage-pools', 281, everything, list(readNamedObject)),
  storagePoolIsActive: remote('storage-pool-is-active', 154, named, (from) => from.boolean()),
  storagePoolXml: remote(
    'storage-pool-get-xml-desc',
    88,
    (to, pool: NamedObject, flags: number) => {
      writeNamedObject(to, pool);
      to.u32(flags);
    },
    text,
  ),
  storageVolumeByName: remote(
    'storage-vol-lookup-by-name',
    95,
    (to, pool: NamedObject, name: string) => {
      writeNamedObject(to, pool);
      to.text(name);
    },
    readVolume,
  ),
  storageVolumePath: remote(
    'storage-vol-get-path',
    100,
    (to, volume: StorageVolume) => writeVolume(to, volume),
    text,
  ),
  storagePoolRefresh: remote(
    'storage-pool-refresh',
    83,
    (to, pool: NamedObject, flags: number) => {
      writeNamedObject(to, pool);
      to.u32(flags);
    },
    nothing,
  ),
  /** Events of all domains; the result names the registration. */
  registerEvent: remote(
    'connect-domain-event-callback-register-any',
    316,
    (to, event: number) => {
      to.i32(event).optional(undefined, nothing);
    },
    integer,
  ),
} as const;

export const domainProcedures = {
  byName: remote('domain-lookup-by-name', 23, (to, name: string) => void to.text(name), readDomain),
  byUuid: remote(
    'domain-lookup-by-uuid',
    24,
    (to, uuid: string) => writeUuid(to, uuid),
    readDomain,
  ),
  xml: remote('domain-get-xml-desc', 14, domainFlags, text),
  state: remote('domain-get-state', 212, domainFlags, (from) => ({
    state: from.i32(),
    reason: from.i32(),
  })),
  isPersistent: remote('domain-is-persistent', 151, ofDomain, (from) => from.boolean()),
  hasManagedSave: remote('domain-has-managed-save-image', 183, domainFlags, integer),
  suspend: remote('domain-suspend', 34, ofDomain, nothing),
  resume: remote('domain-resume', 28, ofDomain, nothing),
  create: remote('domain-create-with-flags', 196, domainFlags, readDomain),
  createXml: remote(
    'domain-create-xml',
    10,
    (to, xml: string, flags: number) => void to.text(xml).u32(flags),
    readDomain,
  ),
  snapshot: remote('domain-snapshot-create-xml', 185, domainTextFlags, readCheckpoint),
  restore: remote(
    'domain-restore-flags',
    233,
    (to, path: string, xml: string, flags: number) => {
      to.text(path)
        .optional(xml, (it) => to.text(it))
        .u32(flags);
    },
    nothing,
  ),
  destroy: remote('domain-destroy-flags', 234, domainFlags, nothing),
  shutdown: remote('domain-shutdown-flags', 258, domainFlags, nothing),
  define: remote(
    'domain-define-xml-flags',
    350,
    (to, xml: string, flags: number) => void to.text(xml).u32(flags),
    readDomain,
  ),
  undefine: remote('domain-undefine-flags', 231, domainFlags, nothing),
  monitorCommand: ofQemu(remote('qemu-domain-monitor-command', 1, domainTextFlags, text)),
  screenshot: remote(
    'domain-screenshot',
    211,
    (to, domain: Domain, screen: number, flags: number) => {
      writeDomain(to, domain);
      to.u32(screen).u32(flags);
    },
    (from) => from.optional(() => from.text()),
  ),
} as const;

export const backupProcedures = {
  begin: remote(
    'domain-backup-begin',
    421,
    (to, domain: Domain, xml: string, checkpointXml: string | undefined, flags: number) => {
      domainText(to, domain, xml);
      to.optional(checkpointXml, (it) => to.text(it)).u32(flags);
    },
    nothing,
  ),
  xml: remote('domain-backup-get-xml-desc', 422, domainFlags, text),
  jobStats: remote('domain-get-job-stats', 298, domainFlags, (from) => ({
    type: from.i32(),
    values: readParameters(from),
  })),
  abortJob: remote('domain-abort-job', 164, ofDomain, nothing),
  checkpoints: remote(
    'domain-list-all-checkpoints',
    413,
    (to, domain: Domain, flags: number) => {
      writeDomain(to, domain);
      to.i32(WITH_VALUES).u32(flags);
    },
    list(readCheckpoint),
  ),
  checkpointXml: remote('domain-checkpoint-get-xml-desc', 412, checkpoint, text),
  checkpointParent: remote('domain-checkpoint-get-parent', 416, checkpoint, readCheckpoint),
  checkpointCreate: remote('domain-checkpoint-create-xml', 411, domainTextFlags, readCheckpoint),
  checkpointDelete: remote('domain-checkpoint-delete', 417, checkpoint, nothing),
} as const;

export const agentProcedures = {
  command: asksAgent(
    ofQemu(
      remote(
        'qemu-domain-agent-command',
        3,
        (to, domain: Domain, command: string, timeoutSeconds: number, flags: number) => {
          domainText(to, domain, command);
          to.i32(timeoutSeconds).u32(flags);
        },
        (from) => from.optional(() => from.text()) ?? '',
      ),
    ),
  ),
  responseTimeout: asksAgent(
    remote(
      'domain-agent-set-response-timeout',
      420,
      (to, domain: Domain, seconds: number, flags: number) => {
        writeDomain(to, domain);
        to.i32(seconds).u32(flags);
      },
      integer,
    ),
  ),
  freeze: asksAgent(remote('domain-fsfreeze', 335, mountpoints, integer)),
  thaw: asksAgent(remote('domain-fsthaw', 336, mountpoints, integer)),
  fileSystems: asksAgent(
    remote('domain-get-fsinfo', 349, domainFlags, (from) => {
      const found = from.array(FILE_SYSTEM_COUNT_MAX, () => readFileSystem(from));
      from.u32();
      return found;
    }),
  ),
  guestInfo: asksAgent(
    remote(
      'domain-get-guest-info',
      418,
      (to, domain: Domain, types: number, flags: number) => {
        writeDomain(to, domain);
        to.u32(types).u32(flags);
      },
      readParameters,
    ),
  ),
} as const;

export const blockProcedures = {
  copy: remote(
    'domain-block-copy',
    345,
    (to, domain: Domain, disk: string, targetXml: string, flags: number) => {
      domainText(to, domain, disk);
      // No bandwidth, granularity or buffer size of our own.
      to.text(targetXml).array([], nothing).u32(flags);
    },
    nothing,
  ),
  job: remote('domain-get-block-job-info', 238, domainTextFlags, readBlockJob),
  jobAbort: remote('domain-block-job-abort', 237, domainTextFlags, nothing),
  info: remote('domain-get-block-info', 194, domainTextFlags, (from) => ({
    allocationBytes: from.u64(),
    capacityBytes: from.u64(),
    physicalBytes: from.u64(),
  })),
  stats: remote('domain-block-stats', 64, domainText, (from) => ({
    readCount: from.i64(),
    readBytes: from.i64(),
    writeCount: from.i64(),
    writeBytes: from.i64(),
    errorCount: from.i64(),
  })),
} as const;

function readBlockJob(from: XdrReader): BlockJob | undefined {
  const found = from.boolean();
  const type = from.i32();
  // The bandwidth that it is limited to.
  from.u64();
  const job = { type, done: from.u64(), total: from.u64() };
  return found ? job : undefined;
}
