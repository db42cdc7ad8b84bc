/** Structures that several procedures and events of libvirt share (its remote_protocol.x). */
import { CofferError } from '@coffer/base';
import { type XdrReader, type XdrWriter } from './xdr-codec.ts';

const UUID_BYTES = 16;
/** Libvirt's own limits of lists lie below or at this. */
const PARAMETER_COUNT_MAX = 262_144;

/** A virtual machine, as libvirt names it. */
export interface Domain {
  readonly name: string;
  /** In the usual form, with dashes. It alone decides which machine is meant. */
  readonly uuid: string;
  /** The number of a running machine, otherwise -1. */
  readonly id: number;
}

/** A network or a storage pool. */
export interface NamedObject {
  readonly name: string;
  readonly uuid: string;
}

/** A volume of a storage pool. */
export interface StorageVolume {
  readonly pool: string;
  readonly name: string;
  readonly key: string;
}

export interface CheckpointReference {
  readonly name: string;
  readonly domain: Domain;
}

/** Values by name, as libvirt describes jobs and guests. 64-bit integers are rounded beyond 2^53. */
export type Parameters = ReadonlyMap<string, number | boolean | string>;

export function writeUuid(to: XdrWriter, uuid: string): void {
  const digits = uuid.replaceAll('-', '');
  if (!/^[0-9a-f]{32}$/i.test(digits)) throw new CofferError('vm-not-found', { uuid });
  to.raw(Buffer.from(digits, 'hex'));
}

function readUuid(from: XdrReader): string {
  const digits = from.raw(UUID_BYTES).toString('hex');
  const cuts = [0, 8, 12, 16, 20, 32];
  return cuts
    .slice(1)
    .map((end, index) => digits.slice(cuts[index], end))
    .join('-');
}

export function writeDomain(to: XdrWriter, domain: Domain): void {
  to.text(domain.name);
  writeUuid(to, domain.uuid);
  to.i32(domain.id);
}

export function readDomain(from: XdrReader): Domain {
  return { name: from.text(), uuid: readUuid(from), id: from.i32() };
}

export function writeNamedObject(to: XdrWriter, object: NamedObject): void {
  to.text(object.name);
  writeUuid(to, object.uuid);
}

export function readNamedObject(from: XdrReader): NamedObject {
  return { name: from.text(), uuid: readUuid(from) };
}

export function writeVolume(to: XdrWriter, volume: StorageVolume): void {
  to.text(volume.pool).text(volume.name).text(volume.key);
}

export function readVolume(from: XdrReader): StorageVolume {
  return { pool: from.text(), name: from.text(), key: from.text() };
}

export function writeCheckpoint(to: XdrWriter, checkpoint: CheckpointReference): void {
  to.text(checkpoint.name);
  writeDomain(to, checkpoint.domain);
}

export function readCheckpoint(from: XdrReader): CheckpointReference {
  return { name: from.text(), domain: readDomain(from) };
}

/** virTypedParameter. */
export function readParameters(from: XdrReader): Parameters {
  const entries = from.array(PARAMETER_COUNT_MAX, () => {
    return [from.text(), readParameterValue(from)] as const;
  });
  return new Map(entries);
}

function readParameterValue(from: XdrReader): number | boolean | string {
  const type = from.i32();
  switch (type) {
    case 1:
      return from.i32();
    case 2:
      return from.u32();
    case 3:
      return from.i64();
    case 4:
      return from.u64();
    case 5:
      return from.double();
    case 6:
      return from.boolean();
    case 7:
      return from.text();
    default:
      throw from.damaged(`type ${type} of a parameter is unknown`);
  }
}
