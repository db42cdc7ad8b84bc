/**
 * Which record somebody means who names a machine. Records know machines by UUID, since names change
 * and are given to others: a name is what libvirt says now, and what the record says only where no
 * machine has that name any more.
 */
import { CofferError, isCofferError } from '@coffer/base';

interface RecordOfVm {
  /** Name of the machine when the record was written. */
  readonly vm: string;
  readonly uuid: string;
  /** URI of libvirt. */
  readonly connect: string;
}

/** The UUID of the machine that has a name at a host now; undefined when none has. */
export type UuidOf = (connect: string, name: string) => Promise<string | undefined>;

/** Who has the wanted name at a libvirt now, or why that cannot be told. */
export type NameOwner = { readonly uuid: string | undefined } | { readonly failure: CofferError };

/**
 * With the name that it was found by; undefined when there is none. Fails with `usage` when the name
 * means several, and with the codes of libvirt.
 */
export async function findRecordNamed<T extends RecordOfVm>(
  records: readonly T[],
  wanted: string,
  uuidOf: UuidOf,
): Promise<T | undefined> {
  const byUuid = records.find(({ uuid }) => uuid === wanted.toLowerCase());
  if (byUuid) return byUuid;
  const owners = new Map<string, NameOwner>();
  for (const { connect } of records) {
    if (!owners.has(connect)) owners.set(connect, await ownerOf(wanted, connect, uuidOf));
  }
  const found = chooseRecord(records, wanted, owners);
  return found && { ...found, vm: wanted };
}

/** Pure. `owners` are by URI. */
export function chooseRecord<T extends RecordOfVm>(
  records: readonly T[],
  wanted: string,
  owners: ReadonlyMap<string, NameOwner>,
): T | undefined {
  const found = records.filter((record) => {
    const owner = owners.get(record.connect) ?? { uuid: undefined };
    const wasNamedSo = record.vm === wanted;
    if ('failure' in owner) {
      if (wasNamedSo) throw owner.failure;
      return false;
    }
    return owner.uuid === undefined ? wasNamedSo : owner.uuid === record.uuid;
  });
  if (found.length < 2) return found[0];
  const uuids = found.map(({ uuid }) => uuid).join(', ');
  throw new CofferError('usage', { vm: wanted, reason: 'it means several: say its UUID', uuids });
}

async function ownerOf(name: string, connect: string, uuidOf: UuidOf): Promise<NameOwner> {
  try {
    return { uuid: await uuidOf(connect, name) };
  } catch (error) {
    if (isCofferError(error)) return { failure: error };
    throw error;
  }
}
