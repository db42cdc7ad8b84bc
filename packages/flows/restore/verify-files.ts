/** Reads restored files back and compares them with what they were restored from. */
import { closeSync } from 'node:fs';
import { isCofferError, systemErrorCode } from '@coffer/base';
import {
  openBelow,
  OPEN_FOLDER,
  OPEN_NAME,
  OPEN_NO_WAIT,
  OPEN_READ,
  openPath,
} from '@coffer/base/folder-calls.ts';
import { joinPath } from '@coffer/workloads/files/metadata.ts';
import type { FilesSource } from './files-source.ts';
import { type WalkedEntry, type WalkOptions, walkSource } from './walk-source.ts';

export interface VerifyOptions extends WalkOptions {
  /** What has another name in the target: `FilesRestoreResult.names`. */
  readonly names: ReadonlyMap<string, Buffer>;
}

export async function verifyFiles(
  source: FilesSource,
  targetPath: Buffer,
  options: VerifyOptions,
): Promise<void> {
  const target = openPath(targetPath, OPEN_NAME | OPEN_FOLDER);
  try {
    await walkSource(source, options, async (walked) => {
      if (walked.entry.type !== 'file') return;
      const { findings, names } = options;
      await findings.attempt(walked.relative, async () => {
        const there = namedPath(walked.relative, names);
        const reason = await difference(source, walked, () =>
          openBelow(target, there, OPEN_READ | OPEN_NO_WAIT),
        );
        if (reason !== undefined) findings.add('differs', walked.relative, reason);
      });
    });
  } finally {
    closeSync(target);
  }
}

/** The path by the names that the target has. */
function namedPath(relative: Buffer, names: ReadonlyMap<string, Buffer>): Buffer {
  if (names.size === 0) return relative;
  let named: Buffer = Buffer.alloc(0);
  let end = 0;
  while (end < relative.length) {
    const start = end === 0 ? 0 : end + 1;
    const found = relative.indexOf(SLASH, start);
    end = found < 0 ? relative.length : found;
    const name = names.get(relative.toString('latin1', 0, end)) ?? relative.subarray(start, end);
    named = joinPath(named, name);
  }
  return named;
}

const SLASH = 0x2f;

async function difference(
  source: FilesSource,
  { entry }: WalkedEntry,
  open: () => number,
): Promise<string | undefined> {
  try {
    const fd = open();
    try {
      return await source.difference(entry, fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (isCofferError(error) || systemErrorCode(error) === undefined) throw error;
    return error instanceof Error ? error.message : String(error);
  }
}
