/** What a point's sealed manifest holds: where the state came from, and what the run found. */
import { CofferError, type Finding } from '@coffer/base';
import type { FolderMetadata } from '@coffer/workloads/files/target-metadata.ts';
import { CONSISTENCIES, FILE_ROLES } from '@coffer/workloads/vm-capture.ts';
import * as v from 'valibot';

/** So many findings are kept in a point; their number is kept whole. */
const FINDINGS_KEPT_MAX = 1000;
/** Paths may be of any length; a manifest may not. */
const TEXT_LENGTH_MAX = 1024;

/** Codes may be those of a newer program. */
const FindingRecord = v.object({
  code: v.string(),
  subject: v.object({ kind: v.string(), name: v.string() }),
  details: v.record(v.string(), v.union([v.string(), v.number(), v.boolean()])),
});

type KeptDetails = v.InferOutput<typeof FindingRecord>['details'];

const definition = v.pipe(v.string(), v.maxLength(16 * 1024 * 1024));

/** What a virtual machine was when it was captured. */
const VmManifest = v.object({
  name: v.string(),
  uuid: v.string(),
  /** The definition, with its secrets. */
  xml: definition,
  consistency: v.object({
    level: v.picklist(CONSISTENCIES),
    reason: v.optional(v.string()),
    isFailure: v.boolean(),
    frozenMs: v.number(),
  }),
  /** Of libvirt: what a later backup can be based on. */
  checkpoint: v.optional(v.object({ name: v.string(), xml: definition })),
  /** Machines that were captured at the same moment, by UUID: one consistency group. */
  together: v.optional(v.array(v.string())),
  /** Which roots are disks. */
  disks: v.array(
    v.object({
      name: v.string(),
      format: v.string(),
      path: v.string(),
      /** Tell the files of its image from others. */
      identities: v.array(v.string()),
      /** Why it was read whole. */
      reason: v.optional(v.string()),
    }),
  ),
  /** Which roots are files of the host. */
  files: v.array(v.object({ name: v.string(), role: v.picklist(FILE_ROLES), path: v.string() })),
  excluded: v.array(v.object({ name: v.string(), reason: v.string() })),
  /** Swap that was not read. */
  swap: v.optional(
    v.array(
      v.object({
        disk: v.string(),
        area: v.string(),
        ranges: v.array(v.object({ offset: v.number(), length: v.number() })),
      }),
    ),
  ),
});

export type VmManifest = v.InferOutput<typeof VmManifest>;

const Manifest = v.object({
  host: v.string(),
  sourcePath: v.string(),
  /** Metadata of the root folder itself, which has no name in a folder. */
  rootFolder: v.optional(
    v.object({
      mode: v.number(),
      userId: v.number(),
      groupId: v.number(),
      modifiedNs: v.pipe(v.string(), v.regex(/^-?\d{1,30}$/)),
      extendedAttributes: v.array(v.object({ name: v.string(), value: v.string() })),
    }),
  ),
  fileCount: v.optional(v.number()),
  vm: v.optional(VmManifest),
  findingCount: v.number(),
  findings: v.array(FindingRecord),
  bytesRead: v.number(),
  bytesStored: v.number(),
  durationMs: v.number(),
});

export type Manifest = v.InferOutput<typeof Manifest>;
export type RootFolder = Manifest['rootFolder'];

export function keptFindings(
  findings: readonly Finding[],
): Pick<Manifest, 'findingCount' | 'findings'> {
  return {
    findingCount: findings.length,
    findings: findings.slice(0, FINDINGS_KEPT_MAX).map(({ code, subject, details }) => ({
      code,
      subject: { kind: subject.kind, name: shortened(subject.name) },
      details: shortenedDetails(details),
    })),
  };
}

function shortenedDetails(details: Finding['details']): KeptDetails {
  const kept: KeptDetails = {};
  for (const [name, value] of Object.entries(details)) {
    if (value !== undefined) kept[name] = typeof value === 'string' ? shortened(value) : value;
  }
  return kept;
}

function shortened(text: string): string {
  return text.length <= TEXT_LENGTH_MAX ? text : `${text.slice(0, TEXT_LENGTH_MAX - 1)}…`;
}

/** Fails with `object-damaged` when the content is not a manifest: any writer could seal one. */
export function parseManifest(content: unknown): Manifest {
  const result = v.safeParse(Manifest, content);
  if (result.success) return result.output;
  throw new CofferError('object-damaged', { what: 'manifest', reason: result.issues[0].message });
}

/** The metadata of the root folder, where the point has it. */
export function rootMetadata(stored: RootFolder): FolderMetadata | undefined {
  return (
    stored && {
      ...stored,
      modifiedNs: BigInt(stored.modifiedNs),
      extendedAttributes: stored.extendedAttributes.map(({ name, value }) => ({
        name: Buffer.from(name, 'base64'),
        value: Buffer.from(value, 'base64'),
      })),
    }
  );
}
