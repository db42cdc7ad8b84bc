/** The dirty bitmaps of the disks of a running machine, as QEMU tells them (QMP query-named-block-nodes). */
import { CofferError } from '@coffer/base';
import * as v from 'valibot';
import type { Domain, LibvirtConnection } from '../connection.ts';

const Bitmap = v.object({
  name: v.optional(v.string()),
  inconsistent: v.optional(v.boolean()),
  recording: v.optional(v.boolean()),
});
const Nodes = v.object({
  return: v.array(
    v.object({
      file: v.optional(v.string()),
      'dirty-bitmaps': v.optional(v.array(Bitmap)),
    }),
  ),
});

/** The images that have an intact bitmap of that name, by path. Bitmaps of a chain are all needed. */
export async function imagesWithBitmap(
  connection: LibvirtConnection,
  domain: Domain,
  name: string,
): Promise<ReadonlySet<string>> {
  const query = JSON.stringify({ execute: 'query-named-block-nodes', arguments: { flat: true } });
  const parsed = v.safeParse(Nodes, JSON.parse(await connection.monitorCommand(domain, query)));
  if (!parsed.success) {
    throw new CofferError('libvirt-failed', { reason: parsed.issues[0].message, query: 'bitmaps' });
  }
  const images = new Set<string>();
  for (const { file, 'dirty-bitmaps': bitmaps = [] } of parsed.output.return) {
    const isIntact = bitmaps.some(
      (bitmap) =>
        bitmap.name === name && bitmap.inconsistent !== true && bitmap.recording !== false,
    );
    if (file !== undefined && isIntact) images.add(file);
  }
  return images;
}
