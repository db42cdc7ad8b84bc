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
      'node-name': v.string(),
      file: v.optional(v.string()),
      'dirty-bitmaps': v.optional(v.array(Bitmap), []),
    }),
  ),
});

export interface DirtyBitmap {
  /** Path of the image that it is in. */
  readonly image: string;
  /** Of that image in QEMU. */
  readonly node: string;
  readonly name: string;
  /** False for one that died in a crash, or does not track any more. */
  readonly isIntact: boolean;
  readonly dirtyBytes: number;
}

/** Where an image lies on others, each has its own. */
export async function bitmapsOf(
  connection: LibvirtConnection,
  domain: Domain,
): Promise<DirtyBitmap[]> {
  const query = JSON.stringify({ execute: 'query-named-block-nodes', arguments: { flat: true } });
  const parsed = v.safeParse(Nodes, JSON.parse(await connection.monitorCommand(domain, query)));
  if (!parsed.success) {
    throw new CofferError('libvirt-failed', { reason: parsed.issues[0].message, query: 'bitmaps' });
  }
  return parsed.output.return.flatMap(
    ({ file: image, 'node-name': node, 'dirty-bitmaps': bitmaps }) =>
      bitmaps.flatMap(({ name, inconsistent, recording, count: dirtyBytes }) => {
        if (image === undefined || name === undefined) return [];
        const isIntact = inconsistent !== true && recording !== false;
        return [{ image, node, name, isIntact, dirtyBytes }];
      }),
  );
}

/** False when QEMU does not let it go, for example in an image below that is read-only. */
export async function removeBitmap(
  connection: LibvirtConnection,
  domain: Domain,
  { node, name }: DirtyBitmap,
): Promise<boolean> {
  const command = { execute: 'block-dirty-bitmap-remove', arguments: { node, name } };
  const answer = await connection.monitorCommand(domain, JSON.stringify(command));
  return v.is(v.object({ return: v.unknown() }), JSON.parse(answer));
}
