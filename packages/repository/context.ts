import type { Clock, Processes, Random } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { ChunkIndex } from './index/chunk-index.ts';

/** What the parts of a repository need of each other, and of what is outside. */
export interface RepositoryContext {
  readonly store: ObjectStore;
  readonly index: ChunkIndex;
  /** Of the key domain: what is new is sealed to it. */
  readonly publicKey: Buffer;
  readonly clock: Clock;
  readonly random: Random;
  readonly processes: Processes;
}
