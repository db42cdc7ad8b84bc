/** `coffer serve`: disks of points over NBD, to boot or to mount from. */
import { resolve } from 'node:path';
import { CofferError } from '@coffer/base';
import { openOverlay } from '@coffer/disk/overlay/overlay.ts';
import { formatNbdUri, type NbdPlace } from '@coffer/disk/nbd/address.ts';
import { type NbdExport, type NbdServer, startNbdServer } from '@coffer/disk/nbd/server.ts';
import type { NbdTls } from '@coffer/disk/nbd/tls.ts';
import { diskOf, disksOf, openPointDisk } from '@coffer/flows/point-disks.ts';
import type { PointRoot, RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import { parseServerTls } from '../nbd-tls.ts';
import { printJson, printLine } from '../output.ts';
import { splitPointPath } from '../point-path.ts';
import { printable } from '../printable.ts';
import { interrupted } from '../run.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface ServeCommandOptions extends GlobalOptions {
  readonly socket?: string;
  readonly listen?: string;
  readonly tls?: string;
  readonly writable?: string;
}

/** What a read costs least: a chunk. */
const PREFERRED_SIZE_BYTES = 256 * 1024;

interface ServedDisk {
  readonly point: RecoveryPoint;
  readonly root: PointRoot;
}

export async function runServe(
  sources: readonly string[],
  options: ServeCommandOptions,
): Promise<void> {
  const place = choosePlace(options);
  const tls = options.tls === undefined ? undefined : parseServerTls(options.tls);
  warnOfPlain(place, tls);
  await withUnlocked(options, async (repository) => {
    const disks = await disksNamed(repository, sources);
    if (options.writable !== undefined && disks.length > 1) {
      throw new CofferError('usage', { reason: '--writable takes one disk' });
    }
    const exports: NbdExport[] = [];
    try {
      for (const disk of disks) {
        exports.push(await exportOf(repository, disk, { isOnly: disks.length === 1, ...options }));
      }
      const onError = (error: CofferError): void => {
        process.stderr.write(`coffer: ${printable(error.message)}\n`);
      };
      const server = await startNbdServer({ exports, place, tls, onError });
      try {
        tell(server, exports, tls, options);
        await interrupted();
      } finally {
        await server.close();
      }
    } finally {
      await Promise.all(exports.map(({ disk }) => disk.close()));
    }
  });
}

/** Fails with `usage` unless there is one place. */
function choosePlace({ socket, listen }: ServeCommandOptions): NbdPlace {
  if ((socket === undefined) === (listen === undefined)) {
    throw new CofferError('usage', { reason: 'say either --socket PATH or --listen ADDRESS:PORT' });
  }
  if (socket !== undefined) return { form: 'unix', path: resolve(socket) };
  const [, host, port] = /^(.*):(\d{1,5})$/.exec(listen ?? '') ?? [];
  if (host === undefined || Number(port) > 65_535) {
    throw new CofferError('usage', {
      listen,
      expected: 'ADDRESS:PORT, for example 127.0.0.1:10809',
    });
  }
  return { form: 'tcp', host: host.replace(/^\[(.*)\]$/, '$1') || '::', port: Number(port) };
}

function warnOfPlain(place: NbdPlace, tls: NbdTls | undefined): void {
  const isLocal = place.form === 'unix' || /^(127\.|localhost$|::1$)/.test(place.host);
  if (isLocal || tls) return;
  process.stderr.write('coffer: whoever reaches this port can read the disks; use --tls\n');
}

async function disksNamed(
  repository: UnlockedRepository,
  sources: readonly string[],
): Promise<ServedDisk[]> {
  const disks: ServedDisk[] = [];
  for (const source of sources) {
    const { name, disk } = splitPointPath(source);
    const point = await namedPoint(repository, name);
    const roots = disk === undefined ? disksOf(point) : [diskOf(point, disk)];
    disks.push(...roots.map((root) => ({ point, root })));
  }
  return disks;
}

async function exportOf(
  repository: UnlockedRepository,
  { point, root }: ServedDisk,
  { isOnly, writable }: { isOnly: boolean; writable?: string },
): Promise<NbdExport> {
  const disk = openPointDisk(repository, root);
  const shared = {
    // A client that names no export gets the only one.
    name: isOnly ? '' : `${point.id}/${root.name}`,
    description: `${point.item} at ${new Date(point.takenAt).toISOString()}, ${root.name}`,
    preferredSizeBytes: PREFERRED_SIZE_BYTES,
  };
  if (writable === undefined) return { ...shared, disk, readOnly: true };
  const base = `${point.id}/${root.name}`;
  const overlay = await openOverlay({ below: disk, base, path: resolve(writable) });
  return { ...shared, disk: overlay, readOnly: false };
}

function tell(
  { place }: NbdServer,
  exports: readonly NbdExport[],
  tls: NbdTls | undefined,
  options: ServeCommandOptions,
): void {
  const served = exports.map(({ name, description, disk, readOnly }) => ({
    uri: formatNbdUri({ place, exportName: name, tls: tls !== undefined }),
    description,
    sizeBytes: disk.sizeBytes,
    readOnly,
  }));
  if (options.json) {
    printJson(served);
    return;
  }
  for (const { uri, description } of served) printLine(`${uri}  (${description})`);
  const [first] = served;
  if (options.quiet || !first) return;
  const snapshot = first.readOnly ? ',snapshot=on' : '';
  printLine('\nUse it, for example, with');
  printLine(
    `  qemu-system-x86_64 -m 1024 -drive file='${first.uri}',format=raw,if=virtio${snapshot}`,
  );
  printLine(`  nbdcopy '${first.uri}' disk.raw`);
  // It has a notation of its own for unix sockets, and none for TLS.
  const forGuestfish = first.uri.replace('nbd+unix:', 'nbd:');
  if (!tls) printLine(`  guestfish --ro --format=raw -a '${forGuestfish}' -i`);
  printLine('\nPress Ctrl-C to stop.');
}
