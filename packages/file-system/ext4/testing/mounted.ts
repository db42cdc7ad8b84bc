/** Images that the kernel has mounted for a while, as it judges what is on them. */
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { mountByLoop } from '../../testing/loop-mount.ts';
import { tool } from '../../testing/tool.ts';

export async function makeImage(
  path: string,
  sizeBytes: number,
  command: string,
  ...args: readonly string[]
): Promise<void> {
  await writeFile(path, '');
  await truncate(path, sizeBytes);
  await tool(command, [...args, path]);
}

/** Calls `use` with the folder that the image is mounted on; it is unmounted afterwards. */
export async function whileMounted<T>(
  image: string,
  use: (folder: string) => Promise<T>,
  options = 'loop',
): Promise<T> {
  const folder = `${image}.mounted`;
  await mkdir(folder, { recursive: true });
  await mountByLoop(image, folder, options);
  try {
    return await use(folder);
  } finally {
    await tool('umount', [folder]);
  }
}
