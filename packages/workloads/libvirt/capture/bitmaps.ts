/** The dirty bitmaps of the disks of a running machine, as QEMU tells them (QMP query-named-block-nodes). */
import { CofferError } from '@coffer/base';
import * as v from 'valibot';
import type { Domain, LibvirtConnection } from '../connection.ts';

const Bitmap = v.object({
  name: v.optional(v.string()),
  inconsistent: v.optional(v.boolean()),
  recording: v.optional(v.boolean()),
  count: v.optional(v.number(), 0),
});
const Nodes = v.object({
  return: v.array(
    v.object({
      file: v.optional(v.string()),
      'dirty-bitmaps': v.optional(v.array(Bitmap), []),
    }),
  ),
});

/** An intact bitmap of an image. */
export interface DirtyBitmap {
  readonly image: string;
  readonly name: string;
  readonly dirtyBytes: number;
}

/** All that are intact. Where an image lies on others, each has its own. */
export async function intactBitmaps(
  connection: LibvirtConnection,
  domain: Domain,
): Promise<DirtyBitmap[]> {
  const query = JSON.stringify({ execute: 'query-named-block-nodes', arguments: { flat: true } });
  const parsed = v.safeParse(Nodes, JSON.parse(await connection.monitorCommand(domain, query)));
  if (!parsed.success) {
    throw new CofferError('libvirt-failed', { reason: parsed.issues[0].message, query: 'bitmaps' });
  }
  return parsed.output.return.flatMap(({ file: image, 'dirty-bitmaps': bitmaps }) =>
    bitmaps.flatMap(({ name, inconsistent, recording, count: dirtyBytes }) => {
      const isIntact = inconsistent !== true && recording !== false;
      if (image === undefined || name === undefined || !isIntact) return [];
      return [{ image, name, dirtyBytes }];
    }),
  );
}
