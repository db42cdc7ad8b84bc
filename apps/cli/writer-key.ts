/** The key file of a writer: it can make points, and open none. */
import { readFileSync } from 'node:fs';
import { CofferError } from '@coffer/base/errors.ts';
import type { WriterKeys } from '@coffer/repository';
import * as v from 'valibot';
import { writeSecretFile } from './secret-file.ts';
import type { GlobalOptions } from './settings.ts';

const key = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{64}$/),
  v.transform((text) => Buffer.from(text, 'hex')),
);

const WriterKeyFile = v.object({
  format: v.literal('coffer-writer-key-1'),
  publicKey: key,
  hashKey: key,
});

/** Fails where there is such a file already. */
export function writeWriterKey(path: string, { publicKey, hashKey }: WriterKeys): void {
  const document = {
    format: 'coffer-writer-key-1',
    publicKey: publicKey.toString('hex'),
    hashKey: hashKey.toString('hex'),
  };
  writeSecretFile(path, JSON.stringify(document, null, 2));
}

/** Undefined when none was given. Fails with `usage` for what is none. */
export function givenWriterKeys({ writerKeyFile }: GlobalOptions): WriterKeys | undefined {
  if (writerKeyFile === undefined || writerKeyFile === '') return undefined;
  try {
    return v.parse(WriterKeyFile, JSON.parse(readFileSync(writerKeyFile, 'utf8')));
  } catch (error) {
    const reason = 'it cannot be read, or is no key of `coffer key writer`';
    throw new CofferError('usage', { writerKeyFile, reason }, error);
  }
}
