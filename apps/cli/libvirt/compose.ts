/** Virtual machines of libvirt: what is protected, named `vm:NAME` or `vm:UUID`, and where to restore. */
import { tmpdir } from 'node:os';
import { CofferError, isCofferError } from '@coffer/base';
import type { VmSource } from '@coffer/flows/backup/backup.ts';
import { captureVm } from '@coffer/workloads/libvirt/capture/capture.ts';
import {
  type Domain,
  type LibvirtConnection,
  openLibvirt,
} from '@coffer/workloads/libvirt/connection.ts';
import { type DiscoveredVm, discoverVms } from '@coffer/workloads/libvirt/discover.ts';
import type { NetworkPlace } from '@coffer/workloads/libvirt/domain/rewrite-interfaces.ts';
import { LibvirtHost } from '@coffer/workloads/libvirt/restore/libvirt-host.ts';
import { CONSISTENCIES, type Consistency } from '@coffer/workloads/vm-capture.ts';
import type { VmHost } from '@coffer/workloads/vm-host.ts';
import { clock, random } from '../compose.ts';

const PREFIX = 'vm:';

export interface VmOptions {
  readonly connect: string;
  readonly consistency: string;
  readonly excludeDisk: readonly string[];
  readonly scratch?: string;
}

export type { DiscoveredVm };

export function isVmName(path: string): boolean {
  return path.startsWith(PREFIX);
}

/** A machine that was found; whoever has it closes it. */
export interface FoundVm {
  readonly source: VmSource;
  readonly name: string;
  close(): Promise<void>;
}

/** Fails with `vm-not-found` and the codes of libvirt. */
export async function findVm(path: string, options: VmOptions): Promise<FoundVm> {
  const demanded = parseConsistency(options.consistency);
  const connection = await openLibvirt(options.connect);
  try {
    const domain = await domainOf(connection, path.slice(PREFIX.length));
    const capture: VmSource['capture'] = async (base) =>
      await captureVm({
        connection,
        domain,
        base,
        exclude: options.excludeDisk,
        demanded,
        scratchFolder: options.scratch ?? tmpdir(),
        clock,
        random,
      });
    const source: VmSource = {
      kind: 'vm',
      path: `${options.connect} ${domain.name}`,
      uuid: domain.uuid,
      capture,
    };
    return { source, name: domain.name, close: () => connection.close() };
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** By name; who has a machine of such a name that looks like a UUID gets that. */
async function domainOf(connection: LibvirtConnection, name: string): Promise<Domain> {
  try {
    return await connection.domainByName(name);
  } catch (error) {
    const isUuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(name);
    if (!isUuid || !isCofferError(error, 'vm-not-found')) throw error;
    return await connection.domainByUuid(name);
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
export interface OpenedVmHost {
  readonly host: VmHost;
  start(name: string): Promise<void>;
  close(): Promise<void>;
}

export async function openVmHost(
  uri: string,
  networkNames: ReadonlyMap<string, string>,
  keepsIdentity: boolean,
): Promise<OpenedVmHost> {
  const networks = new Map<string, NetworkPlace>();
  for (const [from, name] of networkNames) networks.set(from, { kind: 'network', name });
  const connection = await openLibvirt(uri);
  return {
    host: new LibvirtHost({ connection, networks, keepsIdentity }),
    start: async (name) => void (await connection.create(await connection.domainByName(name))),
    close: () => connection.close(),
  };
}

/** The machines of a host, by name. Fails with the codes of libvirt. */
export async function findVms(uri: string): Promise<DiscoveredVm[]> {
  const connection = await openLibvirt(uri);
  try {
    return await discoverVms(connection);
  } finally {
    await connection.close();
  }
}
