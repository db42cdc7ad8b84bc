/** What a restored machine has not, or has otherwise, than the original had. */

export const REWRITE_FINDINGS = {
  'disk-dropped': 'a disk is not in the recovery point and is left out',
  'medium-ejected': 'a medium is not in the recovery point; its drive is empty',
  'encryption-dropped': 'the image of a disk was encrypted; the restored one is not',
  'host-device-dropped': 'a device of the host was passed through and is left out',
  'host-folder-dropped': 'a folder of the host was shared and is left out',
  'shared-memory-dropped': 'memory shared with other machines is left out',
  'lease-dropped': 'a lock of a lock manager is left out',
  'console-redirected': 'a console or channel led to the host and now has a terminal of its own',
  'channel-dropped': 'a channel led to a program of the host and is left out',
  'ports-renewed': 'fixed ports of a display would collide and are chosen at the start',
  'variables-new': 'the UEFI variables are not in the recovery point and are made anew',
  'secret-needed': 'the state of the TPM is encrypted; libvirt needs this secret at the target',
  'file-dropped': 'something used a file of the host that is not in the recovery point; left out',
} as const;

export interface RewriteFinding {
  readonly code: keyof typeof REWRITE_FINDINGS;
  /** Target, kind or address of the device. */
  readonly device?: string;
  /** The path that the original named. */
  readonly path?: string;
}
