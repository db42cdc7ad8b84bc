/** The config: what a repository is. FORMAT.md, section 3; `config-objects.ts` keeps it in the store. */
import { CofferError, deriveKey, type Random } from '@coffer/base';
import * as v from 'valibot';
import { type Padding, PADDINGS } from './chunk/padding.ts';
import { count, decodeRecord, encodeChecked, hexOf } from './record.ts';

const Config = v.object({
  /** Random identity of this repository. */
  repositoryId: hexOf(16),
  /** X25519 public key: what is sealed to it can be read with the private key only. */
  publicKey: hexOf(32),
  /** Tells that a hash key is the right one, without telling the hash key. */
  hashKeyCheck: hexOf(32),
  diskChunkSizeBytes: count,
  nodeFanOut: count,
  fileChunkSizeBytes: v.object({ min: count, mean: count, max: count }),
  /** What the sizes of chunks tell; every writer follows it. */
  padding: v.picklist(PADDINGS),
  createdAt: count,
});

export type RepositoryConfig = v.InferOutput<typeof Config>;

/** The sizes of format version 1. */
export const GEOMETRY = {
  diskChunkSizeBytes: 256 * 1024,
  /** 512 children a node: three levels hold 2^27 chunks, which is 32 TiB of disk. */
  nodeFanOut: 512,
  fileChunkSizeBytes: { min: 64 * 1024, mean: 256 * 1024, max: 1024 * 1024 },
} as const;

/** No chunk is larger than this, before or after sealing. */
export const CHUNK_SIZE_BYTES_MAX = 1024 * 1024 + 1024;

export interface NewConfig {
  readonly publicKey: Buffer;
  readonly hashKey: Buffer;
  readonly createdAt: number;
  readonly random: Random;
  readonly padding?: Padding | undefined;
}

/** Measured, and reasoned, in decision 0023. */
const DEFAULT_PADDING: Padding = 'classes';

export function newConfig({
  publicKey,
  hashKey,
  createdAt,
  random,
  padding = DEFAULT_PADDING,
}: NewConfig): RepositoryConfig {
  return {
    repositoryId: random.bytes(16).toString('hex'),
    publicKey: publicKey.toString('hex'),
    hashKeyCheck: hashKeyCheck(hashKey),
    ...GEOMETRY,
    padding,
    createdAt,
  };
}

export function hashKeyCheck(hashKey: Buffer): string {
  return deriveKey('coffer 1 hash key check', hashKey).toString('hex');
}

export function encodeConfig(config: RepositoryConfig): Buffer {
  assertGeometry(config);
  return encodeChecked('config', Config, config);
}

/** Fails with `object-damaged` or `repository-version`. */
export function decodeConfig(bytes: Buffer, name: string): RepositoryConfig {
  const config = decodeRecord('config', Config, bytes, name);
  assertGeometry(config);
  return config;
}

function assertGeometry(config: RepositoryConfig): void {
  const same =
    config.diskChunkSizeBytes === GEOMETRY.diskChunkSizeBytes &&
    config.nodeFanOut === GEOMETRY.nodeFanOut &&
    config.fileChunkSizeBytes.min === GEOMETRY.fileChunkSizeBytes.min &&
    config.fileChunkSizeBytes.mean === GEOMETRY.fileChunkSizeBytes.mean &&
    config.fileChunkSizeBytes.max === GEOMETRY.fileChunkSizeBytes.max;
  if (!same) throw new CofferError('repository-version', { reason: 'other chunk sizes' });
}
