/** What happens when the target holds a name already. */
import { CofferError, type FileMetadata } from '@coffer/base';
import type { TargetFolder } from '@coffer/workloads/files/target-folder.ts';
import { substituteName } from '@coffer/workloads/files/target-name.ts';

export const CONFLICTS = ['overwrite', 'skip', 'fail', 'keep-both', 'delta'] as const;

/** `delta` overwrites, and leaves what is equal as it is. */
export type Conflict = (typeof CONFLICTS)[number];

export type PreparedName =
  | {
      readonly outcome: 'create';
      readonly name: Buffer;
      readonly existing: 'none' | 'replace' | 'update';
    }
  /** What is there stays; a folder is merged into it. */
  | { readonly outcome: 'keep'; readonly name: Buffer }
  | { readonly outcome: 'refuse'; readonly reason: string }
  /** The run ends: nothing was to be there. */
  | { readonly outcome: 'fail' };

/** Both versions are kept under at most so many names. */
const KEPT_NAMES_MAX = 1000;

type NamedEntry = Pick<FileMetadata, 'name' | 'type'>;

/** Decides for one entry, and changes nothing. */
export function prepareName(
  target: TargetFolder,
  entry: NamedEntry,
  conflict: Conflict | undefined,
): PreparedName {
  const { name, type } = entry;
  const found = target.typeOf(name);
  // The target may take another name for it, in upper and lower case perhaps: both are kept.
  const isOther = found !== undefined && !target.lists(name);
  // An earlier restore may have given it another name. An empty target has none.
  const other = isOther || conflict !== undefined ? substituteName(name) : name;
  if (found === undefined || isOther)
    return prepareNew(target, entry, { other, isOther, conflict });
  // Folders are merged, whatever is asked for their content.
  if (found === 'directory' && type === 'directory') return { outcome: 'keep', name };
  switch (conflict) {
    // The target was empty, so the source has the name twice, or in upper and lower case.
    case undefined:
      return { outcome: 'refuse', reason: `a ${found} of this name was restored before` };
    case 'skip':
      return type === 'directory'
        ? { outcome: 'refuse', reason: `a ${found} is in the place of a folder` }
        : { outcome: 'keep', name };
    case 'fail':
      return { outcome: 'fail' };
    case 'keep-both':
      return { outcome: 'create', name: freeName(target, name), existing: 'none' };
    case 'overwrite':
    case 'delta':
      return replace(target, entry, found, conflict);
  }
}

/** Nothing that is there has the name; something may have the other one that it would get. */
function prepareNew(
  target: TargetFolder,
  entry: NamedEntry,
  { other, isOther, conflict }: { other: Buffer; isOther: boolean; conflict: Conflict | undefined },
): PreparedName {
  const name = isOther ? other : entry.name;
  if (other === entry.name || target.typeOf(other) === undefined) {
    return { outcome: 'create', name, existing: 'none' };
  }
  return prepareName(target, { ...entry, name: other }, conflict);
}

function replace(
  target: TargetFolder,
  { name, type }: NamedEntry,
  found: NonNullable<ReturnType<TargetFolder['typeOf']>>,
  conflict: 'overwrite' | 'delta',
): PreparedName {
  if (found === 'directory') {
    return { outcome: 'refuse', reason: `a folder is in the place of a ${type}` };
  }
  if (type === 'directory') return { outcome: 'create', name, existing: 'replace' };
  // What is written to a file is written to all of its names, wherever they are.
  const isUpdate =
    conflict === 'delta' && found === 'file' && type === 'file' && !target.isShared(name);
  return { outcome: 'create', name, existing: isUpdate ? 'update' : 'replace' };
}

function freeName(target: TargetFolder, name: Buffer): Buffer {
  for (let attempt = 1; attempt <= KEPT_NAMES_MAX; attempt++) {
    const suffix = Buffer.from(attempt === 1 ? '.restored' : `.restored-${attempt}`);
    const free = Buffer.concat([name.subarray(0, 255 - suffix.length), suffix]);
    if (target.typeOf(free) === undefined) return free;
  }
  throw new CofferError('target-not-empty', { path: name.toString('utf8') });
}
