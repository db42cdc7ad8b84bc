/** Where a store is, as people write it. */
import { CofferError } from '@coffer/base';

export type Location =
  | { readonly kind: 'filesystem'; readonly path: string }
  | { readonly kind: 's3'; readonly bucket: string; readonly prefix: string }
  | {
      readonly kind: 'azure-blob';
      readonly account: string;
      readonly container: string;
      readonly prefix: string;
    };

/** Of others, who write `s3:` where we write `s3://`: as a path it would be a surprise. */
const ALMOST = /^(?:s3|azure|b2|gs|rest|sftp|rclone|swift):(?!\/\/)/i;
const SCHEME = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/is;
// The rules of S3 for buckets, with upper case and underscores, which old buckets may have.
const BUCKET = /^[a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9]$/;
const ACCOUNT = /^[a-z0-9]{3,24}$/;
const CONTAINER = /^(?:\$root|[a-z0-9](?:-?[a-z0-9]){2,62})$/;
// Servers and SDKs treat `.`, `..`, empty words and control characters each in their own way.
const PREFIX_WORD = /^(?!\.{1,2}$)[\p{L}\p{N} !'()*._~@=+,;$&-]+$/u;
const PREFIX_SIZE_MAX = 400;

/**
 * A path, `s3://bucket/prefix` or `azure://account/container/prefix`; prefixes may be left out.
 * Fails with `location-invalid`. A path that contains `://` is written with `./` before it.
 */
export function parseLocation(text: string): Location {
  const [, scheme, rest = ''] = SCHEME.exec(text) ?? [];
  switch (scheme?.toLowerCase()) {
    case undefined:
      return parsePath(text);
    case 's3':
      return parseS3(text, rest);
    case 'azure':
      return parseAzure(text, rest);
    default:
      throw invalid(text, 'this kind of store is not known');
  }
}

/** The text that `parseLocation` understands as this location. */
export function formatLocation(location: Location): string {
  switch (location.kind) {
    case 'filesystem':
      return location.path;
    case 's3':
      return joinWords(`s3://${location.bucket}`, location.prefix);
    case 'azure-blob':
      return joinWords(`azure://${location.account}/${location.container}`, location.prefix);
  }
}

function parsePath(path: string): Location {
  if (path === '') throw invalid(path, 'it is empty');
  if (ALMOST.test(path)) {
    throw invalid(path, 'say s3://BUCKET/PREFIX, azure://ACCOUNT/CONTAINER, or ./ before a path');
  }
  if (path.includes('\0')) throw invalid(path, 'it holds a zero byte');
  return { kind: 'filesystem', path };
}

function parseS3(text: string, rest: string): Location {
  const [bucket = '', ...words] = splitWords(rest);
  if (!BUCKET.test(bucket)) throw invalid(text, 'it names no bucket');
  return { kind: 's3', bucket, prefix: parsePrefix(text, words) };
}

function parseAzure(text: string, rest: string): Location {
  const [account = '', container = '', ...words] = splitWords(rest);
  if (!ACCOUNT.test(account)) throw invalid(text, 'it names no storage account');
  if (!CONTAINER.test(container)) throw invalid(text, 'it names no container');
  return { kind: 'azure-blob', account, container, prefix: parsePrefix(text, words) };
}

/** A slash at the end is accepted: it is what completion writes. */
function splitWords(rest: string): string[] {
  return rest.replace(/\/$/, '').split('/');
}

function parsePrefix(text: string, words: readonly string[]): string {
  const prefix = words.join('/');
  if (!words.every((word) => PREFIX_WORD.test(word)))
    throw invalid(text, 'the prefix is not valid');
  if (Buffer.byteLength(prefix) > PREFIX_SIZE_MAX) throw invalid(text, 'the prefix is too long');
  return prefix;
}

function joinWords(start: string, prefix: string): string {
  return prefix === '' ? start : `${start}/${prefix}`;
}

function invalid(location: string, reason: string): CofferError {
  return new CofferError('location-invalid', { location, reason });
}
