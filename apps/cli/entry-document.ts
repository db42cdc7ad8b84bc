/** A name of a point as JSON says it. */
import { isUtf8 } from 'node:buffer';
import type { FileMetadata } from '@coffer/base';
import { isoTimeOfNs } from './output.ts';

export interface EntryDocument {
  readonly path: string;
  /** Where the path is not UTF-8: its bytes, since the text has lost some. */
  readonly pathBase64?: string;
  readonly type: FileMetadata['type'];
  /** Octal, as chmod takes it. */
  readonly mode: string;
  readonly userId: number;
  readonly groupId: number;
  readonly sizeBytes: number;
  readonly modifiedAt: string;
  readonly linkTarget?: string;
}

export function entryDocument(entry: FileMetadata, relative: Buffer): EntryDocument {
  const { type, mode, userId, groupId, sizeBytes, modifiedNs, linkTarget } = entry;
  return {
    path: relative.toString('utf8'),
    ...(isUtf8(relative) ? {} : { pathBase64: relative.toString('base64') }),
    type,
    mode: mode.toString(8).padStart(4, '0'),
    userId,
    groupId,
    sizeBytes,
    modifiedAt: isoTimeOfNs(modifiedNs),
    ...(linkTarget ? { linkTarget: linkTarget.toString('utf8') } : {}),
  };
}
