/** `coffer diff`. */
import { CofferError } from '@coffer/base';
import { diffDisks } from '@coffer/flows/browse/diff-disks.ts';
import { diffFolders, type FileDifference } from '@coffer/flows/browse/diff-files.ts';
import { rootFolder } from '@coffer/flows/root-folder.ts';
import type { ChunkReader, RecoveryPoint } from '@coffer/repository';
import { LinePrinter, printJson } from '../output.ts';
import { printable } from '../printable.ts';
import { interruptSignal } from '../run.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export async function runDiff(
  nameBefore: string,
  nameAfter: string,
  options: GlobalOptions,
): Promise<void> {
  await withUnlocked(options, async (repository) => {
    const before = await namedPoint(repository, nameBefore);
    const after = await namedPoint(repository, nameAfter);
    if (before.kind !== after.kind) {
      throw new CofferError('kind-mismatch', { before: before.kind, after: after.kind });
    }
    const reader = repository.reader();
    const documents: unknown[] = [];
    const lines = new LinePrinter();
    for await (const { document, line } of differences(reader, before, after)) {
      interruptSignal.throwIfAborted();
      if (options.json) documents.push(document);
      else lines.add(line);
    }
    if (options.json) printJson(documents);
    lines.flush();
  });
}

interface Shown {
  readonly document: unknown;
  readonly line: string;
}

async function* differences(
  reader: ChunkReader,
  before: RecoveryPoint,
  after: RecoveryPoint,
): AsyncGenerator<Shown> {
  if (before.kind === 'files') {
    for await (const each of diffFolders(reader, rootFolder(before), rootFolder(after))) {
      yield showFile(each);
    }
    return;
  }
  for await (const range of diffDisks(reader, diskOf(before), diskOf(after))) {
    yield { document: range, line: `${range.offset} ${range.length}` };
  }
}

const LETTERS = { added: 'A', removed: 'R', modified: 'M', metadata: 'm' } as const;

function showFile({ path, change, entry }: FileDifference): Shown {
  const { type, sizeBytes } = entry;
  const slash = type === 'directory' ? '/' : '';
  return {
    document: { path, change, type, sizeBytes },
    line: `${LETTERS[change]} ${printable(path)}${slash}`,
  };
}

function diskOf(point: RecoveryPoint): { root: Buffer; sizeBytes: number } {
  return { root: rootFolder(point), sizeBytes: point.roots[0]?.sizeBytes ?? 0 };
}
