/** The dirty bitmaps of the disks of a running machine. */
import * as v from 'valibot';
import type { Domain, LibvirtConnection } from '../connection.ts';
import { blockNodesOf } from '../host/block-nodes.ts';

export interface DirtyBitmap {
  /** Path or name of the image that it is in. */
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
  const nodes = await blockNodesOf(connection, domain);
  return nodes.flatMap(({ name: node, file: image, bitmaps }) =>
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
