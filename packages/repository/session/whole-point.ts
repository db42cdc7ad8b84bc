import { RecordReader } from '../chunk/record-reader.ts';
import { chunksOnlyIn } from '../reach/difference.ts';
import type { RecoveryPoint } from '../recovery-point.ts';
import type { WriterRepository } from '../repository.ts';
import type { Session } from './session.ts';

/** Whether all that a point reaches is stored, and stays while the session runs. It needs no key. */
export async function isWholeStored(
  { store, index, run: { signal } }: WriterRepository,
  { writer }: Session,
  { roots }: RecoveryPoint,
): Promise<boolean> {
  const records = new RecordReader({ store, index, signal });
  const ids = roots.map(({ root }) => Buffer.from(root, 'hex'));
  for await (const { id } of chunksOnlyIn(ids, [], { index, records, signal })) {
    if (!writer.isStored(id)) return false;
  }
  return true;
}
