/** XFS volumes for tests: made by mkfs.xfs, filled and read by Linux, which is the judge. */
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeFolder, type ExpectedTree } from '../../testing/expected-tree.ts';
import { mountByLoop } from '../../testing/loop-mount.ts';
import { tool, withFolder } from '../../testing/tool.ts';

export interface XfsImage {
  readonly path: string;
  /** Where Linux shows it. */
  readonly folder: string;
}

/** Makes a volume, mounts it, lets `fill` write, and lets `check` read; then all is removed. */
export async function withXfs(
  options: readonly string[],
  fill: (folder: string) => void,
  check: (image: XfsImage) => Promise<void>,
): Promise<void> {
  await withFolder(async (work) => {
    const path = join(work, 'image');
    const folder = join(work, 'mounted');
    await mkdir(folder);
    await makeXfs(path, options);
    await mounted(path, folder, 'rw', async () => fill(folder));
    await mounted(path, folder, 'ro', () => check({ path, folder }));
  });
}

/** Small volumes are for tests only, and mkfs.xfs wants to be told so. */
export async function makeXfs(path: string, options: readonly string[]): Promise<void> {
  await writeFile(path, '');
  await truncate(path, 40 * 1024 * 1024);
  await tool('mkfs.xfs', ['--unsupported', '-q', '-L', 'a label', ...options, path]);
}

async function mounted(
  path: string,
  folder: string,
  mode: string,
  use: () => Promise<void>,
): Promise<void> {
  await mountByLoop(path, folder, `loop,${mode}`);
  try {
    await use();
  } finally {
    await tool('umount', [folder]);
  }
}

/** What Linux says is there. It shows the lists of access control a second time, as they are kept. */
export function describeXfs(folder: string): ExpectedTree {
  const tree = describeFolder(folder);
  return Object.fromEntries(
    Object.entries(tree).map(([path, node]) => {
      const attributes = Object.entries(node.attributes ?? {}).filter(
        ([name]) => !name.startsWith('trusted.SGI_ACL_'),
      );
      return [path, { ...node, attributes: Object.fromEntries(attributes) }];
    }),
  );
}
