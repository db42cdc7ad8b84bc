/** The disks of a point on a socket, and overlays on them that a machine can run on. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { CofferError } from '@coffer/base';
import { unixAddress } from '@coffer/disk/nbd/address.ts';
import { type NbdExport, startNbdServer } from '@coffer/disk/nbd/server.ts';
import { createQcow2Overlay } from '@coffer/disk/qemu/qcow2-overlay.ts';
import type { PointRoot, RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import type { DiskImage } from '@coffer/workloads/vm-host.ts';
import type { VmManifest } from '../manifest.ts';
import { openPointDisk } from '../point-disks.ts';

/** What a read costs least: a chunk. */
const PREFERRED_SIZE_BYTES = 256 * 1024;

export interface ServeOptions {
  readonly repository: UnlockedRepository;
  readonly point: RecoveryPoint;
  /** By name; so are the exports. */
  readonly disks: readonly string[];
  readonly socketPath: string;
  /** Failures of single reads. */
  readonly onError: (error: CofferError) => void;
}

/** Until it is disposed. */
export async function serveDisks(options: ServeOptions): Promise<AsyncDisposable> {
  const { repository, point, disks, socketPath, onError } = options;
  await using scope = new AsyncDisposableStack();
  const exports: NbdExport[] = [];
  for (const root of rootsOf(point, disks)) {
    const disk = openPointDisk(repository, root);
    scope.defer(() => disk.close());
    const { name } = root;
    const description = `${point.item}, ${name}`;
    const preferredSizeBytes = PREFERRED_SIZE_BYTES;
    exports.push({ name, description, preferredSizeBytes, disk, readOnly: true });
  }
  const place = { form: 'unix', path: socketPath } as const;
  const server = await startNbdServer({ exports, place, tls: undefined, onError });
  scope.defer(() => server.close());
  return scope.move();
}

export interface OverlayFiles {
  readonly folder: string;
  /** Names begin with it. */
  readonly name: string;
}

/** Paths of the overlays, by disk. */
export function planOverlays(
  { disks }: VmManifest,
  { folder, name }: OverlayFiles,
): ReadonlyMap<string, DiskImage> {
  return new Map(
    disks.map((disk) => {
      const path = join(folder, `${name}-${disk.name}.overlay.qcow2`);
      return [disk.name, { path, format: 'qcow2' }];
    }),
  );
}

/** They need not be served yet. When one cannot be made, none is left. */
export async function createOverlays(
  overlays: ReadonlyMap<string, DiskImage>,
  { point, socketPath }: { readonly point: RecoveryPoint; readonly socketPath: string },
): Promise<void> {
  const made: string[] = [];
  try {
    for (const { name, sizeBytes } of rootsOf(point, [...overlays.keys()])) {
      const path = overlays.get(name)?.path ?? '';
      await createQcow2Overlay({ path, sizeBytes, below: unixAddress(socketPath, name) });
      made.push(path);
    }
  } catch (error) {
    for (const path of made) rmSync(path, { force: true });
    throw error;
  }
}

function rootsOf({ roots }: RecoveryPoint, disks: readonly string[]): PointRoot[] {
  return roots.filter(({ name }) => disks.includes(name));
}
