export { CHUNK_ID_SIZE_BYTES, type ChunkId, idKey, isZeroId, ZERO_ID } from './chunk/chunk-id.ts';
export { type ChunkFailure, ChunkReader, type ChunkRequest } from './chunk/chunk-reader.ts';
export { type BoxOutcome, boxOpener, type OpenBoxes } from './chunk/box-keys.ts';
export { isChunkError } from './chunk/record-reader.ts';
export { type ChunkPool, type ChunkWork, inlineChunkPool } from './chunk/chunk-work.ts';
export { type Slab, SLAB_SIZE_BYTES, SlabPool, type Span } from './chunk/slab.ts';
export { startChunkThreads } from './chunk/threads.ts';
export { copyPoints, type CopyOptions, type CopyResult } from './copy/copy.ts';
export type { WantedPoints } from './copy/selection.ts';
export type { Padding } from './chunk/padding.ts';
export { GEOMETRY } from './config.ts';
export { readConfig } from './config-objects.ts';
export { probeName } from './gc/leftovers.ts';
export { collectGarbage, type GcOptions, type GcResult } from './gc/run.ts';
export { type IndexedPack, ChunkIndex } from './index/chunk-index.ts';
export {
  checkPassphrase,
  type KeySlot,
  readKeySlots,
  removeKeySlot,
  type SlotSecret,
  type WriterKeys,
} from './keys.ts';
export type { HoldTerms, StoredHold } from './hold.ts';
export type { PointFilter, PointsOptions } from './points.ts';
export {
  addPassphrase,
  initWithRecoveryKey,
  type RecoveryKeyKeeper,
  type RotatedKey,
  rotateRecoveryKey,
} from './key-rotation.ts';
export { repositoryHealth, type RepositoryHealthCode } from './health.ts';
export { purgeablePoints } from './purge.ts';
export type { Receipt } from './receipt.ts';
export { isFromFuture, latestPoint, resolvePoint } from './point-name.ts';
export * from './named-point.ts';
export { generateRecoveryKey, isRecoveryKey } from './recovery-key.ts';
export {
  checkPointLabels,
  DISK_ROOT_NAME,
  type EncodedPoint,
  encodePoint,
  FILES_ROOT_NAME,
  openManifest,
  type PointKind,
  type PointRoot,
  type RecoveryPoint,
} from './recovery-point.ts';
export { type InitOptions, initRepository, initWithKeysFrom } from './init.ts';
export {
  type EntrustedKeys,
  type OpenOptions,
  Repository,
  UnlockedRepository,
  WriterRepository,
} from './repository.ts';
export type { Attempt, JobResult } from './session/job.ts';
export type { BegunAttempt, Session } from './session/session.ts';
export { isWholeStored } from './session/whole-point.ts';
export {
  ContentBuilder,
  contentPieces,
  contentPiecesFrom,
  isContentStored,
} from './tree/content-tree.ts';
export { storableAttributes, unstorable } from './tree/entry-limits.ts';
export {
  diskChunkCount,
  diskLeaves,
  DiskTreeBuilder,
  diskTreeLevels,
  type WriteNode,
} from './tree/disk-tree.ts';
export { Notebook } from './notebook.ts';
export type { NodeReader } from './tree/node-reader.ts';
export { DiskTreeReader } from './tree/disk-tree-reader.ts';
export { type BaseDisk, DiskTreeUpdate } from './tree/disk-tree-update.ts';
export { findInFolder, readFolder, readFolderWhole, writeFolder } from './tree/folder-tree.ts';
export { verifyRepository, type VerifyOptions, type VerifyResult } from './verify/verify.ts';
export { repairRepository, type RepairOptions, type RepairResult } from './repair/repair.ts';
