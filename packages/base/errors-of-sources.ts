/** What can be wrong with what is protected: paths, images, NBD servers and virtual machines. */
import { type ErrorRow, row } from './error-row.ts';

export const SOURCE_ERRORS = {
  'source-not-found': row(404, 'never', 'The source does not exist'),
  'source-unreadable': row(403, 'never', 'The source cannot be read'),
  'source-changed': row(409, 'later', 'The source changed its size while it was read'),
  'image-damaged': row(422, 'never', 'The disk image is damaged'),
  'image-unsupported': row(
    422,
    'never',
    'The disk image uses something that Coffer does not support',
  ),
  'image-format-unknown': row(422, 'never', 'The format of the image is not known'),
  'image-parent-missing': row(404, 'never', 'A parent of the differencing disk is not there'),
  'image-parent-changed': row(
    409,
    'never',
    'A parent of the differencing disk was changed after its child was made',
  ),
  'image-chain-cyclic': row(422, 'never', 'An image is its own parent'),
  'image-encrypted': row(422, 'never', 'The disk image is encrypted'),
  'image-busy': row(409, 'later', 'Another program uses the disk image'),
  'nbd-unreachable': row(503, 'later', 'The NBD server does not answer'),
  'nbd-timeout': row(504, 'later', 'The NBD server stopped answering'),
  'nbd-refused': row(403, 'never', 'The NBD server refuses'),
  'nbd-protocol': row(502, 'never', 'The NBD peer does not keep to the protocol'),
  'nbd-failed': row(502, 'later', 'The NBD server could not do what was asked'),
  'libvirt-unreachable': row(503, 'later', 'The libvirt daemon does not answer'),
  'libvirt-denied': row(403, 'never', 'Access to libvirt is refused'),
  'libvirt-failed': row(502, 'later', 'A call of libvirt has failed'),
  'vm-not-found': row(404, 'never', 'There is no such virtual machine'),
  'vm-busy': row(409, 'later', 'Another job runs on the virtual machine'),
  'vm-stopped': row(409, 'later', 'The virtual machine stopped during its backup'),
  'vm-saved': row(
    409,
    'never',
    'The virtual machine is saved with its memory, which would be lost',
  ),
  'vm-name-taken': row(409, 'never', 'There is a virtual machine of that name already'),
  'memory-not-captured': row(
    409,
    'later',
    'The memory of the machine cannot be captured with its disks',
  ),
  'consistency-not-reached': row(
    409,
    'later',
    'The state that was captured is less consistent than demanded',
  ),
  'agent-unavailable': row(503, 'later', 'The guest agent does not answer'),
  'scratch-full': row(
    507,
    'later',
    'There is not enough space for what the guest overwrites during a backup',
  ),
} as const satisfies Record<string, ErrorRow>;
