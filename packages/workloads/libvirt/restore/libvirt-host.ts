/** Makes a restored machine known to libvirt, once it is certain that it fits. */
import { chownSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { CofferError, type Finding, isCofferError } from '@coffer/base';
import type { RestoredVm, VmHost } from '../../vm-host.ts';
import type { LibvirtConnection } from '../connection.ts';
import { parseDomain } from '../domain/domain.ts';
import { assertNoOriginal } from '../domain/paths.ts';
import { rewriteDomain } from '../domain/rewrite.ts';
import { REWRITE_FINDINGS } from '../domain/rewrite-finding.ts';
import type { NetworkPlace } from '../domain/rewrite-interfaces.ts';

export interface LibvirtHostOptions {
  readonly connection: LibvirtConnection;
  /** Networks of the target, by those that the machine was on. */
  readonly networks: ReadonlyMap<string, NetworkPlace>;
  /** UUID and MACs stay as they were: the original must not run any more. */
  readonly keepsIdentity: boolean;
}

export class LibvirtHost implements VmHost {
  readonly #options: LibvirtHostOptions;

  constructor(options: LibvirtHostOptions) {
    this.#options = options;
  }

  /** Fails with `vm-name-taken` or `target-unfit`, naming all that is missing. */
  async check({ xml, name }: Pick<RestoredVm, 'xml' | 'name'>): Promise<void> {
    const { connection } = this.#options;
    if (await isTaken(connection, name)) throw new CofferError('vm-name-taken', { name });
    const missing = await this.#missingNetworks(xml);
    if (missing.length > 0) {
      const networks = missing.join(', ');
      throw new CofferError('target-unfit', { networks, help: 'map them with --network OLD=NEW' });
    }
  }

  async define(vm: RestoredVm): Promise<{ uuid: string; findings: Finding[] }> {
    const { connection, networks, keepsIdentity } = this.#options;
    const { xml, findings } = rewriteDomain(vm.xml, {
      name: vm.name,
      identity: keepsIdentity ? 'keep' : { uuid: undefined },
      disks: new Map([...vm.disks].map(([target, place]) => [target, { kind: 'file', ...place }])),
      files: vm.files,
      networks,
    });
    // A restored machine that writes to the disks of the original would be the end of both.
    assertNoOriginal(xml, vm.xml);
    for (const path of [...[...vm.disks.values()].map((disk) => disk.path), ...vm.files.values()]) {
      giveToFolderOwner(path);
    }
    const { uuid } = await connection.define(xml);
    return {
      uuid,
      findings: findings.map(({ code, device, path }) => ({
        code,
        path: device ?? path ?? vm.name,
        message: REWRITE_FINDINGS[code],
      })),
    };
  }

  async #missingNetworks(xml: string): Promise<string[]> {
    const { connection, networks } = this.#options;
    const wanted = parseDomain(xml)
      .interfaces.filter(({ type }) => type === 'network')
      .map(({ source }) => networks.get(source ?? '')?.name ?? source)
      .filter((name) => name !== undefined);
    if (wanted.length === 0) return [];
    const there = new Set((await connection.networks()).map(({ name }) => name));
    return [...new Set(wanted)].filter((name) => !there.has(name));
  }
}

async function isTaken(connection: LibvirtConnection, name: string): Promise<boolean> {
  try {
    await connection.domainByName(name);
    return true;
  } catch (error) {
    if (isCofferError(error, 'vm-not-found')) return false;
    throw error;
  }
}

/** QEMU runs as another user, who has to reach what root has restored. */
function giveToFolderOwner(path: string): void {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = statSync(dirname(path));
  chownSync(path, uid, gid);
}
