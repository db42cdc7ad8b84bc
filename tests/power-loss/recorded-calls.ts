/** System calls of a filesystem store that are carried out, and written down in their order. */
import * as files from 'node:fs/promises';
import { relative } from 'node:path';
import type { FileCalls } from '@coffer/storage/filesystem/calls.ts';

/**
 * What happened, in the order in which it ended. A sync makes durable what ended before it began:
 * `since` is the length of the record at that moment.
 */
export type Step =
  | { readonly type: 'mkdir'; readonly path: string }
  | { readonly type: 'create'; readonly path: string; readonly file: number }
  | { readonly type: 'write'; readonly file: number; readonly bytes: Buffer }
  | { readonly type: 'sync-file'; readonly file: number; readonly since: number }
  | { readonly type: 'sync-folder'; readonly path: string; readonly since: number }
  | { readonly type: 'link'; readonly from: string; readonly to: string }
  | { readonly type: 'rename'; readonly from: string; readonly to: string }
  | { readonly type: 'unlink'; readonly path: string }
  /** Something that the caller of the store was told, or asked for. */
  | { readonly type: 'event'; readonly event: PointEvent };

export type PointEvent =
  /** The commit of the point has returned. */
  | { readonly type: 'committed'; readonly point: string }
  /** Somebody begins to remove the point. */
  | { readonly type: 'removing'; readonly point: string };

export interface Recording {
  readonly calls: FileCalls;
  readonly record: Step[];
}

/** Paths in the record are relative to `root`, which exists and is durable; it may have no links. */
export function recordCalls(root: string, hasLinks: boolean): Recording {
  const record: Step[] = [];
  const inside = (path: unknown): string => relative(root, String(path));
  let fileCount = 0;

  async function open(path: string, flags: string, mode?: number): Promise<files.FileHandle> {
    const handle = await files.open(path, flags, mode);
    const file = flags === 'r' ? undefined : fileCount++;
    if (file !== undefined) record.push({ type: 'create', path: inside(path), file });
    return recordHandle(handle, file, inside(path));
  }

  function recordHandle(
    handle: files.FileHandle,
    file: number | undefined,
    path: string,
  ): files.FileHandle {
    const write = handle.write.bind(handle) as (
      bytes: Uint8Array,
      offset: number,
      length: number,
    ) => Promise<{ bytesWritten: number }>;
    const sync = handle.sync.bind(handle);
    return Object.assign(handle, {
      write: async (bytes: Uint8Array, offset: number, length: number) => {
        const result = await write(bytes, offset, length);
        const written = Buffer.from(bytes.subarray(offset, offset + result.bytesWritten));
        record.push({ type: 'write', file: file!, bytes: written });
        return result;
      },
      sync: async () => {
        const since = record.length;
        await sync();
        if (file === undefined) record.push({ type: 'sync-folder', path, since });
        else record.push({ type: 'sync-file', file, since });
      },
    });
  }

  const calls = {
    open,
    mkdir: async (path: string, options: object) => {
      await files.mkdir(path, options);
      record.push({ type: 'mkdir', path: inside(path) });
    },
    link: async (from: string, to: string) => {
      if (!hasLinks) throw Object.assign(new Error('no links'), { code: 'EPERM' });
      await files.link(from, to);
      record.push({ type: 'link', from: inside(from), to: inside(to) });
    },
    rename: async (from: string, to: string) => {
      await files.rename(from, to);
      record.push({ type: 'rename', from: inside(from), to: inside(to) });
    },
    unlink: async (path: string) => {
      await files.unlink(path);
      record.push({ type: 'unlink', path: inside(path) });
    },
  };
  return { calls: calls as unknown as FileCalls, record };
}

/** Carries calls out and syncs nothing: for what is thrown away at once. */
export const unsyncedCalls = {
  ...files,
  open: async (path: string, flags: string, mode?: number) =>
    Object.assign(await files.open(path, flags, mode), { sync: async () => {} }),
} as unknown as FileCalls;
