/**
 * Keys of a repository and the slots that keep them.
 *
 * A slot wraps the private key and the hash key under a passphrase or the recovery key. Slots are
 * objects of their own (`keys/<id>`), so that they are added and removed without rewriting anything.
 * The name of a slot follows from its secret, so unlocking derives one key and reads one object,
 * however many slots somebody has put there. Invariants: a slot says whose keys it wraps, and only those of the config count, so an init that
 * was killed leaves slots that nobody sees; what a slot opens to is accepted only when it matches
 * the config, so a slot that a stranger put into the store opens nothing. FORMAT.md, section 5.
 */
import { createCipheriv, createDecipheriv, hkdfSync, scrypt } from 'node:crypto';
import { CofferError, isCofferError, mapBounded } from '@coffer/base';
import { type ObjectStore, refuseAppendOnly } from '@coffer/storage/object-store.ts';
import * as v from 'valibot';
import { hashKeyCheck, type RepositoryConfig } from './config.ts';
import { count, decodeRecord, encodeChecked, hexOf } from './record.ts';
import { isRecoveryKey, recoverySecret } from './recovery-key.ts';
import { publicKeyOf } from './sealed-box.ts';
import { getRecordIfThere, putIfAbsent } from './store-calls.ts';

export const PASSPHRASE_LENGTH_MIN = 16;

/** What a writer needs: it can add points and cannot read them. */
export interface WriterKeys {
  readonly publicKey: Buffer;
  readonly hashKey: Buffer;
}

/** What a reader needs besides. */
export interface RepositoryKeys extends WriterKeys {
  readonly privateKey: Buffer;
}

// 64 MiB and about 0.15 s: a guess costs an attacker as much.
const SCRYPT = { N: 65_536, r: 8, p: 1, maxmem: 128 * 1024 * 1024 } as const;

const FOLDER = 'keys/';
const SLOT_NAME = /^keys\/[0-9a-f]{16}$/;
/** Slots read at once when all of them are. */
const FETCHES_AT_ONCE = 16;

const KeyRecord = v.object({
  /** Of the key domain. */
  publicKey: hexOf(32),
  kind: v.picklist(['passphrase', 'recovery']),
  label: v.pipe(v.string(), v.maxLength(200)),
  createdAt: count,
  wrapped: hexOf(80),
});

export interface KeySlot extends v.InferOutput<typeof KeyRecord> {
  /** Its name in `keys/`, 8 bytes in hexadecimal that follow from its secret. */
  readonly slot: string;
}

/** Where slots lie, and which of them count. */
export interface SlotFolder {
  readonly store: ObjectStore;
  readonly config: Pick<RepositoryConfig, 'publicKey'>;
}

export interface NewSlot {
  readonly keys: RepositoryKeys;
  readonly kind: KeySlot['kind'];
  /** The passphrase or the recovery key. */
  readonly secret: string;
  readonly label: string;
  readonly createdAt: number;
}

/** Fails with `passphrase-weak` when a passphrase is too short. */
export function checkPassphrase(passphrase: string): void {
  const { length } = Array.from(passphrase);
  if (length < PASSPHRASE_LENGTH_MIN) throw new CofferError('passphrase-weak', { length });
}

export async function newKeySlot(options: NewSlot): Promise<KeySlot> {
  const { keys, kind, secret, label, createdAt } = options;
  if (kind === 'passphrase') checkPassphrase(secret);
  const { slot, key } = await deriveSlot(kind, secret, keys.publicKey);
  const publicKey = keys.publicKey.toString('hex');
  return { slot, publicKey, kind, label, createdAt, wrapped: wrap(key, keys).toString('hex') };
}

/** Fails with `key-slot-exists` when the secret has a slot. */
export async function addKeySlot(store: ObjectStore, keySlot: KeySlot): Promise<void> {
  const { slot } = keySlot;
  try {
    await store.put(slotName(slot), encodeKeySlot(keySlot));
  } catch (error) {
    if (!isCofferError(error, 'object-exists')) throw error;
    throw new CofferError('key-slot-exists', { slot }, error);
  }
}

/** Writes a slot of a new repository. */
export async function writeKeySlot(store: ObjectStore, keySlot: KeySlot): Promise<void> {
  // An init with the keys of another repository may have been killed after it wrote the same slot.
  await putIfAbsent(store, slotName(keySlot.slot), encodeKeySlot(keySlot));
}

/** Fails with `usage` for a label that is too long. */
export function encodeKeySlot({ slot: _slot, ...record }: KeySlot): Buffer {
  return encodeChecked('key', KeyRecord, record);
}

/** Fails with `object-damaged`. */
export function decodeKeySlot(slot: string, bytes: Buffer): KeySlot {
  return { slot, ...decodeRecord('key', KeyRecord, bytes, slotName(slot)) };
}

/** Damaged slots are told to `onDamaged`, or thrown: another slot may open. */
export async function readKeySlots(
  { store, config }: SlotFolder,
  onDamaged?: (error: CofferError, name: string) => void,
): Promise<KeySlot[]> {
  const slots = await readAllSlots(store, onDamaged);
  return slots
    .filter(({ publicKey }) => publicKey === config.publicKey)
    .sort((a, b) => a.createdAt - b.createdAt);
}

/** Once there is a config, slots of other keys are what an init left that was killed or too late. */
export async function removeSlotsOfOthers({ store, config }: SlotFolder): Promise<void> {
  // Nobody reads them: they can stay where nobody deletes.
  if (!store.capabilities.deletes) return;
  const slots = await readAllSlots(store, () => {});
  for (const { slot, publicKey } of slots) {
    if (publicKey !== config.publicKey) await store.delete(slotName(slot));
  }
}

async function readAllSlots(
  store: ObjectStore,
  onDamaged: ((error: CofferError, name: string) => void) | undefined,
): Promise<KeySlot[]> {
  const names: string[] = [];
  for await (const { name } of store.list('keys/')) if (SLOT_NAME.test(name)) names.push(name);
  const slots = await mapBounded(names, FETCHES_AT_ONCE, async (name) => {
    try {
      return await readSlot(store, name);
    } catch (error) {
      if (!onDamaged || !isCofferError(error, 'object-damaged')) throw error;
      onDamaged(error, name);
      return undefined;
    }
  });
  return slots.filter((slot) => slot !== undefined);
}

/** Undefined when there is no such slot. */
async function readSlot(store: ObjectStore, name: string): Promise<KeySlot | undefined> {
  const bytes = await getRecordIfThere(store, name);
  if (!bytes) return undefined;
  return decodeKeySlot(name.slice(FOLDER.length), bytes);
}

/** Removes a slot by its name or enough of its beginning. Damaged ones open nothing: they do not count. */
export async function removeKeySlot(folder: SlotFolder, slot: string): Promise<void> {
  refuseAppendOnly(folder.store);
  const slots = await readKeySlots(folder, () => {});
  const found = slots.filter((each) => each.slot.startsWith(slot));
  if (slot.length < 4 || found.length !== 1) throw new CofferError('key-slot-not-found', { slot });
  if (slots.length === 1) throw new CofferError('key-slot-last', { slot });
  await folder.store.delete(slotName(found[0]!.slot));
}

/**
 * The keys that `secret` (a passphrase or the recovery key) opens. Fails with `passphrase-wrong`, or
 * with `object-damaged` when the secret has a slot that does not open.
 */
export async function unlockKeys(
  { store, config }: { readonly store: ObjectStore; readonly config: RepositoryConfig },
  secret: string,
): Promise<RepositoryKeys> {
  const kind = isRecoveryKey(secret) ? 'recovery' : 'passphrase';
  const derived = await deriveSlot(kind, secret, Buffer.from(config.publicKey, 'hex'));
  const object = slotName(derived.slot);
  const slot = await readSlot(store, object);
  if (!slot) throw new CofferError('passphrase-wrong');
  const keys = unwrap(derived.key, slot);
  if (keys && matchesConfig(config, keys)) return keys;
  throw new CofferError('object-damaged', { object, reason: 'it does not hold the keys' });
}

function slotName(slot: string): string {
  return FOLDER + slot;
}

/** True when these are the keys that the repository was made with. */
export function matchesConfig(config: RepositoryConfig, keys: RepositoryKeys): boolean {
  return (
    keys.publicKey.toString('hex') === config.publicKey &&
    hashKeyCheck(keys.hashKey) === config.hashKeyCheck
  );
}

/** What a secret becomes in a key domain: the name of its slot, and the key that wraps the keys. */
async function deriveSlot(
  kind: KeySlot['kind'],
  secret: string,
  publicKey: Buffer,
): Promise<{ readonly slot: string; readonly key: Buffer }> {
  const material = kind === 'recovery' ? recoverySecret(secret) : await stretch(secret, publicKey);
  const part = (info: string, length: number): Buffer =>
    Buffer.from(hkdfSync('sha256', material, publicKey, info, length));
  return {
    slot: part('coffer 1 key slot name', 8).toString('hex'),
    key: part('coffer 1 key slot key', 32),
  };
}

/** The recovery key is not stretched: it has 160 random bits. */
async function stretch(passphrase: string, salt: Buffer): Promise<Buffer> {
  return await new Promise((resolve, reject) => {
    scrypt(passphrase.normalize('NFC'), salt, 32, SCRYPT, (error, key) =>
      error ? reject(error) : resolve(key),
    );
  });
}

// A slot key wraps the keys of its domain and nothing else, so the nonce can be constant.
const NONCE = Buffer.alloc(12);

function wrap(key: Buffer, keys: RepositoryKeys): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, NONCE);
  const content = Buffer.concat([keys.privateKey, keys.hashKey]);
  return Buffer.concat([cipher.update(content), cipher.final(), cipher.getAuthTag()]);
}

function unwrap(key: Buffer, slot: KeySlot): RepositoryKeys | undefined {
  const wrapped = Buffer.from(slot.wrapped, 'hex');
  const decipher = createDecipheriv('aes-256-gcm', key, NONCE, { authTagLength: 16 });
  decipher.setAuthTag(wrapped.subarray(64));
  const content = decipher.update(wrapped.subarray(0, 64));
  try {
    decipher.final();
  } catch {
    // A wrong passphrase is an expected outcome: another slot may open.
    return undefined;
  }
  const privateKey = content.subarray(0, 32);
  return { privateKey, publicKey: publicKeyOf(privateKey), hashKey: content.subarray(32) };
}
