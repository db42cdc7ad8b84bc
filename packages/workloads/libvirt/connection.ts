/**
 * A connection to libvirt: what Coffer asks of it, typed. Errors are those of `errors.ts`. When the
 * connection is lost every call fails with `libvirt-unreachable` and the caller opens another one.
 */
import { existsSync } from 'node:fs';
import { type Clock, CofferError, isCofferError, systemClock } from '@coffer/base';
import { libvirtCodeOf, LIBVIRT_CODE } from './errors.ts';
import {
  type BlockInfo,
  type BlockStats,
  type Checkpoint,
  type DomainState,
  JOB_TYPES,
  type JobStats,
  type Screenshot,
  STATES,
  type StoragePool,
} from './rpc/answers.ts';
import { type Environment, parseLibvirtUri } from './rpc/address.ts';
import { authenticate } from './rpc/authentication.ts';
import { RpcClient } from './rpc/client.ts';
import { EventHandlers, type Handler } from './rpc/event-handlers.ts';
import { type EventName, EVENTS, type LibvirtEvents } from './rpc/events.ts';
import {
  agentProcedures,
  backupProcedures,
  blockProcedures,
  type BlockJob,
  connectionProcedures,
  domainProcedures,
  type GuestFileSystem,
  type MachineKind,
  type Procedure,
} from './rpc/procedures.ts';
import { targetPathOf } from './rpc/storage-pool-xml.ts';
import { type CheckpointReference, type Domain, type Parameters } from './rpc/structures-codec.ts';
import { openTransport } from './rpc/transport.ts';

export { PAUSED_BY_IO_ERROR } from './rpc/answers.ts';
export type {
  BlockInfo,
  BlockJob,
  BlockStats,
  Checkpoint,
  Domain,
  DomainState,
  JobStats,
  Screenshot,
  StoragePool,
  EventName,
  GuestFileSystem,
  LibvirtEvents,
  Parameters,
};

export interface LibvirtOptions {
  /** How long to wait for the server, and for calls that say nothing else. Libvirt waits 30 s itself. */
  readonly timeoutMs?: number;
  /** How often a silent server is asked whether it lives; after six times without an answer it does not. */
  readonly keepaliveIntervalMs?: number;
  /** Says where the sockets of a session are: XDG_RUNTIME_DIR, or HOME. */
  readonly environment?: Environment;
  /** By which that passes; the one of the system unless told otherwise. */
  readonly clock?: Clock;
}

/** virDomainBlockCopyFlags. */
export const BLOCK_COPY = { shallow: 1, reuseExternal: 2, transientJob: 4 } as const;

/** virCPUCompareResult. */
const CPU_INCOMPATIBLE = 0;
const TIMEOUT_MS = 120_000;
const CLOSE_TIMEOUT_MS = 2000;
/** Beyond what the agent is given, for the way there and back. */
const AGENT_MARGIN_MS = 10_000;
/** virDomainCheckpointListFlags. */
const TOPOLOGICAL = 2;
/** virDomainCreateFlags. */
const AUTODESTROY = 2;
/** virDomainSnapshotCreateFlags. */
const SNAPSHOT_WITHOUT_METADATA = 4;
/** virDomainSaveRestoreFlags. */
const RESTORE_RUNNING = 2;
/** Terabytes of it pass a slow disk by then. */
const MEMORY_TIMEOUT_MS = 6 * 3_600_000;
const SCREENSHOT_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Connects to libvirt. Fails with `usage` when the URI is not understood, `libvirt-unreachable` or
 * `libvirt-denied`.
 */
export async function openLibvirt(
  uri: string,
  options: LibvirtOptions = {},
): Promise<LibvirtConnection> {
  const { timeoutMs = TIMEOUT_MS, clock = systemClock, environment = {}, ...keepalive } = options;
  const limit = { timeoutMs, clock };
  const address = parseLibvirtUri(uri, environment);
  const transport = await openTransport(address, limit);
  const handlers = new EventHandlers();
  const onEvent = (number: number, payload: Buffer): void => handlers.dispatch(number, payload);
  const client = new RpcClient(transport, { ...keepalive, ...limit, onEvent });
  try {
    await authenticate(client);
    await client.call(connectionProcedures.open, [address.name, 0]);
  } catch (error) {
    client.end(new CofferError('libvirt-unreachable', { reason: 'it was not opened' }, error));
    throw error;
  }
  const socketPath = address.transport === 'unix' ? address.paths.find(existsSync) : undefined;
  return new LibvirtConnection(client, handlers, socketPath);
}

export class LibvirtConnection {
  /** Of a daemon on this host. */
  readonly socketPath: string | undefined;
  readonly #client: RpcClient;
  readonly #handlers: EventHandlers;

  constructor(client: RpcClient, handlers: EventHandlers, socketPath?: string) {
    this.#client = client;
    this.#handlers = handlers;
    this.socketPath = socketPath;
  }

  /** Aborted when the connection has ended; its reason is the error. Events come no more then. */
  get ended(): AbortSignal {
    return this.#client.ended;
  }

  async hostname(): Promise<string> {
    return await this.#call(connectionProcedures.hostname);
  }

  /** 9,000,000 is 9.0.0. */
  async libVersion(): Promise<number> {
    return await this.#call(connectionProcedures.libVersion);
  }

  /** XML of what the host can do. */
  async capabilities(): Promise<string> {
    return await this.#call(connectionProcedures.capabilities);
  }

  /** XML of what a machine of that kind can have. */
  async domainCapabilities(kind: MachineKind): Promise<string> {
    return await this.#call(connectionProcedures.domainCapabilities, kind);
  }

  /** Whether such a machine can have the processor of a `<cpu>`, with all features that it demands. */
  async canHaveCpu(kind: MachineKind, cpuXml: string): Promise<boolean> {
    return (await this.#call(connectionProcedures.compareCpu, kind, cpuXml)) !== CPU_INCOMPATIBLE;
  }

  /** All machines, running or not. */
  async domains(): Promise<Domain[]> {
    return await this.#call(connectionProcedures.domains);
  }

  /** Fails with `vm-not-found`. */
  async domainByName(name: string): Promise<Domain> {
    return await this.#call(domainProcedures.byName, name);
  }

  /** Fails with `vm-not-found`. */
  async domainByUuid(uuid: string): Promise<Domain> {
    return await this.#call(domainProcedures.byUuid, uuid);
  }

  /** The definition of a machine; `secure` includes passwords, `migratable` what another host needs. */
  async xml(
    domain: Domain,
    options: { inactive?: boolean; secure?: boolean; migratable?: boolean } = {},
  ): Promise<string> {
    const { secure, inactive, migratable } = options;
    const bits = flags([secure, 1], [inactive, 2], [migratable, 8]);
    return await this.#call(domainProcedures.xml, domain, bits);
  }

  async state(domain: Domain): Promise<DomainState> {
    const { state, reason } = await this.#call(domainProcedures.state, domain, 0);
    return { state: STATES[state] ?? 'nostate', reason };
  }

  /** False for a machine that libvirt forgets when it stops. */
  async isPersistent(domain: Domain): Promise<boolean> {
    return await this.#call(domainProcedures.isPersistent, domain);
  }

  /** True when a machine that is off has its memory in a file, and goes on with it at its next start. */
  async hasManagedSave(domain: Domain): Promise<boolean> {
    return (await this.#call(domainProcedures.hasManagedSave, domain, 0)) !== 0;
  }

  async suspend(domain: Domain): Promise<void> {
    await this.#call(domainProcedures.suspend, domain);
  }

  async resume(domain: Domain): Promise<void> {
    await this.#call(domainProcedures.resume, domain);
  }

  /** Starts a machine, and returns it with its new number. */
  async create(domain: Domain, options: { paused?: boolean } = {}): Promise<Domain> {
    return await this.#call(domainProcedures.create, domain, flags([options.paused, 1]));
  }

  /** Starts a machine that is not kept; it ends with this connection, whatever ends that. */
  async createPassing(xml: string): Promise<Domain> {
    return await this.#call(domainProcedures.createXml, xml, AUTODESTROY);
  }

  /**
   * Writes the memory of a machine to a file, and what its devices know; no disk is touched, and the
   * machine is no other afterwards. `snapshotXml` is that of a snapshot of memory alone.
   */
  async saveMemory(domain: Domain, snapshotXml: string): Promise<void> {
    const { snapshot } = domainProcedures;
    const args: [Domain, string, number] = [domain, snapshotXml, SNAPSHOT_WITHOUT_METADATA];
    await this.#client.call(snapshot, args, MEMORY_TIMEOUT_MS);
  }

  /** Starts a machine from such a file: it goes on where it was. `xml` says where its disks are now. */
  async restoreMemory(path: string, xml: string): Promise<void> {
    const { restore } = domainProcedures;
    await this.#client.call(restore, [path, xml, RESTORE_RUNNING], MEMORY_TIMEOUT_MS);
  }

  /** Ends a machine at once, as if its power was cut. */
  async destroy(domain: Domain): Promise<void> {
    await this.#call(domainProcedures.destroy, domain, 0);
  }

  /** Asks a machine to shut down; it may take long, or never happen. */
  async shutdown(domain: Domain, options: { agent?: boolean } = {}): Promise<void> {
    await this.#call(domainProcedures.shutdown, domain, flags([options.agent, 2]));
  }

  async define(xml: string): Promise<Domain> {
    return await this.#call(domainProcedures.define, xml, 0);
  }

  /** Forgets a machine. Its NVRAM is kept where it is not said; the rest must not be there then. */
  async undefine(
    domain: Domain,
    options: {
      checkpointsMetadata?: boolean;
      nvram?: boolean;
      snapshotsMetadata?: boolean;
      managedSave?: boolean;
    } = {},
  ): Promise<void> {
    const { managedSave, snapshotsMetadata, nvram = false, checkpointsMetadata } = options;
    const metadata = flags([managedSave, 1], [snapshotsMetadata, 2], [checkpointsMetadata, 16]);
    const bits = metadata | flags([nvram, 4], [!nvram, 8]);
    await this.#call(domainProcedures.undefine, domain, bits);
  }

  /** A command of QEMU's monitor (QMP), as JSON; so is its answer. */
  async monitorCommand(domain: Domain, json: string): Promise<string> {
    return await this.#call(domainProcedures.monitorCommand, domain, json, 0);
  }

  /** What is on the first screen. */
  async screenshot(domain: Domain): Promise<Screenshot> {
    const { screenshot } = domainProcedures;
    const max = SCREENSHOT_BYTES_MAX;
    const { result, bytes } = await this.#client.download(screenshot, [domain, 0, 0], max);
    return { mime: result ?? 'application/octet-stream', bytes };
  }

  /**
   * Begins a backup job, and with it a checkpoint. Fails with `libvirt-failed` and the code
   * `checkpointInconsistent` when a bitmap that it needs is missing or broken.
   */
  async backupBegin(domain: Domain, backupXml: string, checkpointXml?: string): Promise<void> {
    await this.#call(backupProcedures.begin, domain, backupXml, checkpointXml, 0);
  }

  /** The backup job that runs. */
  async backupXml(domain: Domain): Promise<string> {
    return await this.#call(backupProcedures.xml, domain, 0);
  }

  async jobStats(domain: Domain): Promise<JobStats> {
    const { type, values } = await this.#call(backupProcedures.jobStats, domain, 0);
    return { type: JOB_TYPES[type] ?? 'none', values };
  }

  /** Ends the job of a machine; for a pull backup that is the usual end. It is over a little later. */
  async abortJob(domain: Domain): Promise<void> {
    await this.#call(backupProcedures.abortJob, domain);
  }

  /** Parents before their children. */
  async checkpoints(domain: Domain): Promise<Checkpoint[]> {
    const found = await this.#call(backupProcedures.checkpoints, domain, TOPOLOGICAL);
    const checkpoints: Checkpoint[] = [];
    for (const each of found) {
      checkpoints.push({ name: each.name, parent: await this.#parentOf(each) });
    }
    return checkpoints;
  }

  async checkpointXml(domain: Domain, name: string): Promise<string> {
    return await this.#call(backupProcedures.checkpointXml, { name, domain }, 0);
  }

  /** `redefine` takes over what another libvirt knew; `validate` also looks for the bitmaps. */
  async checkpointCreate(
    domain: Domain,
    xml: string,
    options: { redefine?: boolean; validate?: boolean } = {},
  ): Promise<void> {
    const bits = flags([options.redefine, 1], [options.validate, 4]);
    await this.#call(backupProcedures.checkpointCreate, domain, xml, bits);
  }

  /** `metadataOnly` leaves the bitmaps where they are. */
  async checkpointDelete(
    domain: Domain,
    name: string,
    options: { metadataOnly?: boolean } = {},
  ): Promise<void> {
    const bits = flags([options.metadataOnly, 2]);
    await this.#call(backupProcedures.checkpointDelete, { name, domain }, bits);
  }

  /** A command of the guest agent, as JSON; so is its answer. Fails with `agent-unavailable`. */
  async agentCommand(domain: Domain, json: string, timeoutSeconds: number): Promise<string> {
    const { command } = agentProcedures;
    const timeoutMs = timeoutSeconds * 1000 + AGENT_MARGIN_MS;
    return await this.#client.call(command, [domain, json, timeoutSeconds, 0], timeoutMs);
  }

  /** How long libvirt waits for the agent in the calls below; without it, it may be for ever. */
  async agentResponseTimeout(domain: Domain, seconds: number): Promise<void> {
    await this.#call(agentProcedures.responseTimeout, domain, seconds, 0);
  }

  /** Freezes the file systems of the guest, or those of the mount points. Returns how many. */
  async freeze(domain: Domain, mountpoints: readonly string[] = []): Promise<number> {
    return await this.#call(agentProcedures.freeze, domain, mountpoints);
  }

  /** Returns how many were frozen until now: 0 tells that something else thawed them before. */
  async thaw(domain: Domain): Promise<number> {
    return await this.#call(agentProcedures.thaw, domain, []);
  }

  async fsInfo(domain: Domain): Promise<GuestFileSystem[]> {
    return await this.#call(agentProcedures.fileSystems, domain, 0);
  }

  /** All that the agent tells of the guest, by names such as `os.pretty-name`. */
  async guestInfo(domain: Domain): Promise<Parameters> {
    return await this.#call(agentProcedures.guestInfo, domain, 0, 0);
  }

  /** Copies a disk (`vda`) of a running machine to another place; `copyFlags` are of `BLOCK_COPY`. */
  async blockCopy(
    domain: Domain,
    disk: string,
    targetXml: string,
    copyFlags: number,
  ): Promise<void> {
    await this.#call(blockProcedures.copy, domain, disk, targetXml, copyFlags);
  }

  /** The job of a disk, where there is one. */
  async blockJobInfo(domain: Domain, disk: string): Promise<BlockJob | undefined> {
    return await this.#call(blockProcedures.job, domain, disk, 0);
  }

  /** Ends the job of a disk; with `pivot`, the machine goes on with the copy. */
  async blockJobAbort(
    domain: Domain,
    disk: string,
    options: { pivot?: boolean } = {},
  ): Promise<void> {
    await this.#call(blockProcedures.jobAbort, domain, disk, flags([options.pivot, 2]));
  }

  async blockInfo(domain: Domain, disk: string): Promise<BlockInfo> {
    return await this.#call(blockProcedures.info, domain, disk, 0);
  }

  async blockStats(domain: Domain, disk: string): Promise<BlockStats> {
    return await this.#call(blockProcedures.stats, domain, disk);
  }

  async networks(): Promise<{ name: string; active: boolean }[]> {
    const found = await this.#call(connectionProcedures.networks);
    const networks: { name: string; active: boolean }[] = [];
    for (const each of found) {
      const active = await this.#call(connectionProcedures.networkIsActive, each);
      networks.push({ name: each.name, active });
    }
    return networks;
  }

  async storagePools(): Promise<StoragePool[]> {
    const pools: StoragePool[] = [];
    for (const each of await this.#call(connectionProcedures.storagePools)) {
      const active = await this.#call(connectionProcedures.storagePoolIsActive, each);
      const xml = await this.#call(connectionProcedures.storagePoolXml, each, 0);
      pools.push({ name: each.name, active, targetPath: targetPathOf(xml) });
    }
    return pools;
  }

  /** Where a volume is on the host. Undefined when there is none, such as of a pool that is off. */
  async volumePath(poolName: string, volumeName: string): Promise<string | undefined> {
    const pools = await this.#call(connectionProcedures.storagePools);
    const pool = pools.find((each) => each.name === poolName);
    if (!pool) return undefined;
    try {
      const { storageVolumeByName, storageVolumePath } = connectionProcedures;
      const volume = await this.#call(storageVolumeByName, pool, volumeName);
      return await this.#call(storageVolumePath, volume);
    } catch (error) {
      if (isCofferError(error, 'libvirt-failed')) return undefined;
      throw error;
    }
  }

  /** Looks for volumes that were put into the folder of a pool. */
  async refreshPool(name: string): Promise<void> {
    const pools = await this.#call(connectionProcedures.storagePools);
    const pool = pools.find((each) => each.name === name);
    if (pool) await this.#call(connectionProcedures.storagePoolRefresh, pool, 0);
  }

  /**
   * Calls the handler at every such event of any machine, from now on. Returns how to stop that; the
   * handler must not throw.
   */
  async on<E extends EventName>(event: E, handler: Handler<E>): Promise<() => void> {
    const { registerEvent } = connectionProcedures;
    return await this.#handlers.add(event, handler, () =>
      this.#call(registerEvent, EVENTS[event].id),
    );
  }

  /** Says goodbye and ends the connection. Calls under way fail. */
  async close(): Promise<void> {
    const closed = new CofferError('libvirt-unreachable', { reason: 'closed by us' });
    try {
      await this.#client.call(connectionProcedures.close, [], CLOSE_TIMEOUT_MS);
    } catch (error) {
      // It cannot be used any more, and that is what is wanted.
      if (!isCofferError(error)) throw error;
    } finally {
      this.#client.end(closed);
    }
  }

  async #parentOf(checkpoint: CheckpointReference): Promise<string | undefined> {
    try {
      return (await this.#call(backupProcedures.checkpointParent, checkpoint, 0)).name;
    } catch (error) {
      if (libvirtCodeOf(error) === LIBVIRT_CODE.noCheckpoint) return undefined;
      throw error;
    }
  }

  async #call<A extends readonly unknown[], R>(procedure: Procedure<A, R>, ...args: A): Promise<R> {
    return await this.#client.call(procedure, args);
  }
}

function flags(...options: (readonly [isSet: boolean | undefined, bit: number])[]): number {
  return options.reduce((bits, [isSet, bit]) => (isSet === true ? bits | bit : bits), 0);
}
