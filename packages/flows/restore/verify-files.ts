/** Reads restored files back and compares them with what they were restored from. */
import { closeSync, constants, openSync } from 'node:fs';
import { isCofferError, systemErrorCode } from '@coffer/base';
import { joinPath } from '@coffer/workloads/files/metadata.ts';
import type { FilesSource } from './files-source.ts';
import { type WalkedEntry, type WalkOptions, walkSource } from './walk-source.ts';

export async function verifyFiles(
  source: FilesSource,
  target: string,
  options: WalkOptions,
): Promise<void> {
  await walkSource(source, options, async (walked) => {
    if (walked.entry.type !== 'file') return;
    const { findings } = options;
    await findings.attempt(walked.relative, async () => {
      const reason = await difference(source, walked, Buffer.from(target));
      if (reason !== undefined) findings.add('differs', walked.relative, reason);
    });
  });
}

async function difference(
  source: FilesSource,
  { entry, relative }: WalkedEntry,
  target: Buffer,
): Promise<string | undefined> {
  try {
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
    const fd = openSync(joinPath(target, relative), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
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
