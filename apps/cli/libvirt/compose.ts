/** Virtual machines of libvirt: what is protected, named `vm:NAME` or `vm:UUID`, and where to restore. */
import { CofferError, isCofferError } from '@coffer/base';
import type { VmsBackupOptions, VmSource } from '@coffer/flows/backup/vms.ts';
import { captureVms } from '@coffer/workloads/libvirt/capture/capture.ts';
import {
  type Domain,
  type LibvirtConnection,
  openLibvirt,
} from '@coffer/workloads/libvirt/connection.ts';
import {
  type DiscoveredAgent,
  type DiscoveredDisk,
  type DiscoveredVm,
  discoverVms,
} from '@coffer/workloads/libvirt/discover.ts';
import type { NetworkPlace } from '@coffer/workloads/libvirt/domain/rewrite-interfaces.ts';
import { LibvirtHost } from '@coffer/workloads/libvirt/restore/libvirt-host.ts';
import { CONSISTENCIES, type Consistency } from '@coffer/workloads/vm-capture.ts';
import type { VmHost } from '@coffer/workloads/vm-host.ts';
import { clock, random } from '../compose.ts';
import { parseBytes, parseSeconds } from '../quantities.ts';
import { vmNameOf } from './vm-name.ts';

/** Scratch files may grow large; /tmp is in memory on many systems. */
const SCRATCH_FOLDER = '/var/tmp';
const RECONNECT_ATTEMPTS_MAX = 15;
const RECONNECT_DELAY_MS = 1000;

export interface VmOptions {
  readonly connect: string;
  readonly consistency: string;
  readonly pause?: boolean;
  /** Of machines that run. */
  readonly memory?: boolean;
  readonly excludeDisk: readonly string[];
  readonly scratch?: string;
  readonly scratchLimit?: string;
  /** In seconds. */
  readonly wait: string;
}

export type { DiscoveredAgent, DiscoveredDisk, DiscoveredVm };

/** Machines that were found; whoever has them closes them. */
export interface FoundVms extends AsyncDisposable {
  readonly sources: readonly VmSource[];
  /** Captures all of them at one moment. */
  readonly capture: VmsBackupOptions['capture'];
}

/** Fails with `vm-not-found` and the codes of libvirt. */
export async function findVmsNamed(
  names: readonly string[],
  options: VmOptions,
): Promise<FoundVms> {
  if (options.memory && options.consistency === 'crash') {
    const reason = 'the memory is captured while file systems are frozen';
    throw new CofferError('usage', {
      option: '--memory',
      consistency: options.consistency,
      reason,
    });
  }
  const choices = {
    exclude: options.excludeDisk,
    demanded: parseConsistency(options.consistency),
    // Of guests that run on while others are held, the disks would be of another moment.
    pauses: options.pause === true || names.length > 1,
    memory: options.memory ?? false,
    scratchFolder: options.scratch ?? SCRATCH_FOLDER,
    scratchBytesMax: parseBytes(options.scratchLimit, '--scratch-limit') ?? Infinity,
    waitMs: parseSeconds(options.wait, '--wait'),
  };
  const connection = await openLocalLibvirt(options.connect);
  try {
    const domains: Domain[] = [];
    for (const name of names) domains.push(await domainNamed(connection, name));
    refuseTwice(domains);
    return {
      sources: domains.map(({ name, uuid }) => ({
        name,
        uuid,
        path: `${options.connect} ${name}`,
      })),
      capture: async (run, bases, { config }) =>
        await captureVms(
          run,
          domains.map((domain, index) => ({
            ...choices,
            connection,
            reconnect: () => openRestartedLibvirt(options.connect),
            domain,
            base: bases[index],
            repositoryId: config.repositoryId,
          })),
        ),
      [Symbol.asyncDispose]: () => connection.close(),
    };
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** Disks are read and written where their machines are. Fails with `usage` for another host. */
async function openLocalLibvirt(uri: string): Promise<LibvirtConnection> {
  const connection = await openLibvirt(uri);
  if (connection.socketPath !== undefined) return connection;
  await connection.close();
  const reason = 'the disks of machines are read and written on their host: run coffer there';
  throw new CofferError('usage', { connect: uri, reason });
}

/** A daemon that was restarted takes a moment. */
async function openRestartedLibvirt(uri: string): Promise<LibvirtConnection> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await openLibvirt(uri);
    } catch (error) {
      if (attempt === RECONNECT_ATTEMPTS_MAX) throw error;
      await clock.sleep(RECONNECT_DELAY_MS);
    }
  }
}

/** UUID of a new machine (RFC 9562, version 4). */
export function newUuid(): string {
  const bytes = random.bytes(16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/** By name; who has a machine of such a name that looks like a UUID gets that. */
export async function domainNamed(connection: LibvirtConnection, path: string): Promise<Domain> {
  const name = vmNameOf(path);
  try {
    return await connection.domainByName(name);
  } catch (error) {
    const isUuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(name);
    if (!isUuid || !isCofferError(error, 'vm-not-found')) throw error;
    return await connection.domainByUuid(name);
  }
}

function refuseTwice(domains: readonly Domain[]): void {
  const seen = new Set<string>();
  for (const { uuid, name } of domains) {
    if (seen.has(uuid)) throw new CofferError('usage', { reason: 'named twice', vm: name });
    seen.add(uuid);
  }
}

function parseConsistency(consistency: string): Consistency | 'best' {
  if (consistency === 'best') return consistency;
  const names: Readonly<Record<string, Consistency>> = {
    app: 'application',
    file: 'file-system',
    crash: 'crash',
  };
  const found = CONSISTENCIES.find((each) => each === names[consistency]);
  if (!found) throw new CofferError('usage', { consistency, expected: 'app, file, crash or best' });
  return found;
}

/** A libvirt that machines are restored to; whoever opened it closes it. */
export interface OpenedVmHost extends AsyncDisposable {
  readonly host: VmHost;
}

/** Fails with the codes of libvirt. */
export async function openVmHost(
  uri: string,
  networkNames: ReadonlyMap<string, string>,
): Promise<OpenedVmHost> {
  const networks = new Map<string, NetworkPlace>();
  for (const [from, name] of networkNames) networks.set(from, { kind: 'network', name });
  const connection = await openLocalLibvirt(uri);
  const reconnect = (): Promise<LibvirtConnection> => openRestartedLibvirt(uri);
  const host = new LibvirtHost({ connection, reconnect, networks, clock });
  return { host, [Symbol.asyncDispose]: () => host[Symbol.asyncDispose]() };
}

/** Of the machine that has a name now; undefined when none has. Fails with the codes of libvirt. */
export async function uuidOfVm(uri: string, name: string): Promise<string | undefined> {
  const connection = await openLibvirt(uri);
  try {
    return (await connection.domainByName(name)).uuid;
  } catch (error) {
    if (isCofferError(error, 'vm-not-found')) return undefined;
    throw error;
  } finally {
    await connection.close();
  }
}

/** The machines of a host, by name. Fails with the codes of libvirt. */
export async function findVms(uri: string): Promise<DiscoveredVm[]> {
  const connection = await openLibvirt(uri);
  try {
    return await discoverVms(connection, clock);
  } finally {
    await connection.close();
  }
}
