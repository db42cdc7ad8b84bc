import type { Processes, RunContext } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { Padding } from './chunk/padding.ts';
import type { ChunkIndex } from './index/chunk-index.ts';

/** What the parts of a repository need of each other, and of what is outside. */
export interface RepositoryContext extends Pick<RunContext, 'clock' | 'random' | 'signal'> {
  /** Ends with the run. */
  readonly store: ObjectStore;
  /** The same for the last acts of what the run holds, for which there is a moment when it was ended. */
  readonly parting: () => ObjectStore;
  readonly index: ChunkIndex;
  /** Of the key domain: what is new is sealed to it. */
  readonly publicKey: Buffer;
  /** Of the key domain: so what is new is sealed. */
  readonly padding: Padding;
  readonly processes: Processes;
}
