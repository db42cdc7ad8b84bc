/** The images that QEMU has open for a running machine, as it tells them (QMP query-named-block-nodes). */
import { CofferError } from '@coffer/base';
import * as v from 'valibot';
import type { Domain, LibvirtConnection } from '../connection.ts';
import type { DomainDisk } from '../domain/disk.ts';

const Bitmap = v.object({
  name: v.optional(v.string()),
  inconsistent: v.optional(v.boolean()),
  recording: v.optional(v.boolean()),
  count: v.optional(v.number(), 0),
});
const Image = v.object({
  'format-specific': v.optional(
    v.object({ data: v.optional(v.object({ compat: v.optional(v.string()) })) }),
  ),
});
const Nodes = v.object({
  return: v.array(
    v.object({
      'node-name': v.string(),
      file: v.optional(v.string()),
      image: v.optional(Image),
      'dirty-bitmaps': v.optional(v.array(Bitmap), []),
    }),
  ),
});

export interface BlockNode {
  readonly name: string;
  /** Path or name of the image, as QEMU was given it. */
  readonly file: string | undefined;
  /** Of a qcow2 image: `0.10` is version 2, `1.1` is version 3. */
  readonly compat: string | undefined;
  readonly bitmaps: readonly v.InferOutput<typeof Bitmap>[];
}

/** Fails with `libvirt-failed` when the answer is not understood. */
export async function blockNodesOf(
  connection: LibvirtConnection,
  domain: Domain,
): Promise<BlockNode[]> {
  const query = JSON.stringify({ execute: 'query-named-block-nodes', arguments: { flat: true } });
  const parsed = v.safeParse(Nodes, JSON.parse(await connection.monitorCommand(domain, query)));
  if (!parsed.success) {
    throw new CofferError('libvirt-failed', { reason: parsed.issues[0].message, query: 'nodes' });
  }
  return parsed.output.return.map(
    ({ file, 'node-name': name, image, 'dirty-bitmaps': bitmaps }) => ({
      name,
      file,
      compat: image?.['format-specific']?.data?.compat,
      bitmaps,
    }),
  );
}

/** Name of the node of a disk's topmost image (libvirt names them by the index of the source). */
export function nodeNameOf({ index }: DomainDisk): string | undefined {
  return index === undefined ? undefined : `libvirt-${index}-format`;
}
