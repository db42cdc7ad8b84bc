/**
 * What is asked of a flow, as a value: flags of a command and JSON of a client are parsed by the same
 * schemas, and the same defaults hold. Who runs it finds points, opens hosts, and knows secrets.
 */
import { CofferError } from '@coffer/base';
import { IMAGE_FORMATS } from '@coffer/disk/image-format.ts';
import * as v from 'valibot';
import { CONFLICTS } from './restore/conflict.ts';

const named = v.pipe(v.string(), v.minLength(1, 'it is empty'));
const absolutePath = v.pipe(v.string(), v.startsWith('/', 'it is no absolute path'));
const no = v.optional(v.boolean(), false);
const list = v.optional(v.array(named), []);
const imageFormat = v.picklist(IMAGE_FORMATS);
const milliseconds = v.pipe(v.number(), v.integer(), v.minValue(0));

/** `ID`, a beginning of one, or `ITEM@latest` and `ITEM@TIME`. */
const point = named;
const libvirtUri = v.optional(named, 'qemu:///system');

const machinePlace = v.union([
  v.strictObject({ folder: absolutePath }),
  v.strictObject({ pool: named }),
]);
/** Of the target, by those that the machine was on. */
const networks = v.optional(v.record(named, named), {});
/** What a restored machine does next; `go-on`: with the memory of the point, instead of booting. */
const Afterwards = v.picklist(['leave-off', 'start', 'go-on']);
export type Afterwards = v.InferOutput<typeof Afterwards>;
const afterwards = v.optional(Afterwards, 'leave-off');

export const RestoreRequest = v.variant('kind', [
  /** Files, or a disk: what it is follows from the point. */
  v.strictObject({
    kind: v.literal('path'),
    point,
    disk: v.optional(named),
    volume: v.optional(named),
    path: v.optional(v.string(), ''),
    target: absolutePath,
    /** Of a new image; undefined for what its name says. */
    format: v.optional(imageFormat),
    /** Undefined: the target has to be empty, or not there. */
    conflict: v.optional(v.picklist(CONFLICTS)),
    /** Of a volume: device nodes, set-id bits and capabilities are restored, too. */
    privileges: no,
    /** Patterns in the syntax of gitignore. */
    include: list,
    dryRun: no,
    verify: no,
  }),
  /** Disks of a machine as images in a folder; with no names, all. */
  v.strictObject({
    kind: v.literal('disks'),
    point,
    disks: list,
    folder: absolutePath,
    format: v.optional(imageFormat, 'raw'),
  }),
  v.strictObject({
    kind: v.literal('machine-as-new'),
    point,
    connect: libvirtUri,
    name: named,
    keepsIdentity: no,
    place: machinePlace,
    networks,
    afterwards,
  }),
  v.strictObject({
    kind: v.literal('machine-in-place'),
    point,
    connect: libvirtUri,
    delta: no,
    afterwards,
  }),
  v.strictObject({
    kind: v.literal('machine-instant'),
    point,
    connect: libvirtUri,
    name: named,
    place: machinePlace,
    networks,
    migrate: no,
  }),
]);
export type RestoreRequest = v.InferOutput<typeof RestoreRequest>;
export type RestoreRequestOf<K extends RestoreRequest['kind']> = Extract<
  RestoreRequest,
  { kind: K }
>;

const ofPoint = {
  /** Undefined: what the source was protected as before, or a name that follows from it. */
  item: v.optional(named),
  tags: v.optional(v.record(named, v.string()), {}),
  /** What is stored is read back; without all of it, no point is made. */
  readsBack: no,
};

const MachinesRequest = v.pipe(
  v.strictObject({
    kind: v.literal('machines'),
    ...ofPoint,
    connect: libvirtUri,
    /** Names or UUIDs. */
    names: v.pipe(v.array(named), v.minLength(1)),
    /** All at one moment, as points that exist all or not at all. */
    together: no,
    /** Fails when less is reached; `best` takes what there is. */
    consistency: v.optional(v.picklist(['application', 'file-system', 'crash', 'best']), 'best'),
    /** Pauses a guest that cannot be frozen. */
    pauses: no,
    memory: no,
    excludedDisks: list,
    scratchFolder: v.optional(absolutePath, '/var/tmp'),
    scratchBytesMax: v.optional(v.pipe(v.number(), v.minValue(1)), Infinity),
    /** How long a job of somebody else is waited for. */
    waitMs: v.optional(milliseconds, 300_000),
    /** Reads all disks whole, and compares with what is known to have changed. */
    checks: no,
    readsSwap: no,
  }),
  v.forward(
    v.check(({ names, item }) => item === undefined || names.length === 1, 'it is for one machine'),
    ['item'],
  ),
  v.forward(
    v.check(
      ({ memory, consistency }) => !memory || consistency !== 'crash',
      'the memory is captured while file systems are frozen',
    ),
    ['memory'],
  ),
);

export const BackupRequest = v.variant('kind', [
  v.strictObject({
    kind: v.literal('files'),
    ...ofPoint,
    path: absolutePath,
    /** Which point unchanged files are known from; `none` reads all. */
    parent: v.optional(named, 'latest'),
    exclude: list,
    oneFileSystem: no,
  }),
  /** An image, a block device, or an export of an NBD server. */
  v.strictObject({
    kind: v.literal('disk'),
    ...ofPoint,
    source: named,
    format: v.optional(imageFormat),
  }),
  MachinesRequest,
]);
export type BackupRequest = v.InferOutput<typeof BackupRequest>;
export type BackupRequestOf<K extends BackupRequest['kind']> = Extract<BackupRequest, { kind: K }>;

export const BootTestRequest = v.strictObject({
  point,
  connect: libvirtUri,
  /** For the guest to answer, or for its screen to stop changing. */
  timeoutMs: v.optional(milliseconds, 300_000),
  /** How long a screen has to be the same, of a guest without an agent. */
  stillMs: v.optional(milliseconds, 20_000),
  /** Of the shell, that has to end well in the guest. */
  command: v.optional(named),
});
export type BootTestRequest = v.InferOutput<typeof BootTestRequest>;

/** Fails with `usage`, naming the first field that is wrong. */
export function parseRequest<S extends v.GenericSchema>(
  schema: S,
  given: unknown,
): v.InferOutput<S> {
  const result = v.safeParse(schema, given);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new CofferError('usage', { field: v.getDotPath(issue) ?? '', reason: issue.message });
}
