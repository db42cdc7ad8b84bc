/** Opens libvirt for what is done with its machines: captures, restores, finding them. */
import { type Clock, CofferError, isCofferError, type RunContext } from '@coffer/base';
import type { CaptureBase, VmCapture } from '../vm-capture.ts';
import { type CaptureOptions, captureVms } from './capture/capture.ts';
import { type Domain, type LibvirtConnection, openLibvirt } from './connection.ts';
import { type DiscoveredVm, discoverVms } from './discover.ts';
import type { NetworkPlace } from './domain/rewrite-interfaces.ts';
import { LibvirtHost } from './restore/libvirt-host.ts';
import type { Environment } from './rpc/address.ts';

const RECONNECT_ATTEMPTS_MAX = 15;
const RECONNECT_DELAY_MS = 1000;

/** A daemon, and the environment of the user whose session it may be of. */
export interface LibvirtPlace {
  readonly uri: string;
  readonly environment: Environment;
}

/** How machines are captured, whichever they are. */
export type CaptureChoices = Omit<
  CaptureOptions,
  'connection' | 'reconnect' | 'domain' | 'base' | 'repositoryId'
>;

/** Machines that were found; whoever has them closes them. */
export interface FoundMachines extends AsyncDisposable {
  readonly machines: readonly Domain[];
  /** Captures all of them at one moment; what changed since a base is told where that is possible. */
  readonly capture: (
    run: RunContext,
    bases: readonly (CaptureBase | undefined)[],
    repositoryId: string,
  ) => Promise<VmCapture[]>;
}

/** By names or UUIDs. Fails with `vm-not-found`, `usage` and the codes of libvirt. */
export async function findMachines(
  place: LibvirtPlace,
  names: readonly string[],
  choices: CaptureChoices,
): Promise<FoundMachines> {
  const connection = await openLocalLibvirt(place);
  try {
    const machines: Domain[] = [];
    for (const name of names) machines.push(await machineNamed(connection, name));
    refuseTwice(machines);
    return {
      machines,
      capture: async (run, bases, repositoryId) => {
        const reconnect = (): Promise<LibvirtConnection> => openRestartedLibvirt(run, place);
        const shared = { ...choices, connection, reconnect, repositoryId };
        const captured = machines.map((domain, index) => {
          return { ...shared, domain, base: bases[index] };
        });
        return await captureVms(run, captured);
      },
      [Symbol.asyncDispose]: () => connection.close(),
    };
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** A libvirt that machines are restored to; whoever opened it closes it. Fails with its codes. */
export async function openLibvirtHost(
  run: RunContext,
  place: LibvirtPlace,
  networkNames: Readonly<Record<string, string>>,
): Promise<LibvirtHost> {
  const networks = new Map<string, NetworkPlace>();
  for (const [from, name] of Object.entries(networkNames)) {
    networks.set(from, { kind: 'network', name });
  }
  const connection = await openLocalLibvirt(place);
  const reconnect = (): Promise<LibvirtConnection> => openRestartedLibvirt(run, place);
  return new LibvirtHost({ connection, reconnect, networks, clock: run.clock });
}

/** Of the machine that has a name now; undefined when none has. Fails with the codes of libvirt. */
export async function uuidOfMachine(
  place: LibvirtPlace,
  name: string,
): Promise<string | undefined> {
  const connection = await openAt(place);
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
export async function listMachines(
  { clock }: RunContext,
  place: LibvirtPlace,
): Promise<DiscoveredVm[]> {
  const connection = await openAt(place, clock);
  try {
    return await discoverVms(connection, clock);
  } finally {
    await connection.close();
  }
}

/** Disks are read and written where their machines are. Fails with `usage` for another host. */
async function openLocalLibvirt(place: LibvirtPlace): Promise<LibvirtConnection> {
  const connection = await openAt(place);
  if (connection.socketPath !== undefined) return connection;
  await connection.close();
  const reason = 'the disks of machines are read and written on their host, which is another';
  throw new CofferError('usage', { connect: place.uri, reason });
}

async function openAt(
  { uri, environment }: LibvirtPlace,
  clock?: Clock,
): Promise<LibvirtConnection> {
  return await openLibvirt(uri, { environment, ...(clock && { clock }) });
}

/** A daemon that was restarted takes a moment. */
async function openRestartedLibvirt(
  { clock }: RunContext,
  place: LibvirtPlace,
): Promise<LibvirtConnection> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await openAt(place, clock);
    } catch (error) {
      if (attempt === RECONNECT_ATTEMPTS_MAX) throw error;
      await clock.sleep(RECONNECT_DELAY_MS);
    }
  }
}

/** By name; who has a machine of such a name that looks like a UUID gets that. */
async function machineNamed(connection: LibvirtConnection, name: string): Promise<Domain> {
  try {
    return await connection.domainByName(name);
  } catch (error) {
    const isUuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(name);
    if (!isUuid || !isCofferError(error, 'vm-not-found')) throw error;
    return await connection.domainByUuid(name);
  }
}

function refuseTwice(machines: readonly Domain[]): void {
  const seen = new Set<string>();
  for (const { uuid, name } of machines) {
    if (seen.has(uuid)) throw new CofferError('usage', { reason: 'named twice', vm: name });
    seen.add(uuid);
  }
}
