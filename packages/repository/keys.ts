/**
 * Keys of a repository and the slots that keep them.
 *
 * A slot wraps the private key and the hash key under a passphrase or the recovery key, or seals them
 * to a public key, so that nobody needs to be there to type anything. Slots are objects of their own
 * (`keys/<id>`), so that they are added and removed without rewriting anything. The name of a slot
 * follows from what opens it, so unlocking derives one key and reads one object, however many slots
 * somebody has put there. FORMAT.md, section 5.
 *
 * Invariants: a slot says whose keys it wraps, and only those of the config count, so an init that was
 * killed leaves slots that nobody sees; what a slot opens to is accepted only when it matches the
 * config, so a slot that a stranger put into the store opens nothing. A slot is removed only by who
 * has just opened another one: nobody can tell by its looks whether a slot opens.
 */
import { createCipheriv, createDecipheriv, hkdfSync, scrypt } from 'node:crypto';
import { CofferError, isCofferError, mapBounded, type Random } from '@coffer/base';
import { type ObjectStore, refuseAppendOnly } from '@coffer/storage/object-store.ts';
import * as v from 'valibot';
import { hashKeyCheck, type RepositoryConfig } from './config.ts';
import { count, decodeRecord, encodeChecked, hexOf } from './record.ts';
import { isRecoveryKey, recoverySecret } from './recovery-key.ts';
import { BOX_OVERHEAD_BYTES, openBox, publicKeyOf, sealBox } from './sealed-box.ts';
import { getRecordIfThere, putIfAbsent } from './store-calls.ts';

const PASSPHRASE_LENGTH_MIN = 16;

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

/** Private key and hash key, as a slot holds them. */
const SECRETS_SIZE_BYTES = 64;
const GCM_TAG_SIZE_BYTES = 16;

const ofEverySlot = {
  /** Of the key domain. */
  publicKey: hexOf(32),
  label: v.pipe(v.string(), v.maxLength(200)),
  createdAt: count,
};

const SecretRecord = v.object({
  ...ofEverySlot,
  kind: v.picklist(['passphrase', 'recovery']),
  wrapped: hexOf(SECRETS_SIZE_BYTES + GCM_TAG_SIZE_BYTES),
});

const SealedRecord = v.object({
  ...ofEverySlot,
  kind: v.literal('sealed'),
  /** Public key of who can open it. */
  sealedTo: hexOf(32),
  wrapped: hexOf(SECRETS_SIZE_BYTES + BOX_OVERHEAD_BYTES),
});

const KeyRecord = v.variant('kind', [SecretRecord, SealedRecord]);

interface Named {
  /** Its name in `keys/`, 8 bytes in hexadecimal that follow from what opens it. */
  readonly slot: string;
}

/** A slot that a passphrase or the recovery key opens. */
export type SecretSlot = v.InferOutput<typeof SecretRecord> & Named;
/** A slot that a private key opens. */
export type SealedSlot = v.InferOutput<typeof SealedRecord> & Named;
export type KeySlot = SecretSlot | SealedSlot;

/** What opens a slot: a passphrase or the recovery key, or the private key that it is sealed to. */
export type SlotSecret = string | Buffer;

/** Where slots lie, and which of them count. */
export interface SlotFolder {
  readonly store: ObjectStore;
  readonly config: Pick<RepositoryConfig, 'publicKey'>;
}

export interface NewSlot {
  readonly keys: RepositoryKeys;
  readonly kind: SecretSlot['kind'];
  /** The passphrase or the recovery key. */
  readonly secret: string;
  readonly label: string;
  readonly createdAt: number;
}

export interface NewSealedSlot {
  readonly keys: RepositoryKeys;
  /** X25519 public key of who is to open it, 32 raw bytes. */
  readonly sealedTo: Buffer;
  readonly label: string;
  readonly createdAt: number;
  readonly random: Random;
}

/** Fails with `passphrase-weak` when a passphrase is too short. */
export function checkPassphrase(passphrase: string): void {
  const { length } = Array.from(passphrase);
  if (length < PASSPHRASE_LENGTH_MIN) throw new CofferError('passphrase-weak', { length });
}

export async function newKeySlot(options: NewSlot): Promise<SecretSlot> {
  const { keys, kind, secret, label, createdAt } = options;
  if (kind === 'passphrase') checkPassphrase(secret);
  const { slot, key } = await deriveSlot(kind, secret, keys.publicKey);
  const publicKey = keys.publicKey.toString('hex');
  return { slot, publicKey, kind, label, createdAt, wrapped: wrap(key, keys).toString('hex') };
}

/** A slot for who holds the private key of `sealedTo`; making it needs nothing of theirs. */
export function newSealedSlot({
  keys,
  sealedTo,
  label,
  createdAt,
  random,
}: NewSealedSlot): SealedSlot {
  const { publicKey } = keys;
  const associated = sealedPurpose(publicKey);
  const wrapped = sealBox({ publicKey: sealedTo, content: secretsOf(keys), associated, random });
  return {
    slot: sealedSlotName(sealedTo, publicKey),
    publicKey: publicKey.toString('hex'),
    kind: 'sealed',
    label,
    createdAt,
    sealedTo: sealedTo.toString('hex'),
    wrapped: wrapped.toString('hex'),
  };
}

/** Fails with `key-slot-exists` when what opens it has a slot. */
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

/**
 * Removes a slot by its name or enough of its beginning, and returns its name. It takes a secret that opens another slot,
 * and opens it: by their looks, slots that somebody has forged are as good as any. Fails with
 * `key-slot-last` when the secret opens the slot itself, and as `unlockKeys` does.
 */
export async function removeKeySlot(
  folder: LockedFolder,
  slot: string,
  secret: SlotSecret,
): Promise<string> {
  const { store } = folder;
  refuseAppendOnly(store);
  const found = (await readKeySlots(folder, () => {})).filter((each) => each.slot.startsWith(slot));
  const [removed] = found;
  if (slot.length < 4 || !removed || found.length > 1) {
    throw new CofferError('key-slot-not-found', { slot });
  }
  const { opened } = await openSlot(folder, secret);
  if (opened === slotName(removed.slot)) throw new CofferError('key-slot-last', { slot });
  await store.delete(slotName(removed.slot));
  // Of two who remove each other's slot at once, none would be left.
  if (await store.stat(opened)) return removed.slot;
  await putIfAbsent(store, slotName(removed.slot), encodeKeySlot(removed));
  throw new CofferError('key-slot-last', { slot, reason: 'the other one was removed meanwhile' });
}

interface LockedFolder {
  readonly store: ObjectStore;
  readonly config: RepositoryConfig;
}

/**
 * The keys that a passphrase or the recovery key, or the private key of a sealed slot, opens. Fails
 * with `passphrase-wrong`, or with `object-damaged` when the secret has a slot that does not open.
 */
export async function unlockKeys(
  folder: LockedFolder,
  secret: SlotSecret,
): Promise<RepositoryKeys> {
  return (await openSlot(folder, secret)).keys;
}

/** The keys, and the object that they were opened from. */
async function openSlot(
  { store, config }: LockedFolder,
  secret: SlotSecret,
): Promise<{ readonly keys: RepositoryKeys; readonly opened: string }> {
  const opener = await openerOf(secret, Buffer.from(config.publicKey, 'hex'));
  const opened = slotName(opener.slot);
  const slot = await readSlot(store, opened);
  if (!slot) throw new CofferError('passphrase-wrong');
  const keys = opener.open(slot);
  if (keys && matchesConfig(config, keys)) return { keys, opened };
  throw new CofferError('object-damaged', { object: opened, reason: 'it does not hold the keys' });
}

/** What a secret becomes in a key domain: the name of its slot, and how to open that. */
interface Opener extends Named {
  /** Undefined when it does not open. */
  readonly open: (slot: KeySlot) => RepositoryKeys | undefined;
}

async function openerOf(secret: SlotSecret, publicKey: Buffer): Promise<Opener> {
  if (typeof secret !== 'string') {
    if (secret.length !== 32) throw new CofferError('usage', { expected: 'a key of 32 bytes' });
    const slot = sealedSlotName(publicKeyOf(secret), publicKey);
    return { slot, open: (sealed) => unseal(secret, sealed) };
  }
  const kind = isRecoveryKey(secret) ? 'recovery' : 'passphrase';
  const { slot, key } = await deriveSlot(kind, secret, publicKey);
  return { slot, open: (wrapped) => unwrap(key, wrapped) };
}

function slotName(slot: string): string {
  return FOLDER + slot;
}

/** True when these are the keys that the repository was made with. */
export function matchesConfig(config: RepositoryConfig, keys: WriterKeys): boolean {
  return (
    keys.publicKey.toString('hex') === config.publicKey &&
    hashKeyCheck(keys.hashKey) === config.hashKeyCheck
  );
}

/** What a secret becomes in a key domain: the name of its slot, and the key that wraps the keys. */
async function deriveSlot(
  kind: SecretSlot['kind'],
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
  return Buffer.concat([cipher.update(secretsOf(keys)), cipher.final(), cipher.getAuthTag()]);
}

function unwrap(key: Buffer, { kind, wrapped }: KeySlot): RepositoryKeys | undefined {
  if (kind === 'sealed') return undefined;
  const bytes = Buffer.from(wrapped, 'hex');
  const decipher = createDecipheriv('aes-256-gcm', key, NONCE, {
    authTagLength: GCM_TAG_SIZE_BYTES,
  });
  decipher.setAuthTag(bytes.subarray(SECRETS_SIZE_BYTES));
  const content = decipher.update(bytes.subarray(0, SECRETS_SIZE_BYTES));
  try {
    decipher.final();
  } catch {
    // Somebody has altered or forged the slot.
    return undefined;
  }
  return keysFrom(content);
}

function unseal(privateKey: Buffer, slot: KeySlot): RepositoryKeys | undefined {
  const associated = sealedPurpose(Buffer.from(slot.publicKey, 'hex'));
  try {
    return keysFrom(openBox(privateKey, Buffer.from(slot.wrapped, 'hex'), associated));
  } catch (error) {
    if (isCofferError(error, 'object-damaged')) return undefined;
    throw error;
  }
}

function secretsOf({ privateKey, hashKey }: RepositoryKeys): Buffer {
  return Buffer.concat([privateKey, hashKey]);
}

function keysFrom(secrets: Buffer): RepositoryKeys {
  const privateKey = secrets.subarray(0, 32);
  return { privateKey, publicKey: publicKeyOf(privateKey), hashKey: secrets.subarray(32) };
}

/** So that a box is not passed off as the slot of another key domain. */
function sealedPurpose(publicKey: Buffer): Buffer {
  return Buffer.concat([Buffer.from('coffer 1 key slot '), publicKey]);
}

function sealedSlotName(sealedTo: Buffer, publicKey: Buffer): string {
  const name = hkdfSync('sha256', sealedTo, publicKey, 'coffer 1 sealed slot name', 8);
  return Buffer.from(name).toString('hex');
}
