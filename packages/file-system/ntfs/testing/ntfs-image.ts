/** NTFS volumes for tests: made by mkntfs, filled and read through ntfs-3g, which is the judge. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getAttribute } from '@coffer/base/libc.ts';
import { describeFolder, type ExpectedTree } from '../../testing/expected-tree.ts';

export interface NtfsImage {
  readonly path: string;
  /** Where ntfs-3g shows it. */
  readonly folder: string;
}

export interface NtfsImageOptions {
  readonly sizeBytes: number;
  readonly clusterBytes?: number;
  readonly sectorBytes?: number;
}

/** Makes a volume, mounts it, lets `fill` write, and lets `check` read; then all is removed. */
export async function withNtfs<Result>(
  { sizeBytes, clusterBytes = 4096, sectorBytes = 512 }: NtfsImageOptions,
  fill: (folder: string) => void,
  check: (image: NtfsImage) => Promise<Result>,
): Promise<Result> {
  const work = mkdtempSync(join(tmpdir(), 'coffer-ntfs-'));
  const path = join(work, 'image');
  const folder = join(work, 'mounted');
  try {
    mkdirSync(folder);
    writeFileSync(path, '');
    truncateSync(path, sizeBytes);
    const sizes = ['-c', String(clusterBytes), '-s', String(sectorBytes)];
    run('mkntfs', '-F', '-q', ...sizes, '-L', 'Größe', path);
    mounted(path, folder, 'rw', () => fill(folder));
    return await mountedAsync(path, folder, () => check({ path, folder }));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** What ntfs-3g says is there; its modes and owners are made up, as ours are. */
export function describeNtfs(folder: string): ExpectedTree {
  const tree = describeFolder(folder, { modes: false });
  return Object.fromEntries(
    Object.entries(tree).map(([path, node]) => {
      const acl = getAttribute(Buffer.from(join(folder, path)), Buffer.from('system.ntfs_acl'));
      if (!acl || node.type === 'symlink') return [path, withoutAttributes(node)];
      return [path, { ...node, attributes: { ...node.attributes, 'system.ntfs_acl': acl } }];
    }),
  );
}

function withoutAttributes<Node extends object>(node: Node): Node {
  return { ...node, attributes: undefined };
}

export function run(command: string, ...parameters: string[]): void {
  execFileSync(command, parameters, { stdio: ['ignore', 'pipe', 'pipe'] });
}

function mounted(path: string, folder: string, mode: 'rw' | 'ro', use: () => void): void {
  mount(path, folder, mode);
  try {
    use();
  } finally {
    run('umount', folder);
  }
}

async function mountedAsync<Result>(
  path: string,
  folder: string,
  use: () => Promise<Result>,
): Promise<Result> {
  mount(path, folder, 'ro');
  try {
    return await use();
  } finally {
    run('umount', folder);
  }
}

function mount(path: string, folder: string, mode: 'rw' | 'ro'): void {
  run('ntfs-3g', '-o', `${mode},compression,streams_interface=xattr`, path, folder);
}
