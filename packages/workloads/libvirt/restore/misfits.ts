/** Compares what a machine needs with what a host can run. */
import { existsSync } from 'node:fs';
import { isCofferError } from '@coffer/base';
import type { Misfit } from '../../vm-host.ts';
import type { LibvirtConnection } from '../connection.ts';
import type { Domain, DomainInterface } from '../domain/domain.ts';
import type { NetworkPlace } from '../domain/rewrite-interfaces.ts';
import { parseCapabilities, parseCpuCapabilities } from '../host/capabilities.ts';

export interface MisfitSearch {
  readonly connection: LibvirtConnection;
  readonly definition: Domain;
  /** Networks of the host, by those that the machine was on. */
  readonly networks: ReadonlyMap<string, NetworkPlace>;
}

/** All at once, so that nobody has to try again for each. */
export async function findMisfits(search: MisfitSearch): Promise<Misfit[]> {
  const hardware = await hardwareMisfits(search);
  // A CPU is judged for a machine that can be.
  const processor = hardware.length === 0 ? await processorMisfits(search) : [];
  return [...hardware, ...processor, ...(await networkMisfits(search))];
}

async function hardwareMisfits({ connection, definition }: MisfitSearch): Promise<Misfit[]> {
  const { arch, type, machine } = definition;
  const { architectures } = parseCapabilities(await connection.capabilities());
  const found = architectures.get(arch);
  if (!found) return [{ kind: 'architecture', message: `no QEMU for ${arch}` }];
  const misfits: Misfit[] = [];
  if (!found.types.has(type)) {
    misfits.push({ kind: 'machine', message: `no machines of type ${type} (is KVM there?)` });
  }
  if (machine !== undefined && !found.machines.has(machine)) {
    misfits.push({ kind: 'machine', message: `no machine type ${machine}` });
  }
  return misfits;
}

async function processorMisfits({ connection, definition }: MisfitSearch): Promise<Misfit[]> {
  const { cpuMode, cpuModel, demandedCpu } = definition;
  if (cpuMode === undefined) return [];
  const { modes, models } = parseCpuCapabilities(await connection.domainCapabilities(definition));
  if (!modes.has(cpuMode)) return [{ kind: 'processor', message: `no CPU mode ${cpuMode}` }];
  if (cpuMode !== 'custom' || cpuModel === undefined) return [];
  if (!models.has(cpuModel)) return [{ kind: 'processor', message: `no CPU model ${cpuModel}` }];
  if (demandedCpu === undefined) return [];
  if (await connection.canHaveCpu(definition, demandedCpu)) return [];
  return [
    { kind: 'processor', message: `no CPU ${cpuModel} with all features that it has to have` },
  ];
}

async function networkMisfits({
  connection,
  definition,
  networks,
}: MisfitSearch): Promise<Misfit[]> {
  const wanted = definition.interfaces.map((each) => placeOf(each, networks));
  const named = new Map(wanted.flatMap((place) => (place ? [[place.name, place]] : [])));
  if (named.size === 0) return [];
  const there = new Set((await connection.networks()).map(({ name }) => name));
  // Only of a host that is this one can bridges be seen.
  const seesBridges = connection.socketPath !== undefined;
  const missing = [...named.values()].filter(({ kind, name }) =>
    kind === 'network' ? !there.has(name) : seesBridges && !existsSync(`/sys/class/net/${name}`),
  );
  return missing.map(({ kind, name }) => ({ kind: 'network', message: `no ${kind} ${name}` }));
}

function placeOf(
  { type, source }: DomainInterface,
  networks: ReadonlyMap<string, NetworkPlace>,
): NetworkPlace | undefined {
  if (source === undefined) return undefined;
  const mapped = networks.get(source);
  if (mapped) return mapped;
  return type === 'network' || type === 'bridge' ? { kind: type, name: source } : undefined;
}

/** A machine of that name, or of that UUID under another name. */
export async function takenBy(
  connection: LibvirtConnection,
  { name, uuid }: { readonly name: string; readonly uuid: string | undefined },
): Promise<Misfit[]> {
  const misfits: Misfit[] = [];
  if (await exists(() => connection.domainByName(name))) {
    misfits.push({ kind: 'name', message: `there is a machine named ${name}` });
  } else if (uuid !== undefined && (await exists(() => connection.domainByUuid(uuid)))) {
    misfits.push({ kind: 'identity', message: `there is a machine with the UUID ${uuid}` });
  }
  return misfits;
}

async function exists(find: () => Promise<unknown>): Promise<boolean> {
  try {
    await find();
    return true;
  } catch (error) {
    if (isCofferError(error, 'vm-not-found')) return false;
    throw error;
  }
}
