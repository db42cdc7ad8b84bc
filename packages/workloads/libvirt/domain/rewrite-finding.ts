/** What a restored machine has not, or has otherwise, than the original had. */
import type { FindingCode } from '@coffer/base';

export interface RewriteFinding {
  readonly code: FindingCode;
  /** Target, kind or address of the device. */
  readonly device?: string;
  /** The path that the original named. */
  readonly path?: string;
}
