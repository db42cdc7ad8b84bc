import type * as files from 'node:fs/promises';

/** The system calls that change a store: a parameter, so that tests record them or make them fail. */
export type FileCalls = Pick<typeof files, 'open' | 'link' | 'rename' | 'unlink' | 'mkdir'>;
