/**
 * The table of findings: what a run met and went on from. A finding has a code of this table, or that
 * of an error which happened to one thing among many. What it means for people is said where it is
 * shown, out of its code, its subject and its facts.
 */
import { type CofferError, ERRORS, type ErrorCode, type ErrorDetails } from './errors.ts';

/**
 * `note`: all is as asked; worth knowing. `warning`: it is done, and something is not as it was, or
 * could be better. `loss`: of the subject, what was asked for is not there.
 */
export type Severity = 'note' | 'warning' | 'loss';

interface FindingRow {
  readonly severity: Severity;
  /** What was found, for people. */
  readonly title: string;
}

function note(title: string): FindingRow {
  return { severity: 'note', title };
}

function warning(title: string): FindingRow {
  return { severity: 'warning', title };
}

function loss(title: string): FindingRow {
  return { severity: 'loss', title };
}

const FINDINGS_OF_BACKUPS = {
  unreadable: loss('it could not be read, and is not in the point'),
  'folder-unreadable': loss('what is in the folder could not be read'),
  'attributes-unreadable': warning('some of its attributes are not in the point'),
  unstorable: loss('a point cannot hold it'),
  vanished: note('it was gone before it was read'),
  changed: warning('it changed while it was read'),
  'parent-unreadable': warning('the parent point is damaged: all was read'),
  'consistency-reduced': warning('the machine was captured less consistent than was tried'),
  'image-outdated': warning('its image is of an old version: it is read whole each time'),
  'change-untracked': loss(
    'it had changed without being tracked: points since then lack the change',
  ),
  'point-from-future': warning(
    'it was taken later than now by the clock of its host, which was wrong, unless this one is; it is passed over as the latest: remove it when it is not needed',
  ),
  'failed-afterwards': warning('after the point was made, something failed'),
  'notebook-lost': note('what the last run noted is not there: all was read'),
} as const satisfies Record<string, FindingRow>;

const FINDINGS_OF_RESTORES = {
  conflict: loss('something else is in its place'),
  differs: loss('it differs from the point'),
  'not-restored': loss('it was not restored'),
  'link-not-restored': loss('the target cannot have such links'),
  'node-not-restored': loss('the target cannot have such nodes'),
  'owner-not-restored': warning('its owner was not restored'),
  'attribute-not-restored': warning('some of its attributes were not restored'),
  'mode-not-restored': warning('its permissions were not restored'),
  'time-not-restored': warning('its time was not restored'),
  'hard-link-not-restored': warning('its names are files of their own'),
  'name-not-restored': warning('the target cannot hold its name'),
} as const satisfies Record<string, FindingRow>;

const FINDINGS_OF_MACHINES = {
  'disk-not-restored': warning('the machine has no such disk any more; it was not restored'),
  'disk-untouched': note('the point has no such disk; it was left as it is'),
  'data-file-left': note('its old image had its data in a file of its own, which stays'),
  'changed-in-place': warning(
    'it is a device: once the machine runs, its old state cannot come back',
  ),
  'variables-not-restored': warning(
    'the machine has no file of UEFI variables any more; they were not restored',
  ),
  'tpm-state-not-restored': warning('the machine has no TPM any more; its state was not restored'),
  'tpm-state-lost': warning('the state of the TPM has no place here: the guest finds an empty one'),
  'point-still-held': warning('the point is held still, though nothing needs it'),
  'disk-dropped': warning('a disk is not in the recovery point and is left out'),
  'medium-ejected': note('a medium is not in the recovery point; its drive is empty'),
  'encryption-dropped': warning('the image of a disk was encrypted; the restored one is not'),
  'host-device-dropped': warning('a device of the host was passed through and is left out'),
  'host-folder-dropped': warning('a folder of the host was shared and is left out'),
  'shared-memory-dropped': warning('memory shared with other machines is left out'),
  'lease-dropped': warning('a lock of a lock manager is left out'),
  'console-redirected': note(
    'a console or channel led to the host and now has a terminal of its own',
  ),
  'channel-dropped': warning('a channel led to a program of the host and is left out'),
  'ports-renewed': note('fixed ports of a display would collide and are chosen at the start'),
  'variables-new': warning('the UEFI variables are not in the recovery point and are made anew'),
  'secret-needed': warning(
    'the state of the TPM is encrypted; libvirt needs this secret at the target',
  ),
  'file-dropped': warning(
    'something used a file of the host that is not in the recovery point; left out',
  ),
} as const satisfies Record<string, FindingRow>;

const FINDINGS_OF_REPOSITORIES = {
  'point-damaged': loss('it cannot be restored whole'),
  'point-lost': loss('it is gone, and nobody has removed it'),
  'points-hidden': loss('a record of a garbage collection hides points that are there'),
  'index-hidden': loss('a record of a garbage collection hides objects that say where chunks lie'),
  'pack-missing': loss('the pack is missing'),
  'pack-damaged': loss('the pack is damaged'),
  'pack-forged': loss('the pack has chunks that are not what their ids say'),
  'record-renewed': loss('a damaged record was written anew'),
  'record-dropped': loss('a damaged record was dropped'),
  'point-dropped': loss('the record of a point was damaged: the point was dropped'),
  'clock-differs': warning(
    'the clock of this host is not that of the store: one of them is wrong, and so are times of points',
  ),
  'session-closed': loss('the record of a session was damaged: the session was closed'),
} as const satisfies Record<string, FindingRow>;

const FINDINGS: Record<string, FindingRow> & Record<FoundCode, FindingRow> = {
  ...FINDINGS_OF_BACKUPS,
  ...FINDINGS_OF_RESTORES,
  ...FINDINGS_OF_MACHINES,
  ...FINDINGS_OF_REPOSITORIES,
};

type FoundCode =
  | keyof typeof FINDINGS_OF_BACKUPS
  | keyof typeof FINDINGS_OF_RESTORES
  | keyof typeof FINDINGS_OF_MACHINES
  | keyof typeof FINDINGS_OF_REPOSITORIES;

export type FindingCode = FoundCode | ErrorCode;

/** What a finding is about. */
export interface Subject {
  readonly kind: 'path' | 'disk' | 'machine' | 'point' | 'object' | 'repository';
  /** Paths are as `textOfBytes` says them, from where the run began; empty for that itself. */
  readonly name: string;
}

export interface Finding {
  readonly code: FindingCode;
  readonly subject: Subject;
  readonly details: ErrorDetails;
}

export function severityOf({ code }: Pick<Finding, 'code'>): Severity {
  return FINDINGS[code]?.severity ?? 'loss';
}

/** Of a finding that a point or a newer program tells, whose code may be any. */
export function titleOf(code: string): string {
  if (Object.hasOwn(FINDINGS, code)) return FINDINGS[code]!.title;
  return isErrorCode(code) ? ERRORS[code].title : code;
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERRORS, code);
}

/** That an error happened to one thing among many. */
export function findingOf({ code, details }: CofferError, subject: Subject): Finding {
  return { code, subject, details };
}

/** That stored data is damaged or gone, whoever meets it. */
const DAMAGES = ['chunk-damaged', 'chunk-missing', 'object-damaged'] as const;

/** The code of a finding which says that stored data is damaged or gone; undefined for all others. */
export function damageIn({ code }: Finding): (typeof DAMAGES)[number] | undefined {
  return DAMAGES.find((each) => each === code);
}
