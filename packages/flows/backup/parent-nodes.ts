/**
 * The folders of the parent point, for who has the private key and for who has not: a writer knows
 * them by its notebook, and remembers those of the new point in it.
 */
import { join } from 'node:path';
import { digest } from '@coffer/base';
import {
  type NodeReader,
  Notebook,
  type RecoveryPoint,
  type Session,
  UnlockedRepository,
  type WriteNode,
  type WriterRepository,
} from '@coffer/repository';

export interface ParentNodes extends Disposable {
  /** Undefined where nobody knows the parent's folders. */
  readonly reader: NodeReader | undefined;
  /** Stores a node of the new point. */
  readonly writeNode: WriteNode;
  /** Told that the point is stored. */
  readonly keep: (point: string) => void;
}

export interface ParentNodesOptions {
  readonly session: Session;
  readonly item: string;
  readonly parent: RecoveryPoint | undefined;
  /** Of notebooks; undefined where nothing can be remembered. */
  readonly notebooks: string | undefined;
}

export function openParentNodes(
  repository: WriterRepository,
  { session: { writer }, item, parent, notebooks }: ParentNodesOptions,
): ParentNodes {
  const writeNode: WriteNode = (children, body) => writer.writeNode(children, body);
  const nothing = (): void => {};
  const plain = { writeNode, keep: nothing, [Symbol.dispose]: nothing };
  if (repository instanceof UnlockedRepository) return { ...plain, reader: repository.reader() };
  if (notebooks === undefined) return { ...plain, reader: undefined };
  const { hashKey } = repository.keys;
  const ofItem = digest(Buffer.from(item, 'utf8')).toString('hex', 0, 16);
  const path = join(notebooks, repository.config.repositoryId, ofItem);
  const notebook = new Notebook({ path, hashKey, point: parent?.id });
  return {
    reader: notebook.isOfPoint ? notebook : undefined,
    writeNode: async (children, body) => {
      const id = await writeNode(children, body);
      notebook.add(id, { children, body });
      return id;
    },
    keep: (point) => notebook.finish(point),
    [Symbol.dispose]: () => notebook[Symbol.dispose](),
  };
}
