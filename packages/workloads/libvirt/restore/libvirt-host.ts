/** A host of libvirt as the target of restored machines. */
import {
  type Clock,
  CofferError,
  type Finding,
  isCofferError,
  type RunContext,
} from '@coffer/base';
import type { DiskImage, KnownVm, Misfit, RestoredVm, VmHost, VmTrial } from '../../vm-host.ts';
import { removeAllMetadata } from '../capture/checkpoints.ts';
import { releaseLeftover } from '../capture/hold.ts';
import { type Domain, type LibvirtConnection, PAUSED_BY_IO_ERROR } from '../connection.ts';
import { parseDomain } from '../domain/domain.ts';
import { assertNoOriginal } from '../domain/paths.ts';
import { type DomainChanges, rewriteDomain } from '../domain/rewrite.ts';
import type { NetworkPlace } from '../domain/rewrite-interfaces.ts';
import { othersUsing, readKnownVm } from '../host/known-vm.ts';
import { canEnter, giveTo, qemuUserOf } from '../host/qemu-user.ts';
import { findMisfits, takenBy } from './misfits.ts';
import { moveDisk } from './move-disk.ts';
import { LibvirtTrial } from './trial.ts';

export interface LibvirtHostOptions {
  readonly connection: LibvirtConnection;
  /** Opens another one: a restore may take hours, and a daemon is restarted meanwhile. */
  readonly reconnect: () => Promise<LibvirtConnection>;
  /** Networks of the target, by those that the machine was on. */
  readonly networks: ReadonlyMap<string, NetworkPlace>;
  readonly clock: Clock;
}

/** For a guest to shut down; then its power is cut. */
const STOP_TIMEOUT_MS = 60_000;
const POLL_MS = 100;

export class LibvirtHost implements VmHost, AsyncDisposable {
  readonly #options: LibvirtHostOptions;
  #current: LibvirtConnection;

  constructor(options: LibvirtHostOptions) {
    this.#options = options;
    this.#current = options.connection;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#current.close();
  }

  /** A call that the end of a connection has interrupted fails; those after it have another one. */
  async #connection(): Promise<LibvirtConnection> {
    if (this.#current.ended.aborted) this.#current = await this.#options.reconnect();
    return this.#current;
  }

  async misfits({ xml, name, uuid }: Pick<RestoredVm, 'xml' | 'name' | 'uuid'>): Promise<Misfit[]> {
    const connection = await this.#connection();
    const { networks } = this.#options;
    const definition = parseDomain(xml);
    return [
      ...(await takenBy(connection, { name, uuid: uuid ?? definition.uuid })),
      ...(await findMisfits({ connection, definition, networks })),
    ];
  }

  async define(vm: RestoredVm): Promise<{ uuid: string; findings: Finding[] }> {
    const connection = await this.#connection();
    const { networks } = this.#options;
    const { xml, findings } = await this.#rewritten(vm, networks);
    const { uuid } = await connection.define(xml);
    return { uuid, findings };
  }

  async defineAgain(xml: string): Promise<void> {
    await (await this.#connection()).define(xml);
  }

  async find(uuid: string): Promise<KnownVm | undefined> {
    const connection = await this.#connection();
    try {
      const domain = await connection.domainByUuid(uuid);
      const { state } = await connection.state(domain);
      const xml = await connection.xml(domain, { inactive: true });
      const parts = await readKnownVm(connection, xml, async (disk) => this.#sizeOf(domain, disk));
      const isOff = state === 'shutoff';
      const isSaved = isOff && (await connection.hasManagedSave(domain));
      const isTransient = !(await connection.isPersistent(domain));
      return { ...parts, isOff, isSaved, isTransient };
    } catch (error) {
      if (isCofferError(error, 'vm-not-found')) return undefined;
      throw error;
    }
  }

  async read(xml: string): Promise<KnownVm> {
    const connection = await this.#connection();
    const parts = await readKnownVm(connection, xml, async () => undefined);
    return { ...parts, isOff: true, isSaved: false, isTransient: false };
  }

  async othersUsing(uuid: string, paths: readonly string[]): Promise<ReadonlyMap<string, string>> {
    return await othersUsing(await this.#connection(), uuid, paths);
  }

  async start(uuid: string): Promise<void> {
    const connection = await this.#connection();
    await connection.create(await connection.domainByUuid(uuid));
  }

  async goOn(uuid: string, memoryPath: string): Promise<void> {
    const connection = await this.#connection();
    const { clock } = this.#options;
    await this.giveFiles([memoryPath]);
    const domain = await connection.domainByUuid(uuid);
    const xml = await connection.xml(domain, { inactive: true, secure: true });
    await connection.restoreMemory(memoryPath, xml);
    // It was frozen in that moment.
    const running = await connection.domainByUuid(uuid);
    await releaseLeftover({ connection, domain: running, clock, selfThawsAt: undefined });
  }

  async stop({ clock, signal }: RunContext, uuid: string): Promise<void> {
    const connection = await this.#connection();
    const domain = await connection.domainByUuid(uuid);
    await this.#askToShutDown(domain);
    const giveUpAt = clock.now() + STOP_TIMEOUT_MS;
    while ((await connection.state(domain)).state !== 'shutoff') {
      if (clock.now() > giveUpAt) {
        await connection.destroy(domain);
        return;
      }
      await clock.sleep(POLL_MS, signal);
    }
  }

  async forgetTracking(uuid: string): Promise<void> {
    const connection = await this.#connection();
    await removeAllMetadata(connection, await connection.domainByUuid(uuid));
  }

  async remove(uuid: string): Promise<void> {
    const connection = await this.#connection();
    const domain = await connection.domainByUuid(uuid);
    if ((await connection.state(domain)).state !== 'shutoff') await connection.destroy(domain);
    await connection.undefine(domain, {
      nvram: true,
      checkpointsMetadata: true,
      snapshotsMetadata: true,
      managedSave: true,
    });
  }

  async resumeAfterError(uuid: string): Promise<'running' | 'paused' | 'off' | undefined> {
    const connection = await this.#connection();
    try {
      const domain = await connection.domainByUuid(uuid);
      const { state, reason } = await connection.state(domain);
      if (state === 'shutoff') return 'off';
      if (state !== 'paused') return 'running';
      if (reason === PAUSED_BY_IO_ERROR) await connection.resume(domain);
      return 'paused';
    } catch (error) {
      if (isCofferError(error, 'vm-not-found')) return undefined;
      throw error;
    }
  }

  async moveDisk(run: RunContext, uuid: string, disk: string, to: DiskImage): Promise<void> {
    const connection = await this.#connection();
    const domain = await connection.domainByUuid(uuid);
    await moveDisk(run, { connection, domain, disk, to });
  }

  async startTrial(vm: RestoredVm): Promise<VmTrial> {
    const connection = await this.#connection();
    const { clock } = this.#options;
    const { xml } = await this.#rewritten(vm, 'none');
    const domain = await connection.createPassing(xml);
    return new LibvirtTrial({ connection, domain, xml, clock });
  }

  async folderProblems(folder: string): Promise<readonly string[]> {
    const user = await qemuUserOf(await this.#connection());
    if (await canEnter(user, folder)) return [];
    return [`QEMU, which runs as user ${user?.userId}, may not enter ${folder}`];
  }

  async giveFiles(paths: readonly string[]): Promise<void> {
    giveTo(await qemuUserOf(await this.#connection()), ...paths);
  }

  async poolFolder(name: string): Promise<string> {
    const pools = await (await this.#connection()).storagePools();
    const pool = pools.find((each) => each.name === name);
    if (pool?.active && pool.targetPath?.startsWith('/')) return pool.targetPath;
    const reason = pool ? 'it is not active, or has no folder' : 'there is no such pool';
    const known = pools.map((each) => each.name).join(', ');
    throw new CofferError('target-unfit', { pool: name, reason, pools: known });
  }

  async refreshPool(pool: string): Promise<void> {
    await (await this.#connection()).refreshPool(pool);
  }

  async #sizeOf(domain: Domain, disk: string): Promise<number | undefined> {
    try {
      return (await (await this.#connection()).blockInfo(domain, disk)).capacityBytes;
    } catch (error) {
      // Its image may be missing.
      if (!isCofferError(error, 'libvirt-failed')) throw error;
      return undefined;
    }
  }

  async #rewritten(
    vm: RestoredVm,
    networks: DomainChanges['networks'],
  ): Promise<{ xml: string; findings: Finding[] }> {
    const { pausesOnError = false } = vm;
    const places = [...vm.disks].map(
      ([target, place]) => [target, { kind: 'file', pausesOnError, ...place }] as const,
    );
    const { xml, findings } = rewriteDomain(vm.xml, {
      name: vm.name,
      identity: vm.uuid === undefined ? 'keep' : { uuid: vm.uuid },
      disks: new Map(places),
      files: vm.files,
      networks,
    });
    // A restored machine that writes to the disks of the original would be the end of both.
    assertNoOriginal(xml, vm.xml);
    await this.giveFiles([...[...vm.disks.values()].map(({ path }) => path), ...vm.files.values()]);
    return {
      xml,
      findings: findings.map(({ code, device, path }) => ({
        code,
        subject: { kind: 'machine', name: vm.name },
        details: { device, path },
      })),
    };
  }

  /** By its agent where it has one; else by the button, which a guest may ignore. */
  async #askToShutDown(domain: Domain): Promise<void> {
    const connection = await this.#connection();
    const { state } = await connection.state(domain);
    if (state === 'shutoff') return;
    // A machine that does not run hears nothing.
    if (state !== 'running') {
      await connection.destroy(domain);
      return;
    }
    try {
      await connection.shutdown(domain, { agent: true });
    } catch (error) {
      if (!isCofferError(error)) throw error;
      await connection.shutdown(domain);
    }
  }
}
